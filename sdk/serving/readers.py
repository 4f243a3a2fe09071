"""Readers, which convert decoded values to each type that a signature can name.

`convert` reads numbers and text. This module reads the types that JSON lacks: moments, durations and dates, which are
ISO 8601 text, decimal numbers, and categories, which become positions in the list of their levels.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from . import times
from .convert import DATATYPES, Array, as_array, cell, missing, to_dtype, to_nullable
from .failures import RequestError, bad_input

if TYPE_CHECKING:
    from .tensors import TensorType

Reader: TypeAlias = Callable[[Array, str, list[str] | None], Array]

_TIMES = re.compile(r"(?P<kind>datetime64|timedelta64)\[(?P<unit>s|ms|us|ns)\]")
_ZONED = re.compile(r"datetime64\[\w+, .+\]|timestamp\[\w+, tz=.+\]\[pyarrow\]")
_FIXED_POINT = re.compile(r"decimal\d+\((?P<digits>\d+), (?P<scale>-?\d+)\)\[pyarrow\]")
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_DECIMAL = re.compile(r"[+-]?(?:\d{1,400}(?:\.\d{0,400})?|\.\d{1,400})(?:[eE][+-]?\d{1,4})?", re.ASCII)
_SHOWN = 5
_INT64 = 2**63


def reader(tensor: TensorType) -> Reader:
    """Return the reader of this tensor's values."""
    if tensor.levels is not None:
        return _categories(tensor)
    found = _TIMES.fullmatch(tensor.dtype)
    if found is not None:
        return _times(tensor.dtype, found["unit"], _parser(tensor, found["kind"]))
    if tensor.dtype == "date":
        return _cells(_date)
    if tensor.dtype == "decimal":
        return _cells(_decimal(tensor.column_type or ""))
    return _plain(tensor.dtype, to_nullable if tensor.nullable else to_dtype)


def _plain(dtype: str, convert: Callable[[Array, str, str, list[str] | None], Array]) -> Reader:
    """Return the reader of numbers, booleans and text; most numbers have the right type already."""
    target = np.dtype(dtype) if dtype in DATATYPES else None

    def read(array: Array, field: str, columns: list[str] | None) -> Array:
        return array if array.dtype is target else convert(array, dtype, field, columns)

    return read


# Moments and durations.


def _parser(tensor: TensorType, kind: str) -> Callable[[str], int]:
    """Return a function that parses one text as nanoseconds; its `ValueError` describes the fault."""
    if kind == "timedelta64":
        return _nanoseconds
    zoned = tensor.column_type is not None and _ZONED.fullmatch(tensor.column_type) is not None

    def moment(text: str) -> int:
        found = times.moment(text)
        if found is None:
            raise ValueError(f"must be a moment such as {times.MOMENT_FORM}{'+01:00' if zoned else ''}")
        nanoseconds, offset = found
        if zoned and offset is None:
            raise ValueError(f"needs its offset from UTC, such as {times.MOMENT_FORM}+01:00 or …Z")
        if not zoned and offset is not None:
            raise ValueError("has an offset from UTC, but the column has no time zone; leave the offset out")
        return nanoseconds - (offset or 0) * 10**9

    return moment


def _nanoseconds(text: str) -> int:
    found = times.duration(text)
    if found is None:
        raise ValueError(f"must be an ISO 8601 duration such as {times.DURATION_FORM}")
    return found


def _times(dtype: str, unit: str, parse: Callable[[str], int]) -> Reader:
    size = times.UNITS[unit]

    def count(value: Any) -> int:
        if not isinstance(value, str):
            form = times.MOMENT_FORM if dtype.startswith("d") else times.DURATION_FORM
            raise TypeError(f"must be {dtype}, written as text such as {form}, got {type(value).__name__}")
        whole, rest = divmod(parse(value), size)
        if rest:
            raise ValueError(f"is {value}, which is finer than {dtype}")
        if abs(whole) >= _INT64:
            raise ValueError(f"is {value}, which does not fit {dtype}")
        return whole

    def read(array: Array, field: str, columns: list[str] | None) -> Array:
        counts = [-_INT64 if one is None else one for one in _each(array, count, field, columns)]  # the smallest is NaT
        found = np.asarray(counts, dtype=np.int64)
        return found.view(dtype).reshape(array.shape)

    return read


# Dates and decimal numbers.


def _cells(parse: Callable[[Any], Any]) -> Reader:
    def read(array: Array, field: str, columns: list[str] | None) -> Array:
        found: Array = np.empty(array.shape, dtype=object)
        found.reshape(-1)[:] = _each(array, parse, field, columns)
        return found

    return read


def _each(array: Array, parse: Callable[[Any], Any], field: str, columns: list[str] | None) -> list[Any]:
    """Parse each value that is not missing; raise an error that names the first invalid one."""
    found: list[Any] = []
    for place, value in enumerate(array.ravel().tolist()):
        if value is None or (isinstance(value, float) and value != value):  # noqa: PLR0124 - NaN
            found.append(None)
            continue
        try:
            found.append(parse(value))
        except (TypeError, ValueError) as error:
            name, path = cell(tuple(map(int, np.unravel_index(place, array.shape))), field, columns)
            code = "bad_type" if isinstance(error, TypeError) else "bad_value"
            raise bad_input(code, f"{name} {error}", path) from None
    return found


def _date(value: Any) -> date:
    if not isinstance(value, str):
        raise TypeError(f"must be a date, written as text such as 2024-01-31, got {type(value).__name__}")
    try:
        return date.fromisoformat(value if _DATE.fullmatch(value) else "")
    except ValueError:
        raise ValueError("must be a date such as 2024-01-31") from None


def _decimal(column_type: str) -> Callable[[Any], Decimal]:
    """Return a function that reads a decimal number: text, or a JSON number with all its digits."""
    fixed = _FIXED_POINT.fullmatch(column_type)

    def read(value: Any) -> Decimal:
        if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
            raise TypeError(f"must be a decimal number such as 12.50, got {type(value).__name__}")
        text = getattr(value, "text", None) or (repr(value) if isinstance(value, float) else str(value))
        if not _DECIMAL.fullmatch(text):
            raise ValueError("must be a decimal number such as 12.50")
        number = Decimal(text)
        if fixed is not None:
            _check_digits(number, int(fixed["digits"]), int(fixed["scale"]), column_type)
        return number

    return read


def _check_digits(number: Decimal, digits: int, scale: int, column_type: str) -> None:
    sign, shown, exponent = number.normalize().as_tuple()
    del sign
    if not isinstance(exponent, int) or -exponent > scale or (any(shown) and len(shown) + exponent > digits - scale):
        raise ValueError(f"is {number}, which does not fit {column_type}")


# Categories.


def _categories(tensor: TensorType) -> Reader:
    """Return the reader of categories, which returns positions in the list of levels; -1 for a missing value."""
    levels = tensor.levels
    if levels is None:
        raise TypeError(f"{tensor.name} has no levels")
    values = reader(tensor.level)
    listed = values(as_array(levels.values, tensor.name, tensor.dtype), tensor.name, None)
    index = {key: number for number, key in enumerate(_keys(listed))}
    if len(index) != len(levels.values):
        raise ValueError(f"{tensor.name}: a level is listed twice")

    def read(array: Array, field: str, columns: list[str] | None) -> Array:
        found = values(array, field, columns)
        gaps = missing(found).ravel()
        codes = np.fromiter((index.get(key, -1) for key in _keys(found)), dtype=np.int32, count=found.size)
        strange = (codes < 0) & ~gaps
        if strange.any():
            raise _unknown(array, int(np.argmax(strange)), levels.values, field, columns)
        codes[gaps] = -1
        return codes.reshape(array.shape)

    return read


def _keys(array: Array) -> list[Any]:
    """Return keys that compare and hash equal for equal values."""
    keys: list[Any] = (array.view(np.int64) if array.dtype.kind in "mM" else array).ravel().tolist()
    return keys


def _unknown(array: Array, place: int, levels: list[Any], field: str, columns: list[str] | None) -> RequestError:
    name, path = cell(tuple(map(int, np.unravel_index(place, array.shape))), field, columns)
    shown = ", ".join(map(repr, levels[:_SHOWN])) + (f", … ({len(levels)} in all)" if len(levels) > _SHOWN else "")
    value = array.ravel().tolist()[place]
    return bad_input("unknown_category", f"{name} is {value!r}, which the model does not know; it knows {shown}", path)
