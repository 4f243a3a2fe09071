"""What counts as an answer on an ordinary machine, in the benchmark that measures it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks.compare.minutes import FAST, SLOW, unmet
from sdk.compare.result import Pair
from sdk.compare.stats import Estimate
from sdk.compare.traffic import Traffic
from tests.compare.rows import comparison, row

SLOWER = Estimate(12.0, 8.0, 16.0, "runs", 2_000, 5)
FASTER = Estimate(-12.0, -16.0, -8.0, "runs", 2_000, 5)
UNSURE = Estimate(12.0, -1.0, 25.0, "runs", 2_000, 5)
GUESSED = Estimate(12.0, 8.0, 16.0, "independent", 2_000, 1)


def _found(pair: Pair, **more: Any) -> dict[str, Any]:
    rows = [row("local", **more), row(FAST, p95=40.0), row(SLOW, p95=52.0)]
    found: dict[str, Any] = json.loads(comparison(*rows, traffic=Traffic.of(1e6), pairs=(pair,)).to_json())
    return found


@pytest.mark.parametrize("pair", [Pair(SLOW, FAST, "p95", SLOWER), Pair(FAST, SLOW, "p95", FASTER)])
def test_costs_and_the_right_order_are_an_answer(pair: Pair) -> None:
    """Whichever of the two is named first."""
    assert [] == unmet(_found(pair), 301.0)


@pytest.mark.parametrize(
    "pair",
    [
        Pair(SLOW, FAST, "p95", FASTER),  # the wrong way round
        Pair(FAST, SLOW, "p95", SLOWER),
        Pair(SLOW, FAST, "p95", UNSURE),
        Pair(SLOW, FAST, "p95", GUESSED),
        Pair(SLOW, FAST, "p50", SLOWER),
        Pair(SLOW, "local", "p95", SLOWER),
        Pair(SLOW, FAST, "p95", Estimate(None, note="fewer than 5 pairs")),
    ],
)
def test_another_order_is_none(pair: Pair) -> None:
    """The wrong way round, not certain, or another pair."""
    assert [f"{FAST} is not shown to be faster than {SLOW}"] == unmet(_found(pair), 301.0)


def test_what_is_missing_is_named() -> None:
    """An unknown cost of a target with a price, a latency, the time; a target without a price needs no cost."""
    order = Pair(SLOW, FAST, "p95", SLOWER)
    assert ["the cost of local is unknown"] == unmet(_found(order, rate=None), 301.0)
    assert [] == unmet(_found(order, usd=None), 301.0)
    assert ["local has no p95"] == unmet(_found(order, latency={}), 301.0)
    assert ["measuring took 400 s, 320 are allowed"] == unmet(_found(order), 400.0)
