"""Alarm rules of the configuration, such as ``p95_ms > 100 for 5m``."""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from types import MappingProxyType

from ..errors import ConfigError, UnknownKeyError
from ..util.durations import format_duration, parse_duration
from ..util.suggest import did_you_mean

METRICS = MappingProxyType(
    {
        "p50_ms": "median latency, milliseconds",
        "p90_ms": "90th percentile of the latency, milliseconds",
        "p95_ms": "95th percentile of the latency, milliseconds",
        "p99_ms": "99th percentile of the latency, milliseconds",
        "mean_ms": "mean latency, milliseconds",
        "rate": "answered requests per second",
        "requests": "answered requests in the window",
        "errors": "requests that the endpoint failed to answer in the window: neither 2xx nor 4xx",
        "error_rate": "share of `errors` among all answered requests, 0 to 1 or in %",
        "client_errors": "requests refused in the window for what the caller sent: 4xx",
        "client_error_rate": "share of `client_errors` among all answered requests, 0 to 1 or in %",
        "cpu": "processor cores in use",
        "memory_gib": "memory in use, GiB",
        "replicas": "running copies",
        "restarts": "restarts of its processes in the window",
        "idle_s": "seconds since the last request",
        "usd_per_hour": "price of the endpoint, US dollars per hour",
    }
)
_COMPARE = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
_RULE = re.compile(
    r"\s*(?P<metric>[a-z][a-z0-9_]*)\s*(?P<compare>>=|<=|>|<)\s*(?P<value>[0-9]+(?:\.[0-9]+)?)\s*(?P<percent>%?)"
    r"(?:\s+for\s+(?P<time>\S+))?\s*"
)


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition that means trouble if it is true for ``for_s`` seconds (0: immediately)."""

    metric: str
    compare: str
    threshold: float
    for_s: float = 0.0

    def holds(self, value: float | None) -> bool:
        """Check whether a measured value meets the condition; an unknown value does not.

        Example:
            >>> parse_rule("p95_ms > 100").holds(120.0)
            True
        """
        return value is not None and bool(_COMPARE[self.compare](value, self.threshold))

    def __str__(self) -> str:
        lasting = f" for {format_duration(self.for_s)}" if self.for_s else ""
        return f"{self.metric} {self.compare} {self.threshold:g}{lasting}"


def parse_rule(text: str, *, field: str = "rule") -> Rule:
    """Parse a rule.

    Args:
        text: ``METRIC > NUMBER``, ``METRIC < NUMBER`` (also ``>=``, ``<=``), then ``for DURATION`` if it must persist.
        field: The setting that contains the rule, for the message.

    Raises:
        UnknownKeyError: The metric is unknown; the error suggests the nearest known one.
        ConfigError: The text is not a rule.

    Example:
        >>> parse_rule("error_rate > 1% for 5m")
        Rule(metric='error_rate', compare='>', threshold=0.01, for_s=300.0)
    """
    match = _RULE.fullmatch(text)
    if match is None:
        raise ConfigError(f"{field} = {text!r} is not a rule", hint="write it like: p95_ms > 100 for 5m")
    metric = match["metric"]
    if metric not in METRICS:
        raise UnknownKeyError(f"{field} = {text!r}: unknown metric {metric!r}", hint=did_you_mean(metric, METRICS))
    if match["percent"] and not metric.endswith("error_rate"):
        raise ConfigError(f"{field} = {text!r}: {metric} is not a share", hint="write the number without %")
    threshold = float(match["value"]) / (100 if match["percent"] else 1)
    lasting = parse_duration(match["time"], field=field) if match["time"] else 0.0
    return Rule(metric, match["compare"], threshold, lasting)
