"""A small model server for the tests: python backend.py ADDRESS NAME [--start-s S] [--exit CODE] [--idle-s S]."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import mmap
import os
import signal
import socket
import sys
import time
from typing import cast
from urllib.parse import parse_qs, urlsplit

import httptools
import uvloop

OPTIONS = argparse.Namespace()
SERVED = 0
HEALTHY = True


class Server(asyncio.Protocol):
    def __init__(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.idle: asyncio.TimerHandle | None = None
        self.room = asyncio.Event()
        self.room.set()
        self.reset()

    def reset(self) -> None:
        self.url = b""
        self.headers: list[tuple[str, str]] = []
        self.size = 0
        self.hash = hashlib.sha256()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self.idle is not None:
            self.idle.cancel()
        self.parser.feed_data(data)

    def pause_writing(self) -> None:
        self.room.clear()

    def resume_writing(self) -> None:
        self.room.set()

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_body(self, body: bytes) -> None:
        self.size += len(body)
        self.hash.update(body)

    def on_message_complete(self) -> None:
        parts = urlsplit(self.url.decode())
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        answer: dict[str, object] = {
            "method": self.parser.get_method().decode(),
            "target": self.url.decode(),
            "headers": self.headers,
        }
        answer |= {"size": self.size, "sha256": self.hash.hexdigest(), "name": OPTIONS.name, "pid": os.getpid()}
        self.reset()
        asyncio.get_running_loop().create_task(self.guarded(parts.path, query, answer))

    async def guarded(self, path: str, query: dict[str, str], echo: dict[str, object]) -> None:
        try:
            await (self.flood(int(query["n"])) if path == "/flood" else self.answer(path, query, echo))
        except (MemoryError, OSError) as error:
            self.send(500, repr(error).encode())

    async def answer(self, path: str, query: dict[str, str], echo: dict[str, object]) -> None:
        global SERVED, HEALTHY  # noqa: PLW0603 - the whole state of a tiny program
        if path == "/v2/health/ready":
            self.send(200 if HEALTHY else 503, b"")
            return
        SERVED += 1
        if path == "/sleep":
            await asyncio.sleep(float(query["s"]))
        elif path == "/work":  # as a model does: the loop is busy
            end = time.perf_counter() + float(query["s"])
            while time.perf_counter() < end:
                pass
        elif path == "/health":
            HEALTHY = query["ok"] == "1"
        elif path == "/print":
            sys.stdout.write(query["text"] * int(query.get("times", 1)) + "\n")
            sys.stdout.flush()
        elif path == "/eat":
            self.eaten = mmap.mmap(-1, int(query["bytes"]), mmap.MAP_SHARED if "shared" in query else mmap.MAP_PRIVATE)
            while self.eaten.tell() < len(self.eaten):
                self.eaten.write(b"x" * min(1_000_000, len(self.eaten) - self.eaten.tell()))
        elif await self.odd(path, query):
            return
        echo["served"] = SERVED
        self.send(int(query.get("status", 200)), json.dumps(echo).encode())

    async def odd(self, path: str, query: dict[str, str]) -> bool:
        """Answer in one of the less usual ways."""
        count = int(query.get("n", 0))
        if path == "/die":
            os._exit(int(query.get("code", 3)))
        elif path == "/hang":
            await asyncio.sleep(3600)
        elif path == "/drop":
            self.transport.abort()
        elif path == "/raw":
            self.transport.write(query["text"].encode("latin-1"))
        elif path == "/cut":
            self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf")
            self.transport.close()
        elif path == "/big":
            self.send(200, b"x" * count)
        elif path == "/chunked":
            self.transport.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            for index in range(count):
                self.transport.write(b"%x\r\n%b\r\n" % (index + 1, b"y" * (index + 1)))
                await asyncio.sleep(0)
            self.transport.write(b"0\r\n\r\n")
        elif path == "/until-close":
            self.transport.write(b"HTTP/1.1 200 OK\r\n\r\n" + b"z" * count)
            self.transport.close()
        else:
            return False
        return True

    async def flood(self, count: int) -> None:
        """A large answer of which only a little is held here at any time."""
        self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (count * 65_536))
        for _ in range(count):
            await self.room.wait()
            self.transport.write(b"x" * 65_536)

    def send(self, status: int, body: bytes) -> None:
        head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        self.transport.write(head.encode() + body)
        if OPTIONS.idle_s:
            self.idle = asyncio.get_running_loop().call_later(OPTIONS.idle_s, self.transport.close)
        if OPTIONS.once and status == 200 and SERVED:
            self.transport.pause_reading()
            self.drop_unread()

    def drop_unread(self) -> None:
        """Close the connection when the next request has come in, before a byte of it is read."""
        if self.transport.is_closing():
            return
        with socket.socket(fileno=os.dup(self.transport.get_extra_info("socket").fileno())) as own:
            try:
                self.transport.abort() if own.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) else None
            except BlockingIOError:
                asyncio.get_running_loop().call_later(0.001, self.drop_unread)


async def main() -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    sys.stdout.write(f"starting {OPTIONS.name}\n")
    sys.stdout.flush()
    await asyncio.sleep(OPTIONS.start_s)
    if OPTIONS.exit is not None:
        sys.stdout.write("cannot load the model\n")
        sys.stdout.flush()
        os._exit(OPTIONS.exit)
    kind, _, rest = OPTIONS.address.partition(":")
    host, _, port = rest.rpartition(":")
    server = await (
        loop.create_unix_server(Server, rest, backlog=2048)
        if kind == "unix"
        else loop.create_server(Server, host, int(port))
    )
    async with server:
        await stopped.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("name")
    parser.add_argument("--start-s", type=float, default=0.0)
    parser.add_argument("--exit", type=int)
    parser.add_argument("--once", action="store_true", help="close a connection with its second request unread")
    parser.add_argument("--idle-s", type=float, default=0.0)
    parser.parse_args(namespace=OPTIONS)
    uvloop.run(main())
