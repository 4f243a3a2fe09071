"""Figures are exact, and nothing is claimed that the numbers do not support."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdk.compare.stats import IntervalRules, claimable, difference, estimate, quantile, rank_bounds

finite = st.floats(allow_nan=False, allow_infinity=True, min_value=0)


@given(st.lists(finite, min_size=1, max_size=300), st.sampled_from([0.5, 0.9, 0.95, 0.99, 1.0]))
def test_a_quantile_is_the_smallest_value_that_holds(values: list[float], share: float) -> None:
    """By its definition, for any values."""
    found = quantile(values, share)
    need = share * len(values) - 1e-6
    assert found in values
    assert sum(one <= found for one in values) >= need
    below = [one for one in values if one < found]
    assert len(below) < need or not below


def test_failures_count_as_infinite() -> None:
    """Two failed requests of a hundred leave the p95 alone and take the p99."""
    values = [0.01] * 98 + [float("inf")] * 2
    assert 0.01 == quantile(values, 0.95)
    assert float("inf") == quantile(values, 0.99)


def test_no_values_have_no_quantile() -> None:
    """Nothing is made up."""
    with pytest.raises(ValueError, match="no values"):
        quantile([], 0.5)
    assert estimate([], 0.5).value is None


def test_rank_bounds() -> None:
    """Known ranks: of 1,000 values the p99 lies between the 983rd or 984th and the 997th, and 100 are too few."""
    low, high = rank_bounds(np.arange(1, 1_001), 0.99) or (0, 0)
    assert 983 <= low <= 985
    assert 995 <= high <= 998
    assert rank_bounds(np.arange(100), 0.99) is None


@pytest.mark.parametrize(
    ("count", "shares"),
    [
        (1, (0.5, 0.9, 0.95)),
        (399, (0.5, 0.9, 0.95)),
        (400, (0.5, 0.9, 0.95, 0.99)),
        (29_999, (0.5, 0.9, 0.95, 0.99)),
        (30_000, (0.5, 0.9, 0.95, 0.99, 0.999)),
    ],
)
def test_what_may_be_claimed(count: int, shares: tuple[float, ...]) -> None:
    """No p99 below 400 requests, no p99.9 below 30,000."""
    assert shares == claimable(count)


def _runs(count: int, size: int, *, shift: float = 0.0, seed: int = 1) -> list[npt.NDArray[np.float64]]:
    draw = np.random.default_rng(seed)
    return [draw.lognormal(0.0, 0.5, size) + shift for _ in range(count)]


def test_indicative_below_2000() -> None:
    """One short run: a p99 with the word that it needs."""
    found = estimate(_runs(1, 1_000), 0.99)
    assert "independent" == found.basis
    assert found.note.startswith("indicative; independent samples assumed")
    assert not estimate(_runs(1, 399), 0.99).value
    assert "too few" in estimate(_runs(1, 399), 0.99).note


def test_no_interval_near_saturation() -> None:
    """The value stays, the interval goes, and the reason is said."""
    near = estimate(_runs(10, 2_000), 0.95, utilisation=0.9)
    assert near.value is not None
    assert (None, None, "none") == (near.low, near.high, near.basis)
    assert "90% of the highest rate is too near saturation" in near.note
    assert "runs" == estimate(_runs(10, 2_000), 0.95, utilisation=0.3).basis


def test_no_interval_of_failures() -> None:
    """A quantile that is infinite has no interval around it."""
    found = estimate([np.full(2_000, np.inf)] * 5, 0.95)
    assert (float("inf"), "none") == (found.value, found.basis)


def test_a_difference_needs_an_interval_without_zero() -> None:
    """20 % slower is shown, the same again is not, and too few runs show nothing."""
    same, slower = _runs(10, 2_000, seed=2), _runs(10, 2_000, seed=3, shift=0.2)
    assert difference(slower, same, 0.95).excludes_zero
    assert not difference(_runs(10, 2_000, seed=4), same, 0.95).excludes_zero
    few = difference(slower[:4], same[:4], 0.95)
    assert not few.excludes_zero
    assert "fewer than 5 pairs" in few.note
    assert not difference([np.full(2_000, np.inf)] * 5, same, 0.95).excludes_zero


def test_pairing_removes_what_both_runs_share() -> None:
    """A line that is slow for both of a pair hides a difference from unpaired runs, not from pairs."""
    draw = np.random.default_rng(5)
    weather = [float(one) for one in draw.uniform(0, 5, 10)]
    base, slower = _runs(10, 2_000, seed=6), _runs(10, 2_000, seed=7, shift=0.1)
    one = [run + more for run, more in zip(base, weather, strict=True)]
    other = [run + more for run, more in zip(slower, weather, strict=True)]
    assert difference(other, one, 0.5).excludes_zero
    a, b = estimate(one, 0.5), estimate(other, 0.5)
    assert (a.high or 0) > (b.low or 0)


def test_rules_can_be_tightened() -> None:
    """Whoever asks for more runs gets no interval from fewer."""
    assert "independent" == estimate(_runs(5, 2_000), 0.95, rules=IntervalRules(runs=10)).basis
