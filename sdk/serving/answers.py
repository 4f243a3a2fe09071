"""Response bodies as CSV: one line per row; several outputs get a header with their names."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from .failures import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .convert import Array
    from .outputs import Outputs


def as_csv(outputs: Outputs) -> bytes:
    """Return the outputs as CSV; NaN and missing values are empty.

    Raises:
        RequestError: 406; the outputs do not form a table.
    """
    columns = [column for name, array in outputs.arrays.items() for column in _columns(name, array)]
    if not columns or len({len(array) for _, array in columns}) > 1:
        raise _no_table()
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    if len(outputs.arrays) > 1:
        writer.writerow(name for name, _ in columns)
    writer.writerows(zip(*(map(_cell, array.tolist()) for _, array in columns), strict=True))
    return text.getvalue().encode("utf-8", "surrogatepass")


def _columns(name: str, array: Array) -> Iterator[tuple[str, Array]]:
    """Yield the columns of one output; those of a matrix are numbered."""
    if array.ndim < 2:
        yield name, array.reshape(-1)  # a single value becomes one line
    elif array.ndim == 2:
        yield from ((f"{name}_{number}", array[:, number]) for number in range(array.shape[1]))
    else:
        raise _no_table()


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None or value != value else value  # noqa: PLR0124  NaN differs from itself


def _no_table() -> RequestError:
    return RequestError(406, "not_acceptable", "this model's answer is no table; ask for application/json", "accept")
