"""Platform-neutral metrics of an endpoint: counts and latencies, each with the method that produced it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .types import Method, Value

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Latency(Value):
    """Latency quantiles in milliseconds.

    ``scope`` says between which two points it was measured (``"client"``, ``"gateway"``, ``"platform"``,
    ``"container"``). ``method`` is how it was measured: ``exact`` from every value, ``histogram`` from buckets,
    ``approximate`` if the platform gives per-period percentiles only. Percentiles of parts are never added up or
    averaged: a quantile that cannot be computed is ``None``.
    """

    scope: str
    method: Method
    count: int
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    mean: float | None = None


@dataclass(frozen=True, slots=True)
class MetricsReport(Value):
    """Requests and resource use of an endpoint in the ``window_s`` seconds that ended at ``end`` (Unix seconds).

    ``requests`` counts answered requests by status class: ``"2xx"``, ``"4xx"`` for errors of the caller, ``"5xx"`` for
    failures of the endpoint. Some platforms report a failure with a 4xx of their own (a model that failed or took too
    long, requests shed under load); it is counted as ``"5xx"`` if the platform makes the difference visible. ``cpu`` is
    in cores, ``memory_bytes`` is the sum over the replicas; both are ``None`` if the platform does not report them.
    ``late_s`` is by how many seconds ``cpu``, ``memory_bytes`` and ``replicas`` may be older than ``end``.
    """

    window_s: float
    end: float
    requests: Mapping[str, int] = field(default_factory=dict[str, int])
    latency: tuple[Latency, ...] = ()
    cpu: float | None = None
    memory_bytes: int | None = None
    replicas: int | None = None
    restarts: int | None = None
    deployments: Mapping[str, Mapping[str, int]] = field(default_factory=dict[str, "Mapping[str, int]"])
    last_request_at: float | None = None
    late_s: float = 0.0

    @property
    def total(self) -> int:
        """The number of answered requests."""
        return sum(self.requests.values())

    @property
    def client_errors(self) -> int:
        """The number of requests that were refused because of what the caller sent: 4xx."""
        return self.requests.get("4xx", 0)

    @property
    def errors(self) -> int:
        """The number of requests that the endpoint failed to answer: neither 2xx nor 4xx."""
        return self.total - self.requests.get("2xx", 0) - self.client_errors

    @property
    def rate(self) -> float:
        """Answered requests per second."""
        return self.total / self.window_s if self.window_s else 0.0
