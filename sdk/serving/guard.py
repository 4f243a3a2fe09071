"""The HTTP/1.1 protocol of the server: uvicorn's httptools protocol with limits on what clients send.

httptools refuses ambiguous framing. This module refuses further faults before the application sees a request: heads
and bodies that are too large or too slow, missing or repeated Host, trailers, upgrades and content encodings. It also
drops clients that do not read. One periodic `sweep` checks all deadlines, so a request needs no timers.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .settings import ServerLimits

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sized

    from uvicorn.config import Config
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
    from uvicorn.server import ServerState

_REASONS = {
    400: "Bad Request",
    408: "Request Timeout",
    413: "Content Too Large",
    414: "URI Too Long",
    415: "Unsupported Media Type",
    417: "Expectation Failed",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}
_MAX_LENGTH_DIGITS = 18
_ONCE = (
    b"host",
    b"content-type",
    b"content-length",
    b"content-encoding",
    b"transfer-encoding",
    b"inference-header-content-length",
    b"x-mlport-deadline-ms",
)


class _Refusal(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


class _Flow(FlowControl):
    """Flow control that stops reading while pipelined requests wait; uvicorn would read a full buffer per response."""

    def __init__(self, transport: asyncio.Transport, pipeline: Sized) -> None:
        super().__init__(transport)
        self._pipeline = pipeline

    def resume_reading(self) -> None:
        if not self._pipeline:
            super().resume_reading()


class _Writer:
    """A transport that sends the head of a response together with its body in one system call.

    uvicorn writes them separately. Any other use of the transport first sends a pending head.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""

    def write(self, data: bytes) -> None:
        """Write data, or keep a head until the next call."""
        if self._head:
            data, self._head = self._head + data, b""
        elif data.startswith(b"HTTP/1.1 ") and data.endswith(b"\r\n\r\n") and not data.startswith(b"HTTP/1.1 100 "):
            self._head = data
            return
        self._transport.write(data)

    def flush(self) -> None:
        """Send a pending head."""
        if self._head:
            data, self._head = self._head, b""
            self._transport.write(data)

    def is_closing(self) -> bool:
        """Return whether the transport is closing; also called from other threads."""
        return self._transport.is_closing()

    def __getattr__(self, name: str) -> Any:
        self.flush()
        return getattr(self._transport, name)


class GuardedProtocol(HttpToolsProtocol):
    """One connection with limits.

    Its phase is one of `idle` (no byte of a request yet), `head`, `body`, `answer` and `linger` (refused; further data
    is discarded).
    """

    limits = ServerLimits()

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.app_state = {"connection": self}  # uvicorn copies it into each request's scope
        self._phase: str = "idle"
        self._since: float = self.loop.time()
        self._fresh = True
        self._refused = False
        self._refusal: _Refusal | None = None
        self._current: RequestResponseCycle | None = None
        self._head_bytes = 0
        self._body_bytes = 0
        self._in_body = False
        self._begun = False
        self._unread = 0
        self._unread_since = 0.0
        self._taken_since = self._since

    # Called by the transport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn declares it
        """Accept a new connection; shed one if there are too many."""
        super().connection_made(transport)
        self.flow = _Flow(transport, self.pipeline)
        self._writer = _Writer(transport)
        self.transport = cast("asyncio.Transport", self._writer)
        if len(self.connections) > self.limits.max_connections:
            self._make_room()

    def data_received(self, data: bytes) -> None:
        """Parse received data, or refuse the request."""
        if self._refused:
            return
        if self._phase == "idle":
            self._enter("head")
        if not self._in_body:
            self._head_bytes += len(data)
        try:
            self._parser().feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(_Refusal(400, "bad_request", "protocol upgrades are not offered"))
        except httptools.HttpParserError:
            self._refuse(self._refusal or _Refusal(400, "bad_request", "the request is not valid HTTP/1.1"))
        if self._begun and not self._in_body and self._head_bytes > self.limits.max_header_bytes + self.limits.max_url:
            self._refuse(
                _Refusal(431, "head_too_large", f"the head is larger than {self.limits.max_header_bytes} bytes")
            )

    def eof_received(self) -> None:
        """Close: a half-closed client would otherwise keep its unfinished request open until the deadline."""

    # Called by the parser; an exception here reaches `data_received` as a parser error

    def on_message_begin(self) -> None:
        """Start counting for a new request."""
        super().on_message_begin()
        if len(self.pipeline) >= self.limits.max_pipelined:
            self._stop(400, "bad_request", f"more than {self.limits.max_pipelined} requests wait for their answers")
        self._begun = True
        self._in_body = False
        self._body_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Collect the target, up to the limit."""
        super().on_url(url)
        if len(self.url) > self.limits.max_url:
            self._stop(414, "url_too_long", f"the URL is longer than {self.limits.max_url} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header field, up to the limit."""
        if self._in_body:
            self._stop(400, "bad_request", "trailers are not accepted")
        if len(self.headers) >= self.limits.max_headers:
            self._stop(431, "too_many_headers", f"more than {self.limits.max_headers} header fields")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Check the head and pass the request to the application."""
        if sum(len(name) + len(value) + 4 for name, value in self.headers) > self.limits.max_header_bytes:
            self._stop(431, "head_too_large", f"the header is larger than {self.limits.max_header_bytes} bytes")
        self._check_headers(dict(self.headers))
        if not self.url.startswith(b"/"):
            self._stop(400, "bad_request", "the target must be a path")
        self._in_body = True
        self._head_bytes = 0
        self._enter("body")
        waiting = len(self.pipeline)
        try:
            super().on_headers_complete()
        except (httptools.HttpParserInvalidURLError, UnicodeDecodeError):
            self._stop(400, "bad_request", "the URL is not valid")
        if len(self.pipeline) == waiting:  # it was started, and does not wait behind another response
            self._current = self.cycle

    def on_body(self, body: bytes) -> None:
        """Pass on a part of the body, up to the limit."""
        self._body_bytes += len(body)
        if self._body_bytes > self.limits.max_body:
            self._stop(413, "body_too_large", f"the body is larger than {self.limits.max_body} bytes")
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Mark the request as complete."""
        self._begun = False
        self._in_body = False
        self._head_bytes = 0
        self._enter("answer")
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Start the next request; the sweep replaces uvicorn's timer per response."""
        self.server_state.total_requests += 1
        self._writer.flush()
        if self.transport.is_closing():
            return
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._current = cycle
            task = self.loop.create_task(cycle.run_asgi(app))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
            return
        if self._refused:
            self._linger()
            return
        self.flow.resume_reading()
        if self._phase == "answer":
            self._fresh = False
            self._enter("head" if self._begun else "idle")
        else:
            self._linger()  # answered before the body was read: discard the rest

    # Called by the server

    def gone(self) -> bool:
        """Return whether the client has disconnected."""
        return self.transport.is_closing()

    def sweep(self, now: float) -> None:
        """Enforce the deadlines; called about twice a second."""
        limits = self.limits
        waited = now - self._since
        if self._phase == "idle":
            if waited > (limits.header_s if self._fresh else limits.keep_alive_s):
                self.transport.close()
        elif self._phase == "head":
            if waited > limits.header_s:
                self._refuse(_Refusal(408, "too_slow", f"the head took longer than {limits.header_s:g} s"))
        elif self._phase == "body" and not self.flow.read_paused:
            slow = waited > limits.body_grace_s and self._body_bytes < limits.body_min_rate * waited
            if slow or waited > limits.body_s:
                self._refuse(
                    _Refusal(408, "too_slow", f"the body took longer than {limits.body_s:g} s or came too slowly")
                )
        elif self._phase == "linger" and waited > limits.linger_s:
            self.transport.abort()
        self._sweep_writes(now)

    def stop(self, *, force: bool) -> None:
        """Close the connection: at once if idle or forced, else after the running response.

        A new connection counts as busy, because its request is probably in transit.
        """
        if force:
            self.transport.abort()
        elif self._phase == "idle" and not self._fresh:
            self.transport.close()
        elif newest := self._newest_answering():
            newest.keep_alive = False

    def receiving(self) -> bool:
        """Return whether a request has begun, or is expected on a new connection, and is not complete."""
        return self._phase in {"head", "body"} or (self._phase == "idle" and self._fresh)

    def answering(self) -> bool:
        """Return whether a complete request waits for its response, or the client for the rest of a response."""
        return self._phase == "answer" or self.transport.get_write_buffer_size() > 0

    def may_be_shed(self, newcomer: GuardedProtocol) -> bool:
        """Return whether closing this connection for a new one loses no complete request."""
        return self is not newcomer and self._phase != "answer"

    def since(self) -> float:
        """Return the loop time at which the phase last changed."""
        return self._since

    # Internals

    def _parser(self) -> Any:
        return self.parser  # not covered by httptools' types

    def _enter(self, phase: str) -> None:
        self._phase = phase
        self._since = self.loop.time()

    def _stop(self, status: int, code: str, message: str) -> None:
        self._refusal = _Refusal(status, code, message)
        raise self._refusal

    def _check_headers(self, headers: dict[bytes, bytes]) -> None:
        names = [name for name, _ in self.headers]
        for name in _ONCE:
            if names.count(name) > 1:
                self._stop(400, "bad_request", f"the header {name.decode()} is sent more than once")
        version = self._parser().get_http_version()
        if version not in {"1.0", "1.1"}:
            self._stop(400, "bad_request", f"HTTP version {version} is not 1.0 or 1.1")
        hosts = names.count(b"host")
        if (hosts == 0 and version == "1.1") or (hosts == 1 and not headers[b"host"].strip()):
            self._stop(400, "bad_request", "exactly one Host header is needed")
        if b"transfer-encoding" in names and (b"content-length" in names or version == "1.0"):
            self._stop(400, "bad_request", "Transfer-Encoding and Content-Length exclude each other")
        if headers.get(b"transfer-encoding", b"chunked").strip().lower() != b"chunked":
            self._stop(400, "bad_request", "the only transfer encoding is chunked")
        if self._parser().should_upgrade() or b"upgrade" in names:
            self._stop(400, "bad_request", "protocol upgrades are not offered")
        self._check_body_headers(headers)

    def _check_body_headers(self, headers: dict[bytes, bytes]) -> None:
        length = headers.get(b"content-length", b"0")
        if len(length) > _MAX_LENGTH_DIGITS or (length.isdigit() and int(length) > self.limits.max_body):
            self._stop(413, "body_too_large", f"the body is larger than {self.limits.max_body} bytes")
        if headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
            self._stop(415, "unsupported_encoding", "the body must be sent without content encoding")
        if headers.get(b"expect", b"100-continue").strip().lower() != b"100-continue":
            self._stop(417, "bad_request", "the only expectation understood is 100-continue")

    def _refuse(self, refusal: _Refusal) -> None:
        """Send the refusal and close; if a response is still pending, finish that one instead and then close."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        if newest := self._newest_answering():
            newest.keep_alive = False  # uvicorn closes after that one
            self.flow.pause_reading()
            return
        error = {"code": refusal.code, "message": refusal.message, "field": None, "request_id": None}
        body = json.dumps({"error": error}).encode()
        self.transport.write(
            b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s"
            % (refusal.status, _REASONS[refusal.status].encode(), len(body), body)
        )
        if current := self._current:
            current.disconnected = True
            current.waiting_for_100_continue = False
            current.message_event.set()
        self._linger()

    def _linger(self) -> None:
        """Close only the sending half: closing fully at once would reset the connection and destroy the response."""
        self._refused = True
        self._enter("linger")
        if not self.transport.is_closing():
            self.transport.write_eof()

    def _newest_answering(self) -> RequestResponseCycle | None:
        """Return the last complete request that waits for its response; drop incomplete ones."""
        waiting = [one for one in self.pipeline if not one[0].more_body]
        self.pipeline.clear()
        self.pipeline.extend(waiting)
        if waiting:
            return waiting[0][0]  # uvicorn queues at the left
        current = self._current
        return current if current and not current.response_complete and not current.more_body else None

    def _sweep_writes(self, now: float) -> None:
        """Abort the connection of a client that does not read its response, or reads it too slowly."""
        unread = self.transport.get_write_buffer_size()
        if unread == 0:
            self._taken_since = now
        if unread == 0 or unread != self._unread:
            self._unread, self._unread_since = unread, now
        elif now - self._unread_since > self.limits.write_s:
            self.transport.abort()
        if now - self._taken_since > 4 * self.limits.write_s:
            self.transport.abort()

    def _make_room(self) -> None:
        """Shed the connection that has been idle or sending its request for longest; if there is none, the new one."""
        guarded: list[GuardedProtocol] = [one for one in self.connections if isinstance(one, GuardedProtocol)]
        waiting = [one for one in guarded if one.may_be_shed(self)]
        if waiting:
            min(waiting, key=GuardedProtocol.since).transport.abort()
        else:
            self._refuse(_Refusal(503, "overloaded", "too many connections"))
