"""The values of a comparison, which reports and conditions read."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ..errors import ConfigError
from .result import SCHEMA, Best, BreakEven, Pair, Place, Row
from .traffic import Traffic
from .workload import Workload


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """The values of a comparison: measurements, costs and the verdict.

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

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as plain values."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found
