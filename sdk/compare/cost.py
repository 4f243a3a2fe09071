"""The cost of serving: at the user's own traffic, since idle hours matter most, and at saturation as a lower bound.

Unknown prices stay unknown: this module never turns ``None`` into 0.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from .result import BreakEven, Cost, Price, Row, Training
from .search import QUOTED
from .traffic import HOURS_PER_MONTH, Traffic

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_WEEKS_PER_MONTH = HOURS_PER_MONTH / 168
_MOST_STEPS, _NEAR, _MOST_TRAFFIC = 500, 1e-6, 1e12  # of the search for a break-even


class Serving(msgspec.Struct, frozen=True):
    """The scaling of a subject.

    Args:
        rate: Requests per second that one replica sustains under the objective.
        least: The minimum number of replicas, which always run.
        most: The maximum number of replicas; if the traffic needs more, the cost has a note.
        headroom: The share of ``rate`` that a replica is planned to serve.
        cool_s: Seconds that a replica continues to run, and to cost, after it is no longer needed.
    """

    rate: float
    least: int = 1
    most: int = 1
    headroom: float = 0.7
    cool_s: float = 300.0


def replicas(serving: Serving, traffic: Traffic) -> list[int]:
    """Return the number of replicas needed in each hour of the week, regardless of the maximum.

    Example:
        >>> set(replicas(Serving(rate=10.0), Traffic.of(730 * 3600 * 20, "flat")))
        {3}
    """
    return [max(serving.least, math.ceil(rate / (serving.headroom * serving.rate))) for rate in traffic.rates()]


def replica_hours(serving: Serving, traffic: Traffic) -> float:
    """Return the replica-hours of a month, including those of the cooling down."""
    wanted = replicas(serving, traffic)
    cooling = [
        max(0, before - now) * min(1.0, serving.cool_s / 3600)
        for before, now in zip([wanted[-1], *wanted], wanted, strict=False)
    ]
    return (sum(wanted) + sum(cooling)) * _WEEKS_PER_MONTH


def hourly_cost(price: Price, serving: Serving, traffic: Traffic) -> Cost:
    """Calculate the cost of replicas that are paid by the hour."""
    if price.usd_per_hour is None:
        return Cost(note="price unknown")
    hours = replica_hours(serving, traffic)
    peak = max(replicas(serving, traffic))
    month = hours * price.usd_per_hour
    short = (
        f"the busiest hour needs {peak} replicas, and the cost is that of so many, but only {serving.most} may run: "
        f"deploy with --replicas {serving.least}:{peak}"
        if peak > serving.most
        else ""
    )
    return Cost(
        usd_per_month=month,
        usd_per_1k=1000 * month / traffic.per_month,
        usd_per_1k_full=1000 * price.usd_per_hour / (3600 * serving.rate),
        idle_usd_per_month=serving.least * price.usd_per_hour * HOURS_PER_MONTH,
        peak_replicas=peak,
        utilisation=traffic.per_month / (3600 * serving.rate * hours),
        approximate=price.approximate,
        note=short,
    )


def call_usd(price: Price, seconds: float) -> float | None:
    """Return the cost of one call with so many billed seconds on a serverless target."""
    return None if price.amount is None else price.amount * price.memory_gb * seconds


def serverless_cost(price: Price, seconds: float, traffic: Traffic) -> Cost:
    """Calculate the cost of calls that are paid individually; without calls, there is no cost."""
    each = call_usd(price, seconds)
    if each is None:
        return Cost(note="price unknown")
    return Cost(
        usd_per_month=each * traffic.per_month,
        usd_per_1k=1000 * each,
        usd_per_1k_full=1000 * each,
        idle_usd_per_month=0.0,
        approximate=price.approximate,
    )


def serving_of(row: Row, headroom: float) -> Serving | None:
    """Return the scaling of a measured subject; ``None`` when no sustained rate is known.

    Where the search was not completed, the rate that was sustained is used. Costs are then exact as long as the minimum
    number of replicas suffices for the traffic, and upper bounds above that.
    """
    highest = row.highest
    rate = None if highest is None else highest.rate or QUOTED * (highest.at_least or 0.0)
    if not rate:
        return None
    least, most = row.replicas
    return Serving(rate / max(1, least), least, most, headroom)


def cost_of(row: Row, traffic: Traffic | None, headroom: float = 0.7) -> Cost:
    """Calculate the cost of a measured subject at some traffic.

    Args:
        row: The measured subject.
        traffic: Requests per month and their distribution; ``None`` when the user gave none.
        headroom: The share of the highest rate that a replica is planned to serve.
    """
    price = row.price
    if price.amount is None:
        return Cost(note=_unpriced(row))
    if price.unit == "gb-second":
        return _serverless(row, traffic)
    idle = row.replicas[0] * (price.usd_per_hour or 0.0) * HOURS_PER_MONTH
    serving = serving_of(row, headroom)
    if serving is None:
        note = f"no rate was seen that keeps the objective; what always runs costs ${idle:,.2f} a month"
        return Cost(idle_usd_per_month=idle, approximate=price.approximate, note=note)
    if traffic is None:
        full = 1000 * (price.usd_per_hour or 0.0) / (3600 * serving.rate)
        note = "give traffic_per_month for the cost at your traffic"
        return Cost(usd_per_1k_full=full, idle_usd_per_month=idle, approximate=price.approximate, note=note)
    return _bounded(hourly_cost(price, serving, traffic), row)


def _unpriced(row: Row) -> str:
    """Return that the price is unknown, why, and what to do."""
    give = f"give your own price per hour: --hardware {row.target}=0.05, or hardware={{{row.target!r}: 0.05}} in Python"
    if row.price.status == "own" or row.instance is None:
        return f"price unknown, since no price list has this machine; {give}"
    where = f"{row.instance} in {row.region}" if row.region else row.instance
    return f"price unknown: no price of {where} is known; run mlport prices refresh -t {row.target}, or {give}"


def _bounded(cost: Cost, row: Row) -> Cost:
    """Mark a cost as an upper bound if it needs extra replicas and the highest rate is only known as a lower bound."""
    highest = row.highest
    if highest is None or highest.rate is not None or (cost.peak_replicas or 0) <= row.replicas[0]:
        return cost
    note = f"at most this: {highest.at_least:.4g} requests/s were seen to keep the objective, more may"
    return msgspec.structs.replace(cost, at_most=True, note="; ".join(filter(None, (cost.note, note))))


def usd_range(row: Row) -> tuple[float, float] | None:
    """Return the minimum and maximum cost of 1,000 requests, at the traffic if one is given, else at saturation."""
    cost, highest = row.cost, row.highest
    if cost.usd_per_1k is not None:
        idle = (cost.idle_usd_per_month or 0.0) / (cost.usd_per_month or 1.0)
        return cost.usd_per_1k * (idle if cost.at_most else 1.0), cost.usd_per_1k
    if cost.usd_per_1k_full is None:
        return None
    known = row.price.unit != "hour" or (highest is not None and highest.rate is not None)
    return cost.usd_per_1k_full if known else 0.0, cost.usd_per_1k_full


def _serverless(row: Row, traffic: Traffic | None) -> Cost:
    seconds = billed_s(row)
    if seconds is None:
        return Cost(idle_usd_per_month=0.0, note="no latency was measured")
    return serverless_cost(row.price, seconds, traffic or Traffic.of(1_000.0))


def billed_s(row: Row) -> float | None:
    """Return the billed seconds of a call: the target's own p50, else the client's without the network round trip."""
    if row.served is not None and row.served.p50 is not None:
        return row.served.p50 / 1000
    seen = row.ms("p50")
    return None if seen is None else max(0.001, (seen - (row.floor_ms or 0.0)) / 1000)


def break_evens(
    rows: Sequence[Row], headroom: float = 0.7, profile: str | Sequence[float] = "flat"
) -> Iterator[BreakEven]:
    """Yield the traffic at which each serverless subject stops being cheaper than each one that always runs.

    Pairs in which the serverless subject is cheaper at any traffic have no such point.
    """
    measured = [row for row in rows if row.usable]
    for one in measured:
        each = call_usd(one.price, billed_s(one) or 0.0) if one.price.unit == "gb-second" else None
        if not each:
            continue
        for other in measured:
            serving = serving_of(other, headroom)
            if other.price.usd_per_hour is not None and serving is not None:
                point = _crossing(each, other.price, serving, profile)
                if point is not None:
                    yield BreakEven(one.key, other.key, point)


def _crossing(each: float, price: Price, serving: Serving, profile: str | Sequence[float]) -> float | None:
    """Return the lowest traffic at which calls cost as much as replicas; ``None`` if they are always cheaper.

    The cost of replicas never falls with the traffic. So the traffic that their cost would pay for in calls approaches
    the first crossing from below.
    """
    traffic = serving.least * (price.usd_per_hour or 0.0) * HOURS_PER_MONTH / each
    for _ in range(_MOST_STEPS):
        following = (hourly_cost(price, serving, Traffic.of(traffic, profile)).usd_per_month or 0.0) / each
        if following <= traffic * (1 + _NEAR):
            return traffic
        if following > _MOST_TRAFFIC:
            return None
        traffic = following
    return None


def training_cost(price: Price, instance: str, hours: float, least_s: float = 60.0) -> Training:
    """Return the cost of a training of so many hours on one instance; at least ``least_s`` seconds are billed."""
    usd = None if price.usd_per_hour is None else price.usd_per_hour * max(hours, least_s / 3600)
    return Training(instance, hours, usd, price)
