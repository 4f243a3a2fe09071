"""A proxy as companies have it: all HTTPS goes through it, and it signs every host with an authority of its own."""

from __future__ import annotations

import contextlib
import json
import socketserver
import ssl
import threading
from base64 import b64encode
from typing import TYPE_CHECKING, Any, Self, cast

import trustme

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class InspectingProxy:
    """Answers what is asked of any host through it.

    Args:
        folder: For the certificate of its authority.
        answer: Status and JSON for a host and a path.

    Attributes:
        login: User and password that it wants, as ``USER:PASSWORD``; empty for none.
        seen: Host and path of what was asked for.
        refused: Hosts whose certificate was not taken.
    """

    def __init__(self, folder: Path, answer: Callable[[str, str], tuple[int, Any]]) -> None:
        self.authority = trustme.CA()
        self.ca_file = folder / "company.pem"
        self.authority.cert_pem.write_to_path(str(self.ca_file))
        self.answer = answer
        self.seen: list[tuple[str, str]] = []
        self.refused: list[str] = []
        self.login = ""
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), cast("Any", self._handle))
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        login = f"{self.login}@" if self.login else ""
        return f"http://{login}127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handle(self, connection: Any, _address: object, _server: object) -> None:
        connection.settimeout(10)
        head = _head(connection)
        host = head.split()[1].rpartition(":")[0]
        if self.login and b64encode(self.login.encode()).decode() not in head:
            connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
            return
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(host).configure_cert(context)
        try:
            secure = context.wrap_socket(connection, server_side=True)
        except OSError:
            self.refused.append(host)
            return
        with secure, contextlib.suppress(OSError):
            while head := _head(secure):
                path = head.split()[1]
                self.seen.append((host, path))
                _skip(secure, _length(head))
                status, value = self.answer(host, path)
                body = json.dumps(value).encode()
                kind = f"content-type: application/json\r\ncontent-length: {len(body)}"
                secure.sendall(f"HTTP/1.1 {status} X\r\n{kind}\r\n\r\n".encode() + body)


def _head(connection: Any) -> str:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(1)
        if not piece:
            return ""
        data += piece
    return data.decode("latin-1")


def _skip(connection: Any, count: int) -> None:
    while count > 0 and (piece := connection.recv(min(count, 65536))):
        count -= len(piece)


def _length(head: str) -> int:
    lines = [line for line in head.lower().splitlines() if line.startswith("content-length:")]
    return int(lines[0].partition(":")[2]) if lines else 0
