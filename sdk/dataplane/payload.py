"""Converts lists, arrays and data frames to request bodies, without importing the libraries they come from."""

from __future__ import annotations

import io
import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from ..errors import InvalidInputError, PayloadTooLargeError
from ..serving.columns import axes_of, rows_in
from ..util import cells

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

JSON = "application/json"
NPY = "application/x-npy"
EVENTS = "text/event-stream"


@dataclass(frozen=True, slots=True)
class RequestBody:
    """One request body: its bytes, their content type, and the number of rows."""

    content: bytes
    content_type: str
    rows: int


@dataclass(frozen=True, slots=True)
class EncodingRules:
    """Rules for encoding the input.

    Args:
        limit: The most bytes of one body.
        rowwise: Whether the rows may be sent in several requests.
        missing: Whether the server reads JSON ``null`` as a missing number, because the model's signature is known.
        wrap: Puts JSON into the platform's envelope, if it has one; other content types are then impossible.
        axes: The number of axes of each input of the model, as :mod:`sdk.serving.columns` needs them; ``None`` if the
            model is not known here.
    """

    limit: int
    rowwise: bool = False
    missing: bool = False
    wrap: Callable[[bytes], bytes] | None = None
    axes: Mapping[str, int] | None = None


def bodies(inputs: Any, rules: EncodingRules) -> list[RequestBody]:
    """Return the request bodies for an input, in the order of its rows.

    Args:
        inputs: A list of rows, a dict (columns by name, or one record), a numpy array, a torch tensor, or a table of
            pandas, polars or Arrow.
        rules: Limits and envelope.

    Raises:
        InvalidInputError: The input has no rows, or a value without a JSON form; the error names it.
        PayloadTooLargeError: The input does not fit, and must not or cannot be split any further.

    Example:
        >>> bodies([[1, 2]], EncodingRules(limit=1000))[0].content
        b'{"instances":[[1,2]]}'
    """
    array = _not_finite(inputs) if rules.wrap is None else None
    if array is not None:
        return list(_cut(array, _npy, rules))
    rows = to_rows(inputs, rules.axes)
    if not rows:
        raise _refused("the input has no rows", "instances", hint="send at least one row")
    return list(_cut(rows, lambda part: _json(cast("Sequence[Any]", part), rules), rules))


def _cut(rows: Any, encode: Callable[[Any], bytes], rules: EncodingRules) -> Iterator[RequestBody]:
    """Yield the rows as one body, or in equal parts, each split again until it fits."""
    content = encode(rows)
    kind = JSON if content[:1] != b"\x93" else NPY
    if len(content) <= rules.limit:
        yield RequestBody(content, kind, len(rows))
        return
    if not rules.rowwise:
        raise PayloadTooLargeError(
            f"the request has {len(content)} bytes, the target takes {rules.limit}",
            hint="send fewer rows; a model declared rowwise=True is sent in chunks by itself",
        )
    if len(rows) == 1:
        raise PayloadTooLargeError(f"one row has {len(content)} bytes, the target takes {rules.limit}")
    step = math.ceil(len(rows) / math.ceil(len(content) / rules.limit * 1.05))
    step = min(step, len(rows) - 1)
    for start in range(0, len(rows), step):
        yield from _cut(rows[start : start + step], encode, rules)


# --- rows -------------------------------------------------------------------------------------------------------


def to_rows(inputs: Any, axes: Mapping[str, int] | None = None) -> list[Any]:
    """Convert an input to a plain list of rows.

    A dict holds columns if the model's inputs have as many axes as its values. If the model is not known, a dict
    holds columns if its values are arrays of a library; otherwise it is one record.

    Raises:
        InvalidInputError: The input has no rows.
    """
    if isinstance(inputs, dict):
        return _from_dict(cast("dict[str, Any]", inputs), axes)
    if isinstance(inputs, list | tuple):
        return list(cast("Sequence[Any]", inputs))
    if axes and not any(axes.values()) and len(axes) == 1 and inputs is not None and not axes_of(inputs):
        return [inputs]  # the one input of the model has no axes
    if inputs is None or isinstance(inputs, str | bytes | bytearray | int | float):
        raise InvalidInputError(
            f"a {type(inputs).__name__} has no rows",
            field="instances",
            hint="send a list of rows, such as [[1.0, 2.0]]",
        )
    if axes and _is_row(inputs, axes):
        return [dict(zip(map(str, inputs.index), cells.column(inputs), strict=True))]
    return _from_library(inputs)


def _is_row(inputs: Any, axes: Mapping[str, int]) -> bool:
    """Check whether a pandas Series is one row, such as ``table.iloc[0]``: its labels are the model's inputs."""
    is_series = hasattr(inputs, "to_frame") and hasattr(inputs, "notna")
    return is_series and len(inputs.index) == len(axes) and set(map(str, inputs.index)) == set(axes)


def _from_dict(given: dict[str, Any], axes: Mapping[str, int] | None) -> list[Any]:
    if axes is None:
        known = bool(given) and all(hasattr(value, "shape") and axes_of(value) for value in given.values())
        axes = dict.fromkeys(given, 1) if known else {}
    values = {name: to_rows(value) if hasattr(value, "notna") else value for name, value in given.items()}
    try:
        return rows_in(values, axes)
    except ValueError as error:
        raise _refused(str(error), "instances") from None


def _from_library(inputs: Any) -> list[Any]:
    if hasattr(inputs, "columns") and hasattr(inputs, "to_dicts"):  # polars
        return list(inputs.to_dicts())
    if hasattr(inputs, "column_names") and hasattr(inputs, "to_pylist"):  # Arrow
        return list(inputs.to_pylist())
    if hasattr(inputs, "columns") and hasattr(inputs, "to_dict"):  # pandas
        return _from_pandas(inputs)
    if hasattr(inputs, "to_frame") and hasattr(inputs, "notna"):  # pandas Series
        return [row["0"] for row in _from_pandas(inputs.to_frame("0"))]
    if hasattr(inputs, "toarray"):  # scipy sparse
        inputs = inputs.toarray()
    if hasattr(inputs, "tolist"):  # numpy, torch, pandas Series
        listed: Any = cells.plain(inputs)
        if isinstance(listed, list):
            return list(cast("Sequence[Any]", listed))
    elif hasattr(inputs, "__iter__"):
        return list(inputs)
    raise _refused(
        f"a {type(inputs).__name__} has no rows", "instances", hint="send a list of rows, an array or a table"
    )


def _refused(message: str, field: str, *, hint: str | None = None) -> InvalidInputError:
    """Return the error that the server would answer with, before anything is sent."""
    return InvalidInputError(message, field=field, hint=hint, status=400, operation="predict")


def _from_pandas(table: Any) -> list[Any]:
    """Convert a pandas table to records, with ``None`` for missing values of every column type."""
    names = [str(name) for name in table.columns]
    values = [cells.column(table.iloc[:, place]) for place in range(len(names))]
    return [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]


def index_of(inputs: Any) -> Any:
    """Return the index of a pandas table or series; ``None`` for anything else."""
    return inputs.index if hasattr(inputs, "notna") and hasattr(inputs, "index") else None


# --- JSON -------------------------------------------------------------------------------------------------------


def _json(rows: Sequence[Any], rules: EncodingRules) -> bytes:
    try:
        content = cells.encode({"instances": rows})
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise _refused(f"the input has no JSON form: {error}", _culprit(rows)) from error
    if b"null" in content:  # NaN and Infinity are also encoded as null, which would change them silently
        _check_numbers(rows, "instances", allow_missing=rules.missing)
    return rules.wrap(content) if rules.wrap else content


def _check_numbers(value: Any, where: str, *, allow_missing: bool) -> None:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, float):
        if math.isfinite(value) or (allow_missing and math.isnan(value)):
            return
        told = "NaN" if math.isnan(value) else "infinite"
        raise _refused(
            f"{where} is {told}, which JSON cannot say",
            where,
            hint="send None for a missing value, or a numpy array, which keeps it",
        )
    if isinstance(value, dict):
        for key, item in cast("Mapping[Any, Any]", value).items():
            _check_numbers(item, f"{where}.{key}", allow_missing=allow_missing)
    elif isinstance(value, list | tuple):
        for place, item in enumerate(cast("Sequence[Any]", value)):
            _check_numbers(item, f"{where}[{place}]", allow_missing=allow_missing)


def _culprit(rows: Sequence[Any]) -> str:
    """Return the position of the first row that cannot be encoded."""
    for place, row in enumerate(rows):
        try:
            cells.encode(row)
        except (TypeError, ValueError, OverflowError, RecursionError):
            return f"instances[{place}]"
    return "instances"


# --- npy --------------------------------------------------------------------------------------------------------


def _not_finite(inputs: Any) -> Any:
    """Return the input if it is a numpy array of floats with NaN or infinity: only .npy preserves those."""
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(inputs, numpy.ndarray) or inputs.dtype.kind != "f" or not inputs.ndim:
        return None
    if isinstance(inputs, numpy.ma.MaskedArray):
        inputs = inputs.filled(numpy.nan)  # a masked value is a missing one
    return None if bool(numpy.isfinite(inputs).all()) else inputs


def _npy(array: Any) -> bytes:
    import numpy as np

    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()
