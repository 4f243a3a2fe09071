"""The state and metrics of an endpoint in a window of time, as one value."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..adapter.types import EndpointState, Value
from ..util.durations import format_duration
from ..util.logtext import readable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..adapter.metrics import Latency, MetricsReport
    from ..adapter.types import DeploymentStatus, EndpointStatus, LogLine
    from .alarms import Alarm

_MIB = 2**20
_SHOWN, _WIDTH = 5, 160  # log lines, and characters of each, in the text


@dataclass(frozen=True, slots=True)
class Watch(Value):
    """State, traffic, latency, cost and alarms of an endpoint over the last ``window_s`` seconds.

    ``metrics`` is ``None`` if the target measures nothing. ``usd`` is what the current deployments have cost since each
    was created, ``None`` if a price is unknown. ``logs`` are the last lines.
    """

    name: str
    target: str
    window_s: float
    status: EndpointStatus
    metrics: MetricsReport | None
    usd: float | None
    alarms: tuple[Alarm, ...] = ()
    logs: tuple[LogLine, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the endpoint is ready and no alarm is firing."""
        return self.status.state is EndpointState.READY and not self.firing

    @property
    def firing(self) -> tuple[Alarm, ...]:
        """The alarms that are firing."""
        return tuple(alarm for alarm in self.alarms if alarm.firing)

    @property
    def state(self) -> EndpointState:
        """The state of the endpoint."""
        return self.status.state

    @property
    def requests(self) -> Mapping[str, int]:
        """Answered requests by status class."""
        return self.metrics.requests if self.metrics else {}

    @property
    def rate(self) -> float | None:
        """Answered requests per second."""
        return self.metrics.rate if self.metrics else None

    @property
    def latency(self) -> tuple[Latency, ...]:
        """Latency quantiles, each with the place and method of measurement."""
        return self.metrics.latency if self.metrics else ()

    @property
    def cpu(self) -> float | None:
        """The number of cores in use."""
        return self.metrics.cpu if self.metrics else None

    @property
    def memory_bytes(self) -> int | None:
        """Memory in use, over all replicas."""
        return self.metrics.memory_bytes if self.metrics else None

    @property
    def replicas(self) -> int | None:
        """The number of running replicas."""
        return self.metrics.replicas if self.metrics else None

    @property
    def usd_per_hour(self) -> float | None:
        """The current cost of the endpoint in US dollars per hour; ``None`` if a price is unknown."""
        if self.status.usd_per_hour is not None:
            return self.status.usd_per_hour
        prices = [deployment.usd_per_hour for deployment in self.status.deployments]
        return None if None in prices else sum(price for price in prices if price is not None)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain Python data, for JSON."""
        return {"ok": self.ok, **Value.to_dict(self)}

    def __str__(self) -> str:
        shares = ", ".join(f"{item.id} {item.traffic} %" for item in self.status.deployments)
        rows = [
            ("state", f"{self.state}{f' ({self.status.reason})' if self.status.reason else ''}"),
            ("traffic", shares or "none"),
            *self._numbers(),
            ("cost", _cost(self.usd, self.usd_per_hour)),
            *(("alarm", str(alarm)) for alarm in self.alarms),
            *(("log", _short(readable(line.text))) for line in self.logs[-_SHOWN:]),
        ]
        head = f"{self.name} on {self.target}, last {format_duration(self.window_s)}: {'ok' if self.ok else 'NOT OK'}"
        return "\n".join([head, *(f"  {name:<8} {value}" for name, value in rows)])

    def _numbers(self) -> list[tuple[str, str]]:
        if self.metrics is None:
            return [("metrics", "not measured on this target")]
        counts = ", ".join(f"{count} x {kind}" for kind, count in sorted(self.requests.items()) if count)
        memory = None if self.memory_bytes is None else f"{self.memory_bytes / _MIB:.0f} MiB"
        cpu = None if self.cpu is None else f"{self.cpu:.2f} cores"
        parts = (cpu, memory, None if self.replicas is None else f"{self.replicas} replicas")
        uses = ", ".join(part for part in parts if part)
        late = f" (up to {format_duration(self.metrics.late_s)} old)" if uses and self.metrics.late_s else ""
        return [
            ("requests", f"{self.metrics.total} ({counts or 'none'}), {_rate(self.metrics.rate)}"),
            *(("latency", _quantiles(latency)) for latency in self.latency),
            ("uses", f"{uses}{late}" if uses else "unknown"),
        ]

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


def _rate(per_second: float) -> str:
    """Format a rate in a unit in which it is at least 1, or per hour."""
    for unit, size in (("s", 1), ("min", 60)):
        if per_second * size >= 1:
            return f"{per_second * size:.3g}/{unit}"
    return f"{per_second * 3600:.3g}/h"


def _short(text: str) -> str:
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"


def _quantiles(latency: Latency) -> str:
    pairs = [("p50", latency.p50), ("p90", latency.p90), ("p95", latency.p95), ("p99", latency.p99)]
    shown = "  ".join(f"{name} {'-' if value is None else f'{value:.3g}'}" for name, value in pairs)
    return f"{shown} ms  ({latency.scope}, {latency.method}, {latency.count} requests)"


def _cost(usd: float | None, per_hour: float | None) -> str:
    if usd is None or per_hour is None:
        return "unknown"
    return f"${usd:.4f} so far, ${per_hour:.4g}/h"


def cost_so_far(deployments: tuple[DeploymentStatus, ...], now: float) -> float | None:
    """Return the US dollars that the deployments have cost since each was created; ``None`` if a price is unknown.

    Example:
        >>> cost_so_far((), 0.0)
        0.0
    """
    total = 0.0
    for deployment in deployments:
        if deployment.usd_per_hour == 0:
            continue
        if deployment.usd_per_hour is None or deployment.created_at is None:
            return None
        total += deployment.usd_per_hour * max(0.0, now - deployment.created_at) / 3600
    return total
