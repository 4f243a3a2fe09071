"""Estimates with intervals that mean what they say.

Requests that follow each other are not independent (a queue remembers), so an interval made from all of them at once
is far too narrow: at half load its "95 %" cover the truth half of the time. Runs are as good as independent, so each
run gives one value and the interval is Student's over those. Near saturation not even runs are long enough: then there
is no interval. `tests/compare/test_coverage.py` checks the stated coverage on queues whose quantiles are known.
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
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    basis: Basis = "none"
    count: int = 0
    runs: int = 0
    note: str = ""

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
        tail: Fewest of them that are expected beyond the quantile: 20 make 400 requests a run for a p95, 2,000 for a
            p99. With fewer the value of a short run is too far off for the stated coverage.
        utilisation: Highest share of the target's highest rate at which an interval is still honest.
        confidence: Its coverage.
    """

    runs: int = 5
    requests: int = 200
    tail: int = 20
    utilisation: float = 0.5
    confidence: float = 0.95

    def whole(self, runs: Runs, share: float) -> bool:
        """Whether these runs are enough, and each long enough, for an interval of this quantile.

        Example:
            >>> Rules().whole([np.ones(400)] * 5, 0.95), Rules().whole([np.ones(400)] * 5, 0.99)
            (True, False)
        """
        fewest = max(self.requests, round(self.tail / (1 - share)))
        return len(runs) >= self.runs and min(run.size for run in runs) >= fewest


def estimate(runs: Runs, share: float, *, rules: Rules | None = None, utilisation: float | None = None) -> Estimate:
    """A quantile over some runs of the same length.

    Args:
        runs: The values of each run; infinite for what failed.
        share: Which quantile, such as 0.95.
        rules: When an interval is given.
        utilisation: Rate of the runs divided by the highest rate of the target; ``None`` when that is not known.
    """
    rules = rules or Rules()
    together = np.concatenate(runs) if runs else np.empty(0)
    count = int(together.size)
    if count == 0 or share not in claimable(count):
        return Estimate(None, count=count, runs=len(runs), note=_too_few(share, count))
    if rules.whole(runs, share):
        return _by_runs([quantile(run, share) for run in runs], count, rules, utilisation)
    return _by_ranks(together, share, len(runs), rules, utilisation)


def _too_few(share: float, count: int) -> str:
    need = {0.99: P99_LEAST, 0.999: P999_LEAST}.get(share, 1)
    return f"{count} requests are too few: p{100 * share:g} needs {need}"


def _saturated(rules: Rules, utilisation: float | None) -> str:
    if utilisation is None or utilisation <= rules.utilisation:
        return ""
    return f"no interval: {utilisation:.0%} of the highest rate is too near saturation"


def _by_runs(values: list[float], count: int, rules: Rules, utilisation: float | None) -> Estimate:
    middle = float(np.mean(values))
    runs = len(values)
    if note := _saturated(rules, utilisation):
        return Estimate(middle, count=count, runs=runs, note=note)
    if not math.isfinite(middle):
        return Estimate(middle, count=count, runs=runs, note="no interval: too many requests failed")
    half = _half_width(values, rules.confidence)
    return Estimate(middle, max(0.0, middle - half), middle + half, "runs", count, runs)


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


def difference(one: Runs, other: Runs, share: float, *, rules: Rules | None = None) -> Estimate:
    """How much larger a quantile of ``one`` is than of ``other``, by pairs of runs made one after the other.

    Whatever disturbed both runs of a pair (time of day, a busy line) cancels out. Only an interval that excludes 0
    shows a difference.
    """
    rules = rules or Rules()
    pairs = list(zip(one, other, strict=False))
    count = sum(int(a.size + b.size) for a, b in pairs)
    if not (rules.whole([a for a, _ in pairs], share) and rules.whole([b for _, b in pairs], share)):
        return Estimate(None, count=count, runs=len(pairs), note=f"fewer than {rules.runs} pairs of whole runs")
    gaps = [quantile(a, share) - quantile(b, share) for a, b in pairs]
    middle = float(np.mean(gaps))
    if not math.isfinite(middle):
        return Estimate(None, count=count, runs=len(pairs), note="too many requests failed")
    half = _half_width(gaps, rules.confidence)
    return Estimate(middle, middle - half, middle + half, "runs", count, len(pairs))


def _half_width(values: Sequence[float], confidence: float) -> float:
    """Half of Student's interval of the mean."""
    factor = float(stats.t.ppf((1 + confidence) / 2, len(values) - 1))
    return factor * float(np.std(values, ddof=1)) / math.sqrt(len(values))
