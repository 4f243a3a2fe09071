"""The public side: reads requests from clients within limits, and refuses invalid ones."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections import Counter
from time import perf_counter
from typing import TYPE_CHECKING, cast

from .bodies import BadBody, BodyParser, body_of
from .exchange import Exchange, Plane
from .heads import CRLF, END, Refusal, RequestHead, cut_request_id
from .replies import render

if TYPE_CHECKING:
    from .gate import Gate

_STREAM_FROM = 256 * 1024  # longer bodies are streamed instead of buffered until complete
_SKIP = 64 * 1024  # the body of a refused request is read to its end if it is at most this long
_LINGER_S = 2.0
_AT_ONCE = struct.pack("ii", 1, 0)  # a linger time of 0 s
_SPARE = 64 * 1024  # bytes of the next request that are read while one is being answered


class Door:
    """The state that all client connections share."""

    def __init__(self, plane: Plane, gate: Gate, *, most: int) -> None:
        self.plane = plane
        self._most = most  # number of connections that the process has file descriptors for
        self.gate = gate
        self.connections: dict[Connection, None] = {}
        self.refusals: Counter[str] = Counter()
        self._boot = os.urandom(5).hex().encode()
        self._count = 0

    def next_id(self) -> bytes:
        """Make a request id."""
        self._count += 1
        return b"%b-%x" % (self._boot, self._count)

    def admit(self, connection: Connection) -> None:
        """Register a connection; at the limit, abort the longest idle one, or this one if none is idle."""
        if len(self.connections) >= min(self._most, self.plane.limits.max_connections):
            oldest = next((other for other in self.connections if other.exchange is None), connection)
            self.refusals["too_many_connections"] += 1
            oldest.abort()
        self.connections[connection] = None

    def sweep(self) -> None:
        """Enforce the deadlines; must be called a few times a second."""
        now = perf_counter()
        self.plane.waiting.sweep(all_of_them=self.plane.draining)
        for connection in list(self.connections):
            connection.sweep(now)

    def close_idle(self) -> None:
        """Close the connections that carry no request."""
        for connection in list(self.connections):
            connection.close_if_idle()


class Connection(asyncio.Protocol):
    """One client connection."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._plane = door.plane
        self._known = door.gate.known
        self.exchange: Exchange | None = None
        self._fresh = True  # between two requests, without a byte of the next
        self._pending = b""  # bytes received and not parsed yet
        self._request: RequestHead | None = None  # the request whose body is being received
        self._request_id: bytes | None = None  # the id sent by the client
        self._refusal: Refusal | None = None  # the response once its body is complete
        self._body: BodyParser | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._lingering = False
        self._paused = False
        self._paused_at = 0.0
        self._blocked_at = 0.0  # since when the client does not read, and (below) with how many bytes unsent
        self._blocked_size = 0
        self._since = perf_counter()  # start of the current phase
        self._first = True

    # -- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport and register the connection."""
        self._transport = cast("asyncio.Transport", transport)
        self._door.admit(self)

    def data_received(self, data: bytes) -> None:
        """Process received bytes."""
        if self._fresh:
            end = data.find(END) + 4
            request = self._known.get(data[:end])
            if request is not None and request.length == len(data) - end:
                self._begin(request, data[end:])
                return
            if request is None and end > 4:
                head, self._request_id = cut_request_id(data[:end])
                request = self._known.get(head)
                if request is not None and request.length == len(data) - end:
                    self._begin(request, data[end:])
                    return
            self._since = perf_counter()
            self._fresh = False
        if self._lingering:
            return
        self._pending += data
        self._advance()

    def eof_received(self) -> bool:
        """Let the transport close."""
        return False  # a client that closes its side counts as disconnected; its request is cancelled

    def connection_lost(self, exc: Exception | None) -> None:
        """Clean up after the connection."""
        del exc  # the reason does not matter
        self._door.connections.pop(self, None)
        exchange, self.exchange = self.exchange, None
        self._fresh = False
        self._lingering = True
        if exchange is not None:
            exchange.cancel()

    def pause_writing(self) -> None:
        """Stop reading from the replica, since the client reads too slowly."""
        self._blocked_at = perf_counter()
        self._blocked_size = self._transport.get_write_buffer_size()
        if self.exchange is not None and self.exchange.link is not None:
            self.exchange.link.hold(hold=True)

    def resume_writing(self) -> None:
        """Resume reading, since the client has caught up."""
        self._blocked_at = 0.0
        if self.exchange is None:
            asyncio.get_running_loop().call_soon(self._resume)
        elif self.exchange.link is not None:
            self.exchange.link.hold(hold=False)

    # -- receiving

    def _advance(self) -> None:
        """Parse as many of the pending bytes as possible now."""
        try:
            while self._pending and self.exchange is None and not self._lingering and not self._blocked_at:
                if self._request is None and not self._read_head():
                    return
                if self._request is not None and not self._read_body():
                    return
            if self._request is not None and self.exchange is not None:
                self._read_body()
        except Refusal as refusal:
            self._give_up(refusal)
        if self.exchange is not None and len(self._pending) > _SPARE and not self._paused:
            self._pause(pause=True)

    def _read_head(self) -> bool:
        """Parse the next head; return False if it is not complete yet."""
        while self._pending.startswith(CRLF):  # RFC 9112 2.2
            self._pending = self._pending[2:]
        limits = self._plane.limits
        end = self._pending.find(END) + 4
        if max(end, len(self._pending) if end < 4 else 0) > limits.max_head + limits.max_url:
            raise Refusal(431, "head_too_large", f"The headers are larger than {limits.max_head} bytes.")
        if end < 4:
            return False
        (head, self._request_id), self._pending = cut_request_id(self._pending[:end]), self._pending[end:]
        if end - head.find(CRLF) > limits.max_head:
            raise Refusal(431, "head_too_large", f"The headers are larger than {limits.max_head} bytes.")
        request = self._known.get(head)
        if request is None:
            try:
                request = self._door.gate.read(head)
            except Refusal as refusal:
                request = self._skippable(refusal)
                self._refusal = refusal
        self._request = request
        self._body = body_of(request.length)
        self._size = 0
        self._since = perf_counter()
        if request.expect and self._refusal is None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._body.done:
            self._whole(b"")
        return True

    def _skippable(self, refusal: Refusal) -> RequestHead:
        request = refusal.request
        if request is None or request.expect or not 0 <= request.length <= _SKIP:
            raise refusal
        return request

    def _read_body(self) -> bool:
        """Parse more of the body; return False if it is not complete yet."""
        body = cast("BodyParser", self._body)
        data, self._pending = self._pending, b""
        try:
            piece, self._pending = body.feed(data)
        except BadBody as error:
            raise Refusal(400, "bad_framing", f"The body could not be read: {error}.") from None
        self._size += len(piece)
        if self._size > self._plane.limits.max_body:
            raise Refusal(413, "body_too_large", f"The body is larger than {self._plane.limits.max_body} bytes.")
        if self.exchange is not None:
            if body.done:
                self._clear()
            self.exchange.feed(piece, last=body.done)
        elif body.done:
            self._parts.append(piece)
            self._whole(b"".join(self._parts))
        elif self._size > _STREAM_FROM:
            self._parts.append(piece)
            self._stream()
        else:
            self._parts.append(piece)
        return body.done

    def _whole(self, body: bytes) -> None:
        request, refusal = cast("RequestHead", self._request), self._refusal
        self._clear()
        if refusal is None:
            self._begin(request, body)
        else:
            self._door.refusals[refusal.code] += 1
            self._answer(refusal, self._name(request), keep=not request.close)

    def _stream(self) -> None:
        """Forward a long body as it arrives."""
        request, parts = cast("RequestHead", self._request), self._parts
        self._parts = []
        self._begin(request, None)
        if self.exchange is not None:
            self.exchange.feed(b"".join(parts), last=False)

    def _give_up(self, refusal: Refusal) -> None:
        """Refuse a request whose end is unknown; the connection cannot be reused after it."""
        exchange, self.exchange = self.exchange, None
        self._clear()
        self._door.refusals[refusal.code] += 1
        if exchange is None:
            self._answer(refusal, self._door.next_id(), keep=False)
            return
        started = exchange.link is not None and exchange.link.body is not None
        exchange.cancel()
        if started:
            self.abort()
        else:
            self._answer(refusal, exchange.request_id, keep=False)

    def _clear(self) -> None:
        self._request = self._body = self._refusal = None
        self._parts = []

    def _begin(self, request: RequestHead, body: bytes | None) -> None:
        self._fresh = False
        if request.health:
            self._healthz(request)
            return
        request_id = self._name(request)
        exchange = self.exchange = Exchange(self._plane, self, request, request_id, body)
        try:
            exchange.start()
        except Refusal as refusal:
            if refusal.code != "not_ready" or not self._plane.hold(exchange):
                self.refuse(refusal, request_id)

    def _name(self, request: RequestHead) -> bytes:
        """Return the id of the request: the client's, or a new one."""
        request_id, self._request_id = self._request_id, None
        return request_id or request.request_id or self._door.next_id()

    # -- answering

    def write(self, data: bytes) -> None:
        """Send bytes of a response."""
        self._transport.write(data)

    def refuse(self, refusal: Refusal, request_id: bytes) -> None:
        """Answer the current exchange with an error of the gateway."""
        exchange = cast("Exchange", self.exchange)
        self._door.refusals[refusal.code] += 1
        self._answer(refusal, request_id, keep=not (exchange.request.close or exchange.streaming))

    def _answer(self, refusal: Refusal, request_id: bytes, *, keep: bool) -> None:
        keep = keep and not self._plane.draining
        error = {"code": refusal.code, "message": refusal.message, "request_id": request_id.decode()}
        self._transport.write(render(refusal.status, {"error": error}, keep=keep, retry_after=refusal.retry_after))
        self.finished(perf_counter(), keep=keep)

    def _healthz(self, request: RequestHead) -> None:
        ready = self._plane.router.able and not self._plane.draining
        keep = not (request.close or self._plane.draining)
        word = "ready" if self._plane.router.whole else "ready in part"
        data = render(200 if ready else 503, {"status": word if ready else "not ready"}, keep=keep)
        self._transport.write(data[: data.find(END) + 4] if request.method == b"HEAD" else data)
        self.finished(perf_counter(), keep=keep)

    def finished(self, now: float, *, keep: bool) -> None:
        """Continue with the next request, or end the connection after the response."""
        self.exchange = None
        self._since = now
        self._first = False
        if not keep:
            self._linger()
        elif self._blocked_at:  # process no further request before the client has read this response
            self._fresh = False
            if not self._paused:
                self._pause(pause=True)
        elif self._pending:
            asyncio.get_running_loop().call_soon(self._resume)
        else:
            self._fresh = True
            if self._paused:
                self._pause(pause=False)

    def _resume(self) -> None:
        if self._paused:
            self._pause(pause=False)
        if self.exchange is None and not self._lingering and not self._transport.is_closing():
            self._advance()
            self._fresh = self.exchange is None and self._request is None and not self._pending

    def _linger(self) -> None:
        """Close only the sending half, so that the client still gets the response: a reset would destroy it."""
        self._clear()
        self._pending = b""
        self._fresh = False
        self._lingering = True
        if self._paused:
            self._pause(pause=False)
        if not self._transport.is_closing():
            self._transport.write_eof()

    def abort(self) -> None:
        """Abort the connection."""
        self.exchange = None
        self._transport.abort()

    def hold(self, *, hold: bool) -> None:
        """Pause or resume reading the request body."""
        if hold != self._paused:
            self._pause(pause=hold)

    def _pause(self, *, pause: bool) -> None:
        self._paused = pause
        if pause:
            self._paused_at = perf_counter()
        else:
            self._since += perf_counter() - self._paused_at  # the time of the pause does not count against the client
        if self._transport.is_closing():
            return
        if pause:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    # -- deadlines

    def close_if_idle(self) -> None:
        """Close the connection if it carries no request."""
        if self._fresh:
            self._transport.close()

    def end(self) -> None:
        """Close the connection; abort it if it still carries a request."""
        if self.exchange is None:
            self._transport.close()
        else:
            self._transport.abort()

    def sweep(self, now: float) -> None:
        """Enforce the deadlines."""
        limits = self._plane.limits
        if self._lingering:
            if now - self._since > _LINGER_S:
                self._transport.abort()
        elif self._blocked_at:
            self._sweep_reader(now)
        elif self._request is not None and not self._paused:
            self._sweep_body(now - self._since)
        elif self.exchange is not None:
            if now - self.exchange.moved > limits.response_s:
                self.exchange.expire()
        elif self._fresh:
            if now - self._since > (limits.header_s if self._first else limits.idle_s):
                self._transport.abort() if self._transport.get_write_buffer_size() else self._transport.close()
        elif now - self._since > limits.header_s:
            self._give_up(Refusal(408, "header_timeout", f"The headers took longer than {limits.header_s:g} s."))

    def _sweep_reader(self, now: float) -> None:
        limits, elapsed = self._plane.limits, now - self._blocked_at
        taken = self._blocked_size - self._transport.get_write_buffer_size()
        if elapsed > limits.write_s and taken < elapsed * limits.min_rate:
            self._door.refusals["slow_reader"] += 1
            self._reset()

    def _reset(self) -> None:
        """Close with a reset: otherwise the kernel buffers megabytes for minutes for a client that does not read."""
        connection = self._transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self._transport.abort()

    def _sweep_body(self, elapsed: float) -> None:
        limits = self._plane.limits
        if elapsed > limits.body_s and self._size < elapsed * limits.min_rate:
            rate = f"{limits.min_rate:g} bytes/s"
            self._give_up(Refusal(408, "body_timeout", f"The body came in slower than {rate} on average."))
