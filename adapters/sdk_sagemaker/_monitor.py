"""Metrics of an endpoint from CloudWatch, with its names and units converted to the neutral ones.

CloudWatch counts per variant and whole minute, with a delay of one or two minutes. It returns a quantile per variant
and period. Quantiles cannot be added up, so there are none for several variants that all answered.
Source: https://docs.aws.amazon.com/sagemaker/latest/dg/monitoring-cloudwatch.html
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sdk.adapter.metrics import Latency, MetricsReport

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sdk.adapter.prices import PriceRow
    from sdk.adapter.types import EndpointStatus

    from ._aws import Aws

_CALLS, _HOSTS = "AWS/SageMaker", "/aws/sagemaker/Endpoints"
_COUNTED = ("Invocations", "Invocation4XXErrors", "Invocation5XXErrors", "InvocationModelErrors")
_QUANTILES = ("p50", "p90", "p95", "p99")


@dataclass(frozen=True, slots=True)
class Ask:
    """A metric query: namespace, metric, deployment, statistic, and period in seconds."""

    namespace: str
    metric: str
    deployment: str
    statistic: str
    period: int


@dataclass(slots=True)
class Series:
    """The values and times that CloudWatch returned, by query."""

    values: dict[Ask, list[float]] = field(default_factory=dict[Ask, "list[float]"])
    times: dict[Ask, list[float]] = field(default_factory=dict[Ask, "list[float]"])

    def total(self, ask: Ask) -> float:
        """Return the sum over the window."""
        return sum(self.values.get(ask, ()))

    def one(self, ask: Ask) -> float | None:
        """Return the only value, or ``None`` if there is none or more than one: several values cannot be combined."""
        found = self.values.get(ask, ())
        return found[0] if len(found) == 1 else None


def report(
    aws: Aws, status: EndpointStatus, window_s: float, instances: int, prices: Iterable[PriceRow]
) -> MetricsReport:
    """Return request counts, latencies and machine use over the last ``window_s`` seconds."""
    end = aws.server_time()
    names = [item.id for item in status.deployments]
    start, until = whole_minutes(end - window_s, end)
    period = until - start
    asks = [ask for name in names for ask in questions(name, period)]
    series = _fetch(aws, status.name, asks, start, until)
    counts = {name: _classes(series, name) for name in names}
    whole: dict[str, int] = {}
    for one in counts.values():
        for key, value in one.items():
            whole[key] = whole.get(key, 0) + value
    cpu, memory = _use(series, status, period, tuple(prices), aws.region)
    return MetricsReport(
        window_s=window_s,
        end=end,
        requests=whole,
        latency=latencies(series, names, period),
        cpu=cpu,
        memory_bytes=memory,
        replicas=instances or None,
        deployments=counts,
        last_request_at=_last(series, names),
    )


def whole_minutes(start: float, end: float) -> tuple[int, int]:
    """Return the start and end of the whole minutes that a window touches, the current one included.

    A window cut into two periods would have two values of each quantile, which cannot be combined.

    Example:
        >>> whole_minutes(90.0, 130.0)
        (60, 180)
    """
    return math.floor(start / 60) * 60, (math.floor(end / 60) + 1) * 60


def questions(deployment: str, period: int) -> list[Ask]:
    """Return all metric queries about one deployment."""
    timed = [("ModelLatency", one) for one in ("SampleCount", "Average", *_QUANTILES)]
    used = ("CPUUtilization", "MemoryUtilization")
    return [
        *(Ask(_CALLS, metric, deployment, "Sum", 60) for metric in _COUNTED),
        *(Ask(_CALLS, metric, deployment, statistic, period) for metric, statistic in timed),
        Ask(_CALLS, "OverheadLatency", deployment, "Average", period),
        *(Ask(_HOSTS, metric, deployment, "Average", period) for metric in used),
    ]


def query(number: int, ask: Ask, endpoint: str) -> dict[str, Any]:
    """Return a query in CloudWatch's form; it always names the variant, since EndpointName alone finds nothing."""
    dimensions = [{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": ask.deployment}]
    metric = {"Namespace": ask.namespace, "MetricName": ask.metric, "Dimensions": dimensions}
    return {"Id": f"q{number}", "MetricStat": {"Metric": metric, "Period": ask.period, "Stat": ask.statistic}}


def _fetch(aws: Aws, endpoint: str, asks: Sequence[Ask], start: float, end: float) -> Series:
    series = Series()
    queries = [query(number, ask, endpoint) for number, ask in enumerate(asks)]
    window = {"StartTime": _moment(start), "EndTime": _moment(end)}
    for page in aws.pages("cloudwatch", "get_metric_data", endpoint, MetricDataQueries=queries, **window):
        for result in page["MetricDataResults"]:
            ask = asks[int(str(result["Id"])[1:])]
            series.values.setdefault(ask, []).extend(result["Values"])
            series.times.setdefault(ask, []).extend(time.timestamp() for time in result["Timestamps"])
    return series


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _classes(series: Series, deployment: str) -> dict[str, int]:
    """Count requests by status class.

    A request that failed without a status of the model (a timeout, a lost connection) counts as 5xx.
    """
    total, bad, broken, unanswered = (
        round(series.total(Ask(_CALLS, metric, deployment, "Sum", 60))) for metric in _COUNTED
    )
    broken = max(broken, unanswered - bad)
    return {"2xx": max(0, total - bad - broken), "4xx": bad, "5xx": broken}


def latencies(series: Series, deployments: Sequence[str], period: int) -> tuple[Latency, ...]:
    """Return the latency of the container, and with SageMaker's overhead if known; CloudWatch reports microseconds."""

    def asked(deployment: str, statistic: str, metric: str = "ModelLatency") -> float | None:
        return series.one(Ask(_CALLS, metric, deployment, statistic, period))

    counts = {one: round(series.total(Ask(_CALLS, "ModelLatency", one, "SampleCount", period))) for one in deployments}
    answered = [one for one, count in counts.items() if count]
    means = {one: asked(one, "Average") for one in answered}
    overheads = {one: asked(one, "Average", "OverheadLatency") for one in answered}
    quantiles = [_ms(asked(answered[0], one)) if len(answered) == 1 else None for one in _QUANTILES]
    count = sum(counts.values())
    p50, p90, p95, p99 = quantiles
    container = Latency("container", "approximate", count, p50, p90, p95, p99, _mean(means, counts))
    whole = {
        one: mean + extra
        for one in answered
        if (mean := means[one]) is not None and (extra := overheads[one]) is not None
    }
    platform = _mean(whole, counts) if len(whole) == len(answered) else None
    return (container,) if platform is None else (container, Latency("platform", "approximate", count, mean=platform))


def _mean(means: Mapping[str, float | None], counts: Mapping[str, int]) -> float | None:
    """Return the mean over all deployments in milliseconds, weighted by their request counts."""
    known = {one: value for one, value in means.items() if value is not None}
    total = sum(counts[one] for one in known)
    return _ms(sum(value * counts[one] for one, value in known.items()) / total) if total else None


def _ms(microseconds: float | None) -> float | None:
    return None if microseconds is None else round(microseconds / 1000, 3)


def _use(
    series: Series, status: EndpointStatus, period: int, prices: tuple[PriceRow, ...], region: str
) -> tuple[float | None, int | None]:
    """Return busy cores and bytes of used memory; CloudWatch reports percents, of one core and of one instance."""
    sizes = {(row.region, row.instance_type): row.memory_gib for row in prices}
    cores: float | None = None
    memory: float | None = None
    for item in status.deployments:
        busy = series.one(Ask(_HOSTS, "CPUUtilization", item.id, "Average", period))
        full = series.one(Ask(_HOSTS, "MemoryUtilization", item.id, "Average", period))
        size = sizes.get((region, item.instance or ""))
        if busy is not None:
            cores = (cores or 0.0) + busy / 100 * item.replicas.min
        if full is not None and size is not None:
            memory = (memory or 0.0) + full / 100 * size * 2**30 * item.replicas.min
    return (None if cores is None else round(cores, 3)), (None if memory is None else int(memory))


def _last(series: Series, deployments: Sequence[str]) -> float | None:
    """Return the end of the last minute with a request."""
    found = [
        time + 60
        for name in deployments
        for time, value in zip(
            series.times.get(Ask(_CALLS, "Invocations", name, "Sum", 60), ()),
            series.values.get(Ask(_CALLS, "Invocations", name, "Sum", 60), ()),
            strict=True,
        )
        if value
    ]
    return max(found, default=None)
