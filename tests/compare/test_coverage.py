"""The coverage that is stated is real: checked on queues with known quantiles, with the stopping rules in force."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from sdk.compare.rows import pairs
from sdk.compare.stats import estimate
from tests.compare.draws import Array, bimodal, bimodal_truth, compared, lognormal, lognormal_truth, mm1, mm1_truth

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdk.compare.measure import Bench


def covered(load: float, share: float, *, runs: int, size: int, times: int) -> float:
    draw = np.random.default_rng(20_261_125)
    hits = 0
    for _ in range(times):
        found = estimate([mm1(draw, load, size) for _ in range(runs)], share, utilisation=load)
        hits += found.low is not None and found.low <= mm1_truth(load, share) <= (found.high or 0.0)
    return hits / times


@pytest.mark.parametrize("load", [0.3, 0.5])
@pytest.mark.parametrize(("share", "size"), [(0.5, 40), (0.95, 200), (0.99, 1_000)])
def test_the_shortest_runs_cover_as_stated(load: float, share: float, size: int) -> None:
    """Within what 300 trials can tell: their standard error is 1.3 points."""
    assert 0.88 <= covered(load, share, runs=6, size=size, times=300) <= 0.99
    assert "independent" == estimate([np.ones(size - 1)] * 6, share, utilisation=load).basis


@pytest.mark.full
@pytest.mark.parametrize("load", [0.1, 0.3, 0.5])
@pytest.mark.parametrize(("share", "size"), [(0.5, 40), (0.95, 200), (0.95, 400), (0.99, 1_000), (0.99, 2_000)])
@pytest.mark.parametrize("runs", [5, 10])
def test_coverage_in_full(load: float, share: float, size: int, runs: int) -> None:
    """The same with 2,000 trials each."""
    assert 0.91 <= covered(load, share, runs=runs, size=size, times=2_000) <= 0.985


def test_bounds_that_assume_independence_do_not_cover_under_load() -> None:
    """Why one long run is not given an interval that looks sure: at half load it misses the truth far too often."""
    draw = np.random.default_rng(3)
    runs = [estimate([mm1(draw, 0.5, 5_000)], 0.99) for _ in range(200)]
    hits = sum((one.low or 0) <= mm1_truth(0.5, 0.99) <= (one.high or 0) for one in runs)
    assert {"independent"} == {one.basis for one in runs}
    assert hits / len(runs) < 0.75


def _mm1_at(load: float) -> tuple[Any, Any]:
    return lambda draw, count: 20 * mm1(draw, load, count), lambda share: 20 * mm1_truth(load, share)


KINDS: dict[str, tuple[Callable[[np.random.Generator, int], Array], Callable[[float], float]]] = {
    "a queue at 10 %": _mm1_at(0.1),
    "a queue at 30 %": _mm1_at(0.3),
    "a queue at half load": _mm1_at(0.5),
    "lognormal": (lognormal, lognormal_truth),
    "bimodal": (bimodal, bimodal_truth),
}


def _compared(kind: str, factors: dict[str, float], *, rate: float, seed: int, drift: float = 0.0) -> Bench:
    """A comparison of targets of one kind, each slower by its factor, and all slower by the drift at its end."""
    draw = np.random.default_rng(seed)

    def target(factor: float) -> Callable[[int, float], Array]:
        return lambda count, now: KINDS[kind][0](draw, count) * factor * (1 + drift * now / 300)

    return compared({key: target(factor) for key, factor in factors.items()}, rate)


def _differing(bench: Bench) -> bool:
    return any(one.difference.excludes_zero for one in pairs(bench.found, bench.rules) if one.quantile == "p95")


EQUAL = dict.fromkeys("abcd", 1.0)


def _hits(kind: str, times: int, rate: float = 40.0) -> float:
    hits = count = 0
    for seed in range(times):
        bench = _compared(kind, EQUAL, rate=rate, seed=seed)
        for one in bench.found.values():
            for share in (0.5, 0.95):
                found = estimate(one.due, share, rules=bench.rules)
                assert "runs" == found.basis
                hits += (found.low or 0.0) <= KINDS[kind][1](share) <= (found.high or 0.0)
                count += 1
    return hits / count


def _false(kind: str, times: int, drift: float) -> float:
    return sum(_differing(_compared(kind, EQUAL, rate=40.0, seed=seed, drift=drift)) for seed in range(times)) / times


def _found(factors: dict[str, float], times: int, rate: float) -> float:
    return sum(_differing(_compared("lognormal", factors, rate=rate, seed=seed)) for seed in range(times)) / times


@pytest.mark.parametrize("kind", ["a queue at half load", "bimodal"])
def test_intervals_of_whole_comparisons_cover(kind: str) -> None:
    """Four targets in five minutes, 80 intervals; the look in the middle may end it early."""
    assert _hits(kind, 10) >= 0.9


@pytest.mark.parametrize("drift", [0.0, 0.5])
def test_equal_targets_are_rarely_called_different(drift: float) -> None:
    """None of the six pairs of four equal targets, in all but 5 of 100 comparisons, also while all get slower."""
    assert _false("lognormal", 40, drift) <= 0.1


def test_a_tenth_is_found() -> None:
    """A p95 that is 10 % higher, at 40 requests/s, in five minutes for both."""
    assert _found({"a": 1.0, "b": 1.1}, 20, rate=40.0) >= 0.8


def test_a_settled_comparison_ends_early() -> None:
    """30 % apart and closely known after six of ten rounds: the rest of the time is the user's."""
    bench = _compared("lognormal", {"a": 1.0, "b": 1.3}, rate=100.0, seed=1)
    assert [6, 6] == [len(one.runs) for one in bench.found.values()]
    assert 0.99 == pytest.approx(bench.rules.confidence)
    whole = _compared("a queue at half load", EQUAL, rate=40.0, seed=1)
    assert [10] * 4 == [len(one.runs) for one in whole.found.values()]
    assert 0.96 == pytest.approx(whole.rules.confidence)


def test_slow_targets_are_compared_by_short_runs() -> None:
    """Sixty requests a run are too few for a p95, and enough to show that one is 50 % higher than the other."""
    bench = _compared("lognormal", {"a": 1.0, "b": 1.5}, rate=2.2, seed=1)
    assert {5} == {len(one.runs) for one in bench.found.values()}
    assert 60 <= bench.found["a"].runs[0].due.size < 100
    assert "independent" == estimate(bench.found["a"].due, 0.95, rules=bench.rules).basis
    assert _differing(bench)


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
def test_whole_comparisons_in_full(kind: str) -> None:
    """Coverage at least as stated, and false differences at most so, in 400 comparisons each."""
    assert _hits(kind, 400) >= 0.94
    assert _false(kind, 400, 0.0) <= 0.05 + 0.022  # two standard errors
    assert _false(kind, 400, 0.5) <= 0.05 + 0.022


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
def test_short_runs_show_no_false_differences_in_full(kind: str) -> None:
    """The same with the fewest requests that a difference may rest on."""
    seen = [_differing(_compared(kind, {"a": 1.0, "b": 1.0}, rate=2.2, seed=seed)) for seed in range(400)]
    assert sum(seen) / 400 <= 0.05 + 0.022


@pytest.mark.full
def test_a_tenth_is_found_in_full() -> None:
    """In two targets at 20 requests/s, and among four at 100."""
    assert _found({"a": 1.0, "b": 1.1}, 200, rate=20.0) >= 0.8
    assert _found({"a": 1.0, "b": 1.1, "c": 1.1, "d": 1.1}, 200, rate=100.0) >= 0.8
