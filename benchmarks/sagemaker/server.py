"""A server that answers every invocation at once, so that only the client is measured."""

from __future__ import annotations

import asyncio
import sys

BODY = b'{"predictions": [3.0, 7.0]}'
HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-amzn-requestid: r\r\n"
    b"x-amzn-invoked-production-variant: d1\r\ncontent-length: %d\r\n\r\n" % len(BODY)
)


class Answer(asyncio.Protocol):
    """A protocol for one connection; it expects small requests that arrive in few pieces."""

    def __init__(self) -> None:
        self.data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.data += data
        head, found, rest = self.data.partition(b"\r\n\r\n")
        if not found:
            return
        lower = head.lower()
        if b"expect: 100-continue" in lower and not rest:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        length = int(lower.partition(b"content-length:")[2].split(b"\r\n")[0])
        if len(rest) >= length:
            self.data = b""
            self.transport.write(HEAD + BODY)


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Answer, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
