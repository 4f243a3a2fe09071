"""What an endpoint did and said: the gateway's exact counts, the engine's use of the machine, the containers' logs."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from sdk.errors import NotFoundError
from sdk.plane import measuring
from sdk.plane.lines import read_line, select

from ._errors import PROVIDER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sdk.metrics import MetricsReport
    from sdk.types import LogLine

    from ._engine import Host
    from ._gateway import Seen

_FOLLOW_S = 0.5


def report(host: Host, seen: Seen, given: Mapping[str, Any], window_s: float, timeout: float) -> MetricsReport:
    """Counts, latencies and use of the machine; counts are exact, in whole minutes."""
    containers = [about for many in seen.replicas.values() for about in many]
    cpu, memory = _use(host, [str(about["Id"]) for about in containers if about["State"]["Running"]], timeout)
    known: dict[str, Any] = seen.status.get("deployments", {})
    return measuring.report(
        given,
        window_s,
        cpu=cpu,
        memory_bytes=memory,
        replicas=sum(bool(one["ready"]) for deployment in known.values() for one in deployment["replicas"].values()),
        restarts=sum(int(about["RestartCount"]) for about in containers),
        last_request_at=seen.status.get("last_request_at"),
    )


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
        lines.sort(key=lambda line: line.time)
        yield from select(lines, tail if first else None, request_id)
        if not follow:
            return
        sleep(_FOLLOW_S)


def _fresh(host: Host, container: str, replica: str, shown: Counter[str]) -> list[LogLine]:
    """What a container has written since the last look, each line with its time by the server or by the line before."""
    lines: list[LogLine] = []
    last = 0.0
    for text in host.engine.logs(container, tail=10_000):
        line = read_line(replica, text, last)
        last = line.time
        lines.append(line)
    fresh = lines[shown[container] :]
    shown[container] = len(lines)
    return fresh
