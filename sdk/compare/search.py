"""The search for the highest rate under the objective: a geometric ramp, a bisection, then confirmations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

Outcome = Literal["passed", "missed", "spoiled"]  # spoiled: the load generator's own delay decides the result
Limit = Literal["objective", "generator", "range", "time"]

FACTOR = 2.0
TOLERANCE = 0.1
CONFIRMATIONS = 2
QUOTED = 0.9  # reported share of the highest rate that passed everything, as a safety margin
LOWEST = 16  # the search goes down to the first rate divided by this


class RateTrial(msgspec.Struct, frozen=True):
    """The result of trying one rate."""

    rate: float
    outcome: Outcome
    reason: str = ""


class Highest(msgspec.Struct, frozen=True):
    """The result of a search for the highest rate.

    Args:
        rate: Nine tenths of the highest rate that passed every time; ``None`` when none can be reported.
        at_least: The highest rate that passed, in the search or in another window.
        limited_by: What ended the search: ``"objective"``, ``"generator"`` (this machine cannot send faster, so only
            ``at_least`` is known), ``"range"`` (the highest rate to try was reached) or ``"time"`` (the time was over,
            so only ``at_least`` is known).
        reason: The reason for ``limited_by`` in words.
        probes: All rates that were tried, with their results.
        below: The lowest rate that missed the objective.
    """

    rate: float | None
    at_least: float | None
    limited_by: Limit
    reason: str
    probes: tuple[RateTrial, ...] = ()
    below: float | None = None


class Enough(Exception):
    """The signal that the time for the search is over."""


def highest_rate(probe: Callable[[float, int], RateTrial], *, first: float, top: float) -> Highest:
    """Search the highest rate with a probe that returns whether a rate is sustained.

    Args:
        probe: Measures one rate in a stage: 0 (ramp), 1 (bisection) or 2 (confirmation); later stages take longer.
            Raises :class:`Enough` when there is not enough time for it.
        first: The first rate to try; halved down to a sixteenth of it if it is too high.
        top: The highest rate to try.
    """
    return _Search(probe, min(first, top), top).run()


class _Search:
    def __init__(self, probe: Callable[[float, int], RateTrial], first: float, top: float) -> None:
        self._probe = probe
        self._first = first
        self._top = top
        self._seen: list[RateTrial] = []

    def run(self) -> Highest:
        try:
            low, high = self._ramp()
            while low and high and high / low > 1 + TOLERANCE:
                middle = (high * low) ** 0.5
                low, high = (middle, high) if self._passes(middle, 1) else (low, middle)
            while low and not all(self._passes(low, 2) for _ in range(CONFIRMATIONS)):
                low = self._lower(low)
        except Enough:
            return self._found(None, "time", "the time for the search was over")
        return self._ended(low)

    def _ramp(self) -> tuple[float | None, float | None]:
        """Return the last rate that passed and the first that did not."""
        rate = self._first
        while not self._passes(rate, 0):
            if rate / 2 < self._first / LOWEST:
                return None, rate
            rate /= 2
        low = rate
        while low < self._top:
            rate = min(low * FACTOR, self._top)
            if any(one.rate == rate for one in self._seen) or not self._passes(rate, 0):
                return low, rate
            low = rate
        return low, None

    def _lower(self, rate: float) -> float | None:
        """Return the next rate to confirm after one that was not confirmed; ``None`` if it is too low."""
        lower = rate / (1 + TOLERANCE)
        return lower if lower >= self._first / LOWEST / FACTOR else None

    def _ended(self, rate: float | None) -> Highest:
        last = next((one for one in reversed(self._seen) if one.outcome != "passed"), None)
        if last is None:
            return self._found(self._top, "range", f"no higher rate than {self._top:g}/s was tried")
        if rate is None:
            return self._found(None, "generator" if last.outcome == "spoiled" else "objective", last.reason)
        above = [one for one in self._seen if one.outcome != "passed" and one.rate > rate]
        nearest = min(above or [last], key=lambda one: one.rate)
        if nearest.outcome == "spoiled":
            return self._found(None, "generator", f"more than {rate:.4g}/s was not decided: {nearest.reason}", rate)
        return self._found(rate, "objective", nearest.reason)

    def _found(self, rate: float | None, limit: Limit, reason: str, at_least: float | None = None) -> Highest:
        missed = [one.rate for one in self._seen if one.outcome == "missed"]
        passed = [one.rate for one in self._seen if one.outcome == "passed" and one.rate < min(missed, default=1e99)]
        quoted = None if rate is None else rate * QUOTED
        least = rate or at_least or max(passed, default=None)
        return Highest(quoted, least, limit, reason, tuple(self._seen), min(missed, default=None))

    def _passes(self, rate: float, stage: int) -> bool:
        """Return whether a rate passes; try it once more if the load generator's own delay decided the result."""
        for _ in range(2):
            self._seen.append(self._probe(rate, stage))
            if self._seen[-1].outcome != "spoiled":
                break
        return self._seen[-1].outcome == "passed"
