"""The workload of every subject: the same requests, in the same order, at the same times."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, Self

import msgspec

from ..errors import ConfigError
from ..util.suggest import did_you_mean
from .load.arrivals import Kind
from .stats import IntervalRules

if TYPE_CHECKING:
    from collections.abc import Mapping

Scenario = Literal["single", "server", "offline"]


_LATE_S = 5.0  # by which the last window of a subject may exceed the time budget
_USUAL_RATE = 30.0
_PRESETS = ("standard", "quick", "thorough")


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters of a measurement: as much as ``time_budget`` allows, limited by the other numbers.

    Args:
        scenarios: ``"single"`` (one request at a time), ``"server"`` (the highest rate under the objective) and
            ``"offline"`` (the maximum throughput). Latency at a common rate is always measured.
        time_budget: Total seconds of measuring, without deploying; ``None`` for as long as the other numbers require.
        rate: Requests per second of that common rate; by default 30 % of the slowest subject's highest rate, up to 45 %
            if the runs would otherwise be too short.
        arrivals: ``"poisson"`` or ``"constant"``.
        seed: The seed of the schedule; the same seed gives the same requests at the same times.
        runs: Maximum number of independent runs at the common rate: one of each subject, then the next.
        requests: Maximum number of requests in one run.
        warm_requests: Minimum number of requests of the warm-up …
        warm_s: … and its minimum seconds; it continues until two successive windows have the same median within 5 %.
        probe_requests: Minimum number of requests at each rate that is tried in the search for the highest, unless its
            verdict is certain earlier …
        probe_s: … and the maximum seconds.
        first_rate: The first rate of that search; by default derived from the rate of requests sent one at a time.
        top_rate: The highest rate of that search.
        single_requests: Number of requests in the ``single`` scenario.
        lanes: Requests in flight in the ``offline`` scenario.
        timeout_s: The seconds after which a request counts as failed.
        most_errors: The share of failed requests above which the objective is missed.
        rules: The rules for when an interval is reported.

    Raises:
        ConfigError: A value is invalid; the error names it.

    Example:
        >>> Workload.quick().time_budget, Workload.thorough().time_budget
        (120.0, None)
    """

    scenarios: tuple[Scenario, ...] = ("single", "server")
    time_budget: float | None = 300.0
    rate: float | None = None
    arrivals: Kind = "poisson"
    seed: int = 0
    runs: int = 10
    requests: int = 2_000
    warm_requests: int = 100
    warm_s: float = 2.0
    probe_requests: int = 60
    probe_s: float = 4.0
    first_rate: float | None = None
    top_rate: float = 10_000.0
    single_requests: int = 500
    lanes: int = 32
    timeout_s: float = 30.0
    most_errors: float = 0.001
    rules: IntervalRules = IntervalRules()

    def __post_init__(self) -> None:
        positive = ("runs", "requests", "top_rate", "single_requests", "lanes", "timeout_s", "probe_requests")
        for name in positive:
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"workload.{name} = {getattr(self, name)!r} is not a number above 0")
        for name in ("rate", "first_rate", "time_budget"):
            if getattr(self, name) is not None and not 0 < getattr(self, name) < math.inf:
                raise ConfigError(
                    f"workload.{name} = {getattr(self, name)!r} is not a number above 0",
                    hint="leave it out to have it chosen",
                )
        unknown = set(self.scenarios) - {"single", "server", "offline"}
        if unknown:
            raise ConfigError(f"workload.scenarios: {min(unknown)!r} is unknown", hint="use single, server, offline")

    @classmethod
    def of(cls, given: Workload | Mapping[str, Any] | str | None) -> Workload:
        """Return the workload that a user specified as a workload, a name, or fields on top of the named ``preset``.

        Raises:
            ConfigError: A name or field is unknown, or a value has the wrong type.

        Example:
            >>> Workload.of({"preset": "quick", "runs": 7}).time_budget
            120.0
        """
        if isinstance(given, Workload):
            return given
        fields: dict[str, Any] = {"preset": given} if isinstance(given, str) else dict(given or {})
        preset = fields.pop("preset", "standard")
        if preset not in _PRESETS:
            raise ConfigError(f"workload: {preset!r} is unknown", hint=did_you_mean(preset, _PRESETS))
        known = cls.__struct_fields__
        if strange := [name for name in fields if name not in known]:
            raise ConfigError(f"workload has no field {strange[0]!r}", hint=did_you_mean(strange[0], known))
        base = msgspec.to_builtins(getattr(cls, preset)())
        try:
            return msgspec.convert({**base, **fields}, cls)
        except msgspec.ValidationError as error:
            raise ConfigError(f"workload: {error}") from error

    @classmethod
    def standard(cls) -> Self:
        """Return the default workload: five minutes of measuring, 75 seconds each for four subjects on one machine."""
        return cls()

    @classmethod
    def quick(cls) -> Self:
        """Return the workload for a first impression: two minutes, with wider intervals."""
        return cls(time_budget=120.0, probe_s=3.0, warm_s=1.0, single_requests=200)

    @classmethod
    def thorough(cls) -> Self:
        """Return a workload without time limit: a p99 with its interval, and the highest rate within a few percent."""
        return cls(time_budget=None, warm_requests=200, warm_s=10.0, probe_requests=2_000, probe_s=20.0)

    def estimated_s(self, subjects: int) -> float:
        """Return roughly how many seconds measuring takes; the maximum if there is a time budget."""
        if self.time_budget is not None:
            return self.time_budget + _LATE_S * subjects
        probes = 16 * max(self.probe_s, 1.0) if "server" in self.scenarios else 0.0
        return subjects * (self.warm_s + probes + self.runs * self.requests / (self.rate or _USUAL_RATE) + 30.0)
