"""Costs against sums done by hand; what is unknown stays unknown."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdk.compare.cost import (  # fmt: skip
    Serving,
    break_evens,
    call_usd,
    cost_of,
    hourly_cost,
    replica_hours,
    replicas,
    training_cost,
    usd_range,
)
from sdk.compare.report.cells import month
from sdk.compare.result import Price
from sdk.compare.search import Highest
from sdk.compare.traffic import HOURS_PER_MONTH, Traffic
from sdk.errors import ConfigError
from tests.compare.rows import row

M5 = Price(0.23, status="quoted")


def test_idle_decides_at_little_traffic() -> None:
    """One ml.m5.xlarge: 168 dollars a month before the first request, 1.68 per 1,000 at 100,000 a month."""
    found = hourly_cost(M5, Serving(rate=100.0), Traffic.of(100_000))
    assert (167.9, 1.679) == (round(found.usd_per_month or 0, 1), round(found.usd_per_1k or 0, 3))
    assert 0.000639 == round(found.usd_per_1k_full or 0, 6)
    assert found.idle_usd_per_month == found.usd_per_month
    assert 1 == found.peak_replicas
    assert found.utilisation == pytest.approx(100_000 / (3600 * 100 * HOURS_PER_MONTH))


def test_replicas_follow_the_profile() -> None:
    """In office hours 20/s need three replicas that bear 10/s each at 70 %, at night one is enough."""
    traffic = Traffic.of(3600 * 20 * 45 * HOURS_PER_MONTH / 168 * 1.0546667, "office")
    wanted = replicas(Serving(rate=10.0), traffic)
    assert {1, 3} == set(wanted)
    assert 45 == wanted.count(3)


def test_cooling_down_is_paid() -> None:
    """Each evening two replicas go on for five minutes: five times a week."""
    traffic = Traffic.of(3600 * 20 * 45 * HOURS_PER_MONTH / 168 * 1.0546667, "office")
    with_lag = replica_hours(Serving(rate=10.0, cool_s=300.0), traffic)
    without = replica_hours(Serving(rate=10.0, cool_s=0.0), traffic)
    assert with_lag - without == pytest.approx(5 * 2 * (300 / 3600) * HOURS_PER_MONTH / 168)


def test_more_than_may_run_is_said() -> None:
    """A cost for replicas that the target may not start would be a lie without its note."""
    found = hourly_cost(M5, Serving(rate=10.0, least=1, most=2), Traffic.of(3600 * 20 * HOURS_PER_MONTH))
    assert "but only 2 may run: deploy with --replicas 1:3" in found.note


@pytest.mark.parametrize("traffic", [None, Traffic.of(1e6)])
def test_unknown_stays_unknown(traffic: Traffic | None) -> None:
    """No price, no cost: never 0."""
    found = cost_of(row("a", usd=None), traffic)
    assert (None, None, None) == (found.usd_per_month, found.usd_per_1k, found.usd_per_1k_full)
    assert "price unknown" in found.note


def test_without_a_highest_rate_only_idle_is_known() -> None:
    """What a replica bears was not measured."""
    found = cost_of(row("a", rate=None), Traffic.of(1e6))
    assert found.usd_per_1k is None
    assert 167.9 == round(found.idle_usd_per_month or 0, 1)


SEEN = Highest(None, 10.0, "generator", "the load generator was late")


def test_a_rate_that_was_seen_is_enough_for_the_cost() -> None:
    """10/s were borne, more was not tried: at 5/s one replica suffices, so the cost is known; at 20/s it is a bound."""
    little = cost_of(row("a", highest=SEEN), Traffic.of(3600 * 5 * HOURS_PER_MONTH))
    assert (1, False) == (little.peak_replicas, little.at_most)
    assert 167.9 == pytest.approx(little.usd_per_month)
    much = cost_of(row("a", highest=SEEN), Traffic.of(3600 * 20 * HOURS_PER_MONTH))
    assert (4, True) == (much.peak_replicas, much.at_most)  # 20 of 0.7 x 0.9 x 10
    assert "at most this: 10 requests/s were seen to keep the objective" in much.note
    shown = row("a", highest=SEEN, cost=much)
    assert usd_range(shown) == pytest.approx((1000 * 167.9 / (3600 * 20 * 730), much.usd_per_1k))
    assert "at most $672" == month(shown)


def test_without_traffic_saturation_is_told() -> None:
    """And what to give for more."""
    found = cost_of(row("a"), None)
    assert found.usd_per_1k is None
    assert 0.000639 == round(found.usd_per_1k_full or 0, 6)
    assert "traffic_per_month" in found.note


def test_the_rate_is_that_of_one_replica() -> None:
    """What two replicas bear together is shared between them."""
    alone, both = row("a", rate=100.0), row("a", rate=200.0, replicas=(2, 2))
    traffic = Traffic.of(3600 * 120 * HOURS_PER_MONTH)
    assert cost_of(alone, traffic).peak_replicas == cost_of(both, traffic).peak_replicas == 2


def test_derived_prices_are_approximate() -> None:
    """The mark goes from the price to the cost."""
    derived = row("a", price=Price(0.1, status="unverified-derived"))
    assert cost_of(derived, Traffic.of(1e6)).approximate
    assert not cost_of(row("a"), Traffic.of(1e6)).approximate


SERVERLESS = Price(0.00002, unit="gb-second", status="quoted", memory_gb=2.0)


def test_serverless_and_break_even() -> None:
    """2 GB for 50 ms against an ml.m5.xlarge: 0.002 dollars per 1,000, even at 84 million a month."""
    one = row("serverless", p95=102.0, price=SERVERLESS, highest=None)  # p50 51 ms, 1 ms of it on the way
    cost = cost_of(one, Traffic.of(1e6))
    assert cost.usd_per_1k == pytest.approx(0.002)
    assert cost.usd_per_month == pytest.approx(2.0)
    (even,) = break_evens([one, row("always", rate=100.0)])
    assert ("serverless", "always") == (even.serverless, even.other)
    assert even.per_month == pytest.approx(0.23 * HOURS_PER_MONTH / 0.000002)
    assert None is call_usd(Price(None, unit="gb-second"), 1.0)


@pytest.mark.parametrize("profile", ["flat", "day", "office"])
def test_costs_are_equal_at_the_break_even(profile: str) -> None:
    """Just below it calls are cheaper, just above it replicas, as many as the traffic needs by then."""
    rows = [row("serverless", p95=90.0, price=SERVERLESS, highest=None), row("always", rate=100.0, replicas=(1, 99))]
    (even,) = break_evens(rows, profile=profile)
    several = (cost_of(rows[1], Traffic.of(even.per_month, profile)).peak_replicas or 0) > 1
    assert several == (profile == "office")
    for share, cheaper in ((0.99, True), (1.01, False)):
        calls, always = (cost_of(one, Traffic.of(share * even.per_month, profile)).usd_per_month for one in rows)
        assert calls is not None
        assert always is not None
        assert cheaper == (calls < always)


def test_without_a_break_even_none_is_invented() -> None:
    """One millisecond each: calls are cheaper at any traffic."""
    quick = row("serverless", p95=4.0, price=Price(0.00002, unit="gb-second", memory_gb=1.0), highest=None)
    assert [] == list(break_evens([quick, row("always", rate=5.0)]))


def test_more_replicas_than_may_run_are_said_to_be() -> None:
    """The cost is that of the replicas that the traffic needs, and says that so many may not run, and what to do."""
    one = row("a")
    found = cost_of(one, Traffic.of(3600 * 170 * HOURS_PER_MONTH))
    assert 3 == found.peak_replicas
    assert "only 1 may run: deploy with --replicas 1:3" in found.note
    assert "$504 with 3 replicas" == month(msgspec.structs.replace(one, cost=found))
    assert "" == cost_of(row("a", replicas=(1, 3)), Traffic.of(3600 * 170 * HOURS_PER_MONTH)).note


def test_an_unknown_price_names_the_next_step() -> None:
    """Why it is unknown and what to do, of a machine type and of an own machine."""
    listed = cost_of(row("aws", usd=None, instance="ml.x9.large"), None).note
    assert "no price of ml.x9.large in r1 is known; run mlport prices refresh -t aws, or give" in listed
    own = cost_of(row("mine", usd=None, instance=None), None).note
    assert "no price list has this machine; give your own price per hour: --hardware mine=0.05" in own


def test_training() -> None:
    """Billed for a minute at least."""
    assert 0.46 == training_cost(M5, "m5", 2.0).usd
    assert training_cost(M5, "m5", 0.001).usd == pytest.approx(0.23 / 60)
    assert training_cost(Price(None), "m5", 2.0).usd is None


@pytest.mark.parametrize(
    ("per_month", "profile", "message"),
    [
        (0, "flat", "traffic_per_month = 0"),
        (float("nan"), "flat", "traffic_per_month = nan"),
        (1e6, "offic", "did you mean 'office'"),
        (1e6, [1.0] * 7, "7 weights"),
        (1e6, [0.0] * 24, "only zeros"),
        (1e6, [-1.0] + [1.0] * 23, "no number from 0 on"),
    ],
)
def test_bad_traffic(per_month: float, profile: object, message: str) -> None:
    """Named, with what would do."""
    with pytest.raises(ConfigError, match=message):
        Traffic.of(per_month, profile)  # type: ignore[arg-type]


@given(
    st.floats(1, 1e9),
    st.lists(st.floats(0, 100), min_size=24, max_size=24).filter(lambda weights: sum(weights) > 1e-3),
    st.floats(0.1, 1000),
    st.integers(1, 5),
)
def test_costs_hang_together(per_month: float, weights: list[float], rate: float, least: int) -> None:
    """Whatever comes: never below what always runs, never below saturation, all requests accounted for."""
    traffic = Traffic.of(per_month, weights)
    assert sum(traffic.rates()) * 3600 * HOURS_PER_MONTH / 168 == pytest.approx(per_month)
    found = hourly_cost(M5, Serving(rate, least, least), traffic)
    assert (found.usd_per_month or 0) >= (found.idle_usd_per_month or 0) * (1 - 1e-9)
    assert (found.usd_per_1k or 0) >= (found.usd_per_1k_full or 0) * (1 - 1e-9)
    assert 0 < (found.utilisation or 0) <= 0.7 + 1e-9
