"""The verdict: the cheapest subject that meets the objective, or the fastest where costs do not decide."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .cost import usd_range
from .report.cells import usd
from .result import Best

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .result import Pair, Row
    from .stats import Estimate
    from .traffic import Traffic

SAME = 0.01  # costs that differ by at most this share count as equal


def keeps(row: Row, p95_ms: float | None, most_errors: float = 0.001) -> str:
    """Return why a subject does not meet the objective; empty when it does.

    Where there is an interval, its upper end must meet the objective.
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

    Mini clouds are compared only with each other, never with a real platform. The verdict names the subjects left out.
    """
    real = [row for row in rows if not row.simulated]
    judge = _Judge(real or rows, pairs, p95_ms, traffic, beside=0 < len(real) < len(rows))
    best, verdict = judge.decide()
    invalid = [row.key for row in real or rows if row.invalid and f"{row.key}: invalid" not in verdict]
    left_out = {"invalid": invalid, "mini clouds": [row.key for row in rows if real and row.simulated]}
    return best, verdict + "".join(f"; left out as {why}: {', '.join(keys)}" for why, keys in left_out.items() if keys)


def warning(rows: Sequence[Row]) -> str:
    """Return the warning that names the rows of mini clouds; empty if there are none."""
    simulated = [row for row in rows if row.simulated]
    if not simulated:
        return ""
    hosts = ", ".join(f"{row.key} at {row.host}" for row in simulated)
    what = "every row" if len(simulated) == len(rows) else f"{len(simulated)} of {len(rows)} rows"
    return (
        f"NOT A REAL CLOUD: {what} of this comparison ran on a mini cloud, a local substitute for the platform "
        f"({hosts}). Nothing was billed there, and no latency, rate or cost of these rows is the platform's."
    )


class _Judge:
    """The comparison of subjects of one kind: all on real platforms, or all on mini clouds."""

    def __init__(
        self,
        rows: Sequence[Row],
        pairs: Sequence[Pair],
        p95_ms: float | None,
        traffic: Traffic | None,
        *,
        beside: bool = False,
    ) -> None:
        self._rows = rows
        self._beside = beside
        self._pairs = pairs
        self._p95_ms = p95_ms
        self._traffic = traffic
        self._fit = [row for row in rows if not keeps(row, p95_ms)]
        self._unknown = [row for row in self._fit if usd_range(row) is None]

    def decide(self) -> tuple[Best | None, str]:
        fit, priced = self._fit, [row for row in self._fit if row not in self._unknown]
        if not fit:
            return None, f"none keeps the objective: {self._too_slow()}"
        if len(fit) == 1:
            return self._named(fit[0], self._only())
        if len(priced) > 1:
            return self._cheapest(priced)
        return self._fastest(fit, "")

    # --- the best one -------------------------------------------------------------------------------------------

    def _cheapest(self, priced: Sequence[Row]) -> tuple[Best | None, str]:
        ranked = sorted(priced, key=_most)
        first, most = ranked[0], _most(ranked[0])
        same = [row for row in ranked if _most(row) - most <= SAME * _most(row)]
        if len(same) > 1:
            return self._fastest(same, "whose costs are the same")
        if unsure := [row.key for row in ranked[1:] if _least(row) <= most]:
            return self._fastest(
                ranked, f"of which {_listed(unsure)} may cost less than is known, as more was not tried"
            )
        others = [self._faster_for(first, row) for row in self._by_p95(self._fit) if self._gap(row, first) is not None]
        if not others:
            others = [f"next is {ranked[1].key} for {self._money(ranked[1])}"]
        return self._named(first, f"the cheapest{self._that()}: {self._money(first)}", *others)

    def _fastest(self, rows: Sequence[Row], why: str) -> tuple[Best | None, str]:
        """Recommend the subject that is faster than all others, if the paired differences show it."""
        best, *others = self._by_p95(rows)
        among = _listed([row.key for row in rows]) + (f", {why}," if why else "")
        if any(self._gap(best, other) is None for other in others):
            return None, "; ".join(
                [f"no difference shown: none of {among} is faster than all others", *self._rest(None)]
            )
        return self._named(best, f"the fastest of {among.removesuffix(',')}: p95 {best.ms('p95'):.1f} ms")

    def _only(self) -> str:
        if len(self._rows) == 1:
            among = "the only real platform that was measured" if self._beside else "the only one that was measured"
            return among + (", and it keeps the objective" if self._p95_ms else "")
        return f"the only one of {len(self._rows)} that keeps the objective"

    def _named(self, row: Row, reason: str, *more: str) -> tuple[Best, str]:
        where = "on a mini cloud, not the real platform: " if row.simulated else ""
        text = "; ".join([reason, *more, *self._rest(row)])
        best = Best(row.key, row.target, _usd(row), row.ms("p95"), where + text)
        return best, f"{where}{row.key} is {text}"

    # --- further remarks ----------------------------------------------------------------------------------------

    def _rest(self, best: Row | None) -> list[str]:
        """Return further remarks: pairs without a difference, unknown costs, and subjects that miss the objective."""
        alike = [pair for pair in self._pairs if self._alike(pair)]
        texts: list[str] = []
        if alike and (best is not None or len(self._fit) > 2):
            texts.append("no difference shown " + " or ".join(f"between {one.one} and {one.other}" for one in alike))
        if self._unknown and len(self._fit) > 1:
            texts.append(f"the cost of {_listed([row.key for row in self._unknown])} is unknown")
        if len(self._fit) < len(self._rows):
            texts.append(self._too_slow())
        return texts

    def _alike(self, pair: Pair) -> bool:
        fit = {row.key for row in self._fit}
        return pair.quantile == "p95" and {pair.one, pair.other} <= fit and not pair.difference.excludes_zero

    def _too_slow(self) -> str:
        told = ((row.key, keeps(row, self._p95_ms)) for row in self._rows)
        return "; ".join(f"{key}: {reason}" for key, reason in told if reason)

    def _faster_for(self, best: Row, other: Row) -> str:
        gap = self._gap(other, best) or 0.0
        return f"{other.key} is {gap:.3g} ms faster for {self._money(other)}"

    def _gap(self, one: Row, other: Row) -> float | None:
        """Return by how many ms the p95 of one is shown to be lower than the other's; ``None`` if it is not."""
        for pair in self._pairs:
            if pair.quantile == "p95" and pair.difference.excludes_zero and pair.difference.value is not None:
                if (pair.one, pair.other) == (one.key, other.key) and pair.difference.value < 0:
                    return -pair.difference.value
                if (pair.other, pair.one) == (one.key, other.key) and pair.difference.value > 0:
                    return pair.difference.value
        return None

    def _that(self) -> str:
        if self._p95_ms is None:
            return f" of {len(self._fit)}"
        return f" that answers 95 % within {self._p95_ms:g} ms"

    def _money(self, row: Row) -> str:
        cost = row.cost
        if self._traffic is not None and cost.usd_per_month is not None:
            more = f" with {cost.peak_replicas} replicas" if (cost.peak_replicas or 0) > row.replicas[1] else ""
            return f"{'at most ' * cost.at_most}{usd(cost.usd_per_month, about=cost.approximate)} a month{more}"
        if cost.usd_per_1k_full is None:
            return "an unknown price"
        bound = "at most " * (_least(row) < _most(row))
        return f"{bound}{usd(cost.usd_per_1k_full, about=cost.approximate)} per 1,000 requests when always busy"

    @staticmethod
    def _by_p95(rows: Sequence[Row]) -> list[Row]:
        return sorted(rows, key=lambda row: row.ms("p95") or math.inf)


def _usd(row: Row) -> float | None:
    return row.cost.usd_per_1k if row.cost.usd_per_1k is not None else row.cost.usd_per_1k_full


def _least(row: Row) -> float:
    return (usd_range(row) or (0.0, 0.0))[0]


def _most(row: Row) -> float:
    return (usd_range(row) or (0.0, math.inf))[1]


def _listed(names: Sequence[str]) -> str:
    """Join names as in a sentence.

    Example:
        >>> _listed(["a"]), _listed(["a", "b", "c"])
        ('a', 'a, b and c')
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
