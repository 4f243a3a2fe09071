"""The highest rate that a subject bears under the objective: a geometric ramp, a bisection, fresh confirmations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

Outcome = Literal["passed", "missed", "spoiled"]  # spoiled: the delay of the load generator itself decides

FACTOR = 1.5
TOLERANCE = 0.05
CONFIRMATIONS = 3
QUOTED = 0.9  # of the highest rate that passed everything: what stands on the edge falls tomorrow


class Probe(msgspec.Struct, frozen=True):
    """What one rate showed."""

    rate: float
    outcome: Outcome
    reason: str = ""


class Highest(msgspec.Struct, frozen=True):
    """The result of a search.

    Args:
        rate: Nine tenths of the highest rate that passed every time; ``None`` when there is none to report.
        at_least: The highest rate that was seen to pass, in the search or in any other window.
        limited_by: What ended the search: ``"objective"``, ``"generator"`` (this machine cannot send faster, so only
            ``at_least`` is known) or ``"range"`` (the end of the rates to try).
        reason: In words.
        probes: Everything that was tried.
    """

    rate: float | None
    at_least: float | None
    limited_by: Literal["objective", "generator", "range"]
    reason: str
    probes: tuple[Probe, ...] = ()


def highest_rate(probe: Callable[[float], Probe], *, first: float, top: float) -> Highest:
    """Searches with a probe that tells whether a rate is borne.

    Args:
        probe: Measures one rate.
        first: Where the search begins; halved down to a sixteenth of it when even that is too much.
        top: Where it ends.
    """
    return _Search(probe, top).run(first)


class _Search:
    def __init__(self, probe: Callable[[float], Probe], top: float) -> None:
        self._probe = probe
        self._top = top
        self._seen: list[Probe] = []

    def run(self, first: float) -> Highest:
        low, high = self._ramp(first)
        if low is None:
            return self._nothing()
        if high is None:
            return self._open_end(low)
        while high / low > 1 + TOLERANCE:
            middle = (high * low) ** 0.5
            low, high = (middle, high) if self._passes(middle) else (low, middle)
        return self._confirmed(low)

    def _nothing(self) -> Highest:
        last = self._seen[-1]
        return Highest(None, None, "generator" if last.outcome == "spoiled" else "objective", last.reason, self._all())

    def _ramp(self, first: float) -> tuple[float | None, float | None]:
        """The last rate that passed and the first that did not."""
        rate = min(first, self._top)
        floor = rate / 16
        while not self._passes(rate):
            if rate / 2 < floor:
                return None, rate
            rate /= 2
        low = rate
        while low < self._top:
            rate = min(low * FACTOR, self._top)
            if not self._passes(rate):
                return low, None if self._seen[-1].outcome == "spoiled" else rate
            low = rate
        return low, None

    def _open_end(self, low: float) -> Highest:
        """Every rate up to the end of what could be tried passed."""
        last = self._seen[-1]
        if last.outcome == "spoiled":
            return Highest(None, low, "generator", f"more than {low:g}/s cannot be sent: {last.reason}", self._all())
        return Highest(low * QUOTED, low, "range", f"no higher rate than {low:g}/s was tried", self._all())

    def _confirmed(self, rate: float) -> Highest:
        reason = next((one.reason for one in reversed(self._seen) if one.outcome == "missed"), "")
        while True:
            if all(self._passes(rate) for _ in range(CONFIRMATIONS)):
                return Highest(rate * QUOTED, rate, "objective", reason, self._all())
            if self._seen[-1].outcome == "spoiled":
                return Highest(None, rate, "generator", self._seen[-1].reason, self._all())
            rate *= 1 - TOLERANCE
            if rate < self._seen[0].rate / 32:
                return self._nothing()

    def _passes(self, rate: float) -> bool:
        """Try a rate, once more where the delay of the load generator decided."""
        for _ in range(2):
            self._seen.append(self._probe(rate))
            if self._seen[-1].outcome != "spoiled":
                break
        return self._seen[-1].outcome == "passed"

    def _all(self) -> tuple[Probe, ...]:
        return tuple(self._seen)
