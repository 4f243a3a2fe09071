"""Estimates with intervals that mean what they say.

Requests that follow each other are not independent (a queue remembers), so an interval made from all of them at once
is far too narrow: at half load its "95 %" cover the truth half of the time. Runs are as good as independent, so the
figure is that of all requests, and its interval Student's by how far the runs lie from it. Near saturation not even
runs are long enough: then there is no interval. `tests/compare/test_coverage.py` checks the stated coverage on queues
whose quantiles are known.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np
from scipy import stats

from .quantiles import P99_FIRM, P99_LEAST, P999_LEAST, claimable, quantile, rank_bounds

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Runs = Sequence[npt.NDArray[np.float64]]

Basis = Literal["runs", "independent", "none"]
HIDDEN = "the delay of the load generator itself hides the difference; a machine that is less busy shows it"


class Estimate(msgspec.Struct, frozen=True):
    """One figure and how sure it is.

    Args:
        value: The estimate; ``None`` when the measurement cannot support one. Infinite when too many requests failed,
            which JSON can only say as null.
        low: Lower end of the 95 % interval, ``None`` where there is none.
        high: Upper end.
        basis: What the interval rests on: ``"runs"``, ``"independent"`` (values taken for independent of each other,
            which under load they are not: indicative only) or ``"none"``.
        count: How many values are behind it.
        runs: In how many independent runs.
        note: Why there is no value or interval, or how to read it.
        sent: The same without the delay of the load generator itself, where that makes a difference. The interval
            holds both: it goes from the lower end of this one to the upper end of ``value``.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    basis: Basis = "none"
    count: int = 0
    runs: int = 0
    note: str = ""
    sent: float | None = None

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval rests on runs and lies on one side of 0."""
        if self.basis != "runs" or self.low is None or self.high is None:
            return False
        return self.low > 0 or self.high < 0


class Rules(msgspec.Struct, frozen=True):
    """When an interval is given.

    Args:
        runs: Fewest runs.
        requests: Fewest requests in each.
        tail: Fewest of them that are expected beyond the quantile: 10 make 200 requests a run for a p95, 1,000 for a
            p99. With fewer the value of a short run is too far off for the stated coverage.
        paired: The same for a difference: what short runs are off by is the same for both, if they are equal.
        utilisation: Highest share of the target's highest rate at which an interval is still honest.
        confidence: Its coverage.
    """

    runs: int = 5
    requests: int = 40
    tail: int = 10
    paired: int = 3
    utilisation: float = 0.5
    confidence: float = 0.95

    def least(self, share: float, *, paired: bool = False) -> int:
        """Return how many requests a run needs for an interval of this quantile, or of a difference of two.

        Example:
            >>> Rules().least(0.5), Rules().least(0.95), Rules().least(0.99), Rules().least(0.95, paired=True)
            (40, 200, 1000, 60)
        """
        return max(self.requests, round((self.paired if paired else self.tail) / (1 - share)))

    def whole(self, runs: Runs, share: float, *, paired: bool = False) -> bool:
        """Whether these runs are enough, and each long enough.

        Example:
            >>> Rules().whole([np.ones(200)] * 5, 0.95), Rules().whole([np.ones(200)] * 5, 0.99)
            (True, False)
        """
        return len(runs) >= self.runs and min(run.size for run in runs) >= self.least(share, paired=paired)

    def among(self, comparisons: int) -> Rules:
        """Return the rules for each of several comparisons that shall hold together (Bonferroni).

        Example:
            >>> round(Rules().among(5).confidence, 3)
            0.99
        """
        return msgspec.structs.replace(self, confidence=1 - (1 - self.confidence) / max(1, comparisons))


def estimate(
    runs: Runs,
    share: float,
    *,
    sent: Runs | None = None,
    rules: Rules | None = None,
    utilisation: float | None = None,
) -> Estimate:
    """A quantile over some runs of the same length.

    Args:
        runs: The values of each run, from when requests were due; infinite for what failed.
        share: Which quantile, such as 0.95.
        sent: The same from when they were sent: the true values lie between the two.
        rules: When an interval is given.
        utilisation: Rate of the runs divided by the highest rate of the target; ``None`` when that is not known.
    """
    found = _estimate(runs, share, rules or Rules(), utilisation)
    least = found if sent is None else _estimate(sent, share, rules or Rules(), utilisation)
    if least.value == found.value or found.value is None:
        return found
    low = least.low if found.low is not None else None
    return msgspec.structs.replace(found, low=low, sent=least.value)


def _estimate(runs: Runs, share: float, rules: Rules, utilisation: float | None) -> Estimate:
    together = np.concatenate(runs) if runs else np.empty(0)
    count = int(together.size)
    if count == 0 or share not in claimable(count):
        return Estimate(None, count=count, runs=len(runs), note=_too_few(share, count))
    if rules.whole(runs, share):
        return _by_runs(together, runs, share, rules, utilisation)
    return _by_ranks(together, share, len(runs), rules, utilisation)


def _too_few(share: float, count: int) -> str:
    need = {0.99: P99_LEAST, 0.999: P999_LEAST}.get(share, 1)
    return f"{count} requests are too few: p{100 * share:g} needs {need}"


def _saturated(rules: Rules, utilisation: float | None) -> str:
    if utilisation is None or utilisation <= rules.utilisation:
        return ""
    return f"no interval: {utilisation:.0%} of the highest rate is too near saturation"


def _by_runs(
    together: npt.NDArray[np.float64], runs: Runs, share: float, rules: Rules, utilisation: float | None
) -> Estimate:
    """The quantile of all values, with Student's interval by how far the runs lie from it.

    The interval holds the one for independent values too: that is the wider one where each run gives the same value.
    """
    value, count = quantile(together, share), int(together.size)
    if note := _saturated(rules, utilisation):
        return Estimate(value, count=count, runs=len(runs), note=note)
    values = [quantile(run, share) for run in runs]
    if not math.isfinite(max(*values, value)):
        return Estimate(value, count=count, runs=len(runs), note="no interval: too many requests failed")
    low, high = _interval(value, values, rules.confidence)
    least, most = rank_bounds(together, share, rules.confidence) or (low, high)
    return Estimate(value, max(0.0, min(low, least)), max(high, most), "runs", count, len(runs))


def _by_ranks(
    together: npt.NDArray[np.float64], share: float, runs: int, rules: Rules, utilisation: float | None
) -> Estimate:
    """Too few or too short runs: the value, with bounds that hold for independent values only."""
    value, count = quantile(together, share), int(together.size)
    if note := _saturated(rules, utilisation):
        return Estimate(value, count=count, runs=runs, note=note)
    if not math.isfinite(value):
        return Estimate(value, count=count, runs=runs, note="no interval: too many requests failed")
    bounds = rank_bounds(together, share, rules.confidence)
    if bounds is None:
        return Estimate(value, count=count, runs=runs, note="too few requests for an interval")
    indicative = share >= 0.99 and count < P99_FIRM
    note = "indicative; independent samples assumed" if indicative else "independent samples assumed"
    return Estimate(value, *bounds, "independent", count, runs, note)


def difference(
    one: Runs,
    other: Runs,
    share: float,
    *,
    sent: tuple[Runs, Runs] | None = None,
    rules: Rules | None = None,
) -> Estimate:
    """How much larger a quantile of ``one`` is than of ``other``, by pairs of runs made one after the other.

    Whatever disturbed both runs of a pair (time of day, a busy line) cancels out. Only an interval that excludes 0
    shows a difference. With ``sent``, the same values from when requests were sent, the interval holds the difference
    whatever the load generator's delay was in each of the two.
    """
    rules = rules or Rules()
    pairs = list(zip(one, other, strict=False))
    count = sum(int(a.size + b.size) for a, b in pairs)
    if not all(rules.whole(side, share, paired=True) for side in ([a for a, _ in pairs], [b for _, b in pairs])):
        return Estimate(None, count=count, runs=len(pairs), note=_too_short(rules, share))
    found = _gap(one, other, share, rules)
    if sent is None or found.value is None:
        return found
    least, most = _gap(sent[0], other, share, rules), _gap(one, sent[1], share, rules)
    low = min(one for one in (found.low, least.low) if one is not None)
    high = max(one for one in (found.high, most.high) if one is not None)
    wide = msgspec.structs.replace(found, low=low, high=high)
    hidden = found.excludes_zero and not wide.excludes_zero
    return msgspec.structs.replace(wide, note=HIDDEN) if hidden else wide


def _too_short(rules: Rules, share: float) -> str:
    return f"fewer than {rules.runs} pairs of runs with {rules.least(share, paired=True)} requests each"


def _gap(one: Runs, other: Runs, share: float, rules: Rules) -> Estimate:
    """The difference of the quantiles of all values, with Student's interval by how far the pairs lie from it."""
    pairs = list(zip(one, other, strict=False))
    count = sum(int(a.size + b.size) for a, b in pairs)
    gaps = [quantile(a, share) - quantile(b, share) for a, b in pairs]
    if not all(map(math.isfinite, gaps)):
        return Estimate(None, count=count, runs=len(pairs), note="too many requests failed")
    mine, theirs = (np.concatenate(side) for side in zip(*pairs, strict=True))
    value = quantile(mine, share) - quantile(theirs, share)
    return Estimate(value, *_interval(value, gaps, rules.confidence), "runs", count, len(pairs))


def _interval(middle: float, values: Sequence[float], confidence: float) -> tuple[float, float]:
    """Student's interval around a value of all runs, by how far the single runs lie from it ("sectioning").

    Where it is the mean of the runs this is the usual one. The quantile of all values is less biased than the mean of
    those of short runs, and the distance to it counts what bias is left.
    """
    spread = math.sqrt(sum((value - middle) ** 2 for value in values) / (len(values) - 1))
    half = float(stats.t.ppf((1 + confidence) / 2, len(values) - 1)) * spread / math.sqrt(len(values))
    return middle - half, middle + half
