"""What an endpoint did and said: the gateway's exact counts and histograms, and the logs of its replicas."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import psutil

from sdk.errors import NotFoundError
from sdk.metrics import Latency, MetricsReport
from sdk.serving.gateway import client
from sdk.types import LogLine

from ._errors import PROVIDER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from ._folder import EndpointFolder
    from ._gateway import Seen

_FOLLOW_S = 0.5
_GROWTH = 1.1  # from one bucket's bound to the next


def report(folder: EndpointFolder, seen: Seen, window_s: float) -> MetricsReport:
    """Counts, latencies and use of the machine; counts are exact, in whole minutes."""
    given = client.metrics(folder.short, window_s=window_s)
    deployments: dict[str, Any] = given["deployments"]
    requests: Counter[str] = Counter()
    buckets: Counter[float] = Counter()
    seconds = 0.0
    for one in deployments.values():
        requests.update(one["classes"])
        buckets.update({float(bound): count for bound, count in one["latency"]["buckets"].items()})
        seconds += one["latency"]["sum_s"]
    replicas = [one for deployment in seen.deployments.values() for one in deployment.replicas.values()]
    cpu, memory = _use(int(one["pid"]) for one in replicas if one["pid"])
    return MetricsReport(
        window_s=window_s,
        end=given["now"],
        requests=dict(requests),
        latency=(latency(buckets, seconds),),
        cpu=cpu,
        memory_bytes=memory,
        replicas=sum(bool(one["ready"]) for one in replicas),
        restarts=sum(int(one["restarts"]) for one in replicas),
        deployments={name: one["classes"] for name, one in deployments.items()},
        last_request_at=seen.last_request_at,
    )


def latency(buckets: Mapping[float, int], seconds: float) -> Latency:
    """Quantiles of a histogram whose keys are upper bounds in seconds; buckets are added up, quantiles never are.

    Example:
        >>> latency({0.0011: 9, 0.011: 1}, 0.02).p50
        1.05
    """
    count = sum(buckets.values())
    quantiles = {share: _quantile(buckets, share) for share in (50, 90, 95, 99)}
    mean = round(1000 * seconds / count, 3) if count else None
    p50, p90, p95, p99 = quantiles.values()
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


def _use(pids: Iterable[int]) -> tuple[float | None, int | None]:
    """Cores busy on average since each replica began, and bytes of memory, with all that the replicas started."""
    cores, memory, found = 0.0, 0, False
    for process in _families(pids):
        try:
            with process.oneshot():
                times = process.cpu_times()
                age = time.time() - process.create_time()
                memory += process.memory_info().rss
                cores += (times.user + times.system) / max(age, 1.0)
                found = True
        except psutil.Error:
            continue
    return (round(cores, 3), memory) if found else (None, None)


def _families(pids: Iterable[int]) -> Iterator[psutil.Process]:
    for pid in pids:
        try:
            process = psutil.Process(pid)
            yield from (process, *process.children(recursive=True))
        except psutil.Error:
            continue


def logs(
    folder: EndpointFolder,
    failures: Mapping[str, list[str]],
    *,
    deployment: str | None,
    tail: int | None,
    follow: bool,
    request_id: str | None,
    sleep: Callable[[float], None],
) -> Iterator[LogLine]:
    """The lines of the replicas, oldest first; a deployment that never became ready has only its last ones.

    Raises:
        NotFoundError: There is no such deployment.
    """
    last: dict[str, float] = {}
    if deployment is not None and deployment in failures:
        told = [{"replica": f"{deployment}-0", "text": text} for text in failures[deployment]]
        yield from _select(_dated(told, last), tail, request_id)
        return
    answer = _ask(folder, deployment=deployment, tail=10_000 if tail is None or request_id else tail)
    yield from _select(sorted(_dated(answer["lines"], last), key=lambda line: line.time), tail, request_id)
    while follow:
        sleep(_FOLLOW_S)
        answer = _ask(folder, deployment=deployment, cursor=answer["cursor"])
        yield from _select(_dated(answer["lines"], last), None, request_id)


def _dated(told: Sequence[Mapping[str, str]], last: dict[str, float]) -> list[LogLine]:
    """What a model prints carries no time: it gets that of the server's line before it, at the start that after it."""
    lines = [_line(one["replica"], one["text"]) for one in told]
    for line in lines:
        if line.time:
            last.setdefault(str(line.replica), line.time)
    dated: list[LogLine] = []
    for line in lines:
        replica = str(line.replica)
        last[replica] = line.time or last.get(replica, time.time())
        dated.append(replace(line, time=last[replica]))
    return dated


def _ask(folder: EndpointFolder, **query: Any) -> dict[str, Any]:
    try:
        return client.logs(folder.short, **query)
    except client.GatewayError as error:
        raise NotFoundError(
            f"no logs of endpoint {folder.name!r}: {error}",
            provider=PROVIDER,
            operation="ReadLogs",
            resource=folder.name,
        ) from error


def _select(lines: Iterable[LogLine], tail: int | None, request_id: str | None) -> list[LogLine]:
    found = [line for line in lines if request_id is None or request_id == line.request_id or request_id in line.text]
    return found if tail is None else found[len(found) - min(tail, len(found)) :]


def _line(replica: str, text: str) -> LogLine:
    """A line of a replica; the server's own lines are JSON with their time and request id."""
    try:
        told = json.loads(text)
    except ValueError:
        told = None
    given = cast("dict[str, Any]", told) if isinstance(told, dict) else {}
    stamp = given.get("ts")
    return LogLine(
        time=float(stamp) if isinstance(stamp, int | float) else 0.0,
        text=text,
        deployment=replica.rpartition("-")[0],
        replica=replica,
        request_id=given.get("request_id"),
    )
