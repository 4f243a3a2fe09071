"""The conversion of raw measurements to the reported rows and the differences between subjects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from .result import Pair, Row, Served
from .search import Highest
from .stats import claimable, difference, estimate, quantile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from ..adapter.metrics import MetricsReport
    from .measured import Measured
    from .stats import Estimate, IntervalRules

    Array = npt.NDArray[np.float64]

_TAIL_POINTS = 120
_CLOSE, _SAME = 0.15, 0.05  # half an interval, as a share of the p95, at which no further runs are needed


def name_of(share: float) -> str:
    """Return the usual name of a quantile.

    Example:
        >>> name_of(0.95), name_of(0.999)
        ('p95', 'p99.9')
    """
    return f"p{100 * share:g}"


def fill(row: Row, found: Measured, rules: IntervalRules) -> Row:
    """Return a row completed with the measurements of its subject."""
    highest = highest_of(found)
    searched = None if found.highest is None else found.highest.rate or found.highest.at_least
    use = found.rate / searched if found.rate and searched else None
    requests = sum(int(run.size) for run in found.due)
    figures: dict[str, Any] = {
        "first_ms": found.first_ms,
        "floor_ms": found.floor_ms,
        "rate": found.rate,
        "utilisation": use,
        "latency": quantiles(found.due, found.sent, rules, use),
        "single": quantiles([one.due for one in found.single], [one.sent for one in found.single], rules, None),
        "highest": highest,
        "offline_rate": found.offline_rate,
        "served": served(found.served),
        "requests": requests,
        "errors": {str(status): count for status, count in sorted(found.statuses.items())},
        "tail": tuple(tail(found.due)),
        "flags": tuple(dict.fromkeys((*row.flags, *found.flags))),
        "failed": row.failed or found.failed,
    }
    return msgspec.structs.replace(row, **figures)


def highest_of(found: Measured) -> Highest | None:
    """Return the highest rate, whether searched or not; at least the rate that the runs sustained."""
    highest = found.highest
    if highest is None:
        return Highest(None, found.borne, "range", "not searched") if found.borne else None
    if found.borne > (highest.at_least or 0.0) and highest.rate is None:
        return msgspec.structs.replace(highest, at_least=found.borne)
    return highest


def quantiles(
    runs: Sequence[Array], sent: Sequence[Array], rules: IntervalRules, use: float | None
) -> dict[str, Estimate]:
    """Estimate the quantiles that so many requests support, and always p99, with a note where it has no value."""
    count = sum(int(run.size) for run in runs)
    if not count:
        return {}
    shares = sorted({*claimable(count), 0.99})
    return {name_of(share): estimate(runs, share, sent=sent, rules=rules, utilisation=use) for share in shares}


def tail(runs: Sequence[Array]) -> Iterator[tuple[float, float]]:
    """Yield the distribution, denser towards its tail: (milliseconds, share of the requests that took longer)."""
    together = np.concatenate(runs) if runs else np.empty(0)
    ordered = np.sort(together[np.isfinite(together)])
    total = together.size
    if not ordered.size:
        return
    shares = np.unique(np.concatenate([np.linspace(1.0, 0.1, 40), np.geomspace(0.1, 1 / total, _TAIL_POINTS - 40)]))
    for share in shares[::-1]:
        place = min(ordered.size - 1, int(np.ceil((1 - share) * total)))
        yield round(float(ordered[place]), 4), float(share)


def served(report: MetricsReport | None) -> Served | None:
    """Return the first latency that the target itself reports with a quantile; ``None`` if there is none."""
    for one in report.latency if report is not None else ():
        if one.p50 is not None or one.p95 is not None:
            return Served(one.scope, one.method, one.count, one.p50, one.p95, one.p99)
    return None


def pairs(found: Mapping[str, Measured], rules: IntervalRules) -> Iterator[Pair]:
    """Yield the difference between every two subjects that were measured in turns.

    The intervals hold jointly: if all subjects are equal, the probability that any interval shows a difference is only
    that of a single interval.
    """
    measured = [(key, one) for key, one in found.items() if one.runs and not one.failed]
    rules = rules.among(len(measured) * (len(measured) - 1) // 2)
    for place, (one, mine) in enumerate(measured):
        for other, theirs in measured[place + 1 :]:
            sent = mine.sent, theirs.sent
            for share in (0.5, 0.95):
                gap = difference(mine.due, theirs.due, share, sent=sent, rules=rules)
                yield Pair(one, other, name_of(share), gap)


def settled(found: Mapping[str, Measured], rules: IntervalRules, p95_ms: float | None) -> bool:
    """Return whether more runs cannot change the verdict.

    This is so if each p95 is clearly on one side of the objective and precise enough, and every two subjects are shown
    to differ or are nearly the same.
    """
    measured = [one for one in found.values() if one.runs and not one.failed]
    for one in measured:
        p95 = estimate(one.due, 0.95, sent=one.sent, rules=rules)
        if not _close(p95, _CLOSE) or (p95_ms is not None and (p95.low or 0.0) <= p95_ms <= (p95.high or 0.0)):
            return False
    differences = [pair.difference for pair in pairs(found, rules) if pair.quantile == "p95"]
    least = min((quantile(np.concatenate(one.due), 0.95) for one in measured), default=0.0)
    return all(gap.excludes_zero or _within(gap, _SAME * least) for gap in differences)


def _close(found: Estimate, share: float) -> bool:
    return found.basis == "runs" and _within(found, share * (found.value or 0.0))


def _within(found: Estimate, width: float) -> bool:
    """Return whether half the width of an interval is at most ``width``."""
    return found.low is not None and found.high is not None and found.high - found.low <= 2 * width
