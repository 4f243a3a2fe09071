"""Describe the columns of an example table: their types in the manifest, and as the server reconstructs them."""

from __future__ import annotations

import math
import re
from datetime import date, datetime, timedelta
from decimal import Decimal
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import msgspec

from sdk.errors import ConfigError
from sdk.packaging.manifest import Levels, Tensor
from sdk.packaging.plain import PlainArray
from sdk.serving import failures, fields, times
from sdk.util import cells

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdk.packaging.manifest import Signature

_WIDEST = 8  # bytes of a number
_NULLABLE = re.compile(r"U?Int\d+|Float\d+|boolean")  # pandas columns that distinguish missing values from NaN
_TIMES = re.compile(r"(?P<kind>datetime64|timedelta64)\[(?P<unit>\w+)(?:, (?P<zone>.+))?\]")
_ARROW_TIMES = re.compile(r"(?P<kind>timestamp|duration)\[(?P<unit>\w+)(?:, tz=(?P<zone>.+))?\]")
_ARROW = {
    "double": "float64", "float": "float32", "halffloat": "float16", "bool": "bool", "string": "string",
    "large_string": "string", "date32[day]": "date", "date64[ms]": "date",
    **{name: name for size in (8, 16, 32, 64) for name in (f"int{size}", f"uint{size}")},
}  # fmt: skip
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+/:-]*|[+-]\d\d:\d\d")
_FIXES = {
    "Sparse": "make it dense: df[{0!r}].sparse.to_dense()",
    "period": "make it moments: df[{0!r}].dt.to_timestamp()",
    "interval": "give two columns of numbers, its left and its right end",
    "complex": "give two columns of numbers, its real and its imaginary part",
    "dictionary": "make it categories: df[{0!r}].astype('category')",
    "time": "make it text: df[{0!r}].astype(str)",
}
_USE = "use numbers, booleans, text, categories, dates, moments or durations"
# The allowed cell types of an object column: type, its name in the manifest, marker of missing values if none is seen.
_OBJECTS = ((str, "string", "nan"), (bool, "bool", "None"), (int, "int64", "None"), (float, "float64", "None"),
            (Decimal, "decimal", "None"), (date, "date", "None"))  # fmt: skip
_OBJECT_FIXES: dict[type, str] = {
    datetime: "make it moments: pd.to_datetime(df[{0!r}])",
    timedelta: "make it durations: pd.to_timedelta(df[{0!r}])",
}


def names(table: Any) -> list[str] | list[int]:
    """Return the column names of a table: all text, or all whole numbers as in a table made of an array.

    Raises:
        ConfigError: The names have another type or several levels, or one occurs twice.
    """
    found: list[Any] = list(table.columns)
    if getattr(table.columns, "nlevels", 1) > 1:
        raise ConfigError(
            f"example has columns with names of several levels, such as {found[0]!r}",
            hint='fit it on a table with one name per column: df.columns = ["_".join(one) for one in df.columns]',
        )
    if len(set(found)) < len(found):
        raise ConfigError("example has two columns of one name", hint="rename one of them")
    kinds = {_kind(name) for name in found}
    if kinds in ({str}, {int}):
        return [int(name) for name in found] if kinds == {int} else found
    listed = " and ".join(sorted(kind.__name__ for kind in kinds))
    raise ConfigError(
        f"example has column names of type {listed}, such as {next(n for n in found if not isinstance(n, str))!r}",
        hint="use text, or whole numbers for all: df.columns = df.columns.astype(str)",
    )


def in_order(table: Any, wanted: Sequence[str]) -> Any:
    """Return a table with its columns in the order of the fit, as libraries want them; unchanged if others are there.

    LightGBM replaces spaces in names by underscores.
    """
    own = [name if name in wanted else str(name).replace(" ", "_") for name in table.columns]
    if sorted(own, key=str) != sorted(wanted) or own == list(wanted):
        return table
    return table.iloc[:, [own.index(name) for name in wanted]]


def as_fitted(table: Any, levels: Sequence[Sequence[Any]]) -> Any:
    """Return a table whose categories have all levels that the model was fitted with, in the model's order.

    A few rows written by hand have fewer levels than the training table. A column with a level that the model does not
    know is left as it is.

    Args:
        table: The example, which may be something other than a table.
        levels: The levels of the model's category columns, in column order.
    """
    kinds = table.dtypes.items() if hasattr(table, "columns") else ()
    names = [name for name, kind in kinds if str(kind) == "category"]
    if not levels or len(set(names)) != len(levels):
        return table
    changed: dict[Any, Any] = {}
    for name, known in zip(names, levels, strict=True):
        own = table[name].cat.categories
        if own.tolist() != list(known) and set(own.tolist()) <= set(known):
            changed[name] = table[name].cat.set_categories(type(own)(known, dtype=own.dtype))
    return _replaced(table, changed)


def _replaced(table: Any, changed: dict[Any, Any]) -> Any:
    copy = table.copy(deep=False)
    for name, values in changed.items():
        copy[name] = values
    return copy


def describe(name: str, values: Any) -> Tensor:
    """Return the manifest entry of a column.

    Raises:
        ConfigError: A request cannot carry the column; the message names the column and its type, the hint a fix.
    """
    kind = str(values.dtype)
    if kind in {"category", "object"}:
        return _category(name, values) if kind == "category" else _objects(name, values)
    if found := _TIMES.fullmatch(kind):
        _check_unit(name, kind, found)
        zoned = found["zone"] is not None
        return Tensor(name, f"{found['kind']}[{found['unit']}]", (-1,), kind if zoned else None)
    if kind.endswith("[pyarrow]"):
        return Tensor(name, _arrow(name, kind.removesuffix("[pyarrow]"), kind), (-1,), kind)
    if kind in {"str", "string"} or _NULLABLE.fullmatch(kind):
        dtype = "string" if kind.startswith("str") else str(values.dtype.numpy_dtype.name)
        return Tensor(name, dtype, (-1,), kind)
    if getattr(values.dtype, "kind", "") in "biuf" and type(values.dtype).__module__.startswith("numpy"):
        check_numbers(values, _field(name))
        return Tensor(name, kind, (-1,))
    raise _refused(name, kind)


def prepared(name: str, values: Any) -> Any:
    """Return a column as the server reconstructs it from a request."""
    tensor = describe(name, values)
    if tensor.column_type is None and not tensor.dtype.startswith(("datetime", "timedelta")):
        return values.to_numpy(dtype=tensor.dtype)
    return made(tensor, cells.column(values))


def made(tensor: Tensor, listed: list[Any]) -> Any:
    """Return a column as the server reconstructs it from these cells of a request; ``None`` is a missing cell."""
    serving: Any = import_module("sdk.serving.signature")
    convert: Any = import_module("sdk.serving.convert")
    tables: Any = import_module("sdk.serving.tables")
    known = msgspec.convert(msgspec.to_builtins(tensor), serving.ServedTensor)
    try:
        read = known.read(convert.as_array(listed, tensor.name, tensor.dtype), tensor.name, [tensor.name])
    except failures.RequestError as error:
        raise ConfigError(f"{_field(tensor.name)}: {error}", hint="leave the row out") from error
    return tables.column(known, read)


def libraries(signature: Signature) -> frozenset[str]:
    """Return the modules needed to reconstruct these columns, apart from the model's own."""
    kinds = {one.column_type or "" for one in signature.inputs}
    kinds |= {one.levels.type for one in signature.inputs if one.levels}
    arrow = {"pyarrow"} if any(kind.endswith("[pyarrow]") for kind in kinds) else set[str]()
    zones = {"tzdata"} if any("/" in kind for kind in kinds) else set[str]()
    return frozenset({"pandas"} | arrow | zones if signature.columns else set[str]())


def absent(names: Sequence[str] | None) -> list[str]:
    """Return what a model fitted on a table needs and this machine lacks, for example if it was a polars table."""
    return ["pandas"] if names is not None and find_spec("pandas") is None else []


def _category(name: str, values: Any) -> Tensor:
    found: Any = values.cat.categories
    if not len(found):
        raise ConfigError(f"{_field(name)} is a category without any level", hint="give rows of the training table")
    if len(found) > fields.MOST_LEVELS:
        raise ConfigError(
            f"{_field(name)} has {len(found):,} levels, the most is {fields.MOST_LEVELS:,}",
            hint=f"drop those without rows: df[{name!r}].cat.remove_unused_categories()",
        )
    level = describe(name, found.to_series())
    if level.dtype == "decimal":
        raise _refused(name, "category of decimal numbers")
    listed = tuple(cells.column(found.to_series()))
    if long := next((one for one in listed if isinstance(one, str) and len(one) > fields.LONGEST_TEXT), None):
        message = f"{_field(name)} has a level of {len(long):,} characters, the most is {fields.LONGEST_TEXT:,}"
        raise ConfigError(message, hint="give the levels shorter names")
    levels = Levels(listed, level.column_type or level.dtype, ordered=bool(values.cat.ordered))
    return Tensor(name, level.dtype, (-1,), "category", levels=levels)


def _objects(name: str, values: Any) -> Tensor:
    """Describe a column of objects, which must all be of one kind."""
    found, gaps = list(values.tolist()), values.isna().to_numpy().tolist()
    known = [one for one, gap in zip(found, gaps, strict=True) if not gap]
    if not known:
        raise ConfigError(f"{_field(name)} has no value at all", hint=_USE)
    kinds = {_kind(one) for one in known}
    for kind, dtype, unknown in _OBJECTS:
        if kinds == {kind}:
            if kind is int and not all(-(2**63) <= one < 2**63 for one in known):
                raise ConfigError(f"{_field(name)} has whole numbers beyond 64 bits", hint="make them text")
            if kind is float and any(map(math.isinf, known)):
                raise ConfigError(f"{_field(name)} has an infinite number, which JSON cannot say", hint="drop the row")
            missing = {_marker(one) for one, gap in zip(found, gaps, strict=True) if gap}
            return Tensor(name, dtype, (-1,), "object", _one_marker(name, missing) or unknown)
    for unlike, fix in _OBJECT_FIXES.items():
        if kinds == {unlike}:
            raise ConfigError(f"{_field(name)} has {unlike.__name__} values as objects", hint=fix.format(name))
    listed = " and ".join(sorted(kind.__name__ for kind in kinds))
    if len(kinds) == 1:
        raise ConfigError(f"{_field(name)} has values of the type {listed}", hint=_USE)
    fix = f"make it floats: df[{name!r}].astype(float)" if kinds == {int, float} else "give one type for each column"
    raise ConfigError(f"{_field(name)} mixes {listed}", hint=fix)


def _kind(value: Any) -> type[Any]:
    """Return the type of a cell; numpy types and subclasses of text and numbers count as Python's own."""
    if isinstance(value, str):
        return str
    plain: Any = value.item() if type(value).__module__ == "numpy" and hasattr(value, "item") else value
    if isinstance(plain, datetime):
        return datetime
    for kind in (timedelta, date, Decimal):
        if isinstance(plain, kind):
            return kind
    found: type[Any] = plain.__class__
    return found


def _marker(gap: Any) -> str:
    names = {"NaTType": "NaT", "NAType": "NA", "NoneType": "None"}
    return names.get(type(gap).__name__, "nan")


def _one_marker(name: str, found: set[str]) -> str | None:
    """Return how missing values are written among these objects; ``None`` if none is missing."""
    if len(found) > 1:
        listed = " and ".join(sorted(found)).replace("nan", "NaN")
        raise ConfigError(
            f"{_field(name)} has both {listed} for a missing value",
            hint="write them one way, as a request knows one null",
        )
    return next(iter(found), None)


def _check_unit(name: str, kind: str, found: re.Match[str]) -> None:
    if found["unit"] not in times.UNITS:
        raise ConfigError(f"{_field(name)} has type {kind}", hint=f"use one of the units {', '.join(times.UNITS)}")
    if found["zone"] is not None and not _ZONE.fullmatch(found["zone"]):
        raise ConfigError(
            f"{_field(name)} has the time zone {found['zone']}, which has no name",
            hint=f'name it: df[{name!r}].dt.tz_convert("Europe/Oslo")',
        )


def _arrow(name: str, kind: str, shown: str) -> str:
    if found := _ARROW_TIMES.fullmatch(kind):
        _check_unit(name, shown, found)
        return f"{'datetime64' if found['kind'] == 'timestamp' else 'timedelta64'}[{found['unit']}]"
    if kind.startswith("decimal"):
        return "decimal"
    if kind not in _ARROW:
        raise _refused(name, shown)
    return _ARROW[kind]


def check_numbers(values: Any, field: str) -> None:
    """Refuse numbers in a column or an array that a request cannot carry.

    Raises:
        ConfigError: The numbers are wider than JSON numbers, or infinite.
    """
    if values.dtype.kind != "f":
        return
    if getattr(values.dtype, "itemsize", _WIDEST) > _WIDEST:
        raise ConfigError(f"{field} has type {values.dtype}", hint="make it float64, which is what a request carries")
    if any_number(values, "isinf"):
        raise ConfigError(f"{field} has an infinite number, which JSON cannot say", hint="give rows without")


def any_number(values: Any, test: str) -> bool:
    """Check whether a test such as ``isnan`` holds for any of these floats."""
    if isinstance(values, PlainArray):
        return any(map(getattr(math, test), values.flat))
    import numpy as np

    return bool(getattr(np, test)(values).any())


def _refused(name: str, kind: str) -> ConfigError:
    fix = next((fix for start, fix in _FIXES.items() if kind.startswith(start)), _USE)
    return ConfigError(f"{_field(name)} has type {kind}, which a request cannot carry", hint=fix.format(name))


def _field(name: str) -> str:
    return f"example[{name!r}]"
