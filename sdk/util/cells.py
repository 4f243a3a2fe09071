"""Conversion of values of tables and arrays to JSON; imports nothing for it but the standard library."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec

from sdk.serving import times

_NUMBERS = frozenset("biuf")  # kinds of numpy types whose values have a JSON form


def plain(value: Any) -> Any:
    """Convert a value without a JSON form to what the server reads: text for times and durations, ``None`` for gaps.

    Raises:
        TypeError: The value cannot be sent.

    Example:
        >>> plain(timedelta(hours=30))
        'P1DT21600S'
    """
    if type(value).__name__ in times.GAPS:
        return None
    if isinstance(value, timedelta):
        return times.duration_text(value)
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if getattr(getattr(value, "dtype", None), "kind", "") in {"M", "m"}:
        return _times(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__} cannot be sent")


encode = msgspec.json.Encoder(enc_hook=plain, decimal_format="number").encode


def column(values: Any) -> list[Any]:
    """Return the cells of a pandas column, with ``None`` for missing ones."""
    cells: list[Any] = values.tolist()
    if getattr(values.dtype, "kind", "O") not in _NUMBERS:
        cells = [plain(cell) if isinstance(cell, timedelta) or hasattr(cell, "isoformat") else cell for cell in cells]
    known = values.notna()
    if known.all():
        return cells
    return [cell if there else None for cell, there in zip(cells, known.to_numpy().tolist(), strict=True)]


def _times(values: Any) -> Any:
    """Convert numpy times or durations, some of which may be missing."""
    if not values.ndim:
        return _times(values.reshape(1))[0]
    if values.ndim > 1:
        return [_times(row) for row in values]
    if values.dtype.kind == "M":
        return [None if text == "NaT" else text for text in values.astype(str).tolist()]
    counts = values.astype("timedelta64[ns]").astype("int64").tolist()
    return [None if one == -(2**63) else times.nanoseconds_text(one) for one in counts]
