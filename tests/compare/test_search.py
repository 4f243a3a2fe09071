"""The search finds the rate that a target bears, reports less, and says what is known when it cannot come to an end."""

from __future__ import annotations

import random

import pytest

from sdk.compare.search import QUOTED, TOLERANCE, Enough, RateTrial, highest_rate


@pytest.mark.parametrize("limit", [3.0, 12.0, 95.0, 1_234.0])
def test_finds_the_limit(limit: float) -> None:
    """Within 10 %, from below, and quotes nine tenths of it; the confirmations are the longest windows."""
    stages: list[int] = []

    def probe(rate: float, stage: int) -> RateTrial:
        stages.append(stage)
        return RateTrial(rate, "passed" if rate <= limit else "missed", "p95 is over")

    found = highest_rate(probe, first=10.0, top=10_000.0)
    assert limit / (1 + TOLERANCE) - 1e-9 <= (found.at_least or 0) <= limit < (found.below or 0)
    assert found.rate == pytest.approx(QUOTED * (found.at_least or 0))
    assert ("objective", "p95 is over") == (found.limited_by, found.reason)
    assert stages == sorted(stages)
    assert [2, 2] == stages[-2:]
    assert len(found.probes) <= 16


def test_too_slow_for_any_rate() -> None:
    """There is no rate to report, only the reason."""
    found = highest_rate(lambda rate, _stage: RateTrial(rate, "missed", "p95 is over"), first=10.0, top=100.0)
    assert (None, None, "objective", "p95 is over") == (found.rate, found.at_least, found.limited_by, found.reason)


def test_what_the_generator_cannot_send_is_not_reported() -> None:
    """The target bore everything that this machine could send: its highest rate is at least that."""
    found = highest_rate(
        lambda rate, _stage: RateTrial(rate, "passed" if rate < 50 else "spoiled", "late"), first=10.0, top=1e4
    )
    assert (None, "generator", None) == (found.rate, found.limited_by, found.below)
    assert 40 < (found.at_least or 0) < 50
    assert "late" in found.reason
    never = highest_rate(lambda rate, _stage: RateTrial(rate, "spoiled", "late"), first=10.0, top=1e4)
    assert (None, None, "generator") == (never.rate, never.at_least, never.limited_by)


def test_a_generator_that_is_late_once_decides_nothing() -> None:
    """The rate is tried again."""
    late = iter([True])

    def probe(rate: float, _stage: int) -> RateTrial:
        if next(late, False):
            return RateTrial(rate, "spoiled", "late")
        return RateTrial(rate, "passed" if rate <= 50 else "missed")

    found = highest_rate(probe, first=10.0, top=1e4)
    assert "objective" == found.limited_by
    assert 45 < (found.at_least or 0) <= 50


def test_the_end_of_the_range() -> None:
    """Nothing above was tried, and that is said."""
    found = highest_rate(lambda rate, _stage: RateTrial(rate, "passed"), first=10.0, top=100.0)
    assert ("range", 90.0) == (found.limited_by, found.rate)


@pytest.mark.parametrize(("probes", "bounds"), [(0, (None, None)), (2, (20.0, None)), (5, (80.0, 160.0))])
def test_the_time_is_over(probes: int, bounds: tuple[float | None, float | None]) -> None:
    """Whatever was seen until then bounds the highest rate."""
    left = iter(range(probes))

    def probe(rate: float, _stage: int) -> RateTrial:
        if next(left, None) is None:
            raise Enough
        return RateTrial(rate, "passed" if rate <= 95 else "missed")

    found = highest_rate(probe, first=10.0, top=1e4)
    assert (None, "time") == (found.rate, found.limited_by)
    assert bounds == (found.at_least, found.below)


@pytest.mark.parametrize("seed", range(20))
def test_a_target_that_wavers_is_confirmed(seed: int) -> None:
    """Near its limit a target passes by chance: what is quoted passed twice more."""
    draw = random.Random(seed)

    def wavering(rate: float, _stage: int) -> RateTrial:
        return RateTrial(rate, "passed" if rate * draw.uniform(0.9, 1.1) <= 100 else "missed")

    found = highest_rate(wavering, first=10.0, top=1e4)
    assert 70 <= (found.at_least or 0) <= 112
    assert ["passed"] * 2 == [probe.outcome for probe in found.probes[-2:]]
