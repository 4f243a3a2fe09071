"""The result of a comparison: saving, loading, showing, and recalculating it for another traffic."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ..errors import ConfigError
from ..util import usertext
from .cost import break_evens, cost_of
from .result import SCHEMA
from .results import Results
from .traffic import Traffic
from .verdict import decide, warning

if TYPE_CHECKING:
    from collections.abc import Sequence


class Comparison(Results, frozen=True, kw_only=True):
    """The result of a comparison: measurements, costs and the verdict; see :class:`Results` for its fields."""

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
