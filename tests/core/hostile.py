"""A server that answers every request in one hostile way, and counts what it could send."""

from __future__ import annotations

import contextlib
import functools
import gzip
import socket
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ndate: Mon, 30 Nov 2026 01:00:00 GMT\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
PIECE = b" " * (1 << 18)
PAUSE_S = 0.02


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def endless() -> Iterator[bytes]:
    """A body without an end."""
    yield CHUNKED
    piece = _chunk(PIECE)
    while True:
        yield piece


def endless_refusal() -> Iterator[bytes]:
    """The same as a refusal."""
    yield CHUNKED.replace(b"200 OK", b"403 Forbidden")
    piece = _chunk(PIECE)
    while True:
        yield piece


@functools.cache
def _packed() -> bytes:
    return gzip.compress(bytes(160 << 20), compresslevel=9)


def bomb() -> Iterator[bytes]:
    """A small body that unpacks to 160 MB."""
    yield HEAD + b"content-encoding: gzip\r\nconnection: close\r\n\r\n"
    yield _packed()


def claim() -> Iterator[bytes]:
    """A body that claims a terabyte."""
    yield HEAD + b"content-length: %d\r\n\r\n" % (1 << 40)
    while True:
        yield PIECE


def drip() -> Iterator[bytes]:
    """A body of single bytes, each in time."""
    yield HEAD + b"content-length: 100000\r\n\r\n"
    while True:
        time.sleep(PAUSE_S)
        yield b" "


def drip_of_chunks() -> Iterator[bytes]:
    """The same in chunks."""
    yield CHUNKED
    while True:
        time.sleep(PAUSE_S)
        yield _chunk(b" ")


def drip_of_head() -> Iterator[bytes]:
    """A head of single bytes."""
    yield b"HTTP/1.1 200 OK\r\nx-head: "
    while True:
        time.sleep(PAUSE_S)
        yield b"x"


LARGE: dict[str, Callable[[], Iterator[bytes]]] = {
    "endless": endless,
    "endless refusal": endless_refusal,
    "bomb": bomb,
    "claim": claim,
}
SLOW: dict[str, Callable[[], Iterator[bytes]]] = {
    "drip": drip,
    "drip of chunks": drip_of_chunks,
    "drip of head": drip_of_head,
}


class Hostile:
    """Listens on this machine until it is closed; ``sent`` is what its clients took."""

    def __init__(self, answer: Callable[[], Iterator[bytes]]) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.sent = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            client.settimeout(20)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
            asked = b""
            while b"\r\n\r\n" not in asked:
                asked += client.recv(1 << 16) or b"\r\n\r\n"
            for piece in self._answer():
                client.sendall(piece)
                self.sent += len(piece)
            client.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Take no more connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
