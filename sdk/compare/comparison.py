"""The result of a comparison: saving, loading, showing, and recalculating it for another traffic."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from ..errors import ConfigError
from ..util import usertext
from .cost import break_evens, cost_of
from .result import SCHEMA, Best, BreakEven, Pair, Place, Row
from .traffic import Traffic
from .verdict import decide, warning
from .workload import Workload

if TYPE_CHECKING:
    from collections.abc import Sequence


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a comparison: measurements, costs and the verdict.

    Args:
        schema: Name and version of this schema.
        created: When the comparison was made, ISO 8601.
        model: Name and digest of the model, or the names of the compared endpoints.
        payload: A description of the requests.
        place: The machine that the measurements were made from.
        p95_ms: The latency objective in milliseconds.
        traffic: The user's own traffic, if given.
        headroom: The share of the highest rate that a replica is planned to serve.
        workload: The parameters of the measurement.
        rows: One row per subject.
        pairs: The differences between subjects.
        best: The recommended subject.
        verdict: The recommendation in a sentence, or why there is none.
        warning: The warning to show first: which rows were measured on a substitute for their platform.
        break_evens: The traffic from which serverless is no longer cheaper.
        estimated_usd: The estimated maximum cost of the comparison; ``None`` when a price was unknown.
        spent_usd: The actual cost by the price list; 0 when nothing was billed.
        notes: Further remarks for the reader.
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
        """Return the row of a subject.

        Raises:
            ConfigError: The comparison has no subject of that name.
        """
        for row in self.rows:
            if row.key == key:
                return row
        raise ConfigError(f"no row {key!r} in this comparison", hint=f"there are {', '.join(r.key for r in self.rows)}")

    def judged(self) -> Comparison:
        """Return the comparison with its costs, verdict and break-even points recalculated."""
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
            break_evens=tuple(break_evens(rows, self.headroom, self.traffic.weights if self.traffic else "flat")),
        )

    def at(self, traffic_per_month: float, profile: str | Sequence[float] = "flat") -> Comparison:
        """Return the comparison for another traffic, with the same measurements and prices.

        Args:
            traffic_per_month: Requests per month.
            profile: ``"flat"``, ``"day"``, ``"office"``, or 24 or 168 hourly weights.
        """
        return msgspec.structs.replace(self, traffic=Traffic.of(traffic_per_month, profile)).judged()

    def check(self, condition: str, baseline: Comparison | None = None) -> None:
        """Raise an error when a condition such as ``"p95_ms > 100 or usd_per_1k > 0.02"`` holds for any row.

        Args:
            condition: Comparisons of the fields of :mod:`sdk.compare.gate`, joined by ``and``, ``or`` and ``not``.
            baseline: An older comparison, for the fields that describe changes.

        Raises:
            GateFailed: The condition holds, or a subject failed; the error names the rows.
        """
        from .gate import check

        check(self, condition, baseline)

    # --- storage ------------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as plain values."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found

    def to_json(self, path: str | Path | None = None) -> str:
        """Return the comparison as JSON and optionally write it to a file, which :meth:`load` reads."""
        text = msgspec.json.format(msgspec.json.encode(self), indent=1).decode()
        _written(text + "\n", path)
        return text

    @classmethod
    def load(cls, path: str | Path) -> Comparison:
        """Read a comparison from a file.

        Raises:
            ConfigError: The file is not a comparison, or has a version that this mlport does not know.
        """
        try:
            return msgspec.json.decode(usertext.read(path), type=cls)
        except (msgspec.DecodeError, RecursionError) as error:
            raise ConfigError(f"{path} is no comparison in the form {SCHEMA}: {error}") from error

    # --- output -------------------------------------------------------------------------------------------------

    def to_markdown(
        self, path: str | Path | None = None, *, fail_if: str | None = None, baseline: Comparison | None = None
    ) -> str:
        """Return the report as Markdown, such as for a pull request, and optionally write it to a file.

        Args:
            path: The file to write.
            fail_if: A condition as for :meth:`check`; the report then starts with its result for each row.
            baseline: An older comparison; the report then lists the supported differences to it.

        Raises:
            ConfigError: ``fail_if`` is not a condition.
        """
        from .report.ci import comment

        return _written(comment(self, fail_if, baseline), path)

    def to_junit(
        self, path: str | Path | None = None, *, fail_if: str | None = None, baseline: Comparison | None = None
    ) -> str:
        """Return a JUnit test report, which CI systems show, and optionally write it to a file.

        Args:
            path: The file to write.
            fail_if: A condition as for :meth:`check`: each row is a test case, which fails if it holds.
            baseline: An older comparison; the cases then name the supported differences to it.

        Raises:
            ConfigError: ``fail_if`` is not a condition.
        """
        from .report.ci import junit

        return _written(junit(self, fail_if, baseline), path)

    def to_html(self, path: str | Path | None = None) -> str:
        """Return the report as a self-contained page that works offline, and optionally write it to a file."""
        from .report.page import page

        return _written(page(self), path)

    def __str__(self) -> str:
        from .report.text import plain

        return plain(self)

    def _repr_html_(self) -> str:
        from .report.page import fragment

        return fragment(self)


def _written(text: str, path: str | Path | None) -> str:
    """Write a text to a file, if one is given, and return it."""
    if path is not None:
        Path(path).write_text(text, encoding="utf-8")
    return text
