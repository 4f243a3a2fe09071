"""The coverage that is stated is real: checked on queues whose quantiles are known in closed form."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from sdk.compare.stats import difference, estimate

Array = npt.NDArray[np.float64]


def mm1(draw: np.random.Generator, load: float, count: int) -> Array:
    """Times in system of ``count`` customers of an M/M/1 queue in its steady state; mean service time 1."""
    service, gaps = draw.exponential(1.0, count), draw.exponential(1.0 / load, count)
    waiting = draw.exponential(1.0 / (1.0 - load)) if draw.random() < load else 0.0
    walk = np.cumsum(np.concatenate([[waiting], service[:-1] - gaps[1:]]))
    found: Array = walk - np.minimum.accumulate(np.minimum(walk, 0.0)) + service
    return found


def truth(load: float, share: float) -> float:
    """The quantile of the time in system: it is exponential with rate 1 - load."""
    return -math.log(1.0 - share) / (1.0 - load)


def covered(load: float, share: float, *, runs: int, size: int, times: int) -> float:
    draw = np.random.default_rng(20_261_125)
    hits = 0
    for _ in range(times):
        found = estimate([mm1(draw, load, size) for _ in range(runs)], share, utilisation=load)
        hits += found.low is not None and found.low <= truth(load, share) <= (found.high or 0.0)
    return hits / times


@pytest.mark.parametrize("load", [0.3, 0.5])
@pytest.mark.parametrize("share", [0.5, 0.95, 0.99])
def test_95_percent_cover_the_truth(load: float, share: float) -> None:
    """Within what 400 trials can tell: their standard error is 1.1 points, and short runs cost the p99 two."""
    assert 0.90 <= covered(load, share, runs=10, size=2_000, times=400) <= 0.985


@pytest.mark.full
@pytest.mark.parametrize("load", [0.1, 0.3, 0.5])
@pytest.mark.parametrize("share", [0.5, 0.95, 0.99])
@pytest.mark.parametrize(("runs", "size"), [(5, 2_000), (10, 2_000), (10, 5_000)])
def test_coverage_in_full(load: float, share: float, runs: int, size: int) -> None:
    """The same with 3,000 trials each."""
    assert 0.915 <= covered(load, share, runs=runs, size=size, times=3_000) <= 0.97


@pytest.mark.parametrize("load", [0.1, 0.3, 0.5])
@pytest.mark.parametrize(("share", "size"), [(0.5, 200), (0.95, 400)])
def test_lower_quantiles_need_shorter_runs(load: float, share: float, size: int) -> None:
    """The shortest runs that give an interval cover as stated, within what 800 trials can tell."""
    assert 0.9 <= covered(load, share, runs=5, size=size, times=800) <= 0.98
    assert "independent" == estimate([np.ones(size - 1)] * 5, share, utilisation=load).basis


def test_bounds_that_assume_independence_do_not_cover_under_load() -> None:
    """Why one long run is not given an interval that looks sure: at half load it misses the truth far too often."""
    draw = np.random.default_rng(3)
    runs = [estimate([mm1(draw, 0.5, 5_000)], 0.99) for _ in range(200)]
    hits = sum((one.low or 0) <= truth(0.5, 0.99) <= (one.high or 0) for one in runs)
    assert {"independent"} == {one.basis for one in runs}
    assert hits / len(runs) < 0.75


def test_equal_targets_are_rarely_called_different() -> None:
    """Five in a hundred, as stated: pairs of the same queue."""
    draw = np.random.default_rng(4)
    wrong = sum(
        difference(
            [mm1(draw, 0.3, 2_000) for _ in range(5)], [mm1(draw, 0.3, 2_000) for _ in range(5)], 0.95
        ).excludes_zero
        for _ in range(400)
    )
    assert wrong / 400 < 0.085
