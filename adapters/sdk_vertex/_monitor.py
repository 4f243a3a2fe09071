"""Metrics of an endpoint: time series of Cloud Monitoring over REST, converted to neutral units."""

from __future__ import annotations

import math
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sdk.adapter.metrics import Latency, MetricsReport
from sdk.util import bounded

from ._names import deployment_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ._access import Access

_PREFIX = "aiplatform.googleapis.com/prediction/online/"
# Gauges are sampled every minute and visible up to six minutes later, so the last ten minutes are read.
# Source (certain): https://cloud.google.com/monitoring/api/metrics_gcp_a_b#gcp-aiplatform
GAUGES_LATE_S = 360.0
_LOOKED_AT_S, _SAMPLE_S = 600.0, 60
_SHORTEST_S = 60
_SCOPES = {"total": "platform", "model": "container"}


class Metrics:
    """The time series of one project.

    Args:
        access: The access to Google's services.
    """

    def __init__(self, access: Access) -> None:
        self.access = access

    def report(self, endpoint: str, *, window_s: float, timeout: float) -> MetricsReport:
        """Return request counts and latencies of the last ``window_s`` seconds, and the use of the machines.

        Args:
            endpoint: The platform's ID of the endpoint.
            window_s: The window in seconds; the platform's periods are whole minutes.
            timeout: The timeout of each call in seconds.
        """
        end = self.access.server_time()
        ask = _Question(self, endpoint, end, timeout)
        by_code: Counter[str] = Counter()
        deployments: dict[str, Counter[str]] = {}
        for labels, points in ask.counts("response_count", window_s, "deployed_model_id", "response_code"):
            number, count = labels.get("deployed_model_id", ""), round(sum(points))
            name = deployment_of(number) or number
            by_code[labels.get("response_code", "")] += count
            deployments.setdefault(name, Counter())[labels.get("response_code", "")] += count
        latencies = [latency(scope, ask.distributions(kind, window_s)) for kind, scope in _SCOPES.items()]
        busy = ask.latest("cpu/utilization", "deployed_model_id", "replica_id")  # in cores: it may exceed 1 (certain)
        memory = ask.latest("memory/bytes_used", "deployed_model_id", "replica_id")
        replicas = ask.latest("replicas", "deployed_model_id")
        return MetricsReport(
            window_s=window_s,
            end=end,
            requests=dict(by_code),
            latency=tuple(one for one in latencies if one.count),
            cpu=round(sum(value for _, value in busy), 3) if busy else None,
            memory_bytes=round(sum(value for _, value in memory)) or None,
            replicas=round(sum(value for _, value in replicas)) if replicas else None,
            deployments=deployments,
            late_s=GAUGES_LATE_S,
        )

    def series(self, params: list[tuple[str, str]], *, timeout: float) -> Iterable[dict[str, Any]]:
        """Yield the time series of one query, from all pages of the answer."""
        url = f"{self.access.url('monitoring')}/v3/projects/{self.access.options.project}/timeSeries"
        page = ""
        for fetching in bounded.turns("the list of time series"):
            query = [*params, *([("pageToken", page)] if page else [])]
            with fetching:
                answer = self.access.send("GET", url, "ListTimeSeries", timeout=timeout, params=query)
            told: dict[str, Any] = answer.json()
            yield from told.get("timeSeries") or ()
            page = str(told.get("nextPageToken") or "")
            if not page:
                return


class _Question:
    """Metric queries about one endpoint, up to one moment."""

    def __init__(self, metrics: Metrics, endpoint: str, end: float, timeout: float) -> None:
        self._metrics, self._endpoint, self._end, self._timeout = metrics, endpoint, end, timeout

    def _ask(
        self,
        metric: str,
        window_s: float,
        aligner: str,
        *,
        fields: tuple[str, ...] = (),
        more: str = "",
        period_s: int = 0,
    ) -> Iterable[dict[str, Any]]:
        window = max(_SHORTEST_S, math.ceil(window_s / 60) * 60)
        region = self._metrics.access.options.region  # a project's series include all its regions
        filter_ = (
            f'metric.type="{_PREFIX}{metric}" AND resource.labels.location="{region}" '
            f'AND resource.labels.endpoint_id="{self._endpoint}"{more}'
        )
        params = [
            ("filter", filter_),
            ("interval.startTime", _stamp(self._end - window)),
            ("interval.endTime", _stamp(self._end)),
            ("aggregation.alignmentPeriod", f"{period_s or window}s"),
            ("aggregation.perSeriesAligner", aligner),
            ("aggregation.crossSeriesReducer", "REDUCE_SUM"),
            *(("aggregation.groupByFields", f"metric.labels.{field}") for field in fields),
        ]
        return self._metrics.series(params, timeout=self._timeout)

    def counts(self, metric: str, window_s: float, *fields: str) -> Iterable[tuple[dict[str, str], list[float]]]:
        """Yield the values of a counter, summed by some labels."""
        for one in self._ask(metric, window_s, "ALIGN_DELTA", fields=fields):
            yield one["metric"].get("labels") or {}, [_number(point["value"]) for point in one["points"]]

    def latest(self, metric: str, *fields: str) -> list[tuple[dict[str, str], float]]:
        """Return the newest value of a gauge by some labels."""
        return [
            (one["metric"].get("labels") or {}, _number(one["points"][0]["value"]))
            for one in self._ask(metric, _LOOKED_AT_S, "ALIGN_MEAN", fields=fields, period_s=_SAMPLE_S)
            if one.get("points")
        ]

    def distributions(self, kind: str, window_s: float) -> list[dict[str, Any]]:
        """Return distributions of one type of latency; without the type every request would be counted three times."""
        more = f' AND metric.labels.latency_type="{kind}"'
        return [
            point["value"]["distributionValue"]
            for one in self._ask("prediction_latencies", window_s, "ALIGN_DELTA", more=more)
            for point in one["points"]
        ]


def latency(scope: str, distributions: Iterable[Mapping[str, Any]]) -> Latency:
    """Return quantiles of distributions with equal buckets: counts are added up, quantiles never are.

    Example:
        >>> bounds = {"exponentialBuckets": {"numFiniteBuckets": 4, "growthFactor": 2.0, "scale": 1.0}}
        >>> told = {"count": "4", "mean": 3, "bucketOptions": bounds, "bucketCounts": ["0", "0", "4"]}
        >>> latency("platform", [told]).p50
        2.83
    """
    counts: Counter[float] = Counter()
    total, weight = 0, 0.0
    for one in distributions:
        count = int(one.get("count") or 0)
        total += count
        weight += count * float(one.get("mean") or 0.0)
        bounds = _bounds(one.get("bucketOptions") or {})
        for place, in_it in enumerate(one.get("bucketCounts") or ()):
            counts[_middle(bounds, place)] += int(in_it)
    p50, p90, p95, p99 = (_quantile(counts, share) for share in (50, 90, 95, 99))
    mean = round(weight / total, 3) if total else None
    return Latency(scope, "histogram", total, p50, p90, p95, p99, mean)


def _bounds(options: Mapping[str, Any]) -> list[float]:
    """Return the bounds between buckets, lowest first; the first and the last bucket are open-ended."""
    if "explicitBuckets" in options:
        return [float(bound) for bound in options["explicitBuckets"].get("bounds") or ()]
    if "linearBuckets" in options:
        linear = options["linearBuckets"]
        start, width = float(linear.get("offset") or 0), float(linear["width"])
        return [start + width * place for place in range(int(linear["numFiniteBuckets"]) + 1)]
    if "exponentialBuckets" in options:
        growing = options["exponentialBuckets"]
        scale, factor = float(growing["scale"]), float(growing["growthFactor"])
        return [scale * factor**place for place in range(int(growing["numFiniteBuckets"]) + 1)]
    return []


def _middle(bounds: list[float], place: int) -> float:
    """Return the middle of a bucket on a logarithmic scale; for a bucket with a single bound, that bound."""
    if not bounds:
        return 0.0
    if place == 0:
        return bounds[0]
    if place >= len(bounds):
        return bounds[-1]
    low, high = bounds[place - 1], bounds[place]
    return round(math.sqrt(low * high) if low > 0 else high / 2, 2)


def _quantile(counts: Mapping[float, int], share: int) -> float | None:
    rank = math.ceil(sum(counts.values()) * share / 100)
    if not rank:
        return None
    for value in sorted(counts):
        rank -= counts[value]
        if rank <= 0:
            return value
    raise AssertionError


def _number(value: Mapping[str, Any]) -> float:
    return float(value.get("int64Value", value.get("doubleValue", 0.0)))


def _stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


__all__ = ["Metrics", "latency"]
