"""Convert an example input: its shapes and types, the form that the model gets, and its JSON."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeGuard

import msgspec

from sdk.errors import ConfigError, InvalidInputError
from sdk.packaging import columns as columns_of
from sdk.packaging.manifest import Tensor
from sdk.packaging.plain import JsonRows, PlainArray
from sdk.util import cells

if TYPE_CHECKING:
    from collections.abc import Sequence

_LARGEST_KEPT = 64 * 1024
_NO_ROWS = {bytes, set, type(None)}
_KINDS = {"b", "i", "u", "f"}


def is_frame(value: Any) -> bool:
    """Check whether a value is a pandas DataFrame, without importing pandas."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, pandas.DataFrame)


def is_named(value: Any) -> TypeGuard[Mapping[str, Any]]:
    """Check whether a value is a dict of inputs or outputs by name."""
    return isinstance(value, Mapping)


def pandas_table(example: Any) -> Any:
    """Convert a polars or Arrow table to pandas, which is what the server makes of rows; return anything else as it is.

    Raises:
        ConfigError: The installed libraries cannot convert it.
    """
    if is_frame(example) or not hasattr(example, "to_pandas") or not hasattr(example, "columns"):
        return example
    try:
        return example.to_pandas()
    except ImportError as error:
        kind = f"{type(example).__module__.partition('.')[0]}.{type(example).__name__}"
        raise ConfigError(f"example is a {kind}: {error}", hint="install pandas and pyarrow, or give rows") from error


def check_no_table(example: Any, library: str) -> None:
    """Refuse a table for a library whose models take arrays.

    Raises:
        ConfigError: The example is a table.
    """
    if is_frame(example):
        raise ConfigError(f"example is a DataFrame, and {library} takes arrays", hint="give example=table.to_numpy()")


class Named(dict[str, Any]):
    """Arrays by input name; those named in ``whole`` have one value for the whole request instead of rows."""

    def __init__(self, arrays: Mapping[str, Any], whole: frozenset[str] = frozenset()) -> None:
        super().__init__(arrays)
        self.whole = whole


def whole_in(example: Any) -> frozenset[str]:
    """Return the inputs of a prepared example that have one value for the whole request."""
    return example.whole if isinstance(example, Named) else frozenset()


def is_records(example: Any) -> TypeGuard[Sequence[dict[str, Any]]]:
    """Check whether an example is a list of dicts, one for each row.

    Raises:
        ConfigError: Some rows are dicts and others are not.
    """
    if not isinstance(example, list | tuple):
        return False
    kinds = {isinstance(row, dict) for row in example}  # pyright: ignore[reportUnknownVariableType]
    if len(kinds) > 1:
        raise ConfigError("example has dicts and other values side by side", hint="give one dict for each row")
    return kinds == {True}


def arranged(
    example: Any, *, python: bool, columns: Sequence[str] | None = None, whole: frozenset[str] = frozenset()
) -> Any:
    """Convert a dict of columns, or records, to the form that the model takes.

    Args:
        example: The example as the user gave it.
        python: Whether the model is the user's function or class, which gets records as they are.
        columns: The columns of the table that the model was fitted on, if any.
        whole: The inputs that have one value for the whole request, as far as the model declares them.

    Raises:
        ConfigError: A dict of single values may be one record or several inputs; or the records do not match.
    """
    example = pandas_table(example)
    records = is_records(example)
    single = is_named(example) and bool(example) and not any(map(_has_axes, example.values()))
    if columns is not None and (records or is_named(example)):
        return columns_of.in_order(import_module("pandas").DataFrame([example] if single else example), columns)
    if single and not whole and not any(hasattr(value, "shape") for value in example.values()):
        raise ConfigError(
            "example is a dict of single values",
            hint="put it into a list if it is one row: [{...}]; for inputs without rows give arrays of numpy",
        )
    return _by_column(example, whole) if records and not python else example


def _has_axes(value: Any) -> bool:
    """Check whether a value is a list or an array of at least one axis."""
    return isinstance(value, list | tuple) or len(getattr(value, "shape", ())) > 0


def _by_column(records: Sequence[dict[str, Any]], whole: frozenset[str]) -> dict[str, Any]:
    """Return the values of records by name, for a model with named inputs; an input in ``whole`` has a single value.

    Raises:
        ConfigError: The records have different names, or different values for an input in ``whole``.
    """
    for number, row in enumerate(records):
        if row.keys() != records[0].keys():
            named = ", ".join(map(str, records[0]))
            raise ConfigError(f"example[{number}] has other names than {named}", hint="give each row the same names")
    found: dict[str, Any] = {name: [row[name] for row in records] for name in records[0]}
    for name in whole.intersection(found):
        values = [cells.encode(value) for value in found[name]]
        if values != values[:1] * len(values):
            raise ConfigError(
                f"example: input {name!r} is one value for the whole request, and the rows have different ones",
                hint="give it once, beside columns: {'x': [1, 2], 'k': 3}",
            )
        found[name] = found[name][0]
    return found


def _records(example: Sequence[Any]) -> JsonRows:
    """Return records as the server reads them from the request that carries them."""
    payload: Any = import_module("sdk.dataplane.payload")
    try:
        (body,) = payload.bodies(list(example), payload.EncodingRules(limit=sys.maxsize))
    except InvalidInputError as error:
        raise ConfigError(f"example: {error.message}", hint=error.hint or "give what JSON can say") from error
    return JsonRows(msgspec.json.decode(body.content)["instances"])


def prepare(example: Any, whole: frozenset[str] = frozenset()) -> Any:
    """Return the example as the server passes it to the model: a DataFrame, an array, arrays by name, or records.

    Args:
        example: The example as the user gave it.
        whole: The inputs that have one value for the whole request, in addition to those without an axis.

    Raises:
        ConfigError: The example is none of these, is ragged or empty, or has a type that a request cannot carry.
    """
    if is_frame(example):
        _check_rows(len(example))
        names = columns_of.names(example)
        return type(example)({name: columns_of.prepared(str(name), example[name]) for name in names})
    if is_named(example):
        if not example:
            raise ConfigError("example is an empty dict", hint="give one array per input name")
        return _named(example, whole)
    if isinstance(example, str):
        raise ConfigError("example is str", hint=_ROWS_HINT)
    return _records(example) if is_records(example) else _array(example, "example")


def _named(example: Mapping[str, Any], whole: frozenset[str]) -> Named:
    """Return arrays by name; all except those in ``whole`` and those without axes must have the same number of rows."""
    arrays = {_text(key): _array(value, f"example[{key!r}]") for key, value in example.items()}
    whole = whole.intersection(arrays).union(name for name, array in arrays.items() if not array.ndim)
    counts = {name: len(array) for name, array in arrays.items() if name not in whole}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise ConfigError(
            f"example: all inputs must have the same number of rows, got {listed}",
            hint="give each input one value for each row",
        )
    return Named(arrays, whole)


def _tensor(name: str, values: Any, shape: tuple[int, ...], field: str, unknown: str) -> Tensor:
    """Return the manifest entry of an array.

    Args:
        name: Its name.
        values: The example.
        shape: The shape of the tensor.
        field: The name of the array in an error.
        unknown: How a missing text is written if the example has none.
    """
    dtype = dtype_name(values, field)
    columns_of.check_numbers(values, field)
    return Tensor(name, dtype, shape, None, (_marker(values, field) or unknown) if dtype == "string" else None)


def _marker(values: Any, field: str) -> str | None:
    """Return how missing texts are written among these values; ``None`` if none is missing.

    Raises:
        ConfigError: They are written in several ways, while a request has only one.
    """
    found = {"None" if one is None else "nan" for one in _cells(values) if not isinstance(one, str)}
    if len(found) > 1:
        raise ConfigError(
            f"{field} has both None and NaN for a missing text", hint="write them one way, as a request knows one null"
        )
    return next(iter(found), None)


def has_missing(example: Any) -> bool:
    """Check whether a prepared example has missing values; values in records are up to the model."""
    if isinstance(example, JsonRows):
        return False
    if is_frame(example):
        return bool(example.isna().to_numpy().any())
    for value in example.values() if is_named(example) else (example,):
        if value.dtype.kind == "f" and columns_of.any_number(value, "isnan"):
            return True
        if value.dtype.kind == "O" and any(not isinstance(one, str) for one in value.flat):
            return True
    return False


def _text(key: Any) -> str:
    if not isinstance(key, str):
        raise ConfigError(f"example has the key {key!r}", hint="use text for input and column names")
    return key


def _as_array(value: Any) -> Any:
    """Return numpy's array; without numpy, a plain one of lists, the only possible values then."""
    if find_spec("numpy") is None:
        return PlainArray(value)
    import numpy as np

    return np.asarray(value)


_ROWS_HINT = "give a few rows: array, list, DataFrame, dict of columns, or list of records such as [{'text': 'hi'}]"


def _array(value: Any, field: str) -> Any:
    if type(value) in _NO_ROWS:
        raise ConfigError(f"{field} is {type(value).__name__}", hint=_ROWS_HINT)
    if hasattr(value, "__next__"):
        raise ConfigError(f"{field} is {type(value).__name__}, which gives its rows once", hint="give list(…) of it")
    if hasattr(value, "detach"):  # a PyTorch tensor
        value = of_tensor(value)
    if hasattr(value, "toarray"):  # a sparse matrix, which requests also carry as rows
        value = value.toarray()
    if hasattr(value, "mask") and hasattr(value, "filled"):  # a masked array
        value = _unmasked(value, field)
    try:
        array = _as_array(value)
    except (ValueError, TypeError) as error:
        hint = "make all rows equally long, or give records: [{'tokens': ['a', 'b']}, {'tokens': ['c']}]"
        raise ConfigError(f"{field} is no array: {error}", hint=hint) from error
    if array.dtype.kind in {"U", "T"} and not isinstance(array, PlainArray):
        array = _texts(value, field)  # the server makes text of any length from a request
    if array.ndim:
        _check_rows(len(array))
    elif array.dtype.kind not in _KINDS | {"O", "U"}:
        raise ConfigError(f"{field} is {type(value).__name__}", hint=_ROWS_HINT)
    dtype_name(array, field)
    return array


def _unmasked(value: Any, field: str) -> Any:
    """Return a masked array as a plain one, in which NaN replaces the masked values, as in a request."""
    import numpy as np

    if not np.ma.is_masked(value):
        return value.data
    if value.dtype.kind != "f":
        raise ConfigError(
            f"{field} has masked values of type {value.dtype}",
            hint="give floats, of which a missing one is NaN, or a DataFrame",
        )
    return value.filled(np.nan)


def _texts(value: Any, field: str) -> Any:
    """Return text as Python strings; numpy would have converted numbers among it to text."""
    import numpy as np

    array = np.asarray(value, dtype=object)
    strange = next((one for one in array.flat if not isinstance(one, str)), None)
    if strange is not None:
        raise ConfigError(
            f"{field} has text and {type(strange).__name__} side by side", hint="give a DataFrame, one type per column"
        )
    return array


def _check_rows(rows: int) -> None:
    if not rows:
        raise ConfigError("example has no rows", hint="give at least one row, better five")


def dtype_name(values: Any, field: str) -> str:
    """Return the name of the type of an array or a column, as in the manifest.

    Raises:
        ConfigError: A request cannot carry the type.
    """
    kind = getattr(values.dtype, "kind", "O")
    if kind in _KINDS:
        return str(values.dtype.name)
    if kind in {"U", "T"}:
        return "string"
    listed = _cells(values)
    texts = sum(isinstance(value, str) for value in listed)
    if kind == "O" and texts and texts + sum(map(_is_gap, listed)) == len(listed):
        return "string"
    why = "no value at all" if kind == "O" and all(map(_is_gap, listed)) else f"type {values.dtype}"
    mixed = kind == "O" and 0 < texts < len(listed)
    hint = "use numbers, booleans or text" + (", one type for each column of a DataFrame" if mixed else "")
    raise ConfigError(f"{field} has {why}", hint=hint)


def _cells(values: Any) -> list[Any]:
    """Return all values of an array or a column in one flat list."""
    if isinstance(values, PlainArray):
        return list(values.flat)
    import numpy as np

    listed: list[Any] = np.asarray(values, dtype=object).ravel().tolist()
    return listed


def _is_gap(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def inputs(example: Any, *, unknown: str = "nan") -> tuple[Tensor, ...]:
    """Return the inputs that a prepared example shows; the first axis of an input with rows varies.

    ``unknown`` is how a missing text is written in arrays of which the example shows none.
    """
    if isinstance(example, JsonRows):
        return ()
    if is_frame(example):
        return tuple(columns_of.describe(str(name), example[name]) for name in example.columns)
    return tuple(
        _tensor(
            name,
            value,
            value.shape if name in whole_in(example) else (-1, *value.shape[1:])[: value.ndim],
            name,
            unknown,
        )
        for name, value in arrays(example).items()
    )


def arrays(example: Any) -> Mapping[str, Any]:
    """Return the arrays of a prepared example by name; a single unnamed array is called ``input``."""
    return example if is_named(example) else {"input": example}


def argument(example: Any) -> Any:
    """Return the argument that the model is called with: a single named array is passed without its name."""
    if is_named(example):
        plain: dict[str, Any] = {name: _unwrapped(value) for name, value in example.items()}
        return next(iter(plain.values())) if len(plain) == 1 else plain
    return _unwrapped(example)


def _unwrapped(value: Any) -> Any:
    return value.tolist() if isinstance(value, PlainArray | JsonRows) else value


def integer_columns(example: Any) -> bool | msgspec.UnsetType:
    """Return True if a table's columns have whole numbers as names; otherwise unset, and absent from the signature."""
    return (is_frame(example) and not any(isinstance(name, str) for name in example.columns)) or msgspec.UNSET


def are_records(example: Any) -> bool | msgspec.UnsetType:
    """Return True if the model gets each row as a JSON object; otherwise unset, and absent from the signature."""
    return isinstance(example, JsonRows) or msgspec.UNSET


def columns(example: Any) -> tuple[str, ...] | None:
    """Return the column names if the example is a table."""
    return tuple(map(str, example.columns)) if is_frame(example) else None


def of_tensor(value: Any) -> Any:
    """Convert a PyTorch tensor to an array; bfloat16, which numpy lacks, becomes float32."""
    value = value.detach().cpu()
    return (value.float() if str(value.dtype) == "torch.bfloat16" else value).numpy()


def as_array(value: Any) -> Any:
    """Convert any array-like to an array; a tensor is first moved to the CPU."""
    if hasattr(value, "detach"):
        value = of_tensor(value)
    if hasattr(value, "toarray"):  # a sparse matrix
        value = value.toarray()
    try:
        return _as_array(value)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"the model returned {type(value).__name__}: {error}", hint="return an array") from error


def row_count(example: Any) -> int:
    """Return the number of rows of a prepared example, or 1 if no input has rows."""
    if is_named(example):
        return next((len(value) for name, value in example.items() if name not in whole_in(example)), 1)
    return len(example) if row_axis(example) else 1


def row_axis(example: Any) -> bool:
    """Check whether a prepared example that is not a dict has rows."""
    return bool(getattr(example, "ndim", 1))


def first_rows(example: Any, rows: int) -> Any:
    """Return the first rows of a prepared example."""
    if is_frame(example):
        return example.iloc[:rows]
    if is_named(example):
        whole = whole_in(example)
        return Named({name: value if name in whole else value[:rows] for name, value in example.items()}, whole)
    return example[:rows] if row_axis(example) else example


def instances(example: Any) -> list[Any]:
    """Return the rows as plain Python values, as in a request: numbers, lists, or dicts by column name."""
    if is_frame(example):
        named: dict[str, Sequence[Any]] = {str(name): cells.column(example[name]) for name in example.columns}
    elif is_named(example):
        whole, count = whole_in(example), row_count(example)
        named = {
            name: [cells.plain(value)] * count if name in whole else cells.plain(value)
            for name, value in example.items()
        }
    else:
        rows: Any = cells.plain(example)
        return rows if row_axis(example) else [rows]
    return [dict(zip(named, row, strict=True)) for row in zip(*named.values(), strict=True)]


def encode(example: Any) -> bytes:
    """Return the example as the JSON body of a request, with only as many rows as fit into 64 KiB.

    Missing numbers become ``null``.
    """
    rows = row_count(example)
    while True:
        body = cells.encode({"instances": instances(first_rows(example, rows))})
        if len(body) <= _LARGEST_KEPT or rows == 1:
            return body
        rows = max(1, rows // 2)
