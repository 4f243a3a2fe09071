"""A finished comparison: kept, read again, shown, asked what it would say at another traffic."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from .. import usertext
from ..errors import ConfigError
from .cost import break_evens, cost_of
from .result import SCHEMA, Best, BreakEven, Pair, Place, Row
from .traffic import Traffic
from .verdict import decide, warning
from .workload import Workload

if TYPE_CHECKING:
    from collections.abc import Sequence


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured, what it costs and what follows from it.

    Args:
        schema: Name and version of this form.
        created: When it was made, ISO 8601.
        model: Name and digest of the model, or what was compared instead.
        payload: What was sent.
        place: Where it was measured from.
        p95_ms: The objective.
        traffic: The user's own traffic, if told.
        headroom: Share of the highest rate that costs plan with.
        workload: How it was measured.
        rows: One per subject.
        pairs: Differences between subjects.
        best: The one to take.
        verdict: The same in a sentence, or why there is none.
        warning: What comes before everything else: which rows were measured on a substitute for their platform.
        break_evens: Where serverless stops being cheaper.
        estimated_usd: What it was going to cost at most; ``None`` when a price was unknown.
        spent_usd: What it did cost by the price list; 0 when nothing was billed.
        notes: What else a reader should know.
    """

    created: str
    model: str
    payload: str
    place: Place
    rows: tuple[Row, ...]
    workload: Workload
    schema: Literal["mlport.compare/1"] = SCHEMA
    p95_ms: float | None = None
    traffic: Traffic | None = None
    headroom: float = 0.7
    pairs: tuple[Pair, ...] = ()
    best: Best | None = None
    verdict: str = ""
    break_evens: tuple[BreakEven, ...] = ()
    estimated_usd: float | None = None
    spent_usd: float | None = None
    notes: tuple[str, ...] = ()
    warning: str = ""

    def row(self, key: str) -> Row:
        """The subject of that name.

        Raises:
            ConfigError: There is none.
        """
        for row in self.rows:
            if row.key == key:
                return row
        raise ConfigError(f"no row {key!r} in this comparison", hint=f"there are {', '.join(r.key for r in self.rows)}")

    def judged(self) -> Comparison:
        """The same with its costs, verdict and break-even points worked out anew."""
        rows = tuple(
            row if row.failed else msgspec.structs.replace(row, cost=cost_of(row, self.traffic, self.headroom))
            for row in self.rows
        )
        best, verdict = decide(rows, self.pairs, self.p95_ms, self.traffic)
        return msgspec.structs.replace(
            self,
            rows=rows,
            best=best,
            verdict=verdict,
            warning=warning(rows),
            break_evens=tuple(break_evens(rows, self.headroom)),
        )

    def at(self, traffic_per_month: float, profile: str | Sequence[float] = "flat") -> Comparison:
        """What it says at another traffic; nothing is measured again, and the prices stay those that were used.

        Args:
            traffic_per_month: Requests of a month.
            profile: ``"flat"``, ``"day"``, ``"office"``, or 24 or 168 weights.
        """
        return msgspec.structs.replace(self, traffic=Traffic.of(traffic_per_month, profile)).judged()

    def check(self, condition: str, baseline: Comparison | None = None) -> None:
        """Fails when a condition holds for any row, such as ``"p95_ms > 100 or usd_per_1k > 0.02"``.

        Args:
            condition: Comparisons of the fields of :mod:`sdk.compare.gate`, joined by ``and``, ``or`` and ``not``.
            baseline: An older comparison, for the fields that are changes.

        Raises:
            GateFailed: It holds; names the rows.
        """
        from .gate import check

        check(self, condition, baseline)

    # --- keeping ------------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """The comparison as plain values."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found

    def to_json(self, path: str | Path | None = None) -> str:
        """The comparison as JSON, also written to a file; :meth:`load` reads it back."""
        text = msgspec.json.format(msgspec.json.encode(self), indent=1).decode()
        if path is not None:
            Path(path).write_text(text + "\n", encoding="utf-8")
        return text

    @classmethod
    def load(cls, path: str | Path) -> Comparison:
        """Reads a kept comparison.

        Raises:
            ConfigError: The file is none, or of a version that this mlport does not know.
        """
        try:
            return msgspec.json.decode(usertext.read(path), type=cls)
        except (msgspec.DecodeError, RecursionError) as error:
            raise ConfigError(f"{path} is no comparison in the form {SCHEMA}: {error}") from error

    # --- showing ------------------------------------------------------------------------------------------------

    def to_markdown(self, path: str | Path | None = None) -> str:
        """The report as Markdown, also written to a file."""
        from .report.text import markdown

        text = markdown(self)
        if path is not None:
            Path(path).write_text(text, encoding="utf-8")
        return text

    def to_html(self, path: str | Path | None = None) -> str:
        """The report as one page that needs nothing else, not even a network; also written to a file."""
        from .report.page import page

        text = page(self)
        if path is not None:
            Path(path).write_text(text, encoding="utf-8")
        return text

    def __str__(self) -> str:
        from .report.text import plain

        return plain(self)

    def _repr_html_(self) -> str:
        from .report.page import fragment

        return fragment(self)
