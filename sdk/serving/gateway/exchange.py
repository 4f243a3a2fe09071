"""The exchange of one request and its response with a replica.

It uses callbacks only: a request creates a task only if a connection must be opened.
"""

from __future__ import annotations

import asyncio
import select
import socket
from time import perf_counter
from typing import TYPE_CHECKING, Protocol, cast

from .bodies import BadBody, BodyParser, body_of
from .heads import CHUNKED, END, UNTIL_CLOSE, BadResponse, Refusal, RequestHead, Response, read_response
from .waiting import WaitingRoom

if TYPE_CHECKING:
    from .backend import Backend
    from .router import Router
    from .table import GatewayLimits

_KEPT = 512  # maximum number of cached response heads
_MAX_RESPONSE_HEAD = 64 * 1024
_ATTEMPTS = 3

_CLOSE = b"\r\nconnection: close\r\n\r\n"


class Plane:
    """The state that all requests share."""

    def __init__(self, router: Router, limits: GatewayLimits) -> None:
        self.router = router
        self.limits = limits
        self.responses: dict[bytes, Response] = {}
        self.draining = False
        self.requests = 0
        self.retries = 0
        self.tasks: set[asyncio.Task[None]] = set()
        self.waiting: WaitingRoom[Exchange] = WaitingRoom()

    def hold(self, exchange: Exchange) -> bool:
        """Let a request wait for a replica if one is expected; return whether it waits."""
        limits = self.limits
        return not self.draining and self.waiting.enter(exchange, limits.hold_s, most=limits.max_inflight)

    def may_retry(self) -> bool:
        """Allow one retry per ten requests, so that a failing replica does not double the load on the rest."""
        if self.retries >= 10 + self.requests // 10:
            return False
        self.retries += 1
        return True


class Receiver(Protocol):
    """The receiver of a response."""

    def write(self, data: bytes) -> None:
        """Send bytes of the response."""
        ...

    def refuse(self, refusal: Refusal, request_id: bytes) -> None:
        """Answer with an error of the gateway itself, before any byte of a response was sent."""
        ...

    def finished(self, now: float, *, keep: bool) -> None:
        """End the response, at a `perf_counter` time; keep the connection for the next request or close it."""
        ...

    def abort(self) -> None:
        """Abort the connection, as the response sent so far cannot be completed."""
        ...

    def hold(self, *, hold: bool) -> None:
        """Pause or resume reading the request body."""
        ...


class Exchange:
    """A request, its replica, and the state of its response."""

    __slots__ = ("_tried", "backend", "body", "client", "link", "moved", "plane", "request", "request_id", "started",
                 "streaming", "upload")  # fmt: skip

    def __init__(
        self, plane: Plane, client: Receiver, request: RequestHead, request_id: bytes, body: bytes | None
    ) -> None:
        self.plane = plane
        self.client = client
        self.request = request
        self.request_id = request_id
        self.body = body
        """The whole body, or None if it is streamed."""
        self.upload: bytearray | None = None if body is not None else bytearray()
        """Streamed bytes that wait for a connection."""
        self.started = self.moved = perf_counter()
        self.backend: Backend | None = None
        self.link: Upstream | None = None
        self.streaming = body is None
        """Whether part of the body is still to be received."""
        self._tried = 0

    def start(self) -> None:
        """Choose a replica and send the request.

        Raises:
            Refusal: No replica can take the request.

        """
        plane = self.plane
        backend = plane.router.only if self.request.deployment is None else None
        if backend is None or backend.inflight >= plane.limits.max_inflight:
            backend = self._choose()
        self.backend = backend
        backend.inflight += 1
        backend.served += 1
        plane.requests += 1
        while backend.idle:
            link = cast("Upstream", backend.idle.pop())
            if link.is_open():
                link.send(self)
                return
            link.close()
        self._connect(backend)

    def _choose(self) -> Backend:
        try:
            backend = self.plane.router.pick(self.request.deployment, self.backend)
        except KeyError:
            names = ", ".join(sorted(self.plane.router.routes)) or "none"
            wanted = self.request.deployment
            raise Refusal(404, "unknown_deployment", f"No deployment {wanted!r}; there is: {names}.") from None
        if backend is None:
            raise Refusal(503, "not_ready", "No replica is ready.", retry_after=1)
        if backend.inflight >= self.plane.limits.max_inflight:
            raise Refusal(503, "overloaded", "Every replica has all the requests it may have.", retry_after=1)
        return backend

    def _connect(self, backend: Backend) -> None:
        task = asyncio.get_running_loop().create_task(self._open(backend))
        self.plane.tasks.add(task)
        task.add_done_callback(self.plane.tasks.discard)

    async def _open(self, backend: Backend) -> None:
        loop = asyncio.get_running_loop()
        self._tried += 1
        target = backend.target
        try:
            async with asyncio.timeout(self.plane.limits.connect_s):
                if isinstance(target, str):
                    _, link = await loop.create_unix_connection(lambda: Upstream(self.plane, backend), target)
                else:
                    _, link = await loop.create_connection(lambda: Upstream(self.plane, backend), *target)
        except OSError as error:
            backend.suspect.set()
            if self.backend is backend:
                self._unsent("connect_failed", f"The replica could not be reached: {error.strerror or error!r}.")
            return
        if self.backend is backend:
            link.send(self)
        else:
            link.release()

    def _unsent(self, code: str, message: str) -> None:
        """Try another replica, as this one has not received a byte of the request."""
        self.fail(code)
        self._leave()
        if self._tried < _ATTEMPTS and self.plane.may_retry():
            self._restart()
        else:
            self._refuse(Refusal(502, code, message))

    def resume(self, until: float) -> None:
        """Start after waiting for a replica, since nothing was sent yet; keep waiting if none is ready for it."""
        try:
            self.start()
        except Refusal as refusal:
            if refusal.code != "not_ready" or not self.plane.waiting.stay(self, until):
                self._refuse(refusal)

    def _restart(self) -> None:
        try:
            self.start()
        except Refusal as refusal:
            self.backend = None
            if refusal.code != "not_ready" or not self.plane.hold(self):
                self._refuse(refusal)

    def _refuse(self, refusal: Refusal) -> None:
        backend, self.backend = self.backend, None
        if backend is not None:
            self._count(backend, refusal.status, perf_counter())
        self.client.refuse(refusal, self.request_id)

    def _count(self, backend: Backend, status: int, now: float) -> None:
        if not self.request.probe:
            backend.route.stats.record(status, now - self.started)

    def _leave(self) -> None:
        if self.backend is not None:
            self.backend.release()
        self.link = None

    def fail(self, kind: str) -> None:
        """Count a failure of the replica."""
        if self.backend is not None:
            self.backend.route.stats.fail(kind)

    def encode(self) -> bytes:
        """Return the request in the form sent to the replica, as far as it is received."""
        request = self.request
        if self.body is None:
            framing = b"\r\ntransfer-encoding: chunked\r\n\r\n" if request.length == CHUNKED else END
            waiting, self.upload = self.upload, None
            return b"".join((request.prefix, b"x-request-id: ", self.request_id, framing, bytes(waiting or b"")))
        if request.length == CHUNKED:
            length = b"\r\ncontent-length: %d\r\n\r\n" % len(self.body)
            return b"".join((request.prefix, b"x-request-id: ", self.request_id, length, self.body))
        return b"".join((request.prefix, b"x-request-id: ", self.request_id, END, self.body))

    def feed(self, piece: bytes, *, last: bool) -> None:
        """Send the next part of a streamed body."""
        if self.request.length == CHUNKED:
            piece = b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""
            piece += b"0\r\n\r\n" if last else b""
        self.streaming = not last
        self.moved = perf_counter()
        if self.upload is not None:
            self.upload += piece
            self.client.hold(hold=True)
        elif self.link is not None:
            self.link.write(piece)

    def lost(self, *, unread: bool) -> None:
        """Handle a connection that broke before any byte of the response.

        The request is sent again only if the replica did not read it: otherwise it may have crashed the replica.
        """
        backend = cast("Backend", self.backend)
        backend.suspect.set()
        if unread and self.body is not None and not self._tried and self.plane.may_retry():
            self.fail("stale_connection")
            self.link = None
            self._connect(backend)  # other idle connections may be stale, too
            return
        self.fail("replica_lost")
        self._leave()
        self._refuse(Refusal(502, "replica_lost", "The replica ended the connection before it answered."))

    def broken(self, kind: str) -> None:
        """Abort a response that cannot be completed."""
        self.fail(kind)
        backend, self.backend = cast("Backend", self.backend), None
        self._count(backend, 502, perf_counter())
        backend.release()
        self.client.abort()

    def bad(self) -> None:
        """Answer 502 for a replica whose response head cannot be forwarded."""
        self.fail("bad_response")
        self._leave()
        self._refuse(Refusal(502, "bad_response", "The replica's answer could not be read."))

    def expire(self) -> None:
        """Answer 504 for a replica that takes too long; abort a response that has begun."""
        link = self.link
        self.fail("response_timeout")
        if link is not None and link.body is not None:
            link.drop()
            self.broken("response_timeout")
            return
        if link is not None:
            link.drop()
        self._leave()
        self._refuse(Refusal(504, "response_timeout", "The replica did not answer in time."))

    def cancel(self) -> None:
        """Cancel the request, as its client has disconnected."""
        if self.link is not None:
            self.link.drop()
        self.plane.waiting.leave(self)
        self.fail("cancelled")
        self._leave()
        self.backend = None

    def closing(self) -> bytes:
        """Return the end of the response's head, after the request id."""
        return _CLOSE if self.request.close or self.streaming or self.plane.draining else END

    def done(self, status: int) -> None:
        """Count the response and release the client's connection."""
        backend = cast("Backend", self.backend)
        self.backend = None
        backend.release()
        now = perf_counter()
        self._count(backend, status, now)
        self.client.finished(now, keep=not (self.request.close or self.streaming or self.plane.draining))


class Upstream(asyncio.Protocol):
    """A connection to a replica that carries one request at a time."""

    __slots__ = (
        "_backend", "_buffer", "_exchange", "_held", "_plane", "_poll", "_response", "_transport", "_unread", "body",
    )  # fmt: skip

    def __init__(self, plane: Plane, backend: Backend) -> None:
        self._plane = plane
        self._backend = backend
        self._exchange: Exchange | None = None
        self._held = False
        self._buffer = b""
        self._response: Response | None = None
        self.body: BodyParser | None = None
        """The parser of the response's body while one is being received."""
        self._unread = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self._transport = cast("asyncio.Transport", transport)
        self._poll = select.poll()
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def is_open(self) -> bool:
        """Check whether the idle connection is still open: then there is nothing to read, not even an EOF."""
        return not self._poll.poll(0)

    def send(self, exchange: Exchange) -> None:
        """Send a request."""
        self._exchange = exchange
        exchange.link = self
        held = exchange.upload is not None
        self._transport.write(exchange.encode())
        if held:
            exchange.client.hold(hold=False)

    def write(self, piece: bytes) -> None:
        """Send more of the request's body."""
        self._transport.write(piece)

    def release(self) -> None:
        """Return the connection to the idle ones, or close it if the replica is retired."""
        self._exchange = None
        if self._held:
            self.hold(hold=False)
        if self._backend.retired:
            self._transport.close()
        else:
            self._backend.idle.append(self)

    def close(self) -> None:
        """Close the connection, which must not carry a request."""
        self._transport.close()

    def drop(self) -> None:
        """Abort the connection, so that the replica can stop working on the request."""
        self._exchange = None
        self._transport.abort()

    def hold(self, *, hold: bool) -> None:
        """Pause or resume reading the response."""
        self._held = hold
        if self._transport.is_closing():
            return
        if hold:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        """Pause the client's upload, since the replica reads too slowly."""
        if self._exchange is not None:
            self._exchange.client.hold(hold=True)

    def resume_writing(self) -> None:
        """Resume the client's upload, since the replica has caught up."""
        if self._exchange is not None:
            self._exchange.client.hold(hold=False)

    def data_received(self, data: bytes) -> None:
        """Process received bytes."""
        exchange = self._exchange
        if exchange is None:  # a response without a request: the connection can no longer be trusted
            self._transport.abort()
            return
        if self.body is not None:
            self._more(exchange, data)
            return
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        end = data.find(END) + 4
        if end < 4:
            self._wait(exchange, data)
            return
        head = data[:end].replace(b"x-request-id: " + exchange.request_id + b"\r\n", b"", 1)
        response = self._plane.responses.get(head)
        if response is None:
            try:
                response = self._read(head)
            except BadResponse:
                self.drop()
                exchange.bad()
                return
        if response.interim:
            if end < len(data):
                self.data_received(data[end:])
            return
        rest = data[end:]
        if response.length == len(rest) and exchange.request.method != b"HEAD" and response.status not in {204, 304}:
            exchange.client.write(
                b"".join((response.prefix, self._backend.route.line, exchange.request_id, exchange.closing(), rest))
            )
            self._end(exchange, response)
        else:
            self._begin(exchange, response, rest)

    def _wait(self, exchange: Exchange, data: bytes) -> None:
        self._buffer = data
        if len(data) > _MAX_RESPONSE_HEAD:
            self.drop()
            exchange.bad()

    def _read(self, head: bytes) -> Response:
        response = read_response(head)
        known = self._plane.responses
        if len(known) >= _KEPT:
            known.clear()
        known[head] = response
        return response

    def _begin(self, exchange: Exchange, response: Response, rest: bytes) -> None:
        empty = exchange.request.method == b"HEAD" or response.status in {204, 304}
        framing = b"\r\n"
        if response.length < 0 and not empty and not exchange.request.old:
            framing = b"\r\ntransfer-encoding: chunked\r\n"
        parts = (response.prefix, self._backend.route.line, exchange.request_id, framing, exchange.closing()[2:])
        exchange.client.write(b"".join(parts))
        self._response = response
        self.body = body_of(0 if empty else response.length)
        self._more(exchange, rest)

    def _more(self, exchange: Exchange, data: bytes) -> None:
        body, response = cast("BodyParser", self.body), cast("Response", self._response)
        exchange.moved = perf_counter()
        try:
            piece, rest = body.feed(data)
        except BadBody:
            self.drop()
            exchange.broken("bad_response")
            return
        chunked = response.length < 0 and not exchange.request.old
        if piece:
            exchange.client.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        if body.done:
            if chunked and response.status not in {204, 304} and exchange.request.method != b"HEAD":
                exchange.client.write(b"0\r\n\r\n")
            self.body = None
            if rest:
                self._transport.abort()
            self._end(exchange, response)

    def _end(self, exchange: Exchange, response: Response) -> None:
        if response.close or exchange.streaming or self._transport.is_closing():
            self._exchange = None
            self._transport.close()
        else:
            self.release()
        exchange.done(response.status)

    def eof_received(self) -> bool:
        """Let the transport close.

        A TCP socket that was closed before the request arrived answers it with a reset, which shows as a socket error.
        """
        if self._exchange is not None:
            sock = self._transport.get_extra_info("socket")
            self._unread = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Clean up after the connection."""
        exchange, self._exchange = self._exchange, None
        if self in self._backend.idle:
            self._backend.idle.remove(self)
        if exchange is None:
            return
        response = self._response
        if self.body is None:
            exchange.lost(unread=self._unread or isinstance(exc, ConnectionError))
        elif exc is None and response is not None and response.length == UNTIL_CLOSE:
            if not exchange.request.old:
                exchange.client.write(b"0\r\n\r\n")
            exchange.done(response.status)
        else:
            exchange.broken("truncated_response")
