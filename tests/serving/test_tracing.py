"""Traces: the model's log lines name their request, its spans have the caller's as parent, the server exports spans."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HEADERS = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "rojo=1"}


def says(rows: Any) -> Any:
    import logging
    import time as clock

    logging.getLogger("mine").warning("working on %d rows", len(rows))
    clock.sleep(float(rows[0][0]))
    return [0.0 for _ in rows]


def traced(rows: Any) -> Any:
    from opentelemetry import trace

    context = trace.get_current_span().get_span_context()
    return [f"{context.trace_id:032x}-{context.span_id:016x}" for _ in rows]


async def traced_later(rows: Any) -> Any:
    import asyncio

    await asyncio.sleep(0)
    return traced(rows)


def traced_items(rows: Any) -> Any:
    for _ in range(2):
        yield traced(rows)[0]


def post(server: Any, rows: Any, **headers: str) -> Any:
    answer = httpx.post(f"{server.url}/invocations", json={"instances": rows}, headers=headers, trust_env=False)
    assert answer.status_code == 200, answer.text
    return answer.json()["predictions"]


def test_lines_of_the_model_name_their_request(bundles: Any, start: Callable[..., Any], tools: Any) -> None:
    """One request by its id and trace; several that share a call by all their ids."""
    tensors = {"rowwise": True, "allow_nan": False, "columns": None,
               "inputs": [{"name": "x", "dtype": "float64", "shape": [-1, 1]}],
               "outputs": [{"name": "predict", "dtype": "float64", "shape": [-1]}]}  # fmt: skip
    server = start(bundles.function(says, signature=tensors)).ready()
    post(server, [[0.0]], **{"x-request-id": "r1"}, **HEADERS)
    line = server.wait_event("log")
    assert (line["message"], line["request_id"], line["trace_id"]) == ("working on 1 rows", "r1", TRACE)
    post(server, [[0.0]], **{"x-request-id": "r2", "traceparent": "nonsense"})
    assert server.wait_event("log", 2)["request_id"] == "r2"
    assert "trace_id" not in server.wait_event("log", 2)
    threads = [
        threading.Thread(target=post, args=(server, [[0.5]]), kwargs={"x-request-id": f"j{number}"})
        for number in range(4)
    ]
    for one in threads:
        one.start()
        time.sleep(0.05)
    for one in threads:
        one.join()
    joined = [one for one in server.events("log") if "request_ids" in one]
    assert joined, "those that came while the first was busy share a call"
    assert set(joined[0]["request_ids"]) <= {"j1", "j2", "j3"}
    assert "request_id" not in joined[0]


@pytest.mark.parametrize("function", [traced, traced_later, traced_items])
def test_the_callers_span_is_current_in_the_model(bundles: Any, start: Callable[..., Any], function: Any) -> None:
    """Where the model's environment has OpenTelemetry; each request has its own, and none is left behind."""
    server = start(bundles.function(function)).ready()
    assert set(post(server, [1], **HEADERS)) == {f"{TRACE}-{SPAN}"}
    assert set(post(server, [1])) == {f"{'0' * 32}-{'0' * 16}"}


def test_spans_that_cannot_be_exported(bundles: Any, start: Callable[..., Any]) -> None:
    """The server says what to pack, and serves."""
    server = start(bundles.function(traced), OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1", PYTHONNOUSERSITE="1")
    server.ready()
    assert "opentelemetry-exporter-otlp-proto-http" in server.wait_event("tracing_off")["mend"]
    assert post(server, [1], **HEADERS) == [f"{TRACE}-{SPAN}"]


class Collector:
    """A server that takes OTLP over HTTP."""

    def __init__(self) -> None:
        bodies = self.bodies = list[bytes]()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                bodies.append(self.rfile.read(int(self.headers["content-length"])))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def exporter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with OpenTelemetry's OTLP exporter, which is not among the dependencies of development."""
    folder = tmp_path_factory.mktemp("exporter")
    uv = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--target", str(folder)]
    package = f"opentelemetry-exporter-otlp-proto-http=={version('opentelemetry-sdk')}"
    subprocess.run([*uv, package], check=True, timeout=120)
    return folder


def test_a_collector_that_does_not_answer(bundles: Any, start: Callable[..., Any], exporter: Path) -> None:
    """It delays neither answers nor the end of the server, which goes on without the exporter's ten seconds."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        server = start(bundles.function(traced), OTEL_EXPORTER_OTLP_ENDPOINT=url, PYTHONPATH=str(exporter),
                       OTEL_EXPORTER_OTLP_TIMEOUT="20").ready()  # fmt: skip
        post(server, [1], **HEADERS)
        assert server.terminate() == 0


def test_spans_are_exported(bundles: Any, start: Callable[..., Any], exporter: Path) -> None:
    """Each prediction is a span of the caller's trace, and the parent of the model's; the rest is not exported."""
    collector = Collector()
    server = start(bundles.function(traced), MLPORT_ENDPOINT="churn", MLPORT_DEPLOYMENT="d1",
                   OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, PYTHONPATH=str(exporter)).ready()  # fmt: skip
    (inside,) = post(server, [1], **HEADERS, **{"x-request-id": "r1"})
    trace, _, span = inside.partition("-")
    assert trace == TRACE
    assert span not in {SPAN, "0" * 16}, "the server's own span is current"
    httpx.get(f"{server.url}/metrics", trust_env=False)
    assert server.terminate() == 0
    collector.close()
    sent = b"".join(collector.bodies)
    for part in (bytes.fromhex(TRACE), bytes.fromhex(span), bytes.fromhex(SPAN), b"churn", b"d1", b"r1", b"rojo=1"):
        assert part in sent, part
    assert sent.count(b"predict") == 1
    assert b"metrics" not in sent
