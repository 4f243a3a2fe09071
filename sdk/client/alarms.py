"""Evaluation of the configured alarm rules against measured values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..adapter.types import Value
from ..config.rules import Rule

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..adapter.metrics import MetricsReport
    from ..adapter.types import EndpointStatus

_GIB = 2**30
_SCOPES = ("client", "gateway", "platform", "container")  # measurement points, nearest to the caller first


@dataclass(frozen=True, slots=True)
class Alarm(Value):
    """A rule, its measured value (``None`` if unknown), and whether the alarm is firing."""

    rule: str
    value: float | None
    firing: bool

    def __str__(self) -> str:
        shown = "unknown" if self.value is None else f"{self.value:.4g}"
        return f"{'ALARM' if self.firing else 'ok'}: {self.rule} (is {shown})"


def evaluate(
    rules: Sequence[Rule], status: EndpointStatus, window_s: float, report: Callable[[float], MetricsReport | None]
) -> tuple[Alarm, ...]:
    """Evaluate each rule over its own window: the duration after ``for``, else ``window_s``.

    Args:
        rules: The rules to evaluate.
        status: The current status of the endpoint.
        window_s: Window in seconds of the rules without ``for``.
        report: Returns the measurements of a window; ``None`` if the target measures nothing. Called once per window.
    """
    windows = {rule.for_s or window_s for rule in rules}
    reports = {seconds: report(seconds) for seconds in windows}
    values = [(rule, value_of(rule.metric, status, reports[rule.for_s or window_s])) for rule in rules]
    return tuple(Alarm(str(rule), value, rule.holds(value)) for rule, value in values)


def value_of(metric: str, status: EndpointStatus, report: MetricsReport | None) -> float | None:
    """Return the current value of a metric of :data:`sdk.config.rules.METRICS`; ``None`` if it is unknown."""
    if metric == "usd_per_hour":
        return status.usd_per_hour
    if metric == "idle_s":
        return status.idle_s
    if report is None:
        return None
    if metric.endswith("_ms"):
        return latency_of(report, metric.removesuffix("_ms"))
    known: dict[str, float | None] = {
        "rate": report.rate,
        "requests": report.total,
        "errors": report.errors,
        "error_rate": report.errors / report.total if report.total else None,
        "client_errors": report.client_errors,
        "client_error_rate": report.client_errors / report.total if report.total else None,
        "cpu": report.cpu,
        "memory_gib": None if report.memory_bytes is None else report.memory_bytes / _GIB,
        "replicas": report.replicas,
        "restarts": report.restarts,
    }
    return known[metric]


def latency_of(report: MetricsReport, quantile: str) -> float | None:
    """Return a quantile (``"p95"``, ``"mean"``) in milliseconds, from the measurement point closest to the caller."""
    for scope in _SCOPES:
        for latency in report.latency:
            if latency.scope == scope and latency.count:
                value: float | None = getattr(latency, quantile)
                return value
    return None


def objective(p95_ms: float | None) -> tuple[Rule, ...]:
    """Return the latency objective as a rule; an empty tuple without an objective."""
    return () if p95_ms is None else (Rule("p95_ms", ">", p95_ms),)
