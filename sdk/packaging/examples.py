"""An example input: what it says about shape and type, what the model gets from it, and its JSON."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeGuard

import msgspec

from sdk import cells
from sdk.errors import ConfigError, InvalidInputError
from sdk.packaging import columns as columns_of
from sdk.packaging.manifest import Tensor
from sdk.packaging.plain import PlainArray, Records

if TYPE_CHECKING:
    from collections.abc import Sequence

_LARGEST_KEPT = 64 * 1024
_NO_ROWS = {bytes, set, type(None)}
_KINDS = {"b", "i", "u", "f"}


def is_frame(value: Any) -> bool:
    """Whether a value is a pandas DataFrame, found out without importing pandas."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, pandas.DataFrame)


def is_named(value: Any) -> TypeGuard[Mapping[str, Any]]:
    """Whether a value is a dict of inputs or outputs by name."""
    return isinstance(value, Mapping)


def pandas_table(example: Any) -> Any:
    """A table of polars or Arrow as one of pandas, which is what the server makes of rows; anything else as it is.

    Raises:
        ConfigError: It cannot be made one with what is installed.
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
        ConfigError: It is one.
    """
    if is_frame(example):
        raise ConfigError(f"example is a DataFrame, and {library} takes arrays", hint="give example=table.to_numpy()")


class Named(dict[str, Any]):
    """Arrays by the name of an input; those in ``whole`` have one value for the whole request instead of rows."""

    def __init__(self, arrays: Mapping[str, Any], whole: frozenset[str] = frozenset()) -> None:
        super().__init__(arrays)
        self.whole = whole


def whole_in(example: Any) -> frozenset[str]:
    """The inputs of a prepared example that have one value for the whole request."""
    return example.whole if isinstance(example, Named) else frozenset()


def is_records(example: Any) -> TypeGuard[Sequence[dict[str, Any]]]:
    """Whether an example is a list of dicts, one for each row.

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
    """Columns in a dict, or records, in the form that a model wants.

    Args:
        example: What the user gave.
        python: Whether the model is a function or class of the user's, which gets records as they are.
        columns: The columns of the table it was fitted on, if it was.
        whole: The inputs that have one value for the whole request, as far as the model states them.

    Raises:
        ConfigError: A dict of single values may be one record or several inputs, or records do not fit together.
    """
    example = pandas_table(example)
    records = is_records(example)
    single = is_named(example) and bool(example) and not any(map(_has_axes, example.values()))
    if columns is not None and (records or is_named(example)):
        return import_module("pandas").DataFrame([example] if single else example)
    if single and not whole and not any(hasattr(value, "shape") for value in example.values()):
        raise ConfigError(
            "example is a dict of single values",
            hint="put it into a list if it is one row: [{...}]; for inputs without rows give arrays of numpy",
        )
    return _by_column(example, whole) if records and not python else example


def _has_axes(value: Any) -> bool:
    """Whether a value is a list or an array of at least one axis."""
    return isinstance(value, list | tuple) or len(getattr(value, "shape", ())) > 0


def _by_column(records: Sequence[dict[str, Any]], whole: frozenset[str]) -> dict[str, Any]:
    """The values of records by name, for a model whose inputs have names; of an input in ``whole`` the one value.

    Raises:
        ConfigError: They have different names, or different values for such an input.
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


def _records(example: Sequence[Any]) -> Records:
    """Records as the server reads them from the request in which they are sent."""
    payload: Any = import_module("sdk.payload")
    try:
        (body,) = payload.bodies(list(example), payload.Rules(limit=sys.maxsize))
    except InvalidInputError as error:
        raise ConfigError(f"example: {error.message}", hint=error.hint or "give what JSON can say") from error
    return Records(msgspec.json.decode(body.content)["instances"])


def prepare(example: Any, whole: frozenset[str] = frozenset()) -> Any:
    """The example as the model will get it from the server: a DataFrame, an array, arrays by name, or records.

    Args:
        example: What the user gave.
        whole: The inputs that have one value for the whole request, beside those that have no axis.

    Raises:
        ConfigError: It is none of these, ragged, empty, or of a type that a request cannot carry.
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
    """Arrays by name, of which all but those in ``whole`` and those without axes have the same number of rows."""
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
    """What the manifest says about an array.

    Args:
        name: Its name.
        values: The example.
        shape: Of the tensor.
        field: What to call it in an error.
        unknown: How a missing text is written where the example has none.
    """
    dtype = dtype_name(values, field)
    columns_of.check_numbers(values, field)
    return Tensor(name, dtype, shape, None, (_marker(values, field) or unknown) if dtype == "string" else None)


def _marker(values: Any, field: str) -> str | None:
    """How missing texts are written among these values; ``None`` when none is missing.

    Raises:
        ConfigError: In several ways, of which a request has only one.
    """
    found = {"None" if one is None else "nan" for one in _cells(values) if not isinstance(one, str)}
    if len(found) > 1:
        raise ConfigError(
            f"{field} has both None and NaN for a missing text", hint="write them one way, as a request knows one null"
        )
    return next(iter(found), None)


def has_missing(example: Any) -> bool:
    """Whether a prepared example has missing values; what is in records is up to the model."""
    if isinstance(example, Records):
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
    """Numpy's array; without numpy, of plain lists, which is all that there can be then."""
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
    if hasattr(value, "detach"):  # a torch tensor
        value = of_tensor(value)
    if hasattr(value, "toarray"):  # a sparse matrix, which requests carry as rows too
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
    """A masked array as a plain one, in which NaN stands for what is masked, as in a request."""
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
    """Text as Python's own; numbers among it would have become text themselves."""
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
    """The name of the type of an array or a column, as the manifest writes it.

    Raises:
        ConfigError: A request cannot carry it.
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
    """All values of an array or a column, one after the other."""
    if isinstance(values, PlainArray):
        return list(values.flat)
    import numpy as np

    listed: list[Any] = np.asarray(values, dtype=object).ravel().tolist()
    return listed


def _is_gap(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def inputs(example: Any, *, unknown: str = "nan") -> tuple[Tensor, ...]:
    """The inputs that a prepared example shows; the first axis of each that has rows varies.

    ``unknown`` says how a missing text is written in arrays of which the example shows none.
    """
    if isinstance(example, Records):
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
    """The arrays of a prepared example by name; one that stands alone is ``input``."""
    return example if is_named(example) else {"input": example}


def argument(example: Any) -> Any:
    """What the model is called with: an example with one named array is that array."""
    if is_named(example):
        plain: dict[str, Any] = {name: _unwrapped(value) for name, value in example.items()}
        return next(iter(plain.values())) if len(plain) == 1 else plain
    return _unwrapped(example)


def _unwrapped(value: Any) -> Any:
    return value.tolist() if isinstance(value, PlainArray | Records) else value


def integer_columns(example: Any) -> bool | msgspec.UnsetType:
    """True when the columns of a table have whole numbers for names; otherwise the signature says nothing of it."""
    return (is_frame(example) and not any(isinstance(name, str) for name in example.columns)) or msgspec.UNSET


def are_records(example: Any) -> bool | msgspec.UnsetType:
    """True when the model gets each row as an object of JSON; otherwise the signature says nothing of it."""
    return isinstance(example, Records) or msgspec.UNSET


def columns(example: Any) -> tuple[str, ...] | None:
    """The column names when the example is a table."""
    return tuple(map(str, example.columns)) if is_frame(example) else None


def of_tensor(value: Any) -> Any:
    """A tensor of PyTorch as an array; numpy lacks one of its types."""
    value = value.detach().cpu()
    return (value.float() if str(value.dtype) == "torch.bfloat16" else value).numpy()


def as_array(value: Any) -> Any:
    """Any array-like as an array; a tensor is brought to the CPU first."""
    if hasattr(value, "detach"):
        value = of_tensor(value)
    if hasattr(value, "toarray"):  # a sparse matrix
        value = value.toarray()
    try:
        return _as_array(value)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"the model returned {type(value).__name__}: {error}", hint="return an array") from error


def row_count(example: Any) -> int:
    """The number of rows of a prepared example; one where no input has rows."""
    if is_named(example):
        return next((len(value) for name, value in example.items() if name not in whole_in(example)), 1)
    return len(example) if row_axis(example) else 1


def row_axis(example: Any) -> bool:
    """Whether a prepared example that stands alone has rows."""
    return bool(getattr(example, "ndim", 1))


def first_rows(example: Any, rows: int) -> Any:
    """The first rows of a prepared example."""
    if is_frame(example):
        return example.iloc[:rows]
    if is_named(example):
        whole = whole_in(example)
        return Named({name: value if name in whole else value[:rows] for name, value in example.items()}, whole)
    return example[:rows] if row_axis(example) else example


def instances(example: Any) -> list[Any]:
    """The rows as plain Python values, as a request carries them: numbers, lists, or dicts by column name."""
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
    """The example as the JSON body of a request; only as many rows as fit 64 KiB.

    Missing numbers become ``null``.
    """
    rows = row_count(example)
    while True:
        body = cells.encode({"instances": instances(first_rows(example, rows))})
        if len(body) <= _LARGEST_KEPT or rows == 1:
            return body
        rows = max(1, rows // 2)
