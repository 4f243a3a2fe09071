"""Which subject to take: the cheapest of those that keep the objective; the fastest where money does not decide."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .cost import usd_range
from .result import Best

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .result import Pair, Row
    from .stats import Estimate
    from .traffic import Traffic

SAME = 0.01  # costs that differ by less than this share are the same


def keeps(row: Row, p95_ms: float | None, most_errors: float = 0.001) -> str:
    """Why a subject does not keep the objective; empty when it does.

    The upper end of the interval must keep it where there is one.
    """
    if row.failed:
        return row.failed
    if row.invalid:
        return f"invalid: {row.invalid[0]}"
    if row.error_share > most_errors:
        return f"{row.error_share:.2%} of the requests failed"
    found = row.latency.get("p95")
    if found is None or found.value is None:
        return "no p95 was measured"
    if not math.isfinite(found.value):
        return "too many requests failed for a p95"
    return "" if p95_ms is None else _over(found, found.value, p95_ms)


def _over(found: Estimate, value: float, p95_ms: float) -> str:
    if value > p95_ms and found.sent is not None and found.sent <= p95_ms:
        return f"p95 {found.sent:.1f} to {value:.1f} ms may be over {p95_ms:g} ms: the load generator was late"
    if value > p95_ms:
        return f"p95 {value:.1f} ms is over {p95_ms:g} ms"
    if found.high is not None and found.high > p95_ms:
        return f"p95 {value:.1f} ms may be over {p95_ms:g} ms (up to {found.high:.1f})"
    return ""


def decide(
    rows: Sequence[Row], pairs: Sequence[Pair], p95_ms: float | None, traffic: Traffic | None
) -> tuple[Best | None, str]:
    """Return the best subject, if there is one, and the verdict in one sentence.

    A mini cloud is judged beside other mini clouds only, never beside a real platform. What is left out is named.
    """
    real = [row for row in rows if not row.simulated]
    best, verdict = _decide(real or rows, pairs, p95_ms, traffic)
    invalid = [row.key for row in real or rows if row.invalid and f"{row.key}: invalid" not in verdict]
    left_out = {"invalid": invalid, "mini clouds": [row.key for row in rows if real and row.simulated]}
    return best, verdict + "".join(f"; left out as {why}: {', '.join(keys)}" for why, keys in left_out.items() if keys)


def warning(rows: Sequence[Row]) -> str:
    """Return what a reader must know first: which rows are not of the real platform; empty if all are, or may be."""
    simulated = [row for row in rows if row.simulated]
    if not simulated:
        return ""
    hosts = ", ".join(f"{row.key} at {row.host}" for row in simulated)
    what = "every row" if len(simulated) == len(rows) else f"{len(simulated)} of {len(rows)} rows"
    return (
        f"NOT A REAL CLOUD: {what} of this comparison ran on a mini cloud, a local substitute for the platform "
        f"({hosts}). Nothing was billed there, and no latency, rate or cost of these rows is the platform's."
    )


def _decide(
    rows: Sequence[Row], pairs: Sequence[Pair], p95_ms: float | None, traffic: Traffic | None
) -> tuple[Best | None, str]:
    fit = [row for row in rows if not keeps(row, p95_ms)]
    if not fit:
        return None, _nobody(rows, p95_ms)
    among = f"{len(fit)} of {len(rows)} that answer" + (f" 95 % within {p95_ms:g} ms" if p95_ms is not None else "")
    priced = [row for row in fit if _usd(row) is not None]
    if len(fit) == 1:
        return _only(fit[0], rows, p95_ms)
    unknown = [row.key for row in fit if row not in priced]
    if len(priced) > 1:
        left = f", the cost of {', '.join(unknown)} is unknown" if unknown else ""
        return _cheapest(priced, pairs, among + left, traffic)
    return _fastest(fit, pairs, among, f"not by cost: the cost of {', '.join(unknown)} is unknown; ")


def _usd(row: Row) -> float | None:
    return row.cost.usd_per_1k if row.cost.usd_per_1k is not None else row.cost.usd_per_1k_full


def _best(row: Row, reason: str) -> tuple[Best, str]:
    if row.simulated:
        reason = f"on a mini cloud, not the real platform: {reason}"
    return Best(row.key, row.target, _usd(row), row.ms("p95"), reason), f"{row.key}: {reason}"


def _nobody(rows: Sequence[Row], p95_ms: float | None) -> str:
    told = "; ".join(f"{row.key}: {keeps(row, p95_ms)}" for row in rows)
    return f"none keeps the objective ({told})"


def _only(row: Row, rows: Sequence[Row], p95_ms: float | None) -> tuple[Best, str]:
    if len(rows) == 1:
        return _best(row, "the only one that was measured" + (", and it keeps the objective" if p95_ms else ""))
    others = "; ".join(f"{one.key}: {keeps(one, p95_ms)}" for one in rows if one.key != row.key)
    return _best(row, f"the only one of {len(rows)} that keeps the objective ({others})")


def _cheapest(
    rows: Sequence[Row], pairs: Sequence[Pair], among: str, traffic: Traffic | None
) -> tuple[Best | None, str]:
    ranked = sorted(rows, key=lambda row: _usd(row) or 0.0)
    first, second = _usd(ranked[0]) or 0.0, _usd(ranked[1]) or 0.0
    if second - first <= SAME * second:
        same = [row for row in ranked if (_usd(row) or 0.0) - first <= SAME * second]
        return _fastest(same, pairs, among, "the costs are the same; ")
    if unsure := [row.key for row in ranked[1:] if (usd_range(row) or (0.0,))[0] <= first]:
        why = f"not by cost: {', '.join(unsure)} may cost less than ${first:.3g} per 1,000, as more was not tried; "
        return _fastest(rows, pairs, among, why)
    about = "~" if ranked[0].cost.approximate or ranked[1].cost.approximate else ""
    where = f"at {traffic.per_month:,.0f} requests a month" if traffic else "at saturation, for want of a traffic"
    return _best(
        ranked[0],
        f"the cheapest of {among}: {about}${first:.3g} per 1,000 {where}; next is {ranked[1].key} at ${second:.3g}",
    )


def _fastest(rows: Sequence[Row], pairs: Sequence[Pair], among: str, why: str) -> tuple[Best | None, str]:
    """The one that is faster than every other, if the paired differences show it."""
    ranked = sorted(rows, key=lambda row: row.ms("p95") or math.inf)
    best = ranked[0]
    shown = [faster(pairs, best.key, other.key) for other in ranked[1:]]
    if not all(shown):
        return None, f"no difference shown: {why}none of {among} is faster than all others beyond doubt"
    return _best(best, f"{why}the fastest of {among}: p95 {best.ms('p95'):.1f} ms")


def faster(pairs: Sequence[Pair], one: str, other: str) -> bool:
    """Whether the p95 of one subject is shown to be lower than that of another."""
    for pair in pairs:
        if pair.quantile == "p95" and pair.difference.excludes_zero and pair.difference.value is not None:
            if (pair.one, pair.other) == (one, other):
                return pair.difference.value < 0
            if (pair.one, pair.other) == (other, one):
                return pair.difference.value > 0
    return False
