"""What an endpoint did and said: the gateway's exact counts, the engine's use of the machine, the containers' logs."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

from sdk.errors import NotFoundError
from sdk.metrics import Latency, MetricsReport
from sdk.types import LogLine

from ._errors import PROVIDER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ._engine import Host
    from ._gateway import Seen

_GROWTH = 1.1  # from one bucket's bound to the next
_FOLLOW_S = 0.5


def report(host: Host, seen: Seen, given: Mapping[str, Any], window_s: float, timeout: float) -> MetricsReport:
    """Counts, latencies and use of the machine; counts are exact, in whole minutes."""
    deployments: dict[str, Any] = given["deployments"]
    requests: Counter[str] = Counter()
    buckets: Counter[float] = Counter()
    total = 0.0
    for one in deployments.values():
        requests.update(one["classes"])
        buckets.update({float(bound): count for bound, count in one["latency"]["buckets"].items()})
        total += one["latency"]["sum_s"]
    containers = [about for many in seen.replicas.values() for about in many]
    cpu, memory = _use(host, [str(about["Id"]) for about in containers if about["State"]["Running"]], timeout)
    known: dict[str, Any] = seen.status.get("deployments", {})
    return MetricsReport(
        window_s=window_s,
        end=given["now"],
        requests=dict(requests),
        latency=(latency(buckets, total),),
        cpu=cpu,
        memory_bytes=memory,
        replicas=sum(bool(one["ready"]) for deployment in known.values() for one in deployment["replicas"].values()),
        restarts=sum(int(about["RestartCount"]) for about in containers),
        deployments={name: one["classes"] for name, one in deployments.items()},
        last_request_at=seen.status.get("last_request_at"),
    )


def latency(buckets: Mapping[float, int], seconds: float) -> Latency:
    """Quantiles of a histogram whose keys are upper bounds in seconds; buckets are added up, quantiles never are.

    Example:
        >>> latency({0.0011: 9, 0.011: 1}, 0.02).p50
        1.05
    """
    count = sum(buckets.values())
    p50, p90, p95, p99 = (_quantile(buckets, share) for share in (50, 90, 95, 99))
    mean = round(1000 * seconds / count, 3) if count else None
    return Latency("gateway", "histogram", count, p50, p90, p95, p99, mean)


def _quantile(buckets: Mapping[float, int], share: int) -> float | None:
    rank = math.ceil(sum(buckets.values()) * share / 100)
    if not rank:
        return None
    for bound in sorted(buckets):
        rank -= buckets[bound]
        if rank <= 0:
            return round(1000 * bound / math.sqrt(_GROWTH), 2)  # the bucket's middle on its scale
    raise AssertionError


def _use(host: Host, ids: list[str], timeout: float) -> tuple[float | None, int | None]:
    """Cores busy in the last second and bytes of memory of these containers, by the engine's account."""
    cores, memory = 0.0, 0
    for one in ids:
        try:
            stats = host.engine.call("GET", f"/containers/{one}/stats", params={"stream": "0"}, timeout_s=timeout)
        except NotFoundError:
            continue
        now, before = stats["cpu_stats"], stats["precpu_stats"]
        machine = now.get("system_cpu_usage", 0) - before.get("system_cpu_usage", 0)
        used = now["cpu_usage"]["total_usage"] - before["cpu_usage"]["total_usage"]
        cores += used / machine * now.get("online_cpus", 1) if machine > 0 else 0.0
        memory += int(stats.get("memory_stats", {}).get("usage", 0))
    return (round(cores, 3), memory) if ids else (None, None)


def logs(
    host: Host,
    look: Callable[[], Seen | None],
    *,
    deployment: str | None,
    tail: int | None,
    follow: bool,
    request_id: str | None,
    sleep: Callable[[float], None],
) -> Iterator[LogLine]:
    """The lines of the replicas, oldest first; with ``follow`` also those to come.

    Raises:
        NotFoundError: There is no such deployment.
    """
    shown: Counter[str] = Counter()
    while True:
        seen = look()
        if seen is None or (deployment is not None and deployment not in seen.replicas):
            raise NotFoundError(f"there is no deployment {deployment!r} to read", provider=PROVIDER)
        lines: list[LogLine] = []
        first = not shown
        for name, many in seen.replicas.items():
            if deployment in {None, name}:
                for number, about in enumerate(many):
                    lines += _fresh(host, str(about["Id"]), f"{name}-{number}", shown)
        found = [line for line in sorted(lines, key=lambda one: one.time) if _wanted(line, request_id)]
        yield from found[max(0, len(found) - tail) :] if first and tail is not None else found
        if not follow:
            return
        sleep(_FOLLOW_S)


def _fresh(host: Host, container: str, replica: str, shown: Counter[str]) -> list[LogLine]:
    """What a container has written since the last look, each line with its time by the server or by the line before."""
    lines: list[LogLine] = []
    last = 0.0
    for text in host.engine.logs(container, tail=10_000):
        line = _line(replica, text, last)
        last = line.time
        lines.append(line)
    fresh = lines[shown[container] :]
    shown[container] = len(lines)
    return fresh


def _wanted(line: LogLine, request_id: str | None) -> bool:
    return request_id is None or request_id == line.request_id or request_id in line.text


def _line(replica: str, text: str, last: float) -> LogLine:
    """A line of a replica; the server's own lines are JSON with their time and request id."""
    try:
        told: Any = json.loads(text)
    except ValueError:
        told = None
    given = cast("dict[str, Any]", told) if isinstance(told, dict) else {}
    stamp = given.get("ts")
    return LogLine(
        time=float(stamp) if isinstance(stamp, int | float) else last,
        text=text,
        deployment=replica.rpartition("-")[0],
        replica=replica,
        request_id=given.get("request_id"),
    )
