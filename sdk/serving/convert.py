"""Converts decoded JSON values and raw tensors to numpy arrays of a declared dtype; errors name the wrong cell."""

from __future__ import annotations

from typing import Any, TypeAlias, TypeGuard

import numpy as np
from numpy.typing import NDArray

from . import times
from .failures import RequestError, bad_input

Array: TypeAlias = NDArray[Any]

_WHOLE = ("int", "uint")
_EXACT = 2.0**53  # from here on a float cannot represent every whole number
_ALIASES = {"boolean": "bool"}  # pandas' nullable type
TEXT = frozenset({"str", "object", "string", "category"})

# Open Inference Protocol datatype of each numpy dtype; dtypes not listed are sent as text.
DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
}
DTYPES = {datatype: dtype for dtype, datatype in DATATYPES.items()}


def is_list(value: Any) -> TypeGuard[list[Any]]:
    """Return whether a decoded JSON value is an array."""
    return isinstance(value, list)


def as_array(values: list[Any], field: str, dtype: str = "") -> Array:
    """Convert nested lists to an array; text, nulls and very large integers result in an object array.

    Args:
        values: decoded JSON.
        field: its name in error messages.
        dtype: the target type, so that whole numbers next to a fraction keep all their digits.

    Raises:
        RequestError: 400 naming the first row whose shape differs from the first one's.
    """
    try:
        array: Array = np.asarray(values, dtype=object if dtype == "decimal" else None)
    except (ValueError, OverflowError):
        raise _ragged(values, field) from None
    if array.dtype.kind == "U" or (array.dtype.kind == "f" and dtype.startswith(_WHOLE) and _is_large(array)):
        return np.asarray(values, dtype=object)
    if array.dtype.kind == "O" and any(isinstance(one, list) for one in array.flat):
        raise _ragged(values, field)
    return array


def _is_large(array: Array) -> bool:
    """Check whether a value is so large that neighbouring whole numbers share one float."""
    return bool((np.abs(array) >= _EXACT).any())


def _ragged(values: list[Any], field: str) -> RequestError:
    first = _extent(values[0])
    for number, row in enumerate(values):
        if _extent(row) != first:
            return bad_input(
                "ragged",
                f"row {number} has {_told(row)}, row 0 has {_told(values[0])}; all rows need the same shape",
                f"{field}[{number}]",
            )
    return bad_input("ragged", f"{field} is nested too deeply or unevenly", field)


def _extent(row: Any) -> int:
    return len(row) if is_list(row) else -1


def _told(row: Any) -> str:
    return f"{_extent(row)} values" if isinstance(row, list) else "a single value"


def to_dtype(array: Array, dtype: str, field: str, columns: list[str] | None) -> Array:
    """Convert `array` to `dtype` if no value loses its meaning.

    Each cell is converted independently of the others. Integers become floats, and floats change their width. A float
    becomes an integer only if it is whole (JSON has one kind of number). A boolean counts as the number 0 or 1. Null
    becomes NaN in a float tensor. Text and numbers are not converted to each other, nor numbers to booleans.

    Raises:
        RequestError: 400 naming the first cell that does not fit.
    """
    dtype = _ALIASES.get(dtype, dtype)
    if dtype in TEXT:
        return _to_text(array, field, columns)
    if dtype not in DATATYPES:
        return _to_other(array, dtype, field)
    target = np.dtype(dtype)
    if array.dtype == target:
        return array
    if array.dtype.kind == "O":
        array = _from_objects(array, target, field, columns)
    if array.dtype.kind not in _SOURCES[target.kind]:
        raise bad_input("bad_type", f"{field} must be {dtype}, got {array.dtype.name}", field)
    with np.errstate(all="ignore"):  # `_check_kept` finds values changed by the cast
        cast: Array = array.astype(target)
    _check_kept(array, cast, field, columns)
    return cast


_SOURCES = {"f": "fiub", "i": "fiub", "u": "fiub", "b": "b"}


def to_nullable(array: Array, dtype: str, field: str, columns: list[str] | None) -> Array:
    """Return whole numbers or booleans; if some are missing, as an object array with None for those.

    Raises:
        RequestError: 400 naming the first cell that does not fit.
    """
    gaps = np.isnan(array) if array.dtype.kind == "f" else np.asarray([one is None for one in array.flat], dtype=bool)
    gaps = gaps.reshape(array.shape)
    if not gaps.any():
        return to_dtype(array, dtype, field, columns)
    filled = array.copy()
    filled[gaps] = False if dtype == "bool" else 0
    found = to_dtype(filled, dtype, field, columns).astype(object)
    found[gaps] = None
    return found


def _check_kept(array: Array, cast: Array, field: str, columns: list[str] | None) -> None:
    if cast.dtype.kind == "f":
        wrong = np.isinf(cast) & np.isfinite(array)
    elif cast.dtype.kind in "iu":
        with np.errstate(all="ignore"):
            wrong = (cast.astype(array.dtype) != array) | ((array < 0) != (cast < 0))
            if array.dtype.kind == "f":  # 2.0**63 would survive the round trip through the saturated integer
                wrong |= np.abs(array) >= 2.0 ** (np.iinfo(cast.dtype).bits - (cast.dtype.kind == "i"))
    else:
        return
    if wrong.any():
        where = tuple(int(axis) for axis in np.argwhere(wrong)[0])
        name, path = cell(where, field, columns)
        raise bad_input("bad_value", f"{name} is {array[where]}, which does not fit {cast.dtype.name}", path)


def _from_objects(array: Array, target: np.dtype[Any], field: str, columns: list[str] | None) -> Array:
    """Convert cell by cell an array that is not of one plain type: nulls, mixtures, very large integers."""
    result: Array = np.empty(array.shape, dtype=np.float64 if target.kind == "f" else target)
    for where, value in np.ndenumerate(array):
        name, path = cell(where, field, columns)
        if value is None and target.kind == "f":
            result[where] = np.nan
        elif not isinstance(value, bool if target.kind == "b" else bool | int | float):
            shown = "null" if value is None else type(value).__name__
            raise bad_input("bad_type", f"{name} must be {target.name}, got {shown}", path)
        else:
            try:
                result[where] = value
            except (OverflowError, ValueError):
                raise bad_input("bad_value", f"{name} does not fit {target.name}", path) from None
            if result[where] != value:
                raise bad_input("bad_value", f"{name} is {value}, which does not fit {target.name}", path)
    return result


def _to_text(array: Array, field: str, columns: list[str] | None) -> Array:
    if array.dtype.kind == "U":
        return array.astype(object)
    if array.dtype.kind != "O":
        raise bad_input("bad_type", f"{field} must be text, got {array.dtype.name}", field)
    for where, value in np.ndenumerate(array):
        if not (isinstance(value, str) or value is None):
            name, path = cell(where, field, columns)
            raise bad_input("bad_type", f"{name} must be text, got {type(value).__name__}", path)
    return array


def _to_other(array: Array, dtype: str, field: str) -> Array:
    try:
        return array.astype(dtype)  # dates and the like, sent as text
    except (TypeError, ValueError, OverflowError):
        raise bad_input("bad_type", f"{field} cannot be read as {dtype}", field) from None


def missing(array: Array, *, category: bool = False) -> Array:
    """Return a mask of the missing values in an array of one type; in codes of categories they are -1."""
    kind = array.dtype.kind
    if category:
        gaps = array < 0
    elif kind == "f":
        gaps = np.isnan(array)
    elif kind in "mM":
        gaps = np.isnat(array)
    elif kind == "O":
        gaps = np.asarray([one is None for one in array.flat], dtype=bool).reshape(array.shape)
    else:
        gaps = np.zeros(array.shape, dtype=bool)
    return np.asarray(gaps)


def check_finite(array: Array, field: str, columns: list[str] | None, *, category: bool = False) -> None:
    """Refuse NaN, infinity and missing values, naming the first such cell."""
    is_float = array.dtype.kind == "f"
    if is_float:
        wrong = ~np.isfinite(array)
    elif category or array.dtype.kind in "OmM":
        wrong = missing(array, category=category)
    else:
        return
    if wrong.any():
        where = tuple(int(axis) for axis in np.argwhere(wrong)[0])
        name, path = cell(where, field, columns)
        value = f"{array[where]}" if is_float else "missing"
        raise bad_input("not_finite", f"{name} is {value.replace('nan', 'NaN or null')}; this model takes none", path)


def cell(where: tuple[int, ...], field: str, columns: list[str] | None) -> tuple[str, str]:
    """Return the name of the cell at index `where` for messages, and its path for programs."""
    path = field + "".join(f"[{axis}]" for axis in where)
    if not where:
        return field, path
    row = f"row {where[0]}"
    if columns and len(where) == 2 and where[1] < len(columns):
        return f"{row}, column {columns[where[1]]!r}", f"{field}[{where[0]}].{columns[where[1]]}"
    if columns and len(where) == 1 and field in columns:
        return f"{row}, column {field!r}", f"instances[{where[0]}].{field}"
    return (f"{row}, column {where[1]}" if len(where) == 2 else row), path


def iso_text(array: Any) -> Array:
    """Format moments and durations as ISO 8601 text, missing ones as None."""
    array = np.asarray(array)
    unit, steps = np.datetime_data(array.dtype)
    if array.dtype.kind == "m" and unit in _NANOSECONDS:
        size = _NANOSECONDS[unit] * steps
        texts = np.empty(array.shape, dtype=object)
        for where, count in np.ndenumerate(array.astype(np.int64)):
            texts[where] = times.nanoseconds_text(int(count) * size)
    else:
        texts = array.astype(np.str_)
    gaps = np.isnat(array)
    if gaps.any():
        texts = texts.astype(object)
        texts[gaps] = None
    return texts


_NANOSECONDS = times.UNITS | {"W": 604_800 * 10**9, "D": 86_400 * 10**9, "h": 3_600 * 10**9, "m": 60 * 10**9}
