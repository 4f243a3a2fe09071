"""Traces: which request the model works on, for its log lines and its own spans, and spans of the server.

Where the model's environment has `opentelemetry-api`, the W3C `traceparent` of a request is the current context of
OpenTelemetry while the model works on it. With an OTLP endpoint in the environment and OpenTelemetry's SDK and exporter
in the model's lock, the server exports a span for each prediction, and the model's own spans are its children.
Sources: https://www.w3.org/TR/trace-context/, https://opentelemetry.io/docs/specs/otel/protocol/exporter/.
"""

from __future__ import annotations

import importlib
import re
import time
from contextvars import ContextVar
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from contextvars import Token

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
NEEDED = ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http")
_TRACE = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
"""Version, trace, parent and flags."""


class TracedRequest:
    """The identity of a request in logs and traces.

    Args:
        request_id: its id in the log.
        headers: its header fields, with names in lower case.
    """

    __slots__ = ("_parent", "_state", "began", "context", "id", "span")

    def __init__(self, request_id: str, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self.id = request_id
        self.began = time.time_ns()
        self.context: Any = None  # of OpenTelemetry, while the model works on the request
        self.span: Any = None
        self._parent = self._state = b""
        for name, value in headers:
            if name == b"traceparent":
                self._parent = value
            elif name == b"tracestate":
                self._state = value

    @property
    def trace_id(self) -> str | None:
        """The trace that the request belongs to; None without a well-formed header."""
        found = _TRACE.fullmatch(self._parent)
        return found[1].decode() if found else None

    def headers(self) -> dict[str, str]:
        """Return the headers of the trace, for OpenTelemetry."""
        if self.trace_id is None:
            return {}
        return {"traceparent": self._parent.decode(), "tracestate": self._state.decode("latin-1")}


def _given(env: Mapping[str, str]) -> frozenset[str]:
    """Return the attributes that the user's own settings determine."""
    return frozenset({"service.name"}) if env.get("OTEL_SERVICE_NAME") else frozenset()


_current: ContextVar[tuple[TracedRequest, ...]] = ContextVar("mlport_requests", default=())
Entered = tuple["Token[tuple[TracedRequest, ...]]", "tuple[Any, Any] | None"]


def enter(requests: tuple[TracedRequest, ...]) -> Entered:
    """Mark the requests that the model works on from now on in this thread, until `leave` gets the result.

    Several requests that share a call have no common context of OpenTelemetry.
    """
    token = _current.set(requests)
    if len(requests) != 1 or requests[0].context is None:
        return token, None
    context = importlib.import_module("opentelemetry.context")
    return token, (context, context.attach(requests[0].context))


def leave(entered: Entered) -> None:
    """End what `enter` began."""
    token, attached = entered
    if attached is not None:
        context, mark = attached
        context.detach(mark)
    _current.reset(token)


def log_fields() -> dict[str, Any]:
    """Return the ids of the requests that the model works on in this thread, for a line of its log."""
    requests = _current.get()
    if not requests:
        return {}
    first, *others = requests
    if others:
        return {"request_ids": [one.id for one in requests]}
    trace = first.trace_id
    return {"request_id": first.id, **({} if trace is None else {"trace_id": trace})}


class WritesEvents(Protocol):
    """The methods of the server's log that are needed here."""

    def info(self, event: str, **values: Any) -> None:
        """Write a line about normal operation."""

    def warning(self, event: str, **values: Any) -> None:
        """Write a line about something that may need attention."""


class Tracing:
    """OpenTelemetry in a server process; inactive where the model's environment lacks it."""

    def __init__(self) -> None:
        self._propagator: Any = None
        self._tracer: Any = None
        self._provider: Any = None

    def start(self, env: Mapping[str, str], log: WritesEvents, attributes: Mapping[str, str]) -> None:
        """Find OpenTelemetry, and export spans if the environment names an endpoint for them.

        Args:
            env: the variables of the process; OpenTelemetry reads the others of its own.
            log: receives a warning if spans are wanted and cannot be exported.
            attributes: of the resource that all spans belong to, such as `service.name`.
        """
        if find_spec("opentelemetry") is not None and find_spec("opentelemetry.trace") is not None:
            module = importlib.import_module("opentelemetry.trace.propagation.tracecontext")
            self._propagator = module.TraceContextTextMapPropagator()
        if not any(env.get(name) for name in ENDPOINTS) or env.get("OTEL_SDK_DISABLED", "").lower() == "true":
            return
        try:
            self._export({name: value for name, value in attributes.items() if value and name not in _given(env)})
        except ImportError as error:
            packages = ", ".join(f'"{name}"' for name in NEEDED)
            log.warning("tracing_off", message=f"spans are not exported: {error}",
                        mend=f"pack the model with requirements=[{packages}]")  # fmt: skip
            return
        log.info("tracing", message="predictions are exported as spans")

    def _export(self, attributes: Mapping[str, str]) -> None:
        exporter: Any = importlib.import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
        export: Any = importlib.import_module("opentelemetry.sdk.trace.export")
        sdk: Any = importlib.import_module("opentelemetry.sdk.trace")
        resources: Any = importlib.import_module("opentelemetry.sdk.resources")
        api: Any = importlib.import_module("opentelemetry.trace")
        self._provider = sdk.TracerProvider(resource=resources.Resource.create(dict(attributes)))
        self._provider.add_span_processor(export.BatchSpanProcessor(exporter.OTLPSpanExporter()))
        api.set_tracer_provider(self._provider)  # the model's own spans are exported as well
        self._tracer = self._provider.get_tracer("mlport_serving")

    def begin(self, request: TracedRequest) -> None:
        """Set the context in which the model works on a request."""
        if self._propagator is None:
            return
        headers = request.headers()
        parent = self._propagator.extract(headers) if headers else None
        if self._tracer is None:
            request.context = parent
            return
        api: Any = importlib.import_module("opentelemetry.trace")
        request.span = self._tracer.start_span(
            "predict", context=parent, kind=api.SpanKind.SERVER, start_time=request.began
        )
        request.context = api.set_span_in_context(request.span, parent)

    def end(self, request: TracedRequest, status: int, attributes: Mapping[str, Any]) -> None:
        """End the span of a request."""
        span, request.span = request.span, None
        if span is None:
            return
        span.set_attributes({"http.response.status_code": status, **attributes})
        if status >= 500:
            api: Any = importlib.import_module("opentelemetry.trace")
            span.set_status(api.StatusCode.ERROR)
        span.end()

    def stop(self) -> None:
        """Export the spans that wait; the exporter decides how long it waits for its collector."""
        if self._provider is not None:
            self._provider.force_flush(2000)
