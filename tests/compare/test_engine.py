"""The engine keeps its schedule, and what it reports of targets with known latency is true."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from sdk.compare.load import Arrivals, Trial, Volley, WindowPlan, offsets
from sdk.compare.load.engine import slope
from sdk.compare.stats import estimate, quantile
from tests.compare.virtual import SHOT, Frozen, Simulated, window

Seconds = Callable[[int], float]


def _open(count: int, rate: float, *, seed: int = 1, most_in_flight: int = 10_000) -> WindowPlan:
    return WindowPlan("one", [SHOT], count, Arrivals(rate, seed=seed), most_in_flight=most_in_flight)


def _lognormal(seed: int) -> Seconds:
    draw = random.Random(seed)
    return lambda _place: draw.lognormvariate(math.log(0.020), 0.5)


def _bimodal(seed: int) -> Seconds:
    draw = random.Random(seed)
    return lambda _place: 0.010 if draw.random() < 0.9 else 0.200


TRUTHS: dict[str, tuple[Callable[[int], Seconds], dict[float, float]]] = {
    "constant": (lambda _seed: lambda _place: 0.030, {0.5: 0.030, 0.95: 0.030, 0.99: 0.030}),
    "lognormal": (
        _lognormal,
        {share: 0.020 * math.exp(0.5 * z) for share, z in ((0.5, 0.0), (0.95, 1.6449), (0.99, 2.3263))},
    ),
    "bimodal": (_bimodal, {0.5: 0.010, 0.95: 0.200, 0.99: 0.200}),
}


def _run(name: str, seed: int) -> npt.NDArray[np.float64]:
    make = TRUTHS[name][0]
    return np.array(window(lambda: Simulated(make(seed)), _open(2_000, 500.0, seed=seed)).seconds("took"))


@pytest.mark.parametrize("name", TRUTHS)
def test_reported_quantiles_are_those_of_the_target(name: str) -> None:
    """Two measurements of ten runs each: their six intervals hold the truth, but for the few that 95 % allow."""
    hits = 0
    for first in (0, 10):
        runs = [_run(name, seed) for seed in range(first, first + 10)]
        for share, truth in TRUTHS[name][1].items():
            found = estimate(runs, share)
            assert "runs" == found.basis
            hits += (found.low or 0.0) - 1e-9 <= truth <= (found.high or 0.0) + 1e-9
    assert hits >= 5


def test_a_stall_is_visible() -> None:
    """One second of standing still in ten: a tenth of all requests is late, and the p99 says so."""
    found = window(lambda: Frozen(0.002, 3.0, 1.0), _open(1_000, 100.0))
    took = found.seconds("took")
    assert 80 <= sum(one > 0.1 for one in took) <= 120
    assert quantile(took, 0.99) > 0.85


def test_a_closed_loop_hides_the_same_stall() -> None:
    """What the open loop is for: who waits for answers before asking again meets the stall once."""
    plan = WindowPlan("one", [SHOT], 100_000, None, lanes=1, seconds=10.0)
    took = window(lambda: Frozen(0.002, 3.0, 1.0), plan).seconds("took")
    assert [True] == [one > 0.1 for one in took if one > 0.1]
    assert quantile(took, 0.99) < 0.01


def test_latency_counts_from_the_schedule() -> None:
    """With one worker and twice the load that it can bear, requests wait longer and longer, and the backlog grows."""
    found = window(lambda: Simulated(lambda _place: 0.02, workers=1), _open(400, 100.0))
    took = found.seconds("took")
    assert took[399] > 10 * took[10]
    assert found.grew > 20
    assert found.count == found.planned == 400


def test_a_window_that_overloads_its_target_ends_early() -> None:
    """No more is sent once so many requests wait; every one that was sent is accounted for."""
    found = window(lambda: Simulated(lambda _place: 0.02, workers=1), _open(4_000, 1_000.0, most_in_flight=50))
    assert 50 <= found.count < 4_000
    assert found.planned == 4_000
    assert found.backlog == 50
    assert found.count == len(found.statuses()) == len(found.seconds("due"))


def _tried(target: Callable[[], Simulated], *, rate: float = 100.0, least_s: float = 1.0) -> Volley:
    trial = Trial(objective_s=0.1, least_s=least_s)
    return window(target, WindowPlan("one", [SHOT], 5_000, Arrivals(rate), trial=trial))


def test_a_window_ends_when_its_rate_is_borne_for_certain() -> None:
    """86 answers in time, and not before the seconds that a queue needs to show."""
    found = _tried(lambda: Simulated(lambda _place: 0.05))
    assert ("passed", True) == (found.outcome, 86 <= found.count < 150)
    assert 0.95 <= found.seconds("due")[-1] <= 1.2
    assert found.count == len(found.statuses()) == len(found.seconds("took"))
    longer = _tried(lambda: Simulated(lambda _place: 0.05), least_s=5.0)
    assert 4.9 <= longer.seconds("due")[-1] <= 5.2


def test_a_window_ends_when_its_rate_is_missed_for_certain() -> None:
    """Fifteen slow ones in a row; a target that does not answer at all is found out by the age of its requests."""
    slow = _tried(lambda: Simulated(lambda _place: 0.15))
    assert ("missed", True) == (slow.outcome, 15 <= slow.count < 40)
    silent = _tried(lambda: Simulated(lambda _place: 1_000.0))
    assert ("missed", True) == (silent.outcome, 15 <= silent.count < 40)


def test_a_burst_of_slow_answers_is_not_taken_for_a_missed_rate() -> None:
    """Ten slow ones in a row among two hundred are within the 5 % that may be."""
    found = _tried(lambda: Simulated(lambda place: 0.15 if 20 <= place < 30 else 0.01), least_s=2.0)
    assert "passed" == found.outcome


def test_a_window_on_the_edge_is_sent_whole() -> None:
    """One in eighteen over the objective, near one in twenty: nothing is certain early."""
    found = _tried(lambda: Simulated(lambda place: 0.15 if place % 18 == 0 else 0.01))
    assert ("", 5_000) == (found.outcome, found.count)


def test_closed_loop_keeps_its_lanes_full() -> None:
    """Four lanes of 10 ms each do four hundred requests a second, and no more than four are in flight."""
    found = window(
        lambda: Simulated(lambda _place: 0.01), WindowPlan("one", [SHOT], 100_000, None, lanes=4, seconds=5.0)
    )
    assert found.backlog == 4
    assert 1_990 <= found.count <= 2_010


def test_arrivals_are_the_same_for_the_same_seed() -> None:
    """Everybody is asked at the same moments; another seed gives others, at the same rate."""
    one, same, other = (list(offsets(Arrivals(100.0, seed=seed), 5_000)) for seed in (1, 1, 2))
    assert one == same != other
    assert 47 < one[-1] < 53
    gaps = np.diff(one)
    assert 0.9 < float(np.std(gaps) / np.mean(gaps)) < 1.1  # a Poisson process: gaps are exponential


def test_slope_of_nothing() -> None:
    """Too few points have no slope."""
    assert slope([]) == slope([(1.0, 5)]) == slope([(1.0, 5), (1.0, 7)]) == 0.0
