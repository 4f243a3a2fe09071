"""The changes since a saved comparison, as far as the statistics support them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .result import Row
    from .results import Results
    from .stats import Estimate

_SAME_COST = 0.01


class RowChange(msgspec.Struct, frozen=True):
    """One statistically supported change of a row: ``by`` is the new value minus the old one."""

    key: str
    name: str
    by: float
    text: str


def incomparable(row: Row, baseline: Results) -> str:
    """Return why a row must not be compared with the one of the same key in an older comparison; empty if it may."""
    old = _old(row, baseline)
    if old is None or row.failed:
        return ""
    if old.invalid or row.invalid:
        return f"{row.key}: not compared, {'the older row' if old.invalid else 'the row'} is invalid"
    if None not in (old.official, row.official) and old.official != row.official:
        return f"{row.key}: not compared, {'the older row' if old.simulated else 'the row'} is of a mini cloud"
    return ""


def _old(row: Row, baseline: Results) -> Row | None:
    return next((one for one in baseline.rows if one.key == row.key and not one.failed), None)


def changes(row: Row, baseline: Results) -> Iterator[RowChange]:
    """Yield the supported changes of one row since the row of the same key in an older comparison."""
    old = _old(row, baseline)
    if old is None or row.failed or incomparable(row, baseline):
        return
    for quantile in ("p50", "p95"):
        by = supported(old.latency.get(quantile), row.latency.get(quantile))
        if by is not None:
            word = "slower" if by > 0 else "faster"
            yield RowChange(row.key, f"{quantile}_change_ms", by, f"{row.key}: {quantile} is {abs(by):.3g} ms {word}")
    before, now = old.cost.usd_per_1k, row.cost.usd_per_1k
    if before and now is not None and abs(now - before) > _SAME_COST * before:
        text = f"{row.key}: ${now:.3g} per 1,000 instead of ${before:.3g}"
        yield RowChange(row.key, "usd_per_1k_change", now - before, text)


def all_changes(found: Results, baseline: Results) -> list[RowChange]:
    """Return the supported changes of all rows."""
    return [change for row in found.rows for change in changes(row, baseline)]


def supported(old: Estimate | None, new: Estimate | None) -> float | None:
    """Return the difference of two estimates if both intervals together cannot explain it; else ``None``.

    The two were measured at different times, so no disturbance cancels out: the half-widths add up like independent
    errors, as the root of the sum of their squares.
    """
    halves = [_half(one) for one in (old, new)]
    if old is None or new is None or old.value is None or new.value is None or None in halves:
        return None
    by = new.value - old.value
    return by if abs(by) > math.hypot(*(half or 0.0 for half in halves)) else None


def _half(one: Estimate | None) -> float | None:
    """Return half the width of the interval, if it is based on independent runs."""
    if one is None or one.basis != "runs" or one.low is None or one.high is None:
        return None
    return (one.high - one.low) / 2


def since(found: Results, baseline: Results) -> list[tuple[str, str]]:
    """Return what is known of each row since a baseline: (key, text), also where nothing changed or can be compared."""
    texts: list[tuple[str, str]] = []
    for row in found.rows:
        changed = [change.text for change in changes(row, baseline)]
        if reason := incomparable(row, baseline):
            changed = [reason]
        elif _old(row, baseline) is None:
            changed = [f"{row.key}: not in the baseline"]
        texts += [(row.key, text.removeprefix(f"{row.key}: ")) for text in changed or ["no difference shown"]]
    return texts
