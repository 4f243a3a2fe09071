"""The verdict: cheapest under the objective, fastest where money does not decide, else no difference."""

from __future__ import annotations

from sdk.compare.result import Pair, Price
from sdk.compare.search import Highest
from sdk.compare.stats import Estimate
from sdk.compare.traffic import Traffic
from tests.compare.rows import comparison, estimates, row

MILLION = Traffic.of(1e6)


def _pair(one: str, other: str, value: float, half: float) -> Pair:
    return Pair(one, other, "p95", Estimate(value, value - half, value + half, "runs", 40_000, 10))


def test_the_cheapest_that_keeps_the_objective() -> None:
    """A cheaper one that is too slow does not count."""
    found = comparison(row("a"), row("b", usd=0.5), row("slow", p95=150.0, usd=0.01), traffic=MILLION)
    assert found.best is not None
    assert "a" == found.best.target
    assert found.verdict == (
        "a is the cheapest that answers 95 % within 100 ms: $168 a month; next is b for $365 a month; "
        "slow: p95 150.0 ms is over 100 ms"
    )
    assert found.best.usd_per_1k == found.row("a").cost.usd_per_1k


def test_one_sentence_says_what_a_team_decides_by() -> None:
    """The cheapest, what a faster one costs, and between which no difference was shown."""
    found = comparison(
        row("azure", p95=60.0, usd=23 / 730),
        row("aws", p95=52.0, usd=61 / 730),
        row("gcp", p95=52.5, usd=70 / 730),
        pairs=(_pair("azure", "aws", 8.0, 2.0), _pair("azure", "gcp", 7.5, 8.0), _pair("gcp", "aws", 0.5, 2.0)),
        traffic=MILLION,
    )
    assert found.verdict == (
        "azure is the cheapest that answers 95 % within 100 ms: $23 a month; aws is 8 ms faster for $61 a month; "
        "no difference shown between azure and gcp or between gcp and aws"
    )
    assert found.best is not None
    assert found.best.reason == found.verdict.removeprefix("azure is ")


def test_the_upper_end_of_the_interval_counts() -> None:
    """99 ms that may be 102 are not within 100."""
    found = comparison(row("a", latency=estimates(99.0, 3.0)))
    assert found.best is None
    assert "may be over 100 ms (up to 102.0)" in found.verdict


def test_errors_void_the_objective() -> None:
    """More than one in a thousand."""
    found = comparison(row("a", errors={"503": 21}), row("b", p95=120.0))
    assert found.best is None
    assert "0.10% of the requests failed" in found.verdict
    assert "p95 120.0 ms is over 100 ms" in found.verdict


def test_equal_costs_are_decided_by_a_shown_difference() -> None:
    """Only when the pairs show it, in either direction of the pair."""
    rows = (row("a", p95=40.0), row("b", p95=50.0))
    for pair in (_pair("a", "b", -10.0, 2.0), _pair("b", "a", 10.0, 2.0)):
        found = comparison(*rows, pairs=(pair,), traffic=MILLION)
        assert found.best is not None
        assert "a" == found.best.key
        assert "a is the fastest of a and b, whose costs are the same: p95 40.0 ms" == found.verdict
    doubtful = comparison(*rows, pairs=(_pair("a", "b", -10.0, 12.0),), traffic=MILLION)
    assert doubtful.best is None
    assert doubtful.verdict.startswith("no difference shown")


def test_unknown_costs_do_not_win() -> None:
    """A subject without a price is neither cheap nor dear: latency decides, and the reason is said."""
    found = comparison(
        row("a", p95=40.0, usd=None), row("b", p95=60.0), pairs=(_pair("a", "b", -20.0, 1.0),), traffic=MILLION
    )
    assert found.best is not None
    assert "a" == found.best.key
    assert "a is the fastest of a and b: p95 40.0 ms; the cost of a is unknown" == found.verdict


def test_a_cost_that_is_known_from_above_only() -> None:
    """The dear one may be the cheaper: more was not tried there. No verdict by cost, and the reason is said."""
    seen = Highest(None, 10.0, "generator", "the load generator was late")
    busy = Traffic.of(3600 * 30 * 730)
    found = comparison(row("a", usd=0.2), row("b", usd=0.15, highest=seen), traffic=busy)
    assert found.row("b").cost.at_most
    assert found.best is None
    assert "of which b may cost less than is known, as more was not tried, is faster than all" in found.verdict
    idle = comparison(row("a", usd=0.2), row("b", usd=0.15, highest=seen), traffic=MILLION)
    assert idle.best is not None
    assert "b" == idle.best.key


def test_what_the_generator_hides_is_not_called_too_slow() -> None:
    """95 ms from when requests were sent, 105 from when they were due: the objective of 100 may be kept or not."""
    late = {"p95": Estimate(105.0, 94.0, 106.0, "runs", 20_000, 10, sent=95.0)}
    assert "p95 95.0 to 105.0 ms may be over 100 ms: the load generator was late" in comparison(
        row("a", latency=late)
    ).verdict  # fmt: skip


def test_one_alone() -> None:
    """The only one that keeps it, and the only one at all."""
    assert "the only one of 2 that keeps the objective" in comparison(row("a"), row("b", failed="no quota")).verdict
    assert "the only one that was measured, and it keeps the objective" in comparison(row("a")).verdict


def test_derived_prices_are_marked() -> None:
    """The verdict carries the ~ of its prices."""
    derived = row("a", price=Price(0.1, status="unverified-derived"))
    assert "~$" in comparison(derived, row("b"), traffic=MILLION).verdict


def test_another_traffic_another_verdict() -> None:
    """Nothing is measured again: the dear one that bears ten times as much wins when much comes."""
    small, large = row("small", usd=0.1, rate=10.0), row("large", usd=0.5, rate=100.0)
    found = comparison(small, large, traffic=Traffic.of(1e6))
    assert found.best is not None
    assert "small" == found.best.key
    busy = found.at(1e9)
    assert busy.best is not None
    assert "large" == busy.best.key
    assert busy.row("small").price == found.row("small").price
