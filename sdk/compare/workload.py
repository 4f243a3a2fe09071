"""What every subject is asked to do: the same requests, in the same order, at the same moments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

import msgspec

from ..errors import ConfigError
from ..suggest import did_you_mean
from .load.arrivals import Kind
from .stats import Rules

if TYPE_CHECKING:
    from collections.abc import Mapping

Scenario = Literal["single", "server", "offline"]


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """How to measure. The defaults are those of a thorough comparison; :meth:`quick` is for a first look.

    Args:
        scenarios: ``"single"`` (one request at a time), ``"server"`` (the highest rate under the objective) and
            ``"offline"`` (as much as goes through). Latency at a common rate is measured in any case.
        rate: Requests per second of that common rate; by default 30 % of the slowest subject's highest rate.
        arrivals: ``"poisson"`` or ``"constant"``.
        seed: The same seed gives the same requests at the same moments.
        runs: Independent runs at the common rate, taken in turns: one of each subject, then the next.
        requests: Requests of one run.
        warm_requests: Fewest requests before anything counts …
        warm_s: … and fewest seconds; then until two windows in a row have the same median, within 5 %.
        probe_requests: Fewest requests at each rate that is tried in search of the highest …
        probe_s: … and fewest seconds.
        first_rate: Rate at which that search begins.
        top_rate: Rate at which it ends.
        single_requests: Requests of the ``single`` scenario.
        lanes: Requests in flight in the ``offline`` scenario.
        timeout_s: After so many seconds a request counts as failed.
        most_errors: Share of failed requests from which on the objective is missed.
        rules: When an interval is given.

    Raises:
        ConfigError: A value makes no sense; names it.

    Example:
        >>> Workload.quick().runs
        5
    """

    scenarios: tuple[Scenario, ...] = ("single", "server")
    rate: float | None = None
    arrivals: Kind = "poisson"
    seed: int = 0
    runs: int = 10
    requests: int = 2_000
    warm_requests: int = 200
    warm_s: float = 10.0
    probe_requests: int = 2_000
    probe_s: float = 20.0
    first_rate: float = 10.0
    top_rate: float = 10_000.0
    single_requests: int = 500
    lanes: int = 32
    timeout_s: float = 30.0
    most_errors: float = 0.001
    rules: Rules = Rules()

    def __post_init__(self) -> None:
        positive = ("runs", "requests", "first_rate", "top_rate", "single_requests", "lanes", "timeout_s")
        for name in positive:
            if getattr(self, name) <= 0:
                raise ConfigError(f"workload.{name} = {getattr(self, name)!r} is not above 0")
        if self.rate is not None and self.rate <= 0:
            raise ConfigError(f"workload.rate = {self.rate!r} is not above 0", hint="leave it out to have it chosen")
        unknown = set(self.scenarios) - {"single", "server", "offline"}
        if unknown:
            raise ConfigError(f"workload.scenarios: nobody knows {min(unknown)!r}", hint="use single, server, offline")

    @classmethod
    def of(cls, given: Workload | Mapping[str, Any] | str | None) -> Workload:
        """A workload from what a user gives: itself, its name, or fields on top of the named ``preset``.

        Raises:
            ConfigError: A name or field nobody knows, or a value of the wrong type.

        Example:
            >>> Workload.of({"preset": "quick", "runs": 7}).requests
            500
        """
        if isinstance(given, Workload):
            return given
        fields: dict[str, Any] = {"preset": given} if isinstance(given, str) else dict(given or {})
        preset = fields.pop("preset", "thorough")
        if preset not in {"quick", "thorough"}:
            raise ConfigError(f"workload: nobody knows {preset!r}", hint=did_you_mean(preset, ["quick", "thorough"]))
        known = cls.__struct_fields__
        if strange := [name for name in fields if name not in known]:
            raise ConfigError(f"workload has no field {strange[0]!r}", hint=did_you_mean(strange[0], known))
        base = msgspec.to_builtins(cls.quick() if preset == "quick" else cls())
        try:
            return msgspec.convert({**base, **fields}, cls)
        except msgspec.ValidationError as error:
            raise ConfigError(f"workload: {error}") from error

    @classmethod
    def quick(cls) -> Self:
        """A first look: minutes instead of an hour; a p99 is indicative at best."""
        return cls(
            runs=5, requests=500, warm_s=3.0, warm_requests=100, probe_requests=500, probe_s=5.0, single_requests=200
        )

    def seconds(self, rate: float) -> float:
        """Roughly how long one subject is measured when the common rate is ``rate``."""
        probes = 16 * max(self.probe_s, 1.0) if "server" in self.scenarios else 0.0
        return self.warm_s + probes + self.runs * self.requests / rate + 30.0
