"""Azure Monitor: requests per minute, the resource usage of containers, and the autoscale settings.

Source: https://learn.microsoft.com/azure/machine-learning/monitor-azure-machine-learning-reference
"""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from .answers import ArmRoutes, answer, failure, not_found, stamp, system_data, table
from .names import Names, same
from .world import SIZES, size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ..app import Request, Response
    from .endpoints import Endpoints
    from .online import Deployment, Endpoint

_MINUTE = 60
_SERIES = 10  # of a metric that is split, unless the caller requests more
_GIB = 2**30
_LATENCIES = {"RequestLatency_P50": 50, "RequestLatency_P90": 90, "RequestLatency_P95": 95, "RequestLatency_P99": 99}
_UNITS = {
    "RequestsPerMinute": "Count",
    "CpuUtilizationPercentage": "Percent",
    "CpuMemoryUtilizationPercentage": "Percent",
}


@dataclass(frozen=True, slots=True)
class Key:
    """The properties by which requests are counted."""

    deployment: str
    status: int
    model_status: int | None


@dataclass
class Minute:
    """The requests of one endpoint within one minute."""

    counts: dict[Key, int] = field(default_factory=lambda: defaultdict[Key, int](int))
    latencies: dict[str, list[float]] = field(default_factory=lambda: defaultdict[str, list[float]](list))


class Counters:
    """The requests of all endpoints, by minute."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._minutes: dict[str, dict[int, Minute]] = defaultdict(lambda: defaultdict(Minute))

    def add(self, endpoint: str, deployment: str, status: int, model_status: int | None, took_ms: float) -> None:
        """Count one request."""
        with self._lock:
            minute = self._minutes[endpoint][int(time.time()) // _MINUTE * _MINUTE]
            minute.counts[Key(deployment, status, model_status)] += 1
            minute.latencies[deployment].append(took_ms)

    def of(self, endpoint: str, begin: float, end: float) -> dict[int, Minute]:
        """Return the minutes within a span of time."""
        with self._lock:
            return {at: minute for at, minute in sorted(self._minutes[endpoint].items()) if begin <= at < end}


class Monitor:
    """The metrics of endpoints and deployments, and autoscale settings.

    Args:
        endpoints: The endpoints of the workspace.
        counters: The requests of all endpoints.
        valid: Checks whether a token is one of this cloud.
        settings: The autoscale settings of the resource group.
        find: Finds an endpoint of any workspace.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        counters: Counters,
        valid: Callable[[str], bool],
        settings: Names[dict[str, Any]],
        find: Callable[[str], Endpoint | None],
    ) -> None:
        self._endpoints, self.counters, self.settings, self._find = endpoints, counters, settings, find
        self._usage: dict[tuple[str, str], tuple[float, float]] = {}
        self.routes = ArmRoutes("monitor", valid)
        place, add = endpoints.world.place, self.routes.add
        one = f"{place.path}/onlineEndpoints/{{endpoint}}"
        metrics = "providers/Microsoft.Insights/metrics"
        add("GET", f"{one}/{metrics}", "GetEndpointMetrics")(self._endpoint_metrics)
        add("GET", f"{one}/deployments/{{deployment}}/{metrics}", "GetDeploymentMetrics")(self._deployment_metrics)
        path = f"{place.group}/providers/Microsoft.Insights/autoscaleSettings"
        add("GET", path, "ListAutoscale")(lambda _: answer({"value": list(self.settings.values())}))
        add("GET", f"{path}/{{setting}}", "GetAutoscale")(self._get_setting)
        add("PUT", f"{path}/{{setting}}", "PutAutoscale")(self._put_setting)
        add("DELETE", f"{path}/{{setting}}", "DeleteAutoscale")(self._delete_setting)

    # --- metrics

    def _endpoint_metrics(self, request: Request) -> Response:
        endpoint = self._endpoints.all.get(request.params["endpoint"])
        if endpoint is None:
            return not_found(request.params["endpoint"])
        begin, end = _span(request)
        minutes = self.counters.of(endpoint.key, begin, end)
        split = "eq '*'" in request.query.get("$filter", "")
        most = int(request.query.get("top") or _SERIES)
        values: list[dict[str, Any]] = []
        for name in request.query.get("metricnames", "").split(","):
            if name == "RequestsPerMinute":
                values.append(_metric(name, _requests(minutes, split=split)[:most]))
            elif name == "RequestLatency" or name in _LATENCIES:
                values.append(_metric(name, [({}, _latency(minutes, _LATENCIES.get(name)))]))
            else:
                return failure(400, "BadRequest", f"Failed to find metric configuration for metric: {name}")
        return answer({"value": values, "interval": "PT1M", "timespan": request.query.get("timespan")})

    def _deployment_metrics(self, request: Request) -> Response:
        endpoint = self._endpoints.all.get(request.params["endpoint"])
        found = endpoint.deployments.get(request.params["deployment"]) if endpoint else None
        if endpoint is None or found is None:
            return not_found(request.params["deployment"])
        cpu, memory = self._used(endpoint.name, found)
        now = int(time.time()) // _MINUTE * _MINUTE
        known = {
            "CpuUtilizationPercentage": cpu,
            "CpuMemoryUtilizationPercentage": memory,
            "DeploymentCapacity": float(found.capacity),
        }
        wanted = request.query.get("metricnames", "").split(",")
        unknown = [name for name in wanted if name not in known]
        if unknown:
            return failure(400, "BadRequest", f"Failed to find metric configuration for metric: {unknown[0]}")
        return answer({"value": [_metric(name, [({}, {now: known[name]})]) for name in wanted], "interval": "PT1M"})

    def _used(self, endpoint: str, found: Deployment) -> tuple[float, float]:
        """Return the used percentage of the machine's cores since the last call, and of its memory."""
        cores, memory_gib = SIZES[size_of(found.body["properties"]["instanceType"]) or ""]
        spent, memory = found.serving.usage()
        now, key = time.monotonic(), (endpoint, found.name)
        before, at = self._usage.get(key, (0.0, now - max(1.0, time.time() - found.created)))
        self._usage[key] = spent, now
        share = max(0.0, spent - before) / max(now - at, 0.001) / (cores * found.capacity)
        return min(100.0, 100 * share), min(100.0, 100 * memory / (memory_gib * _GIB * found.capacity))

    # --- autoscale

    def _get_setting(self, request: Request) -> Response:
        found = self.settings.get(request.params["setting"])
        return answer(found) if found else not_found(request.params["setting"])

    def _put_setting(self, request: Request) -> Response:
        name, body = request.params["setting"], request.json()
        target = str(table(body.get("properties")).get("targetResourceUri", ""))
        parts = target.split("/")
        named = len(parts) > 4 and same(parts[-4], "onlineEndpoints") and same(parts[-2], "deployments")
        endpoint, deployment = (parts[-3], parts[-1]) if named else ("", "")
        behind = self._find(endpoint)
        if behind is None or deployment not in behind.deployments:
            return failure(400, "BadRequest", f"properties.targetResourceUri: {target} was not found.")
        known = name in self.settings
        made = time.time()
        name = self.settings.spelled(name)
        self.settings[name] = {**body, "id": request.path, "name": name, "systemData": system_data(made)}
        return answer(self.settings[name], 200 if known else 201)

    def _delete_setting(self, request: Request) -> Response:
        known = self.settings.pop(request.params["setting"], None) is not None
        return answer({}, 200) if known else not_found(request.params["setting"])


def _span(request: Request) -> tuple[float, float]:
    begin, _, end = request.query.get("timespan", "").partition("/")
    return datetime.fromisoformat(begin).timestamp(), datetime.fromisoformat(end).timestamp()


def _metric(name: str, rows: Iterable[tuple[Mapping[str, str], Mapping[int, float]]]) -> dict[str, Any]:
    """Return a metric with its time series, as Azure Monitor shows it."""
    series = [
        {
            "metadatavalues": [
                {"name": {"value": key, "localizedValue": key}, "value": value} for key, value in by.items()
            ],
            "data": [{"timeStamp": stamp(at), "average": value} for at, value in minutes.items()],
        }
        for by, minutes in rows
    ]
    return {
        "name": {"value": name, "localizedValue": name},
        "unit": _UNITS.get(name, "MilliSeconds"),
        "timeseries": series,
    }


def _requests(minutes: Mapping[int, Minute], *, split: bool) -> list[tuple[dict[str, str], dict[int, float]]]:
    if not split:
        return [({}, {at: float(sum(minute.counts.values())) for at, minute in minutes.items()})]
    keys = sorted({key for minute in minutes.values() for key in minute.counts}, key=str)
    return [
        (
            {
                "deployment": key.deployment,
                "statuscode": str(key.status),
                "modelstatuscode": str(key.model_status or ""),
            },
            {at: float(minute.counts[key]) for at, minute in minutes.items() if key in minute.counts},
        )
        for key in keys
    ]


def _latency(minutes: Mapping[int, Minute], percent: int | None) -> dict[int, float]:
    """Return the mean or a percentile of all requests of each minute, in milliseconds."""
    found: dict[int, float] = {}
    for at, minute in minutes.items():
        every = sorted(took for one in minute.latencies.values() for took in one)
        if every:
            rank = math.ceil(len(every) * percent / 100) - 1 if percent else 0
            found[at] = every[rank] if percent else sum(every) / len(every)
    return found
