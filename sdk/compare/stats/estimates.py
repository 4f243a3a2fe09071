"""Estimates of quantiles and their differences, with intervals that have the stated coverage.

Successive requests are not independent, since a queue has memory. An interval calculated from all requests at once is
therefore far too narrow: at half load, its "95 %" cover the true value only half of the time. Runs are practically
independent. So the value is calculated from all requests, and its Student's t interval from the distances of the runs
to that value. Near saturation, even runs are too short, so there is no interval. `tests/compare/test_coverage.py`
checks the stated coverage on queues whose quantiles are known.
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
    """One estimated value and its uncertainty.

    Args:
        value: The estimate; ``None`` when the measurement does not support one. Infinite when too many requests failed,
            which JSON can only represent as null.
        low: Lower end of the 95 % interval; ``None`` without an interval.
        high: Upper end of the interval.
        basis: What the interval is based on: ``"runs"``, ``"independent"`` (it assumes that the values are independent
            of each other, which is wrong under load: indicative only) or ``"none"``.
        count: The number of values that the estimate is based on.
        runs: The number of independent runs.
        note: Why there is no value or interval, or how to interpret it.
        sent: The estimate without the load generator's own delay, where that makes a difference. The interval covers
            both: it extends from the lower end of this estimate to the upper end of ``value``.
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
        """Whether the interval is based on runs and lies on one side of 0."""
        if self.basis != "runs" or self.low is None or self.high is None:
            return False
        return self.low > 0 or self.high < 0


class IntervalRules(msgspec.Struct, frozen=True):
    """The rules for when an interval is reported.

    Args:
        runs: Minimum number of runs.
        requests: Minimum number of requests in each run.
        tail: Minimum number of requests expected beyond the quantile: 10 means 200 requests per run for a p95, 1,000
            for a p99. With fewer, the bias of a short run is too large for the stated coverage.
        paired: The same for a difference, where the bias of short runs cancels out if the subjects are equal.
        utilisation: Maximum share of the target's highest rate at which an interval still has its coverage.
        confidence: The coverage of the interval.
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
            >>> rules = IntervalRules()
            >>> rules.least(0.5), rules.least(0.95), rules.least(0.99), rules.least(0.95, paired=True)
            (40, 200, 1000, 60)
        """
        return max(self.requests, round((self.paired if paired else self.tail) / (1 - share)))

    def whole(self, runs: Runs, share: float, *, paired: bool = False) -> bool:
        """Return whether there are enough runs and each of them is long enough.

        Example:
            >>> IntervalRules().whole([np.ones(200)] * 5, 0.95), IntervalRules().whole([np.ones(200)] * 5, 0.99)
            (True, False)
        """
        return len(runs) >= self.runs and min(run.size for run in runs) >= self.least(share, paired=paired)

    def among(self, comparisons: int) -> IntervalRules:
        """Return the rules for each of several comparisons that must hold jointly (Bonferroni).

        Example:
            >>> round(IntervalRules().among(5).confidence, 3)
            0.99
        """
        return msgspec.structs.replace(self, confidence=1 - (1 - self.confidence) / max(1, comparisons))


def estimate(
    runs: Runs,
    share: float,
    *,
    sent: Runs | None = None,
    rules: IntervalRules | None = None,
    utilisation: float | None = None,
) -> Estimate:
    """Estimate a quantile from runs of the same length.

    Args:
        runs: The values of each run, timed from when requests were due; infinite for failed requests.
        share: The quantile, such as 0.95.
        sent: The same values timed from when requests were sent; the true values lie between the two.
        rules: The rules for when an interval is reported.
        utilisation: Rate of the runs divided by the highest rate of the target; ``None`` when that is unknown.
    """
    found = _estimate(runs, share, rules or IntervalRules(), utilisation)
    least = found if sent is None else _estimate(sent, share, rules or IntervalRules(), utilisation)
    if least.value == found.value or found.value is None:
        return found
    low = least.low if found.low is not None else None
    return msgspec.structs.replace(found, low=low, sent=least.value)


def _estimate(runs: Runs, share: float, rules: IntervalRules, utilisation: float | None) -> Estimate:
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


def _saturated(rules: IntervalRules, utilisation: float | None) -> str:
    if utilisation is None or utilisation <= rules.utilisation:
        return ""
    return f"no interval: {utilisation:.0%} of the highest rate is too near saturation"


def _by_runs(
    together: npt.NDArray[np.float64], runs: Runs, share: float, rules: IntervalRules, utilisation: float | None
) -> Estimate:
    """Estimate the quantile of all values, with Student's t interval from the distances of the runs to it.

    The interval also covers the one for independent values, which is wider where all runs give the same value.
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
    together: npt.NDArray[np.float64], share: float, runs: int, rules: IntervalRules, utilisation: float | None
) -> Estimate:
    """Estimate from too few or too short runs: the value, with bounds that only hold for independent values."""
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
    rules: IntervalRules | None = None,
) -> Estimate:
    """Estimate how much larger a quantile of ``one`` is than that of ``other``, from pairs of consecutive runs.

    A disturbance of both runs of a pair (time of day, a busy line) cancels out. Only an interval that excludes 0 shows
    a difference. With ``sent``, the same values timed from when requests were sent, the interval covers the difference
    for any delay of the load generator in each of the two.
    """
    rules = rules or IntervalRules()
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


def _too_short(rules: IntervalRules, share: float) -> str:
    return f"fewer than {rules.runs} pairs of runs with {rules.least(share, paired=True)} requests each"


def _gap(one: Runs, other: Runs, share: float, rules: IntervalRules) -> Estimate:
    """Estimate the difference of the quantiles of all values, with Student's t interval from the pairs' distances."""
    pairs = list(zip(one, other, strict=False))
    count = sum(int(a.size + b.size) for a, b in pairs)
    gaps = [quantile(a, share) - quantile(b, share) for a, b in pairs]
    if not all(map(math.isfinite, gaps)):
        return Estimate(None, count=count, runs=len(pairs), note="too many requests failed")
    mine, theirs = (np.concatenate(side) for side in zip(*pairs, strict=True))
    value = quantile(mine, share) - quantile(theirs, share)
    return Estimate(value, *_interval(value, gaps, rules.confidence), "runs", count, len(pairs))


def _interval(middle: float, values: Sequence[float], confidence: float) -> tuple[float, float]:
    """Return Student's t interval around a value of all runs, from the distances of the runs to it ("sectioning").

    If the value is the mean of the runs, this is the usual interval. The quantile of all values is less biased than the
    mean of the quantiles of short runs, and the distances to it include the remaining bias.
    """
    spread = math.sqrt(sum((value - middle) ** 2 for value in values) / (len(values) - 1))
    half = float(stats.t.ppf((1 + confidence) / 2, len(values) - 1)) * spread / math.sqrt(len(values))
    return middle - half, middle + half
