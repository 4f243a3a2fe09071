"""CloudWatch's view of endpoints, computed from the traffic that really passed and the containers that really run.

Moto answers for all other metrics and speaks the protocols; its backend is extended for SageMaker's namespaces.
Source: https://docs.aws.amazon.com/sagemaker/latest/dg/monitoring-cloudwatch.html
"""

from __future__ import annotations

import inspect
import os
import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ..traffic import Sample, percentile, statistic

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .endpoints import Endpoints
    from .fleet import Variant
    from .keys import Spot
    from .world import World

CALLS, HOSTS = "AWS/SageMaker", "/aws/sagemaker/Endpoints"
_PERCENTILE = re.compile(r"p(\d{1,2}(?:\.\d+)?|100)")
_STATISTICS = {
    "Sum": "sum",
    "Average": "average",
    "Minimum": "minimum",
    "Maximum": "maximum",
    "SampleCount": "count",
}
_UNITS = {"ModelLatency": "Microseconds", "OverheadLatency": "Microseconds"}
_HOST = ("CPUUtilization", "MemoryUtilization")
_NAMES = (
    "Invocations", "Invocation4XXErrors", "Invocation5XXErrors", "InvocationModelErrors", "InvocationsPerInstance",
    "ModelLatency", "OverheadLatency",
)  # fmt: skip
_EVERY_S = 1.0


class Metrics:
    """SageMaker's metrics.

    Args:
        world: Has the traffic.
        endpoints: Has the containers.
    """

    def __init__(self, world: World, endpoints: Endpoints) -> None:
        self._world, self._endpoints = world, endpoints
        self._uses: dict[tuple[Spot, str, str], list[tuple[float, float, float]]] = {}
        self._last: dict[tuple[Spot, str, str], tuple[float, float]] = {}
        self._joined: set[Spot] = set()

    def join(self, spot: Spot) -> None:
        """Wrap moto's backend of an account and region, and measure its containers."""
        self._measure(spot)
        if spot in self._joined:
            return
        self._joined.add(spot)
        backend = self._world.moto.backend("cloudwatch", spot)
        theirs: Callable[..., list[dict[str, Any]]] = backend.get_metric_data
        their_statistics: Callable[..., list[Any]] = backend.get_metric_statistics

        def get_metric_data(queries: list[dict[str, Any]], **rest: Any) -> list[dict[str, Any]]:
            ours = {q["Id"]: self._series(spot, q, **rest) for q in queries if _is_ours(q)}
            others = [query for query in queries if query["Id"] not in ours]
            told = theirs(queries=others, **rest) if others else []
            found = {one["id"]: one for one in told} | ours
            return [found[query["Id"]] for query in queries if query["Id"] in found]

        def get_metric_statistics(*args: Any, **rest: Any) -> list[Any]:
            asked = inspect.signature(their_statistics).bind(*args, **rest).arguments
            ours = asked["namespace"] in {CALLS, HOSTS}
            return self._statistics(spot, asked) if ours else their_statistics(*args, **rest)

        backend.get_metric_data, backend.get_metric_statistics = get_metric_data, get_metric_statistics

    def _series(
        self, spot: Spot, query: Mapping[str, Any], *, start_time: datetime, end_time: datetime, scan_by: str
    ) -> dict[str, Any]:
        """Return one result of ``GetMetricData``."""
        stat, metric = query["MetricStat"], query["MetricStat"]["Metric"]
        points = [
            (at, _value(values, stat["Stat"]))
            for at, values in self._buckets(spot, metric, _period(stat), start_time, end_time)
        ]
        if scan_by == "TimestampDescending":
            points.reverse()
        shown = [(at, value) for at, value in points if value is not None]
        return {
            "Id": query["Id"],
            "Label": query.get("Label") or metric["MetricName"],
            "StatusCode": "Complete",
            "Timestamps": [at for at, _ in shown],
            "Values": [value for _, value in shown],
            "Messages": [],
        }

    def _statistics(self, spot: Spot, asked: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the datapoints of ``GetMetricStatistics``."""
        name, dimensions = asked["metric_name"], asked["dimensions"]
        metric = {"Namespace": asked["namespace"], "MetricName": name, "Dimensions": dimensions}
        unit = asked.get("unit") or _UNITS.get(name, "None")
        return [
            {"Timestamp": at, "Unit": unit, **{kind: _value(values, kind) for kind in asked["stats"]}}
            for at, values in self._buckets(spot, metric, asked["period"], asked["start_time"], asked["end_time"])
        ]

    def _buckets(
        self, spot: Spot, metric: Mapping[str, Any], period: int, start: datetime, end: datetime
    ) -> list[tuple[datetime, list[float]]]:
        """Return the values of each non-empty period; EndpointName alone matches nothing, as on the real platform."""
        dimensions = {one["Name"]: one["Value"] for one in metric.get("Dimensions") or ()}
        if set(dimensions) != {"EndpointName", "VariantName"}:
            return []
        key = (spot, dimensions["EndpointName"], dimensions["VariantName"])
        begin, until = _seconds(start), _seconds(end)
        timed = self._values(key, metric["Namespace"], metric["MetricName"], begin, until)
        found: dict[float, list[float]] = {}
        for at, value in timed:
            found.setdefault(begin + (at - begin) // period * period, []).append(value)
        return [(datetime.fromtimestamp(at, UTC), values) for at, values in sorted(found.items())]

    def _values(
        self, key: tuple[Spot, str, str], namespace: str, name: str, start: float, end: float
    ) -> list[tuple[float, float]]:
        if namespace == HOSTS:
            place = {"CPUUtilization": 1, "MemoryUtilization": 2}.get(name)
            uses = self._uses.get(key, ()) if place else ()
            return [(use[0], use[place or 0]) for use in uses if start <= use[0] < end]
        samples = self._world.traffic.between(key, start, end)
        instances = max(1, self._count(key))
        return [(one.at, _measure(name, one, instances)) for one in samples if name in _NAMES]

    def _count(self, key: tuple[Spot, str, str]) -> int:
        variant = self._variant(key)
        return variant.count if variant else 1

    def _variant(self, key: tuple[Spot, str, str]) -> Variant | None:
        record = self._endpoints.shelf.peek(key[0], key[1])
        return record.fleet.variant(key[2]) if record else None

    def _measure(self, spot: Spot) -> None:
        """Take one sample of each container: percent of one core, percent of this machine's memory."""
        now, total = time.time(), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        for record in list(self._endpoints.shelf.all(spot)):
            for variant in record.fleet.variants:
                key = (spot, record.name, variant.name)
                at, before = self._last.get(key, (0.0, 0.0))
                if variant.running is None or now - at < _EVERY_S:
                    continue
                cpu, memory = variant.running.usage()
                self._last[key] = (now, cpu)
                if at:
                    busy = max(0.0, cpu - before) / (now - at) * 100
                    self._uses.setdefault(key, []).append((now, busy, memory / total * 100))
                else:
                    self._uses.setdefault(key, []).append((now, 0.0, memory / total * 100))


def _is_ours(query: Mapping[str, Any]) -> bool:
    return "MetricStat" in query and query["MetricStat"]["Metric"]["Namespace"] in {CALLS, HOSTS}


def _measure(name: str, sample: Sample, instances: int) -> float:
    """Return what one request adds to a metric."""
    if name == "ModelLatency":
        return sample.model_s * 1e6
    if name == "OverheadLatency":
        return sample.overhead_s * 1e6
    if name == "InvocationsPerInstance":
        return 1.0 / instances
    if name == "Invocation4XXErrors":
        return float(400 <= sample.status < 500)
    if name == "InvocationModelErrors":  # includes requests without a status: time-outs, lost connections
        return float(not 200 <= sample.status < 300)
    return 1.0 if name == "Invocations" else float(sample.status >= 500)


def _value(values: list[float], wanted: str) -> float | None:
    found = _PERCENTILE.fullmatch(wanted)
    if found:
        return percentile(values, float(found[1]))
    kind: Any = _STATISTICS.get(wanted)
    return statistic(values, kind) if kind else None


def _period(stat: Mapping[str, Any]) -> int:
    return int(stat["Period"])


def _seconds(moment: datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
