"""The ASGI application: routes, responses, error bodies, request ids, and the access log.

It serves four contracts at once: SageMaker (`/ping`, `/invocations`), Vertex AI (`AIP_*` routes), Azure ML (`/score`
and configured routes) and the Open Inference Protocol (`/v2/…`). docs/server.md is the exact contract.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

import msgspec

from . import media, streams, v2
from .codecs import Answer, Input, decode, encode, media_type, unsupported
from .convert import DATATYPES
from .defaults import as_default, replaces
from .failures import RequestError, bad_input
from .jsontext import encode_json
from .media import BINARY, EVENTS, JSON, NPY
from .metrics import Metrics, Summary
from .scheduler import ModelRaised, Scheduler
from .tracing import TracedRequest, Tracing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .bundle import Bundle
    from .defaults import DefaultAnswer
    from .logs import Log
    from .outputs import Outputs
    from .settings import ServerSettings
    from .streams import ItemStream

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

VERSION = "1"
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_REQUEST_ID_HEADERS = {b"x-request-id", b"x-amzn-sagemaker-inference-id"}  # SageMaker passes only the latter
_FAILED = 400
_HEALTH = frozenset({"live", "ready"})
_LEFT = 499  # nginx's status for a client that left before its answer was complete
_PAUSE_S = 10.0
_STREAM_HEADERS = ((b"cache-control", b"no-store"), (b"x-accel-buffering", b"no"))  # for proxies: send on at once


class ServerExchange:
    """One request while it is being handled."""

    __slots__ = (
        "began",
        "body",
        "default",
        "failed",
        "headers",
        "id",
        "items",
        "method",
        "path",
        "rows",
        "scope",
        "traced",
    )

    def __init__(self, scope: Mapping[str, Any], request_id: str, began: float) -> None:
        self.scope = scope
        self.path: str = scope["path"]
        self.method: str = scope["method"]
        self.headers: list[tuple[bytes, bytes]] = scope["headers"]
        self.id = request_id
        self.began = began
        self.body = b""
        self.rows = 0
        self.items: int | None = None  # of a streamed answer
        self.failed = 0  # the status of an error after the head of a streamed answer
        self.traced = TracedRequest(request_id, self.headers)
        self.default = False  # whether it got the default answer

    @property
    def connection(self) -> Any:
        """The connection of the client; None in front of another server than ours."""
        return self.scope.get("state", {}).get("connection")

    def gone(self) -> bool:
        """Return whether the client has disconnected; also called from the worker."""
        connection = self.connection
        return connection is not None and connection.gone()

    def header(self, name: bytes) -> bytes | None:
        """Return the value of a header field, or None."""
        for key, value in self.headers:
            if key == name:
                return value
        return None


class Disconnected(Exception):
    """Raised when the client disconnected before its request was complete."""


class App:
    """The ASGI application that answers requests for one model.

    Args:
        settings: the settings from the environment.
        bundle: the model's bundle; its manifest names the model and its tensors.
        scheduler: runs the model.
        log: receives the access log.
        default: the default answer, if the model has one.
    """

    def __init__(
        self,
        settings: ServerSettings,
        bundle: Bundle,
        scheduler: Scheduler,
        log: Log,
        default: DefaultAnswer | None = None,
    ) -> None:
        self.loaded = False
        self.draining = False
        self.metrics = Metrics()
        self.tracing = Tracing()
        self._default = default
        self._settings = settings
        self._bundle = bundle
        self._manifest = bundle.manifest
        self._scheduler = scheduler
        self._log = log
        self._version = bundle.digest[:12]
        self._summary = Summary(self.metrics)
        self._second = self._logged = self._left_out = 0
        self._id_lead = os.urandom(6).hex()
        self._id_count = 0
        self._always = [(b"x-mlport-deployment", settings.deployment.encode())] if settings.deployment else []
        self._routes = self._make_routes()
        self._handlers: dict[str, Callable[[ServerExchange], Awaitable[Answer]]] = {
            "live": self._live,
            "ready": self._ready,
            "predict": self._predict,
            "infer": self._infer,
            "metrics": self._show_metrics,
            "server": self._show_server,
            "model": self._show_model,
            "root": self._show_root,
        }

    def _make_routes(self) -> dict[str, str]:
        name = self._manifest.name
        routes = {
            "/": "root",
            "/ping": "ready",
            "/invocations": "predict",
            "/score": "predict",
            "/metrics": "metrics",
            "/v2": "server",
            "/v2/": "server",
            "/v2/health/live": "live",
            "/v2/health/ready": "ready",
        }
        for base in (f"/v2/models/{name}", f"/v2/models/{name}/versions/{self._version}"):
            routes |= {base: "model", f"{base}/ready": "ready", f"{base}/infer": "infer"}
        return routes | {path: kind for kind, path in self._settings.routes}

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Handle one request."""
        kind = self._routes.get(scope["path"], "other")
        if kind in _HEALTH:
            exchange = ServerExchange(scope, "", 0.0)
            await self._send(send, exchange, await self._guarded(kind, exchange))
            return
        exchange = ServerExchange(scope, self._request_id(scope["headers"]), time.monotonic())
        self.metrics.in_flight += 1
        status = _LEFT
        try:
            if exchange.method == "POST":
                exchange.body = await _read(receive)
            answer = await self._guarded(kind, exchange)
            status = answer.status
            await self._send(send, exchange, answer)
            status = exchange.failed or status
        except Disconnected:
            pass
        finally:
            seconds = time.monotonic() - exchange.began
            self.metrics.in_flight -= 1
            self.metrics.count(kind, status, seconds)
            self.tracing.end(exchange.traced, status, {"mlport.rows": exchange.rows, "mlport.request_id": exchange.id})
            self._log_request(exchange, kind, status, seconds)

    def summarise(self) -> None:
        """Log a summary of the requests since the last call."""
        if (found := self._summary.take()) is not None:
            self._log.info("summary", **found)

    def _log_request(self, exchange: ServerExchange, kind: str, status: int, seconds: float) -> None:
        """Log one request; successful ones only up to a limit per second, and the next line counts the skipped ones."""
        more: dict[str, Any] = {}
        most = self._settings.limits.log_requests
        if most and status < _FAILED:
            second = int(exchange.began)
            if second != self._second:
                self._second, self._logged = second, 0
            self._logged += 1
            if self._logged > most:
                self._left_out += 1
                return
        if self._left_out:
            more["left_out"], self._left_out = self._left_out, 0
        trace = exchange.traced.trace_id
        if trace is not None:
            more["trace_id"] = trace
        if exchange.items is not None:
            more["items"] = exchange.items
        if exchange.default:
            more["default"] = True
        ms = round(seconds * 1000, 2)
        self._log.info("request", request_id=exchange.id, method=exchange.method, route=kind, status=status, ms=ms,
                       rows=exchange.rows, **more)  # fmt: skip

    # Answers

    async def _guarded(self, kind: str, exchange: ServerExchange) -> Answer:
        """Run the handler and convert any exception to an error response."""
        try:
            self._check_route(kind, exchange)
            return await self._handlers[kind](exchange)
        except Exception as error:  # noqa: BLE001 - last resort: a bug of ours must not end the connection without a response
            return self._failed(error, exchange)

    def _failed(self, error: Exception, exchange: ServerExchange) -> Answer:
        """Log an exception as far as needed, and return its error response."""
        if isinstance(error, RequestError):
            if error.status >= 500 and error.code == "bad_model_output":
                self._log.error(error.code, request_id=exchange.id, message=error.message)
            return self._error(error, exchange)
        if isinstance(error, ModelRaised):
            self._log.error("model_error", trace=error.error, request_id=exchange.id)
            message = f"the model raised an exception; its trace is in the log under request id {exchange.id}"
            return self._error(RequestError(500, "model_error", message), exchange)
        self._log.error("internal_error", trace=error, request_id=exchange.id)
        message = f"the server failed; its trace is in the log under request id {exchange.id}"
        return self._error(RequestError(500, "internal_error", message), exchange)

    def _error(self, error: RequestError, exchange: ServerExchange) -> Answer:
        details = {
            "code": error.code,
            "message": error.message,
            "field": error.field,
            "request_id": exchange.id or None,
        }
        body: dict[str, Any] = {"error": details}
        if exchange.path.startswith("/v2"):  # the protocol requires a string here
            text = f"{error.message} ({error.field})" if error.field else error.message
            body = {**details, "error": text}
        return Answer(JSON, encode_json(body), error.headers, error.status)

    async def _send(self, send: Send, exchange: ServerExchange, answer: Answer) -> None:
        pieces = answer.pieces
        if pieces is not None and exchange.scope["http_version"] == "1.0":  # which has no chunked bodies
            answer, pieces = msgspec.structs.replace(answer, body=b"".join([one async for one in pieces])), None
        headers = [(b"content-type", answer.content_type), *self._always, *answer.headers]
        if pieces is None:
            headers.append((b"content-length", str(len(answer.body)).encode()))
        if exchange.id:
            headers.append((b"x-request-id", exchange.id.encode()))
        if self.draining:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        if pieces is not None:
            async with aclosing(pieces):
                async for piece in pieces:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": answer.body})

    def _request_id(self, headers: list[tuple[bytes, bytes]]) -> str:
        for key, value in headers:
            if key in _REQUEST_ID_HEADERS and _REQUEST_ID.fullmatch(value):
                return value.decode()
        self._id_count += 1
        return f"{self._id_lead}{self._id_count:08x}"

    def _check_route(self, kind: str, exchange: ServerExchange) -> None:
        if kind == "other" and exchange.path.startswith("/v2/models/"):
            known = f"{self._manifest.name!r} version {self._version!r}"
            raise RequestError(404, "unknown_model", f"the only model here is {known}", "path")
        if kind == "other":
            raise RequestError(404, "unknown_path", "nothing is served at this path; GET / lists the routes", "path")
        allowed = ("POST",) if kind in {"predict", "infer"} else ("GET", "HEAD")
        if exchange.method not in allowed:
            shown = ", ".join(allowed)
            message = f"{exchange.method} is not allowed here; use {shown}"
            raise RequestError(405, "method_not_allowed", message, headers=((b"allow", shown.encode()),))

    # Predictions

    async def _predict(self, exchange: ServerExchange) -> Answer:
        self._check_loaded()
        header = exchange.header(b"content-type") or b""
        sent = JSON if header == JSON else media_type(exchange.headers, b"content-type")
        form = media.wanted(exchange.header(b"accept"), NPY if sent == NPY else JSON)
        given = decode(sent, header, exchange.body, self._manifest.signature, self._settings.limits)
        form = EVENTS if given.stream else form
        outputs = await self._run(given, exchange)
        if outputs.items is not None:
            if form in streams.FORMS:
                return Answer(form, b"", _STREAM_HEADERS, pieces=self._pieces(form, outputs.items, exchange))
            outputs = await self._collected(outputs.items, exchange)
        if form == NPY == sent and not outputs.is_one_tensor and NPY not in (exchange.header(b"accept") or b"").lower():
            form = JSON  # the request's form does not require the same form of response
        answer = encode(form, outputs)
        return as_default(answer, form) if exchange.default else answer

    async def _infer(self, exchange: ServerExchange) -> Answer:
        self._check_loaded()
        sent = media_type(exchange.headers, b"content-type")
        if sent not in {b"", JSON, BINARY}:  # the protocol's own clients send no content type
            raise unsupported(sent, "application/json or application/octet-stream")
        length = exchange.header(v2.LENGTH_HEADER)
        request, given = v2.decode(exchange.body, length, self._manifest.signature, self._settings.limits)
        outputs = await self._run(given, exchange)
        if outputs.items is not None:
            outputs = await self._collected(outputs.items, exchange)
        answer = v2.encode(request, outputs, self._manifest.name, self._version)
        return as_default(answer, BINARY) if exchange.default else answer

    async def _run(self, given: Input, exchange: ServerExchange) -> Outputs:
        exchange.rows = given.rows
        self.metrics.rows.observe(given.rows)
        began = time.monotonic()
        self.tracing.begin(exchange.traced)
        until = exchange.began + self._deadline(exchange)
        if self._default is None:
            outputs = await self._scheduler.predict(given, until, exchange.gone, exchange.traced)
        else:
            outputs = await self._in_time(self._default, given, until, exchange)
        self.metrics.model_seconds.observe(time.monotonic() - began)
        return outputs

    async def _in_time(self, default: DefaultAnswer, given: Input, until: float, exchange: ServerExchange) -> Outputs:
        """Return the model's answer, or the default answer if the model's would come too late."""
        soon = exchange.began + default.seconds
        try:
            return await self._scheduler.predict(given, min(until, soon), exchange.gone, exchange.traced)
        except RequestError as error:
            if not replaces(error) or until < soon:
                raise
        exchange.default = True
        self.metrics.defaults += 1
        return default.outputs(given.rows)

    async def _collected(self, stream: ItemStream, exchange: ServerExchange) -> Outputs:
        """Return all items of a streamed answer, for a client that did not ask for a stream."""
        try:
            return await stream.collected(exchange.began + self._deadline(exchange))
        finally:
            stream.cancel()

    async def _pieces(self, form: bytes, stream: ItemStream, exchange: ServerExchange) -> AsyncIterator[bytes]:
        """Iterate over the body of a streamed answer; the deadline applies to each item."""
        exchange.items = 0
        end = time.monotonic() + self._deadline(exchange)
        try:
            while (items := await stream.take(min(_PAUSE_S, end - time.monotonic()))) != []:
                if items is not None:
                    exchange.items += len(items)
                    end = time.monotonic() + self._deadline(exchange)
                    yield streams.piece(form, items)
                    continue
                streams.check_time(end)
                if form == EVENTS:
                    yield streams.PAUSE
            if stream.left:
                exchange.failed = _LEFT
            elif form == EVENTS:
                yield streams.END
        except Exception as error:  # noqa: BLE001 - as for other responses, see `_guarded`
            answer = self._failed(error, exchange)
            exchange.failed = answer.status
            if form == EVENTS:
                yield streams.event(answer.body, b"error")
            elif exchange.connection is not None:  # JSON lines have no form for an error
                exchange.connection.transport.abort()
        finally:
            stream.cancel()

    def _deadline(self, exchange: ServerExchange) -> float:
        limit = self._settings.limits.deadline_s
        value = exchange.header(b"x-mlport-deadline-ms")
        if value is None:
            return limit
        if not (value.isdigit() and len(value) < 10 and int(value) > 0):
            raise bad_input("bad_deadline", "must be a whole number of milliseconds above 0", "x-mlport-deadline-ms")
        return min(limit, int(value) / 1000)

    def _check_loaded(self) -> None:
        if not self.loaded:
            raise RequestError(503, "loading", "the model is still loading", headers=((b"retry-after", b"1"),))

    # Health and metadata

    async def _live(self, exchange: ServerExchange) -> Answer:
        del exchange
        stuck = self._scheduler.stuck_for()
        return _status("stuck", f"the model has not returned for {stuck:.0f} s") if stuck else _status("live")

    async def _ready(self, exchange: ServerExchange) -> Answer:
        del exchange
        if self.draining:
            return _status("draining", "the server is stopping")
        if not self.loaded:
            return _status("loading", "the model is still loading")
        stuck = self._scheduler.stuck_for()
        return _status("stuck", f"the model has not returned for {stuck:.0f} s") if stuck else _status("ready")

    async def _show_metrics(self, exchange: ServerExchange) -> Answer:
        del exchange
        ready = self.loaded and not self.draining and not self._scheduler.stuck_for()
        text = self.metrics.render(
            {
                "mlport_ready": ("1 while the model takes requests.", int(ready)),
                "mlport_queue_length": ("Requests that wait for the model.", self._scheduler.queued),
                "mlport_model_running": ("Requests the model is busy with.", self._scheduler.running),
                "mlport_defaults_total": ("Requests that got the default answer.", self.metrics.defaults),
            },
            {"mlport_joined_requests": ("Requests in a call of the model that had several.", self._scheduler.joined)},
        )
        return Answer(b"text/plain; version=0.0.4; charset=utf-8", text)

    async def _show_server(self, exchange: ServerExchange) -> Answer:
        del exchange
        return _json({"name": "mlport", "version": VERSION, "extensions": ["binary_tensor_data"]})

    async def _show_model(self, exchange: ServerExchange) -> Answer:
        del exchange
        signature = self._manifest.signature
        return _json(
            {
                "name": self._manifest.name,
                "versions": [self._version],
                "platform": f"mlport_{self._manifest.flavour}",
                "inputs": [_describe(one) for one in signature.inputs],
                "outputs": [_describe(one) for one in signature.outputs],
            }
        )

    async def _show_root(self, exchange: ServerExchange) -> Answer:
        del exchange
        return _json(
            {
                "model": self._manifest.name,
                "digest": self._bundle.digest,
                "flavour": self._manifest.flavour,
                "endpoint": self._settings.endpoint or None,
                "deployment": self._settings.deployment or None,
                "state": "draining" if self.draining else "ready" if self.loaded else "loading",
                "signature": self._manifest.signature.described(),
                "limits": {"max_body": self._settings.limits.max_body, "deadline_s": self._settings.limits.deadline_s},
                "routes": self._routes,
            }
        )


async def _read(receive: Receive) -> bytes:
    message = await receive()
    if message["type"] != "http.request":
        raise Disconnected
    if not message.get("more_body"):
        return cast("bytes", message["body"])
    parts = [message["body"]]
    while message.get("more_body"):
        message = await receive()
        if message["type"] != "http.request":
            raise Disconnected
        parts.append(message["body"])
    return b"".join(parts)


def _describe(tensor: Any) -> dict[str, Any]:
    datatype = DATATYPES.get(tensor.dtype, "BYTES")
    return {"name": tensor.name, "datatype": datatype, "shape": list(tensor.shape)}


def _json(value: Any) -> Answer:
    return Answer(JSON, encode_json(value))


def _status(state: str, reason: str = "") -> Answer:
    healthy = state in {"live", "ready"}
    body = {"status": state} if healthy else {"status": state, "reason": reason}
    return Answer(JSON, encode_json(body), () if healthy else ((b"retry-after", b"1"),), 200 if healthy else 503)
