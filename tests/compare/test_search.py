"""The search finds the rate that a target bears, reports less, and nothing that the generator could not send."""

from __future__ import annotations

import random

import pytest

from sdk.compare.search import QUOTED, Probe, highest_rate


@pytest.mark.parametrize("limit", [3.0, 12.0, 95.0, 1_234.0])
def test_finds_the_limit(limit: float) -> None:
    """Within 5 %, from below, and quotes nine tenths of it."""
    found = highest_rate(lambda rate: Probe(rate, "passed" if rate <= limit else "missed"), first=10.0, top=10_000.0)
    assert limit / 1.05 - 1e-9 <= (found.at_least or 0) <= limit
    assert found.rate == pytest.approx(QUOTED * (found.at_least or 0))
    assert "objective" == found.limited_by
    assert ["passed"] * 3 == [probe.outcome for probe in found.probes[-3:]]


def test_too_slow_for_any_rate() -> None:
    """There is no rate to report, only the reason."""
    found = highest_rate(lambda rate: Probe(rate, "missed", "p95 is over"), first=10.0, top=100.0)
    assert (None, None, "objective", "p95 is over") == (found.rate, found.at_least, found.limited_by, found.reason)


def test_what_the_generator_cannot_send_is_not_reported() -> None:
    """The target bore everything that this machine could send: its highest rate is not known."""
    found = highest_rate(lambda rate: Probe(rate, "passed" if rate < 50 else "spoiled", "late"), first=10.0, top=1e4)
    assert (None, "generator") == (found.rate, found.limited_by)
    assert 33 < (found.at_least or 0) < 50
    assert "late" in found.reason
    assert highest_rate(lambda rate: Probe(rate, "spoiled", "late"), first=10.0, top=1e4).rate is None


def test_the_end_of_the_range() -> None:
    """Nothing above was tried, and that is said."""
    found = highest_rate(lambda rate: Probe(rate, "passed"), first=10.0, top=100.0)
    assert ("range", 90.0) == (found.limited_by, found.rate)


@pytest.mark.parametrize("seed", range(20))
def test_a_target_that_wavers_is_confirmed(seed: int) -> None:
    """Near its limit a target passes by chance: what is quoted passed three times in a row."""
    draw = random.Random(seed)

    def wavering(rate: float) -> Probe:
        return Probe(rate, "passed" if rate * draw.uniform(0.9, 1.1) <= 100 else "missed")

    found = highest_rate(wavering, first=10.0, top=1e4)
    assert 70 <= (found.at_least or 0) <= 112
    assert ["passed"] * 3 == [probe.outcome for probe in found.probes[-3:]]
