"""A real HTTP server on loopback that does what the test tells it to, and remembers what it was asked."""

from __future__ import annotations

import json
import socket
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sdk.adapter import Invoker, Limits, ModelFault
from sdk.errors import AuthError, UnavailableError

if TYPE_CHECKING:
    import httpx


@dataclass
class Reply:
    """An answer; ``cut`` closes the connection instead, ``silent`` leaves it open without a word."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    silent: bool = False


@dataclass
class Asked:
    """A request as it arrived, and on which connection."""

    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def echo(asked: Asked) -> Reply:
    return Reply(body={"predictions": asked.json["instances"]}, headers={"x-mlport-deployment": "d1"})


class ScriptedServer:
    """Answers requests one after the other from ``script``, then with ``echo``."""

    def __init__(self) -> None:
        self.script: list[Reply] = []
        self.asked: list[Asked] = []
        self.connections = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}/invocations"

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for connection in self._open:
            connection.close()
        self._thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection, self.connections), daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        with connection, connection.makefile("rb") as reader:
            while True:
                try:
                    asked = _read(reader, number)
                except (OSError, ValueError):
                    return
                if asked is None:
                    return
                self.asked.append(asked)
                reply = self.script.pop(0) if self.script else echo(asked)
                if reply.cut:
                    return
                if not reply.silent:
                    connection.sendall(_written(reply, asked))


def _read(reader: Any, number: int) -> Asked | None:
    if not reader.readline():
        return None
    headers: dict[str, str] = {}
    while line := reader.readline().strip():
        name, _, value = line.decode().partition(":")
        headers[name.lower()] = value.strip()
    return Asked(headers, reader.read(int(headers.get("content-length", 0))), number)


def _written(reply: Reply, asked: Asked) -> bytes:
    body = json.dumps(reply.body).encode()
    headers = {"content-length": str(len(body)), "x-request-id": asked.headers.get("x-request-id", ""), **reply.headers}
    lines = [f"HTTP/1.1 {reply.status} X", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _fault(response: httpx.Response) -> ModelFault | None:
    if response.headers.get("x-platform"):
        return None
    error = response.json().get("error", {})
    return ModelFault(response.status_code, error.get("message", ""), error.get("field"), body=response.text)


def _error(response: httpx.Response) -> Exception:
    kind = AuthError if response.status_code == 401 else UnavailableError
    return kind("the platform refused", status=response.status_code)


def invoker(url: str, **changes: Any) -> Invoker:
    facts: dict[str, Any] = {
        "url": url,
        "limits": Limits(request_bytes=1000, timeout_s=5.0),
        "fault": _fault,
        "error": _error,
        "pin": lambda deployment: {"x-mlport-deployment": deployment},
        "deployment": lambda response: response.headers.get("x-mlport-deployment"),
    }
    return Invoker(**{**facts, **changes})
