"""Metrics and logs of an endpoint: Azure Monitor's minutes, and the last log lines of its containers.

Source: https://learn.microsoft.com/azure/machine-learning/monitor-azure-machine-learning-reference
"""

from __future__ import annotations

import math
import re
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from sdk.adapter.metrics import Latency, MetricsReport
from sdk.adapter.shared.log_lines import dated, read_line, select, start_failure
from sdk.errors import NotFoundError, ThrottledError, UnavailableError
from sdk.util.waiting import pause_after

from ._errors import gone
from ._json import moment, rows, table
from ._names import split_deployment_id
from ._plan import DEPLOYMENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from sdk.adapter import Live
    from sdk.adapter.prices import PriceRow
    from sdk.adapter.types import LogLine

    from ._arm import Arm
    from ._deploy import Deployments

METRICS_API = "2023-10-01"
_MINUTE = 60.0
_GIB = 2**30
_MOST_LINES = 5000
_FOLLOW_S, _SELDOM_S = 2.0, 15.0  # pauses between two reads; Azure allows 1,200 of them per hour and subscription
_BUSY_S = (5.0, 10.0, 20.0, 40.0)  # pauses after those are used up, or after a missing answer
_MOST_SERIES = "1000"
_HEADER, _LINES = "Instance status:", "Container logs:"
_WARNING = re.compile(r"Type: Warning\b.*?Message: (.+)")
_QUANTILES = {f"p{share}": f"RequestLatency_P{share}" for share in (50, 90, 95, 99)}
_BY_STATUS = "deployment eq '*' and statusCode eq '*' and modelStatusCode eq '*'"
_NO_MISTAKES = {"408", "424", "429"}  # the container took too long, failed without a status, or is overloaded
Point = tuple[float, float]  # Unix seconds of the minute's start, value


class Monitor:
    """A reader of Azure's measurements and of the containers' logs.

    Args:
        arm: The client of the resource manager.
        deployments: The endpoints of the workspace.
        machine: Returns the size of an instance type.
    """

    def __init__(self, arm: Arm, deployments: Deployments, machine: Callable[[str | None], PriceRow | None]) -> None:
        self.arm = arm
        self._deployments = deployments
        self._machine = machine

    # --- metrics

    def report(self, name: str, window_s: float, timeout: float) -> MetricsReport:
        """Return counts, latencies and resource use over whole minutes.

        Raises:
            NotFoundError: The endpoint does not exist.
        """
        live = self._deployments.observe(name, timeout)
        if not live:
            raise gone("endpoint", name)
        end = self.arm.server_time()
        path, span = self._deployments.endpoint_path(name), timespan(end - window_s, end)
        counts = counted(self._series(path, "RequestsPerMinute", span, timeout, _BY_STATUS))
        behind = [one for one in live if one.kind == DEPLOYMENT]
        cpu, memory = self._use(behind, timespan(end - 5 * _MINUTE, end), timeout)
        return MetricsReport(
            window_s=window_s,
            end=end,
            requests=counts.classes,
            latency=(self._latency(path, span, counts.minutes, timeout),),
            cpu=cpu,
            memory_bytes=memory,
            replicas=sum(int(str(one.details["count"])) for one in behind),
            deployments=counts.deployments,
            last_request_at=max((at for at, count in counts.minutes.items() if count), default=None),
        )

    def _series(
        self, path: str, metrics: str, span: str, timeout: float, where: str | None = None
    ) -> dict[str, list[Series]]:
        """Return the series of metrics in minutes, by metric."""
        params = {"metricnames": metrics, "timespan": span, "interval": "PT1M", "aggregation": "Average"}
        split = {"$filter": where, "top": _MOST_SERIES} if where else {}  # without it, Azure returns ten series
        found: dict[str, Any] = self.arm.call(
            "GET",
            f"{path}/providers/Microsoft.Insights/metrics",
            "read metrics",
            timeout=timeout,
            api=METRICS_API,
            params=params | split,
        ).json()
        return {_name(one): list(map(Series.of, rows(one.get("timeseries")))) for one in rows(found.get("value"))}

    def _latency(self, path: str, span: str, minutes: Mapping[float, float], timeout: float) -> Latency:
        """Return the worst minute of each quantile: an upper bound, since quantiles of minutes cannot be added up."""
        names = ",".join(["RequestLatency", *_QUANTILES.values()])
        found = self._series(path, names, span, timeout)
        worst = {
            key: max((value for _, value in points(found, name)), default=None) for key, name in _QUANTILES.items()
        }
        means = [(value, minutes.get(at, 0.0)) for at, value in points(found, "RequestLatency")]
        count = sum(weight for _, weight in means)
        mean = sum(value * weight for value, weight in means) / count if count else None
        return Latency("platform", "approximate", round(sum(minutes.values())), **worst, mean=mean)

    def _use(self, behind: Sequence[Live], span: str, timeout: float) -> tuple[float | None, int | None]:
        """Return the cores in use and bytes of memory in the last measured minute."""
        cores, memory = 0.0, 0.0
        for live in behind:
            machine = self._machine(cast("str | None", live.details["instance"]))
            path = self._deployments.deployment_path(live.id)
            found = self._series(path, "CpuUtilizationPercentage,CpuMemoryUtilizationPercentage", span, timeout)
            cpu, used = points(found, "CpuUtilizationPercentage"), points(found, "CpuMemoryUtilizationPercentage")
            if machine is None or not cpu or not used:
                return None, None
            count = int(str(live.details["count"]))
            cores += cpu[-1][1] / 100 * machine.vcpu * count
            memory += used[-1][1] / 100 * machine.memory_gib * _GIB * count
        return (round(cores, 3), round(memory)) if behind else (None, None)

    # --- logs

    def tail(self, name: str, deployment: str, lines: int, timeout: float) -> list[str]:
        """Return the last lines of a deployment's container; empty if it has not been started.

        Raises:
            NotFoundError: The deployment does not exist.
        """
        return container_lines(self._content(name, deployment, lines, timeout))

    def _content(self, name: str, deployment: str, lines: int, timeout: float) -> str:
        """Return Azure's log: states and events of the instance, then the container's lines."""
        path = self._deployments.deployment_path(f"{name}.{deployment}")
        body = {"containerType": "InferenceServer", "tail": min(lines, _MOST_LINES)}
        found = self.arm.call("POST", f"{path}/getLogs", "read logs", timeout=timeout, resource=deployment, body=body)
        return str(found.json().get("content") or "")

    def why(self, name: str, deployment: str, timeout: float) -> str | None:
        """Return why a deployment never became ready: the server's own words, else the platform's last warning."""
        content = self._content(name, deployment, 50, timeout)
        said = (start_failure(line) for line in reversed(container_lines(content)))
        return next(filter(None, said), None) or last_warning(content)

    def logs(
        self,
        name: str,
        *,
        deployment: str | None,
        tail: int | None,
        follow: bool,
        request_id: str | None,
        sleep: Callable[[float], None],
    ) -> Iterator[LogLine]:
        """Yield the lines of the containers, oldest first; with ``follow`` also later ones.

        Raises:
            NotFoundError: The endpoint or deployment does not exist.
        """
        before: dict[str, list[str]] = {}
        last: dict[str, float] = {}
        pause = _FOLLOW_S
        while True:
            found: list[LogLine] = []
            for one in _patiently(lambda: self._named(name, deployment), sleep):
                lines = _patiently(lambda one=one: self._tail_if_there(name, one, deployment), sleep)  # type: ignore[misc]  # binds the loop variable
                fresh = lines[overlap(before.get(one, []), lines) :]
                found += dated([read_line(f"{one}-0", text) for text in fresh], last, self.arm.server_time())
                before[one] = lines
            yield from select(sorted(found, key=lambda line: line.time), tail, request_id)
            if not follow:
                return
            tail = None
            pause = _FOLLOW_S if found or self.arm.place.mini else min(1.5 * pause, _SELDOM_S)
            sleep(pause)

    def _tail_if_there(self, name: str, one: str, wanted: str | None) -> list[str]:
        """Return the last lines of a deployment; none if it was deleted meanwhile and is not the one asked for."""
        try:
            return self.tail(name, one, _MOST_LINES, 30.0)
        except NotFoundError:
            if wanted is not None:
                raise
            return []

    def _named(self, name: str, deployment: str | None) -> list[str]:
        live = self._deployments.observe(name, 30.0)
        known = [split_deployment_id(one.id)[1] for one in live if one.kind == DEPLOYMENT]
        if not live or deployment not in {None, *known}:
            raise gone("deployment" if live else "endpoint", deployment if live and deployment else name)
        return known if deployment is None else [deployment]


def _patiently(read: Callable[[], list[str]], sleep: Callable[[float], None]) -> list[str]:
    """Make one read; repeat it after a pause if Azure is busy or does not answer."""
    for pause in _BUSY_S:
        try:
            return read()
        except (ThrottledError, UnavailableError) as error:
            sleep(pause_after(error, pause))
    return read()


# --- metrics as values ------------------------------------------------------------------------------------------


class Series:
    """One time series of a metric: its dimensions and its minutes."""

    def __init__(self, dimensions: Mapping[str, str], minutes: Sequence[Point]) -> None:
        self.dimensions = dimensions
        self.minutes = minutes

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Series:
        """Create a series from Azure's format; minutes without a value are left out."""
        dimensions = {_name(item).lower(): str(item.get("value")) for item in rows(raw.get("metadatavalues"))}
        minutes = [(moment(item.get("timeStamp")), item.get("average")) for item in rows(raw.get("data"))]
        return cls(dimensions, [(at, float(value)) for at, value in minutes if at is not None and value is not None])


class Counts:
    """Requests by status class, by deployment and by minute."""

    def __init__(self) -> None:
        self.classes: dict[str, int] = {}
        self.deployments: dict[str, dict[str, int]] = {}
        self.minutes: Counter[float] = Counter()


def counted(found: Mapping[str, Sequence[Series]]) -> Counts:
    """Add up the requests of all minutes, by the container's status where Azure reports it."""
    counts = Counts()
    for series in found.get("RequestsPerMinute", []):
        kind, total = status_class(series.dimensions), round(sum(value for _, value in series.minutes))
        if not kind or not total:
            continue
        counts.classes[kind] = counts.classes.get(kind, 0) + total
        own = counts.deployments.setdefault(series.dimensions.get("deployment", ""), {})
        own[kind] = own.get(kind, 0) + total
        for at, value in series.minutes:
            counts.minutes[at] += value  # type: ignore[assignment]  # Azure's averages of counts are whole
    return counts


def status_class(dimensions: Mapping[str, str]) -> str:
    """Return the class of a series: that of the container's own status, else of Azure's; empty if neither is known.

    Azure reports 408, 424 and 429 for requests that the endpoint failed to answer, so the caller is not at fault.

    Example:
        >>> status_class({"statuscode": "424", "modelstatuscode": "400"}), status_class({"statuscode": "429"})
        ('4xx', '5xx')
    """
    own, azure = dimensions.get("modelstatuscode") or "", dimensions.get("statuscode") or ""
    if own.isdigit():
        return f"{own[:1]}xx"
    if azure in _NO_MISTAKES:
        return "5xx"
    return f"{azure[:1]}xx" if azure.isdigit() else (dimensions.get("statuscodeclass") or "").lower()


def points(found: Mapping[str, Sequence[Series]], metric: str) -> list[Point]:
    """Return all minutes of a metric, in order of time."""
    return sorted(point for series in found.get(metric, []) for point in series.minutes)


def timespan(begin: float, end: float) -> str:
    """Return the whole minutes around a span of time, in Azure's format.

    Example:
        >>> timespan(61, 119)
        '1970-01-01T00:01:00Z/1970-01-01T00:02:00Z'
    """
    low, high = math.floor(begin / _MINUTE) * _MINUTE, math.ceil(end / _MINUTE) * _MINUTE
    return "/".join(datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for at in (low, high))


def _name(item: Mapping[str, Any]) -> str:
    """Return the name of a metric or a dimension."""
    return str(table(item.get("name")).get("value") or "")


# --- lines ------------------------------------------------------------------------------------------------------


def container_lines(content: str) -> list[str]:
    r"""Return the lines that the container wrote, without what Azure puts before them.

    Example:
        >>> container_lines("Instance status:\nSystemSetup: Succeeded\n\nContainer logs:\nready\n")
        ['ready']
    """
    lines = content.splitlines()
    if lines and lines[0].startswith(_HEADER):
        return lines[lines.index(_LINES) + 1 :] if _LINES in lines else []
    return lines


def last_warning(content: str) -> str | None:
    r"""Return the platform's last warning event; ``None`` if it has none.

    Example:
        >>> last_warning("Instance status:\nKind: Pod, Name: Failed, Type: Warning, Time: t, Message: no such image")
        'no such image'
    """
    if not content.startswith(_HEADER):
        return None
    found: list[str] = _WARNING.findall(content.partition(_LINES)[0])
    return found[-1].strip() if found else None


def overlap(before: Sequence[str], now: Sequence[str]) -> int:
    """Return how many lines at the start of a tail were at the end of the previous tail.

    Example:
        >>> overlap(["a", "b", "c"], ["b", "c", "d"])
        2
    """
    for size in range(min(len(before), len(now)), 0, -1):
        if before[-size] == now[0] and list(before[-size:]) == list(now[:size]):
            return size
    return 0
