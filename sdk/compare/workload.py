"""What every subject is asked to do: the same requests, in the same order, at the same moments."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, Self

import msgspec

from ..errors import ConfigError
from ..suggest import did_you_mean
from .load.arrivals import Kind
from .stats import Rules

if TYPE_CHECKING:
    from collections.abc import Mapping

Scenario = Literal["single", "server", "offline"]


_LATE_S = 5.0  # that the last window of a subject may take beyond it
_USUAL_RATE = 30.0
_PRESETS = ("standard", "quick", "thorough")


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """How to measure. By default everything that ``time_budget`` allows for, and no more than the other numbers say.

    Args:
        scenarios: ``"single"`` (one request at a time), ``"server"`` (the highest rate under the objective) and
            ``"offline"`` (as much as goes through). Latency at a common rate is measured in any case.
        time_budget: Seconds of measuring in all, deploying not counted; ``None`` for as long as the other numbers take.
        rate: Requests per second of that common rate; by default 30 % of the slowest subject's highest rate, up to 45 %
            when the runs would not be long enough otherwise.
        arrivals: ``"poisson"`` or ``"constant"``.
        seed: The same seed gives the same requests at the same moments.
        runs: Most independent runs at the common rate: one of each subject, then the next.
        requests: Most requests of one run.
        warm_requests: Fewest requests before anything counts …
        warm_s: … and fewest seconds; then until two windows in a row have the same median, within 5 %.
        probe_requests: Fewest requests at each rate that is tried in search of the highest, unless its verdict is
            certain earlier …
        probe_s: … and most seconds.
        first_rate: Rate at which that search begins; by default half of what one request after the other makes.
        top_rate: Rate at which it ends.
        single_requests: Requests of the ``single`` scenario.
        lanes: Requests in flight in the ``offline`` scenario.
        timeout_s: After so many seconds a request counts as failed.
        most_errors: Share of failed requests from which on the objective is missed.
        rules: When an interval is given.

    Raises:
        ConfigError: A value makes no sense; names it.

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
    rules: Rules = Rules()

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
            raise ConfigError(f"workload.scenarios: nobody knows {min(unknown)!r}", hint="use single, server, offline")

    @classmethod
    def of(cls, given: Workload | Mapping[str, Any] | str | None) -> Workload:
        """A workload from what a user gives: itself, its name, or fields on top of the named ``preset``.

        Raises:
            ConfigError: A name or field nobody knows, or a value of the wrong type.

        Example:
            >>> Workload.of({"preset": "quick", "runs": 7}).time_budget
            120.0
        """
        if isinstance(given, Workload):
            return given
        fields: dict[str, Any] = {"preset": given} if isinstance(given, str) else dict(given or {})
        preset = fields.pop("preset", "standard")
        if preset not in _PRESETS:
            raise ConfigError(f"workload: nobody knows {preset!r}", hint=did_you_mean(preset, _PRESETS))
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
        """Five minutes of measuring: for four subjects that share a machine 75 seconds each."""
        return cls()

    @classmethod
    def quick(cls) -> Self:
        """A first look: two minutes, with wider intervals."""
        return cls(time_budget=120.0, probe_s=3.0, warm_s=1.0, single_requests=200)

    @classmethod
    def thorough(cls) -> Self:
        """Long windows however long they take: a p99 with its interval, and the highest rate within a few percent."""
        return cls(time_budget=None, warm_requests=200, warm_s=10.0, probe_requests=2_000, probe_s=20.0)

    def estimated_s(self, subjects: int) -> float:
        """Return roughly how long measuring takes, at most where there is a budget."""
        if self.time_budget is not None:
            return self.time_budget + _LATE_S * subjects
        probes = 16 * max(self.probe_s, 1.0) if "server" in self.scenarios else 0.0
        return subjects * (self.warm_s + probes + self.runs * self.requests / (self.rate or _USUAL_RATE) + 30.0)
