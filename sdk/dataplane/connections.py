"""HTTP connections that write the requests of predictions; the standard library is faster here than httpx.

httpx supports all of HTTP, which costs several times the work of one small request on a warm connection. A prediction
needs one request at a time on a pooled connection and a complete answer. `http.client` provides that. This module wraps
it in httpx's requests, answers, time-outs, trace events and errors, so that the caller need not know which of the two
is used.
"""

from __future__ import annotations

import contextlib
import http.client
import select
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import httpx

from ..util.bounded import ANSWER, KEY, Bound
from ..util.bounded_http import BoundedResponse, read
from .attempts import WAITED
from .health_checks import Standstill

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable, Generator, Mapping

    from .health_checks import HealthWatch

_IDLE = 100  # connections that are kept for later requests
_LONG_S = 86_400.0
_ONE_PIECE = 1 << 16  # a request up to this many bytes is joined into one piece


class ConnectionPool:
    """Pooled connections to one host; share it between threads, close it at the end.

    Args:
        url: Any URL of the host.
        verify: The TLS context that checks its certificate; not used for plain HTTP.
        watch: Checks the host while a request waits for it; for plain HTTP only.
    """

    def __init__(self, url: httpx.URL, verify: ssl.SSLContext | None, watch: HealthWatch | None = None) -> None:
        self._watch = watch
        self._host = url.host
        self._port = url.port or (443 if url.scheme == "https" else 80)
        self._tls = verify if url.scheme == "https" else None
        self._idle: deque[_Plain | _Secure] = deque()
        self._closed = False

    def send(self, request: httpx.Request) -> httpx.Response:
        """Send one request and return its complete answer.

        Raises:
            httpx.TransportError: As httpx raises it; see :mod:`sdk.dataplane.attempts` for what each class proves.
        """
        tell: Callable[[str, Mapping[str, Any]], None] = request.extensions.get("trace") or _untold
        limits: Mapping[str, float | None] = request.extensions.get("timeout") or {}
        bound: Bound = request.extensions.get(KEY) or ANSWER
        connection = self._take() or self._connect(limits.get("connect"), tell)
        try:
            tell("http11.send_request_headers.started", {})
            patience = None if self._watch is None else _Patience(connection.sock, self._watch, tell)
            _write(connection, request, limits.get("write"), patience)
            answer, body = _read(connection, limits.get("read"), bound, tell, patience)
        except BaseException:
            connection.close()
            raise
        if answer.will_close or len(self._idle) >= _IDLE:
            connection.close()
        else:
            self._idle.append(connection)
            if self._closed:  # while this request was running
                self.close()
        headers = [(name, text) for name, text in answer.getheaders() if name.lower() != "content-encoding"]
        return httpx.Response(answer.status, headers=headers, content=body, request=request)

    def close(self) -> None:
        """Close the idle connections now, and the others as soon as they are idle."""
        self._closed = True
        while self._idle:
            with contextlib.suppress(IndexError):
                self._idle.pop().close()

    def _take(self) -> _Plain | _Secure | None:
        """Return an idle connection that is still usable; ``None`` if there is none."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            if not is_broken(connection):
                return connection
            connection.close()

    def _connect(self, timeout: float | None, tell: Callable[[str, Mapping[str, Any]], None]) -> _Plain | _Secure:
        tell("connection.connect_tcp.started", {})
        made: _Plain | _Secure
        if self._tls is None:
            made = _Plain(self._host, self._port, timeout=timeout)
        else:
            made = _Secure(self._host, self._port, timeout=timeout, context=self._tls)
        try:
            with _as_httpx(httpx.ConnectTimeout, httpx.ConnectError):
                made.connect()
        except BaseException:
            made.close()
            raise
        return made


class _InOnePiece:
    """A mixin that collects the pieces to send: a small request becomes one packet and one TLS record, not two."""

    _pieces: tuple[bytes, ...] = ()

    def send(self, data: Any) -> None:
        """Keep a piece; the standard library calls this with the head, then with the body."""
        self._pieces = (*self._pieces, data)

    def flush(self, send: Callable[[bytes], None] | None = None) -> None:
        """Send all pieces, with another function if one is given."""
        pieces, self._pieces = self._pieces, ()
        small = sum(map(len, pieces)) <= _ONE_PIECE
        for piece in (b"".join(pieces),) if small else pieces:
            (send or super().send)(piece)  # type: ignore[misc]  # of the connection class with this mixin


class _Patience:
    """A wait for a connection that meanwhile checks its other side."""

    def __init__(self, sock: socket.socket, watch: HealthWatch, tell: Callable[[str, Mapping[str, Any]], None]) -> None:
        self._sock, self._watch, self._tell = sock, watch, tell
        self._pauses = watch.pauses()

    def send(self, data: bytes, timeout: float | None) -> None:
        """Send bytes as fast as the other side accepts them."""
        view = memoryview(data)
        while view:
            self.wait(select.POLLOUT, timeout)
            view = view[self._sock.send(view) :]

    def wait(self, event: int, timeout: float | None) -> float | None:
        """Wait until the socket can be read or written; return the time left.

        Raises:
            TimeoutError: The time has passed.
            Standstill: The other side does not answer and could not be started again.
        """
        poller = select.poll()
        poller.register(self._sock, event)
        end = time.monotonic() + (_LONG_S if timeout is None else timeout)
        for pause in self._pauses:
            left = end - time.monotonic()
            if left > 0 and poller.poll(1000 * min(pause, left)):
                break
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError("no answer in time")
            self._tell(WAITED, {})
            try:
                self._watch.look(left)
            except Standstill:
                if not poller.poll(0):
                    raise
        return None if timeout is None else max(0.001, end - time.monotonic())


class _Plain(_InOnePiece, http.client.HTTPConnection):
    """A connection without TLS."""

    response_class = BoundedResponse


class _Secure(_InOnePiece, http.client.HTTPSConnection):
    """A connection with TLS."""

    response_class = BoundedResponse


def is_broken(connection: http.client.HTTPConnection) -> bool:
    """Check whether the other side has closed an idle connection, or has sent something without a request."""
    try:
        return bool(select.select([connection.sock], [], [], 0)[0])
    except (OSError, ValueError, TypeError):
        return True


def _write(
    connection: _Plain | _Secure, request: httpx.Request, timeout: float | None, patience: _Patience | None
) -> None:
    connection.sock.settimeout(timeout)
    with _as_httpx(httpx.WriteTimeout, httpx.WriteError):
        target = request.url.raw_path.decode("ascii")
        connection.putrequest(request.method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in request.headers.raw:
            connection.putheader(name, value)
        connection.endheaders(request.content)
        connection.flush(None if patience is None else lambda data: patience.send(data, timeout))


def _read(
    connection: http.client.HTTPConnection,
    timeout: float | None,
    bound: Bound,
    tell: Callable[[str, Mapping[str, Any]], None],
    patience: _Patience | None,
) -> tuple[http.client.HTTPResponse, bytes]:
    with _as_httpx(httpx.ReadTimeout, httpx.ReadError):
        left = timeout if patience is None else patience.wait(select.POLLIN, timeout)
        connection.sock.settimeout(left)
        answer = connection.getresponse()
        if answer.status < 200:
            raise httpx.RemoteProtocolError(f"an interim answer ({answer.status}) where none was asked for")
        tell("http11.receive_response_headers.complete", {})
        return answer, read(answer, bound.of_status(answer.status), f"the answer of {connection.host}")


@contextlib.contextmanager
def _as_httpx(late: type[httpx.TransportError], lost: type[httpx.TransportError]) -> Generator[None]:
    """Raise the standard library's errors as those of httpx."""
    try:
        yield
    except TimeoutError as error:
        raise late(str(error)) from error
    except http.client.HTTPException as error:
        raise httpx.RemoteProtocolError(str(error) or type(error).__name__) from error
    except OSError as error:
        raise lost(str(error)) from error


def _untold(_event: str, _info: Mapping[str, Any]) -> None:
    """Ignore a trace event."""
