"""Metrics and logs of an endpoint: exact counts and histograms from the gateway, and the logs of its replicas."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import psutil

from sdk.adapter.shared import gateway_metrics
from sdk.adapter.shared.log_lines import dated, read_line, select
from sdk.errors import NotFoundError
from sdk.serving.gateway import client

from ._errors import PROVIDER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from sdk.adapter.metrics import MetricsReport
    from sdk.adapter.types import LogLine

    from ._folder import EndpointFolder
    from ._gateway import Seen

_FOLLOW_S = 0.5


def report(folder: EndpointFolder, seen: Seen, window_s: float) -> MetricsReport:
    """Return counts, latencies and resource use; counts are exact, in whole minutes."""
    given = client.metrics(folder.short, window_s=window_s)
    replicas = [one for deployment in seen.deployments.values() for one in deployment.replicas.values()]
    cpu, memory = _use(int(one["pid"]) for one in replicas if one["pid"])
    return gateway_metrics.report(
        given,
        window_s,
        cpu=cpu,
        memory_bytes=memory,
        replicas=sum(bool(one["ready"]) for one in replicas),
        restarts=sum(int(one["restarts"]) for one in replicas),
        last_request_at=seen.last_request_at,
    )


def _use(pids: Iterable[int]) -> tuple[float | None, int | None]:
    """Return the average cores in use since each replica started, and bytes of memory, child processes included."""
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
    """Yield the lines of the replicas, oldest first; a deployment that never became ready has only its last lines.

    Raises:
        NotFoundError: The deployment does not exist.
    """
    last: dict[str, float] = {}
    if deployment is not None and deployment in failures:
        told = [{"replica": f"{deployment}-0", "text": text} for text in failures[deployment]]
        yield from select(_dated(told, last), tail, request_id)
        return
    answer = _ask(folder, deployment=deployment, tail=10_000 if tail is None or request_id else tail)
    yield from select(sorted(_dated(answer["lines"], last), key=lambda line: line.time), tail, request_id)
    while follow:
        sleep(_FOLLOW_S)
        answer = _ask(folder, deployment=deployment, cursor=answer["cursor"])
        yield from select(_dated(answer["lines"], last), None, request_id)


def _dated(told: Sequence[Mapping[str, str]], last: dict[str, float]) -> list[LogLine]:
    return dated([read_line(one["replica"], one["text"]) for one in told], last, time.time())


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
