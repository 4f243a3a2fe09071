"""A stand-in before the real engine: another API version, calls that are refused, connections that are dropped."""

from __future__ import annotations

import json
import re
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

import httpx

from tests.docker import modern

if TYPE_CHECKING:
    from collections.abc import Callable

_HEAD = re.compile(rb"^([A-Z]+) (/v\d+\.\d+)?(/\S*) HTTP/1.1\r\n")
_BLOCK = 64 * 1024
_SOCKET = "/var/run/docker.sock"


class Proxy:
    """Listens on a port of 127.0.0.1 and carries every connection to the engine's socket.

    Attributes:
        seen: Method, version and path of each request.
        refused: What is answered instead to requests whose method and path begin like this: status and message.
        newest, oldest: The API versions that the engine is said to speak; the real one is asked in its own.
        modern: Whether answers are shaped as by the newest version: without what was removed since 1.41.
    """

    def __init__(self, newest: str = "1.41", oldest: str = "1.12", *, modern: bool = False) -> None:
        self.newest, self.oldest, self.modern = newest, oldest, modern
        self.seen: list[tuple[str, str, str]] = []
        self.refused: dict[str, tuple[int, str]] = {}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._run(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        for thread in self._threads:
            thread.join(30)
        for one in self._open:
            one.close()

    def stop(self) -> None:
        """As if the engine was stopped: open connections end, new ones are refused."""
        for one in (self._listener, *self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _run(self, target: Callable[..., None], *sockets: socket.socket) -> None:
        thread = threading.Thread(target=target, args=sockets, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            engine = socket.socket(socket.AF_UNIX)
            engine.connect(_SOCKET)
            self._open += [client, engine]
            self._run(self._there, client, engine)
            self._run(self._back, client, engine)

    def _there(self, client: socket.socket, engine: socket.socket) -> None:
        """Requests; their heads come in one piece."""
        with suppress(OSError):
            while data := client.recv(_BLOCK):
                match = _HEAD.match(data)
                if match is None:
                    engine.sendall(data)
                    continue
                method, version, path = (part.decode() if part else "" for part in match.groups())
                self.seen.append((method, version, path))
                refusal = next((self.refused[one] for one in self.refused if f"{method} {path}".startswith(one)), None)
                if refusal is not None:
                    client.sendall(_answer(*refusal))
                    client.shutdown(socket.SHUT_RDWR)
                    return
                if self.modern and method == "GET" and (shape := modern.shape_of(path)) is not None:
                    client.sendall(_reshaped(path, shape))
                    continue
                asked = f"{method} {'/v1.41' if version else ''}{path} HTTP/1.1\r\n".encode()
                engine.sendall(asked + data[match.end() :])
            engine.shutdown(socket.SHUT_WR)

    def _back(self, client: socket.socket, engine: socket.socket) -> None:
        with suppress(OSError):
            while data := engine.recv(_BLOCK):
                data = data.replace(b'"ApiVersion":"1.41"', f'"ApiVersion":"{self.newest}"'.encode())
                client.sendall(data.replace(b'"MinAPIVersion":"1.12"', f'"MinAPIVersion":"{self.oldest}"'.encode()))
            client.shutdown(socket.SHUT_RDWR)


def _reshaped(path: str, shape: Callable[[Any], None]) -> bytes:
    with httpx.Client(base_url="http://engine", transport=httpx.HTTPTransport(uds=_SOCKET)) as engine:
        answer = engine.get(f"/v1.41{path}")
    value = answer.json()
    if answer.status_code == 200:
        shape(value)
    body = json.dumps(value).encode()
    head = f"HTTP/1.1 {answer.status_code} X\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
    return f"{head}date: {answer.headers['date']}\r\n\r\n".encode() + body


def _answer(status: int, message: str) -> bytes:
    body = json.dumps({"message": message}).encode()
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
    return head.encode() + b"connection: close\r\n\r\n" + body
