"""CloudWatch's numbers in neutral names and units."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from sdk.adapter.prices import PriceRow
from sdk.adapter.types import DeploymentStatus, EndpointState, EndpointStatus, Replicas
from sdk_sagemaker import _monitor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdk.adapter.metrics import MetricsReport

NOW = 1_800_000_030.0
PRICE = PriceRow("sagemaker", "us-east-1", "inference", "ml.m5.large", 2, 8, "", 0, 0.1, "here", "2026-01", "quoted")


class CloudWatch:
    """Answers questions from a table; keeps what it was asked."""

    region = "us-east-1"

    def __init__(self, *rows: tuple[str, str, str, float]) -> None:
        self.rows = rows
        self.asked: list[dict[str, Any]] = []

    def server_time(self) -> float:
        return NOW

    def pages(self, service: str, operation: str, about: str, **params: Any) -> Iterator[dict[str, Any]]:
        self.asked.append(params)
        results = []
        for query in params["MetricDataQueries"]:
            stat = query["MetricStat"]
            variant = stat["Metric"]["Dimensions"][1]["Value"]
            key = (variant, stat["Metric"]["MetricName"], stat["Stat"])
            values = [row[3] for row in self.rows if row[:3] == key]
            times = [datetime.fromtimestamp(NOW - 90 - 60 * n, UTC) for n in range(len(values))]
            results.append({"Id": query["Id"], "Values": values, "Timestamps": times})
        yield {"MetricDataResults": results[:3]}
        yield {"MetricDataResults": results[3:]}


def deployment(name: str, traffic: int) -> DeploymentStatus:
    return DeploymentStatus(name, traffic, "ready", "a", "b", 1, instance="ml.m5.large", replicas=Replicas(2, 2))


def report(cloud: CloudWatch, *names: str) -> MetricsReport:
    deployments = tuple(deployment(name, 0) for name in names)
    status = EndpointStatus("churn", "aws", "sagemaker", EndpointState.READY, "InService", None, deployments)
    measured: Any = cloud
    return _monitor.report(measured, status, 600, 2, [PRICE])


ONE = (
    ("d1", "Invocations", "Sum", 20.0),
    ("d1", "Invocations", "Sum", 4.0),
    ("d1", "Invocation4XXErrors", "Sum", 1.0),
    ("d1", "Invocation5XXErrors", "Sum", 3.0),
    ("d1", "ModelLatency", "SampleCount", 24.0),
    ("d1", "ModelLatency", "Average", 12_000.0),
    ("d1", "ModelLatency", "p50", 10_000.0),
    ("d1", "ModelLatency", "p90", 20_000.0),
    ("d1", "ModelLatency", "p95", 30_000.0),
    ("d1", "ModelLatency", "p99", 40_000.0),
    ("d1", "OverheadLatency", "Average", 3_000.0),
    ("d1", "CPUUtilization", "Average", 150.0),
    ("d1", "MemoryUtilization", "Average", 25.0),
)


def test_counts_latencies_and_use() -> None:
    """Counts by class, microseconds as milliseconds, percents of cores and of memory as cores and bytes."""
    found = report(CloudWatch(*ONE), "d1")
    assert {"2xx": 20, "4xx": 1, "5xx": 3} == dict(found.requests) == found.deployments["d1"]
    container, platform = found.latency
    assert ("container", "approximate", 24) == (container.scope, container.method, container.count)
    assert (10.0, 20.0, 30.0, 40.0, 12.0) == (
        container.p50, container.p90, container.p95, container.p99, container.mean,
    )  # fmt: skip
    assert ("platform", None, 15.0) == (platform.scope, platform.p95, platform.mean)
    assert (3.0, 4 * 2**30, 2) == (found.cpu, found.memory_bytes, found.replicas)
    assert NOW - 30 == found.last_request_at


def test_a_request_without_an_answer_is_an_error() -> None:
    """CloudWatch counts time-outs and lost connections as model errors only, neither as 4XX nor as 5XX."""
    found = report(CloudWatch(*ONE, ("d1", "InvocationModelErrors", "Sum", 6.0)), "d1")
    assert {"2xx": 18, "4xx": 1, "5xx": 5} == dict(found.requests)
    assert (5, 1) == (found.errors, found.client_errors)


def test_quantiles_of_two_are_never_joined() -> None:
    """When two deployments answered, means are weighted and quantiles are unknown."""
    two = [("d2", *row[1:]) for row in ONE if row[1] != "ModelLatency"]
    two += [("d2", "ModelLatency", "SampleCount", 8.0), ("d2", "ModelLatency", "Average", 28_000.0)]
    container, platform = report(CloudWatch(*ONE, *two), "d1", "d2").latency
    assert (32, None, None, 16.0) == (container.count, container.p50, container.p95, container.mean)
    assert 19.0 == platform.mean


def test_a_period_that_falls_apart_has_no_quantile() -> None:
    """Two values of one quantile are two periods, and nothing can be said of both together."""
    (container, *_) = report(CloudWatch(*ONE, ("d1", "ModelLatency", "p95", 1.0)), "d1").latency
    assert (10.0, None) == (container.p50, container.p95)


class InPeriods(CloudWatch):
    """Has one latency at each given moment, and puts them into periods that begin at the start of the window."""

    def __init__(self, *moments: float) -> None:
        super().__init__()
        self.moments = moments

    def pages(self, service: str, operation: str, about: str, **params: Any) -> Iterator[dict[str, Any]]:
        start, end = (params[key].timestamp() for key in ("StartTime", "EndTime"))
        results = []
        for query in params["MetricDataQueries"]:
            stat = query["MetricStat"]
            period = stat["Period"]
            assert 0 == start % 60 == period % 60, "CloudWatch takes periods of whole minutes"
            asked = stat["Metric"]["MetricName"] in {"ModelLatency", "Invocations"}
            found = sorted({(at - start) // period for at in self.moments if asked and start <= at < end})
            times = [datetime.fromtimestamp(start + number * period, UTC) for number in found]
            results.append({"Id": query["Id"], "Values": [5000.0] * len(found), "Timestamps": times})
        yield {"MetricDataResults": results}


@pytest.mark.parametrize("window_s", [60, 90, 600, 3600])
@pytest.mark.parametrize("second", [0.0, 0.5, 30.0, 59.9])
def test_quantiles_are_known_whatever_second_it_is(window_s: float, second: float) -> None:
    """The minute that is running and the first one, of which a part is in the window, are in the same period."""
    now = NOW // 60 * 60 + second
    cloud: Any = InPeriods(now - 0.001, now - window_s + 0.001)
    cloud.server_time = lambda: now
    status = EndpointStatus(
        "churn", "aws", "sagemaker", EndpointState.READY, "InService", None, (deployment("d1", 100),)
    )
    (container, *_) = _monitor.report(cloud, status, window_s, 2, [PRICE]).latency
    assert (5.0, 5.0, 5.0) == (container.p50, container.p95, container.mean)


def test_nothing_is_nothing() -> None:
    """Without data there are no requests, no latencies and no use: unknown is None."""
    found = report(CloudWatch(), "d1")
    assert ({"2xx": 0, "4xx": 0, "5xx": 0}, None, None, None) == (
        dict(found.requests),
        found.cpu,
        found.memory_bytes,
        found.last_request_at,
    )
    assert [None] == [one.p95 for one in found.latency if one.scope == "container"]


@pytest.mark.parametrize("names", [("d1",), ("d1", "d2", "d3")])
def test_one_call_asks_everything(names: tuple[str, ...]) -> None:
    """All questions about all deployments are one call; each names endpoint and variant."""
    cloud = CloudWatch()
    report(cloud, *names)
    (asked,) = cloud.asked
    queries = asked["MetricDataQueries"]
    assert len({query["Id"] for query in queries}) == len(queries) == 13 * len(names)
    assert {2} == {len(query["MetricStat"]["Metric"]["Dimensions"]) for query in queries}
