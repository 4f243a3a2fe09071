"""The gateway's counters as platform-neutral metrics: exact counts, and quantiles from its histograms."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from ..metrics import Latency, MetricsReport

if TYPE_CHECKING:
    from collections.abc import Mapping

_GROWTH = 1.1  # ratio between the bounds of adjacent buckets


def report(
    given: Mapping[str, Any],
    window_s: float,
    *,
    cpu: float | None,
    memory_bytes: int | None,
    replicas: int,
    restarts: int,
    last_request_at: float | None,
) -> MetricsReport:
    """Return counts and latencies of all deployments; counts are exact, in whole minutes.

    Args:
        given: The gateway's answer to ``GET /metrics``.
        window_s: The requested window, in seconds.
        cpu: Cores in use, as measured by the platform.
        memory_bytes: Memory used by all replicas.
        replicas: The number of ready replicas.
        restarts: The number of restarts of replicas.
        last_request_at: The time of the last request, in Unix seconds.
    """
    deployments: dict[str, Any] = given["deployments"]
    requests: Counter[str] = Counter()
    buckets: Counter[float] = Counter()
    seconds = 0.0
    for one in deployments.values():
        requests.update(one["classes"])
        buckets.update({float(bound): count for bound, count in one["latency"]["buckets"].items()})
        seconds += one["latency"]["sum_s"]
    return MetricsReport(
        window_s=window_s,
        end=given["now"],
        requests=dict(requests),
        latency=(latency(buckets, seconds),),
        cpu=cpu,
        memory_bytes=memory_bytes,
        replicas=replicas,
        restarts=restarts,
        deployments={name: one["classes"] for name, one in deployments.items()},
        last_request_at=last_request_at,
    )


def latency(buckets: Mapping[float, int], seconds: float) -> Latency:
    """Compute quantiles of a histogram whose keys are upper bounds in seconds; buckets are added up, quantiles never.

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
            return round(1000 * bound / math.sqrt(_GROWTH), 2)  # the bucket's middle on its logarithmic scale
    raise AssertionError
