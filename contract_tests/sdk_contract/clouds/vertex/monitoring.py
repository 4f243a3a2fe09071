"""Cloud Monitoring: time series of the requests that were really served, aggregated as requested.

Source: https://cloud.google.com/monitoring/api/ref_v3/rest/v3/projects.timeSeries/list
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl

from .api import Api
from .errors import Refusal
from .filters import lookup, parse
from .values import duration, integer
from .world import stamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..app import Request
    from .predicting import Served
    from .serving import Deployment
    from .spots import Spot, Spots
    from .values import Json
    from .world import World

PREFIX = "aiplatform.googleapis.com/prediction/online/"
SAMPLED_S = (1.0, 5.0, 20.0, 60.0)  # ages of gauge samples: a slow client asks for a time before the last one
GROWTH, SCALE, BUCKETS = 1.1, 0.1, 160  # bounds of latency buckets: SCALE * GROWTH**i milliseconds


@dataclass(frozen=True)
class Series:
    """Points of one metric of one deployed model, before any aggregation: time and value."""

    world: World
    metric: str
    labels: tuple[tuple[str, str], ...]
    endpoint: str
    points: tuple[tuple[float, float], ...]
    gauge: bool = False
    distribution: bool = False

    def described(self) -> Json:
        """Return the fields that filters examine."""
        number, region = self.world.number, self.world.region
        resource = {"resource_container": number, "location": region, "endpoint_id": self.endpoint}
        return {
            "metric": {"type": PREFIX + self.metric, "labels": dict(self.labels)},
            "resource": {"type": "aiplatform.googleapis.com/Endpoint", "labels": resource},
        }


class Monitoring:
    """The metrics of all projects; a request gets those of all regions of a project."""

    def __init__(self, spots: Spots) -> None:
        self._spots = spots
        self.api = Api(spots, "monitoring")
        self.api.on("GET", "/v3/projects/{project}/timeSeries", "ListTimeSeries")(self.every)

    def every(self, request: Request) -> Json:
        """Return the series that match the filter, aligned and reduced."""
        query: dict[str, list[str]] = defaultdict(list)
        for name, value in parse_qsl(request.query_string):
            query[name].append(value)
        fits = parse(query["filter"][0] if query["filter"] else "")
        start = _seconds(query["interval.startTime"], 0.0)
        end = _seconds(query["interval.endTime"], time.time())
        spots = self._spots.of(self._spots.project(request.params["project"]))
        found = [one for spot in spots for one in _series(spot) if fits(one.described())]
        period = duration({"alignmentPeriod": (query["aggregation.alignmentPeriod"] or ["60s"])[0]}, "alignmentPeriod")
        if period <= 0:
            raise Refusal("INVALID_ARGUMENT", "aggregation.alignment_period must be at least one second.")
        aligner = (query["aggregation.perSeriesAligner"] or ["ALIGN_NONE"])[0]
        aligned = [(one, _aligned(one, start, end, period, aligner)) for one in found]
        reducer = (query["aggregation.crossSeriesReducer"] or ["REDUCE_NONE"])[0]
        if reducer == "REDUCE_NONE":
            series = [self._shown(one, one.described(), points) for one, points in aligned if points]
            return {"timeSeries": series}
        return {"timeSeries": self._reduced(aligned, query["aggregation.groupByFields"], reducer)}

    def _reduced(
        self, aligned: Iterable[tuple[Series, dict[tuple[float, float], Any]]], fields: list[str], reducer: str
    ) -> list[Json]:
        if reducer not in {"REDUCE_SUM", "REDUCE_MAX"}:
            raise Refusal("INVALID_ARGUMENT", f"This mini cloud knows no {reducer}.")
        groups: dict[tuple[str, ...], list[tuple[Series, dict[tuple[float, float], Any]]]] = defaultdict(list)
        for one, points in aligned:
            described = one.described()
            key = (
                one.metric,
                *(str(lookup(described, name.replace("metric.label.", "metric.labels."))) for name in fields),
            )
            groups[key].append((one, points))
        series: list[Json] = []
        for members in groups.values():
            merged: dict[tuple[float, float], Any] = {}
            for _, points in members:
                for when, value in points.items():
                    merged[when] = value if when not in merged else _together(merged[when], value, reducer)
            described = members[0][0].described()
            kept = {name.rpartition(".")[2] for name in fields}
            for part in (described["metric"], described["resource"]):
                part["labels"] = {name: text for name, text in part["labels"].items() if name in kept}
            if merged:
                series.append(self._shown(members[0][0], described, merged))
        return series

    @staticmethod
    def _shown(one: Series, described: Json, points: dict[tuple[float, float], Any]) -> Json:
        kind = "DISTRIBUTION" if one.distribution else "DOUBLE" if one.gauge else "INT64"
        shown = [
            {"interval": {"startTime": stamp(start), "endTime": stamp(end)}, "value": _value(value)}
            for (start, end), value in sorted(points.items(), reverse=True)
        ]
        return {**described, "metricKind": "GAUGE" if one.gauge else "DELTA", "valueType": kind, "points": shown}


def _series(spot: Spot) -> Iterable[Series]:
    """Yield the series of one region of one project."""
    groups: dict[tuple[str, str], list[Served]] = defaultdict(list)
    for one in list(spot.predictions.served):
        groups[one.endpoint, one.number].append(one)
    for (endpoint, number), served in groups.items():
        yield from _counted(spot.world, endpoint, number, served)
    for made in list(spot.fleet.running.values()):
        yield from _used(spot.world, made)


def _counted(world: World, endpoint: str, number: str, served: list[Served]) -> Iterable[Series]:
    base = (("deployed_model_id", number),)

    def series(
        metric: str, labels: dict[str, str], value: Callable[[Served], float], *, spread: bool = False
    ) -> Series:
        points = tuple(
            (one.at, value(one)) for one in served if labels.get("response_code", _klass(one)) == _klass(one)
        )
        return Series(world, metric, (*base, *labels.items()), endpoint, points, distribution=spread)

    for klass in sorted({_klass(one) for one in served}):
        yield series("response_count", {"response_code": klass}, lambda _: 1)
    yield series("prediction_count", {}, lambda _: 1)
    yield series("error_count", {}, lambda one: int(one.status >= 400))
    yield series("network/received_bytes_count", {"replica_id": "0"}, lambda one: one.received)
    yield series("network/sent_bytes_count", {"replica_id": "0"}, lambda one: one.sent)
    spans: dict[str, Callable[[Served], float]] = {
        "total": lambda one: one.total_ms,
        "model": lambda one: one.model_ms,
        "overhead": lambda one: one.total_ms - one.model_ms,
    }
    for kind, value in spans.items():
        yield series("prediction_latencies", {"latency_type": kind}, value, spread=True)


def _used(world: World, made: Deployment) -> Iterable[Series]:
    now, running = time.time(), [one for one in made.replicas if one.exit_code is None]
    endpoint, base = made.endpoint, (("deployed_model_id", made.number),)

    def gauge(metric: str, labels: tuple[tuple[str, str], ...], value: float) -> Series:
        moments = [now - back for back in SAMPLED_S if now - back >= made.began] or [now - SAMPLED_S[0]]
        return Series(world, metric, labels, endpoint, tuple((when, value) for when in moments), gauge=True)

    yield gauge("replicas", base, len(running))
    for place, one in enumerate(running):
        seconds, memory = one.usage()
        labels = (*base, ("replica_id", str(place)))
        share = seconds / max(1.0, now - made.began)
        yield gauge("cpu/utilization", labels, share)
        yield gauge("memory/bytes_used", labels, memory)


def _klass(one: Served) -> str:
    return f"{one.status // 100}xx"


def _seconds(texts: list[str], default: float) -> float:
    if not texts:
        return default
    try:
        return datetime.fromisoformat(texts[0]).timestamp()
    except (ValueError, OverflowError):
        raise Refusal("INVALID_ARGUMENT", f"{texts[0]!r} is no time in RFC 3339.") from None


def _aligned(one: Series, start: float, end: float, period: float, aligner: str) -> dict[tuple[float, float], Any]:
    """Group the points into periods that end at ``end``; distributions stay lists of values until they are shown."""
    slots: dict[tuple[float, float], list[float]] = defaultdict(list)
    for at, value in one.points:
        if start <= at <= end:
            back = math.floor((end - at) / period)
            slots[end - (back + 1) * period, end - back * period].append(value)
    if one.distribution and aligner in {"ALIGN_DELTA", "ALIGN_SUM", "ALIGN_NONE"}:
        return dict(slots)
    return {when: _single(values, aligner) for when, values in slots.items()}


def _single(values: list[float], aligner: str) -> float:
    if aligner.startswith("ALIGN_PERCENTILE_"):
        share = integer({"aligner": aligner.rpartition("_")[2]}, "aligner")
        return sorted(values)[max(0, math.ceil(len(values) * share / 100) - 1)]
    if aligner == "ALIGN_MEAN":
        return sum(values) / len(values)
    if aligner == "ALIGN_MAX":
        return max(values)
    return sum(values)


def _together(one: Any, other: Any, reducer: str) -> Any:
    return max(one, other) if reducer == "REDUCE_MAX" else one + other


def _value(value: Any) -> Json:
    if isinstance(value, list):
        return {"distributionValue": distribution(cast("list[float]", value))}
    return {"int64Value": str(int(value))} if float(value).is_integer() else {"doubleValue": value}


def distribution(values: list[float]) -> Json:
    """Return values as counts in exponential buckets; the first bucket holds everything below the scale.

    Example:
        >>> distribution([0.05, 0.1])["bucketCounts"]
        ['1', '1']
    """
    counts = [0] * (BUCKETS + 2)
    for value in values:
        place = 0 if value < SCALE else min(BUCKETS + 1, 1 + math.floor(math.log(value / SCALE, GROWTH)))
        counts[place] += 1
    while counts and not counts[-1]:
        counts.pop()
    bounds = {"exponentialBuckets": {"numFiniteBuckets": BUCKETS, "growthFactor": GROWTH, "scale": SCALE}}
    mean = sum(values) / len(values)
    return {
        "count": str(len(values)),
        "mean": mean,
        "bucketOptions": bounds,
        "bucketCounts": [str(one) for one in counts],
    }
