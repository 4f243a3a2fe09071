"""A model server with the cost of the real one around a scikit-learn call: python model.py SOCKET PORT SECONDS.

It reads HTTP with httptools, decodes the JSON body, keeps its thread busy for SECONDS and answers with JSON. It
listens on a unix socket for the proxies, and on a TCP port for direct calls.
"""

from __future__ import annotations

import asyncio
import sys
from time import perf_counter
from typing import cast

import httptools
import msgspec
import uvloop

SOCKET, PORT, SECONDS = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])


class Model(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.parser = httptools.HttpRequestParser(self)
        self.body = b""
        self.request_id = b""

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"x-request-id":
            self.request_id = value

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        rows = msgspec.json.decode(self.body or b'{"instances":[]}')["instances"]
        self.body = b""
        end = perf_counter() + SECONDS
        while SECONDS and perf_counter() < end:
            pass
        answer = msgspec.json.encode({"predictions": [sum(row) for row in rows]})
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\nx-request-id: %b\r\n\r\n"
        self.transport.write(head % (len(answer), self.request_id) + answer)


async def main() -> None:
    loop = asyncio.get_running_loop()
    local = await loop.create_unix_server(Model, SOCKET, backlog=2048)
    public = await loop.create_server(Model, "127.0.0.1", PORT, backlog=2048)
    async with local, public:
        await asyncio.Event().wait()


uvloop.run(main())
