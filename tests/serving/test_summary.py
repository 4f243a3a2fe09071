"""What the log says of many requests: a sample of the lines, a summary that adds up, the trace they belong to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from sdk.serving.metrics import SECONDS, Metrics, Summary, quantile_ms

if TYPE_CHECKING:
    from collections.abc import Callable


def twice(rows: Any) -> Any:
    return [2 * row for row in rows]


def test_what_is_logged_and_left_out_adds_up(bundles: Any, start: Callable[..., Any], tools: Any) -> None:
    """Of 60 good requests few are logged, all mistakes are; the summary at the end counts every one."""
    server = start(bundles.function(twice), MLPORT_LOG_REQUESTS="2").ready()
    with httpx.Client(base_url=server.url, timeout=60) as client:
        for _ in range(20):
            for _ in range(3):
                assert 200 == client.post("/invocations", json={"instances": [1]}).status_code
            assert 400 == client.post("/invocations", json={"instances": []}).status_code
    assert 0 == server.terminate()
    lines = server.events("request")
    good = [one for one in lines if one["status"] == 200]
    assert 20 == len(lines) - len(good), "mistakes are always logged"
    (summary,) = server.events("summary")
    assert (80, {"200": 60, "400": 20}) == (summary["requests"], summary["statuses"])
    assert 80 == sum(summary["le_ms"].values())
    assert 0 < summary["p50_ms"] <= summary["p95_ms"] <= summary["p99_ms"]
    left = sum(one.get("left_out", 0) for one in lines)
    assert 60 - 3 <= len(good) + left <= 60, "what was left out after the last line is counted nowhere"
    assert len(good) < 60


@pytest.mark.parametrize("limit", ["0", "100"])
def test_all_are_logged_below_the_limit(bundles: Any, start: Callable[..., Any], tools: Any, limit: str) -> None:
    server = start(bundles.function(twice), MLPORT_LOG_REQUESTS=limit).ready()
    for _ in range(20):
        httpx.post(f"{server.url}/invocations", json={"instances": [1]})
    assert 0 == server.terminate()
    assert 20 == len(server.events("request"))


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize(
    ("header", "trace"),
    [
        (f"00-{TRACE}-00f067aa0ba902b7-01", TRACE),
        (f"01-{TRACE}-00f067aa0ba902b7-00-what comes later", TRACE),
        (f"ff-{TRACE}-00f067aa0ba902b7-01", None),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-00f067aa0ba902b7-01", None),
        ("nonsense", None),
    ],
)
def test_the_trace_of_a_request_is_logged(tensor_server: Any, tools: Any, header: str, trace: str | None) -> None:
    """A well-formed W3C header gives its trace id; another one is ignored."""
    ask = {"x-request-id": f"trace-{abs(hash(header))}", "traceparent": header}
    httpx.post(f"{tensor_server.url}/invocations", json={"instances": [[1, 2, 3]]}, headers=ask)
    found: list[Any] = []

    def logged() -> list[Any]:
        found[:] = [one for one in tensor_server.events("request") if one["request_id"] == ask["x-request-id"]]
        return found

    tools.eventually(logged)
    assert trace == found[0].get("trace_id")


def test_a_summary_covers_what_is_new() -> None:
    """Each one begins where the one before ended, other routes do not count, and nothing new is nothing."""
    metrics = Metrics()
    summary = Summary(metrics)
    assert summary.take() is None
    for ms in (1, 2, 3, 400, 90_000):
        metrics.count("predict", 200, ms / 1000)
    metrics.count("infer", 503, 0.002)
    metrics.count("metrics", 200, 5.0)
    first = summary.take()
    assert first is not None
    assert (6, {"200": 5, "503": 1}) == (first["requests"], first["statuses"])
    assert {"1": 1, "2.5": 2, "5": 1, "500": 1, "inf": 1} == first["le_ms"]
    assert first["p99_ms"] is None, "beyond the last bound nothing is known"
    assert summary.take() is None
    metrics.count("predict", 200, 0.3)
    assert {"requests": 1, "statuses": {"200": 1}} == {
        key: value for key, value in (summary.take() or {}).items() if key in {"requests", "statuses"}
    }


def test_quantiles_lie_in_their_bucket() -> None:
    counts = [0] * (len(SECONDS) + 1)
    counts[4], counts[10] = 90, 10
    assert 1 < (quantile_ms(counts, 0.5) or 0) < 2.5
    assert 100 < (quantile_ms(counts, 0.95) or 0) < 250
