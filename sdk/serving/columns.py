"""Input as one dict of columns for several rows, read the same way by client and server without any library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def axes_of(value: Any) -> int:
    """Return how many axes nested lists, an array or a series have; a single value has none.

    Example:
        >>> axes_of([[1, 2], [3, 4]]), axes_of("text"), axes_of([])
        (2, 0, 1)
    """
    if isinstance(value, list | tuple):
        inner = cast("Sequence[Any]", value)
        return 1 + axes_of(inner[0]) if inner else 1
    return len(getattr(value, "shape", ()))


def whole_inputs(inputs: Sequence[Any]) -> frozenset[str]:
    """Return the inputs that have one value for the whole request instead of one per row.

    Those are inputs without axes, and inputs whose first axis has a fixed length while that of another input varies.
    """
    vary = any(one.shape and one.shape[0] == -1 for one in inputs)
    return frozenset(one.name for one in inputs if not one.shape or (vary and one.shape[0] != -1))


def axes(signature: Any) -> dict[str, int]:
    """Return how many axes each input or column of a signature has, including that of the rows.

    An input with one value for the whole request has 0 axes.
    """
    whole = whole_inputs(signature.inputs)
    known = {one.name: 0 if one.name in whole else len(one.shape) for one in signature.inputs}
    return known if signature.columns is None else {name: known.get(name, 1) for name in signature.columns}


def rows_in(given: Mapping[str, Any], wanted: Mapping[str, int]) -> list[Any]:
    """Return the rows in a dict of columns, or the dict itself if it is one record.

    Args:
        given: Values by the name of an input or column.
        wanted: The result of `axes`; empty if the model takes any JSON.

    Raises:
        ValueError: Some values are columns and others are not, or the columns have different lengths.

    Example:
        >>> rows_in({"a": [[1, 2], [3, 4]], "b": [5, 6]}, {"a": 2, "b": 1})
        [{'a': [1, 2], 'b': 5}, {'a': [3, 4], 'b': 6}]
        >>> rows_in({"a": [1, 2], "b": 5}, {"a": 2, "b": 1})
        [{'a': [1, 2], 'b': 5}]
    """
    whole = {name: axes_of(given[name]) >= size for name, size in wanted.items() if name in given and size}
    if not any(whole.values()):
        return [given]
    if not all(whole.values()):
        column, single = (next(name for name, is_column in whole.items() if is_column is one) for one in (True, False))
        raise ValueError(f"{column!r} has a value for each row, {single!r} has one value; give both in the same way")
    lengths = {name: len(value) for name, value in given.items() if axes_of(value) and wanted.get(name, 1)}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {size}" for name, size in lengths.items())
        raise ValueError(f"all inputs must have the same number of rows, got {told}")
    rows = next(iter(lengths.values()))
    return [{name: value[row] if name in lengths else value for name, value in given.items()} for row in range(rows)]
