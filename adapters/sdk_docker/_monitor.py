"""Metrics and logs of an endpoint: exact counts from the gateway, resource use and logs from the engine."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sdk.adapter.shared import gateway_metrics
from sdk.adapter.shared.log_lines import read_line, select
from sdk.errors import NotFoundError

from ._endings import endings
from ._engine import seconds
from ._errors import PROVIDER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sdk.adapter.metrics import MetricsReport
    from sdk.adapter.types import LogLine

    from ._engine import Host
    from ._gateway import Seen

_FOLLOW_S = 0.5
_JUST_AFTER_S = 1e-6
_AT_ONCE = 8  # an engine takes a second to measure one container, so several are measured in parallel


def report(host: Host, seen: Seen, given: Mapping[str, Any], window_s: float, timeout: float) -> MetricsReport:
    """Return counts, latencies and resource use; counts are exact, in whole minutes."""
    containers = [about for many in seen.replicas.values() for about in many]
    cpu, memory = _use(host, [str(about["Id"]) for about in containers if about["State"]["Running"]], timeout)
    known: dict[str, Any] = seen.status.get("deployments", {})
    return gateway_metrics.report(
        given,
        window_s,
        cpu=cpu,
        memory_bytes=memory,
        replicas=sum(bool(one["ready"]) for deployment in known.values() for one in deployment["replicas"].values()),
        restarts=sum(int(about["RestartCount"]) for about in containers),
        last_request_at=seen.status.get("last_request_at"),
    )


def _use(host: Host, ids: list[str], timeout: float) -> tuple[float | None, int | None]:
    """Return the cores that these containers used in the last second and their bytes of memory."""

    def measure(one: str) -> tuple[float, int] | None:
        try:
            stats = host.engine.call("GET", f"/containers/{one}/stats", params={"stream": "0"}, timeout_s=timeout)
        except NotFoundError:
            return None
        return cores(stats), memory_bytes(stats)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = [one for one in pool.map(measure, ids) if one is not None]
    return (round(sum(cpu for cpu, _ in found), 3), sum(memory for _, memory in found)) if found else (None, None)


def cores(stats: Mapping[str, Any]) -> float:
    """Return the cores busy between the two readings that an engine gives.

    Example:
        >>> now = {"cpu_usage": {"total_usage": 5}, "system_cpu_usage": 20, "online_cpus": 2}
        >>> before = {"cpu_usage": {"total_usage": 0}, "system_cpu_usage": 10}
        >>> cores({"cpu_stats": now, "precpu_stats": before})
        1.0
    """
    now, before = stats["cpu_stats"], stats["precpu_stats"]
    machine = now.get("system_cpu_usage", 0) - before.get("system_cpu_usage", 0)
    used = now["cpu_usage"]["total_usage"] - before["cpu_usage"]["total_usage"]
    return float(used / machine * now.get("online_cpus", 1)) if machine > 0 else 0.0


def memory_bytes(stats: Mapping[str, Any]) -> int:
    """Return the bytes in use without the page cache that the kernel can reclaim.

    Example:
        >>> memory_bytes({"memory_stats": {"usage": 10, "stats": {"inactive_file": 4}}})
        6
    """
    memory: Mapping[str, Any] = stats.get("memory_stats") or {}
    details: Mapping[str, int] = memory.get("stats") or {}
    spare = details.get("total_inactive_file", details.get("inactive_file", 0))  # cgroup v1, v2
    return max(0, int(memory.get("usage", 0)) - spare)


def logs(
    host: Host,
    endpoint: str,
    look: Callable[[], Seen | None],
    *,
    deployment: str | None,
    tail: int | None,
    follow: bool,
    request_id: str | None,
    sleep: Callable[[float], None],
) -> Iterator[LogLine]:
    """Yield the lines of the replicas and how each ended, oldest first; with ``follow`` also later ones.

    Raises:
        NotFoundError: The deployment does not exist.
    """
    last: dict[str, str] = {}
    first, ended = True, 0.0
    while True:
        lines: list[LogLine] = []
        for replica, container in _containers(look(), deployment):
            most = tail if first and request_id is None else None
            found = host.lines(container, after=last.get(container, ""), tail=most)
            lines += [_line(replica, stamp, text) for stamp, text in found]
            last[container] = found[-1][0] if found else last.get(container, "")
        ends = list(endings(host, endpoint, ended)) if request_id is None else []
        ended = max((line.time + _JUST_AFTER_S for line in ends), default=ended)
        lines += [line for line in ends if deployment in {None, line.deployment}]
        lines.sort(key=lambda line: line.time)
        yield from select(lines, tail if first else None, request_id)
        if not follow:
            return
        first = False
        sleep(_FOLLOW_S)


def _containers(seen: Seen | None, deployment: str | None) -> Iterator[tuple[str, str]]:
    """Yield the replicas to read, each with its container."""
    if seen is None or (deployment is not None and deployment not in seen.replicas):
        raise NotFoundError(f"there is no deployment {deployment!r} to read", provider=PROVIDER, operation="ReadLogs")
    for name, many in seen.replicas.items():
        if deployment in {None, name}:
            yield from ((f"{name}-{number}", str(about["Id"])) for number, about in enumerate(many))


def _line(replica: str, stamp: str, text: str) -> LogLine:
    return replace(read_line(replica, text), time=seconds(stamp) or 0.0)
