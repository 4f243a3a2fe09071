"""The formatting of single figures, the same in every form of the report."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..result import Row
    from ..stats import Estimate

UNKNOWN = "unknown"
NONE = "-"


def usd(value: float | None, *, about: bool = False) -> str:
    """Format dollars with three significant digits, and with ``~`` in front if they are calculated by a formula.

    Example:
        >>> usd(0.00064), usd(0.0000501859), usd(168.2, about=True), usd(None)
        ('$0.00064', '$0.0000502', '~$168', 'unknown')
    """
    if value is None:
        return UNKNOWN
    digits = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    if "e" in digits:
        digits = f"{value:.{2 - math.floor(math.log10(abs(value)))}f}".rstrip("0")
    return f"{'~' if about and value else ''}${digits}"


def ms(found: Estimate | None) -> str:
    """Format a latency with its interval; without an interval, or as ``-``, where these are unknown.

    Example:
        >>> from sdk.compare.stats import Estimate
        >>> ms(Estimate(12.3, 11.9, 12.7, "runs"))
        '12.3 [11.9..12.7]'
    """
    if found is None or found.value is None:
        return NONE
    if not math.isfinite(found.value):
        return "failed"
    value = figure(found.value)
    if found.low is None or found.high is None:
        return value
    mark = "" if found.basis == "runs" else "?"
    return f"{value} [{figure(found.low)}..{figure(found.high)}]{mark}"


def figure(value: float) -> str:
    """Format a number with three significant digits, without an exponent.

    Example:
        >>> figure(1234.5), figure(0.1234), figure(12.345)
        ('1,234', '0.123', '12.3')
    """
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def name(row: Row) -> str:
    """Return the name of a subject, marked if it ran on a mini cloud or its figures are invalid."""
    return row.key + " (mini cloud)" * row.simulated + " (invalid)" * bool(row.invalid and not row.failed)


def host(row: Row) -> str:
    """Return the kind of host that was measured: the platform itself, or a substitute for it."""
    if row.official is None:
        return "not recorded"
    return "MINI CLOUD" if row.simulated else "official" if row.billed else "own machine"


def measured(row: Row) -> str:
    """Return whether the figures are valid."""
    return "failed" if row.failed else "INVALID" if row.invalid else "valid"


def month(row: Row) -> str:
    """Format the cost of a month: at the user's traffic, else as a minimum, that of the replicas that always run."""
    cost = row.cost
    if cost.at_most:
        return f"at most {usd(cost.usd_per_month, about=cost.approximate)}"
    if cost.usd_per_month is None and cost.idle_usd_per_month:
        return f"at least {usd(cost.idle_usd_per_month, about=cost.approximate)}"
    more = f" with {cost.peak_replicas} replicas" if short_of(row) else ""
    return usd(cost.usd_per_month, about=cost.approximate) + more


def short_of(row: Row) -> bool:
    """Return whether the traffic needs more replicas than the row's maximum."""
    return (row.cost.peak_replicas or 0) > row.replicas[1]


def per_1k(row: Row) -> str:
    """Format the cost of 1,000 requests at the user's traffic."""
    text = usd(row.cost.usd_per_1k, about=row.cost.approximate)
    return f"at most {text}" if row.cost.at_most else text


def per_1k_full(row: Row) -> str:
    """Format the cost of 1,000 requests at saturation; an upper bound if the highest rate is only known from below."""
    text = usd(row.cost.usd_per_1k_full, about=row.cost.approximate)
    return f"at most {text}" if open_ended(row) and row.cost.usd_per_1k_full is not None else text


def served_p95(row: Row) -> str:
    """Format the p95 that the target itself reports."""
    return NONE if row.served is None else plain_ms(row.served.p95)


def open_ended(row: Row) -> bool:
    """Return whether the highest rate of a row is known only as a lower bound."""
    return row.highest is not None and row.highest.rate is None and row.highest.at_least is not None


def rate(row: Row) -> str:
    """Format the highest rate under the objective, or its lower bound."""
    if row.highest is None:
        return NONE
    if row.highest.rate is not None:
        return f"{figure(row.highest.rate)}/s"
    return f"at least {figure(row.highest.at_least)}/s" if row.highest.at_least else "none"


def errors(row: Row) -> str:
    """Format the number of failed requests by status."""
    if not row.requests:
        return NONE
    return (
        ", ".join(f"{count} x {status if status != '0' else 'no answer'}" for status, count in row.errors.items())
        or "0"
    )


def price(row: Row) -> str:
    """Format the price with its unit; if it is unknown, with its source."""
    if row.price.amount is None:
        return UNKNOWN if not row.price.source else f"{UNKNOWN} ({row.price.source})"
    unit = "/h" if row.price.unit == "hour" else f"/{row.price.unit}"
    return f"{usd(row.price.amount, about=row.price.approximate)}{unit}"


def seconds(value: float | None) -> str:
    """Format seconds."""
    return NONE if value is None else f"{figure(value)} s"


def plain_ms(value: float | None) -> str:
    """Format milliseconds without an interval."""
    return NONE if value is None else figure(value)


def score(row: Row) -> str:
    """Format the score on the labels, with its name and the number of labels."""
    return NONE if row.score is None else f"{row.score.value:.4g} {row.score.name} (n={row.score.count})"


def effort(row: Row) -> str:
    """Format what the deploy took: steps on the platform and waiting."""
    if row.effort is None:
        return NONE
    steps = f"{row.effort.steps} step{'s' * (row.effort.steps != 1)}"
    return steps if row.effort.wait_s is None else f"{steps}, {seconds(row.effort.wait_s)}"


def automation(row: Row) -> str:
    """Format the share of rows that reach the confidence, and how many of these answers are right."""
    found = row.automation
    if found is None:
        return NONE
    right = "" if found.right is None else f", {found.right:.1%} of them right"
    return f"{found.share:.1%} at {found.confidence:g}{right} (n={found.count})"


def replicas(row: Row) -> str:
    """Format the minimum and maximum number of replicas."""
    least, most = row.replicas
    return str(least) if least == most else f"{least}..{most}"
