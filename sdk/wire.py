"""A small HTTP/1.1 client for predictions: sockets, httptools, and nothing that a prediction does not need.

httpx is made for everything HTTP can be, which costs several times the work of one small request on a warm connection.
This speaks the part that predictions use (one request at a time on pooled connections, whole bodies) with httpx's own
requests, answers, time-outs, trace events and errors, so that whoever calls it need not know which of both it is.
"""

from __future__ import annotations

import contextlib
import select
import socket
from collections import deque
from typing import TYPE_CHECKING, Any

import httptools
import httpx

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

_BLOCK = 1 << 16
_MOST_HEADERS = 200
_IDLE = 100  # connections that are kept for the next request


class Wire:
    """Pooled connections to one host; share it between threads, close it at the end.

    Args:
        url: Any URL of the host.
        verify: How its certificate is checked; not used for plain HTTP.
    """

    def __init__(self, url: httpx.URL, verify: ssl.SSLContext | None) -> None:
        self._host = url.host
        self._port = url.port or (443 if url.scheme == "https" else 80)
        self._tls = verify if url.scheme == "https" else None
        self._idle: deque[_Connection] = deque()

    def send(self, request: httpx.Request) -> httpx.Response:
        """One request, to its whole answer.

        Raises:
            httpx.TransportError: As httpx raises it; see :mod:`sdk.attempts` for what each proves.
        """
        tell: Callable[[str, Mapping[str, Any]], None] = request.extensions.get("trace") or _untold
        limits: Mapping[str, float | None] = request.extensions.get("timeout") or {}
        connection = self._take() or self._connect(limits.get("connect"), tell)
        try:
            tell("http11.send_request_headers.started", {})
            connection.write(request, limits.get("write"))
            answer = connection.read(limits.get("read"), tell)
        except BaseException:
            connection.close()
            raise
        if answer.keep and len(self._idle) < _IDLE:
            self._idle.append(connection)
        else:
            connection.close()
        return httpx.Response(answer.status, headers=answer.headers, content=bytes(answer.body), request=request)

    def close(self) -> None:
        """Closes the connections that nobody uses."""
        while self._idle:
            with contextlib.suppress(IndexError):
                self._idle.pop().close()

    def _take(self) -> _Connection | None:
        """A connection that is still open; one that has something to say before it was asked is not."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            if not connection.is_broken():
                return connection
            connection.close()

    def _connect(self, timeout: float | None, tell: Callable[[str, Mapping[str, Any]], None]) -> _Connection:
        tell("connection.connect_tcp.started", {})
        with contextlib.ExitStack() as stack:
            try:
                plain = stack.enter_context(socket.create_connection((self._host, self._port), timeout))
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                made = self._tls.wrap_socket(plain, server_hostname=self._host) if self._tls else plain
            except TimeoutError as error:
                raise httpx.ConnectTimeout(str(error)) from error
            except OSError as error:
                raise httpx.ConnectError(str(error)) from error
            stack.pop_all()
            return _Connection(made)


def _untold(_event: str, _info: Mapping[str, Any]) -> None:
    """Nobody wants to know."""


class _Answer:
    """What httptools has read so far."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = bytearray()
        self.begun = self.whole = self.keep = False
        self.parser = httptools.HttpResponseParser(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Takes a header."""
        if len(self.headers) >= _MOST_HEADERS:
            raise httpx.RemoteProtocolError(f"more than {_MOST_HEADERS} headers")
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Takes the status."""
        self.status = self.parser.get_status_code()
        self.begun = self.status >= 200

    def on_body(self, data: bytes) -> None:
        """Takes a piece of the body."""
        self.body += data

    def on_message_complete(self) -> None:
        """Ends; an interim answer is followed by the one that counts."""
        if self.status < 200:
            self.headers.clear()
            return
        self.whole, self.keep = True, self.parser.should_keep_alive()


class _Connection:
    """One connection, used by one request at a time."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def is_broken(self) -> bool:
        """Whether the other side has closed it, or speaks without being asked."""
        try:
            return bool(select.select([self._socket], [], [], 0)[0])
        except (OSError, ValueError):
            return True

    def close(self) -> None:
        """Closes it."""
        with contextlib.suppress(OSError):
            self._socket.close()

    def write(self, request: httpx.Request, timeout: float | None) -> None:
        """Sends a request; head and a small body leave together."""
        head = [b"%s %s HTTP/1.1\r\n" % (request.method.encode(), request.url.raw_path)]
        head += [b"%s: %s\r\n" % pair for pair in request.headers.raw]
        try:
            self._socket.settimeout(timeout)
            self._socket.sendall(b"".join([*head, b"\r\n", request.content]))
        except TimeoutError as error:
            raise httpx.WriteTimeout(str(error), request=request) from error
        except OSError as error:
            raise httpx.WriteError(str(error), request=request) from error

    def read(self, timeout: float | None, tell: Callable[[str, Mapping[str, Any]], None]) -> _Answer:
        """Reads a whole answer; one whose length is not said ends with the connection."""
        answer, told = _Answer(), False
        while not answer.whole:
            data = self._receive(timeout)
            if not data:
                return _ended(answer)
            try:
                answer.parser.feed_data(data)
            except httptools.HttpParserError as error:
                raise httpx.RemoteProtocolError(str(error)) from error
            if answer.begun and not told:
                told = True
                tell("http11.receive_response_headers.complete", {})
        return answer

    def _receive(self, timeout: float | None) -> bytes:
        try:
            self._socket.settimeout(timeout)
            return self._socket.recv(_BLOCK)
        except TimeoutError as error:
            raise httpx.ReadTimeout(str(error)) from error
        except OSError as error:
            raise httpx.ReadError(str(error)) from error


def _ended(answer: _Answer) -> _Answer:
    """An answer whose connection was closed: whole only if nothing said how long it is."""
    framed = any(name.lower() in {b"content-length", b"transfer-encoding"} for name, _ in answer.headers)
    if not answer.begun or framed:
        what = "without sending a response" if not answer.begun else "before the answer was whole"
        raise httpx.RemoteProtocolError(f"Server disconnected {what}.")
    return answer
