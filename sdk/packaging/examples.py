"""An example input: what it says about shape and type, what the model gets from it, and its JSON."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeGuard

import msgspec

from sdk.errors import ConfigError
from sdk.packaging.manifest import Tensor
from sdk.packaging.plain import PlainArray

if TYPE_CHECKING:
    from collections.abc import Sequence

_LARGEST_KEPT = 64 * 1024
_NO_ROWS = {str, bytes, set, type(None)}
_KINDS = {"b", "i", "u", "f"}


def is_frame(value: Any) -> bool:
    """Whether a value is a pandas DataFrame, found out without importing pandas."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, pandas.DataFrame)


def is_named(value: Any) -> TypeGuard[Mapping[str, Any]]:
    """Whether a value is a dict of inputs or outputs by name."""
    return isinstance(value, Mapping)


def _is_list(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def prepare(example: Any) -> Any:
    """The example as the model will get it from the server: a DataFrame, an array, or arrays by name.

    Raises:
        ConfigError: It is none of these, ragged, empty, or of a type that a request cannot carry.
    """
    if is_frame(example):
        _check_rows(len(example))
        if len(set(example.columns)) < len(example.columns):
            raise ConfigError("example has two columns of one name", hint="rename one of them")
        return type(example)({_text(name): _column(example[name], name) for name in example.columns})
    if is_named(example):
        if not example:
            raise ConfigError("example is an empty dict", hint="give one array per input name")
        return {_text(key): _array(value, f"example[{key!r}]") for key, value in example.items()}
    return _array(example, "example")


def _column(column: Any, name: Any) -> Any:
    """A column as the server makes it from a request, where categories are plain text or numbers."""
    field = f"example[{name!r}]"
    dtype = dtype_name(column, field)
    try:
        return column.to_numpy(dtype=object if dtype == "string" else dtype)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{field} has missing values among {dtype}", hint="make it a column of floats") from error


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


def _close(a: Any, b: Any, *, rtol: float, atol: float) -> bool:
    if isinstance(a, PlainArray):
        return a.close_to(b, rtol=rtol, atol=atol)
    import numpy as np

    if a.dtype.kind in "fc":
        return bool(np.allclose(a, b, rtol=rtol, atol=atol, equal_nan=True))
    return bool(np.array_equal(a, b))


def _array(value: Any, field: str) -> Any:
    if type(value) in _NO_ROWS:
        raise ConfigError(f"{field} is {type(value).__name__}", hint="give a few rows: array, list, DataFrame or dict")
    if hasattr(value, "detach"):  # a torch tensor
        value = value.detach().cpu()
    try:
        array = _as_array(value)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{field} is no array: {error}", hint="make all rows equally long") from error
    if array.ndim == 0:
        raise ConfigError(f"{field} is {type(value).__name__}", hint="give a few rows: array, list, DataFrame or dict")
    _check_rows(len(array))
    dtype_name(array, field)
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
    if kind in _KINDS:  # a numpy type, or one of pandas' nullable ones
        return str(values.dtype.name).lower()
    if str(values.dtype) == "category":
        return dtype_name(values.cat.categories, field)
    if kind in {"U", "T"} or _all_text(values):
        return "string"
    raise ConfigError(f"{field} has type {values.dtype}", hint="use numbers, booleans or text")


def _all_text(values: Any) -> bool:
    import numpy as np

    return all(isinstance(value, str) for value in np.ravel(np.asarray(values, dtype=object)))


def inputs(example: Any) -> tuple[Tensor, ...]:
    """The inputs that a prepared example shows; the first axis of each varies."""
    if is_frame(example):
        return tuple(
            Tensor(_text(name), dtype_name(example[name], f"example[{name!r}]"), (-1,)) for name in example.columns
        )
    named = example if is_named(example) else {"input": example}
    return tuple(Tensor(name, dtype_name(value, name), (-1, *value.shape[1:])) for name, value in named.items())


def argument(example: Any) -> Any:
    """What the model is called with: an example with one named array is that array."""
    if is_named(example):
        plain = {name: _unwrapped(value) for name, value in example.items()}
        return next(iter(plain.values())) if len(plain) == 1 else plain
    return _unwrapped(example)


def _unwrapped(value: Any) -> Any:
    return value.tolist() if isinstance(value, PlainArray) else value


def columns(example: Any) -> tuple[str, ...] | None:
    """The column names when the example is a table."""
    return tuple(map(str, example.columns)) if is_frame(example) else None


def outputs(result: Any, rows: int, method: str) -> tuple[Tensor, ...]:
    """The outputs that the answer to the example shows; none when it is no array but any other JSON value.

    Raises:
        ConfigError: The model returned nothing.
    """
    if result is None:
        raise ConfigError("the model returned None for its example", hint="return one value per row")
    try:
        return tuple(_output(name, as_array(value), rows) for name, value in _named(result, method).items())
    except ConfigError:
        return ()


def _output(name: str, array: Any, rows: int) -> Tensor:
    shape = array.shape
    if array.ndim and len(array) == rows:
        shape = (-1, *shape[1:])
    return Tensor(name, dtype_name(array, f"the model's output {name!r}"), tuple(map(int, shape)))


def answers_each_row(result: Any, rows: int) -> bool:
    """Whether every output has one value per row."""
    return all(_length(value) == rows for value in _named(result, "output").values())


def _length(value: Any) -> int:
    shape = getattr(value, "shape", None)
    if shape is not None:
        return int(shape[0]) if len(shape) else -1
    return len(value) if hasattr(value, "__len__") else -1


def _named(result: Any, method: str) -> dict[str, Any]:
    if is_frame(result):
        return {str(name): result[name].to_numpy() for name in result.columns}
    if is_named(result):
        return {str(name): value for name, value in result.items()}
    return {method: result}


def as_array(value: Any) -> Any:
    """Any array-like as an array; a tensor is brought to the CPU first."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if hasattr(value, "toarray"):  # a sparse matrix
        value = value.toarray()
    try:
        return _as_array(value)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"the model returned {type(value).__name__}: {error}", hint="return an array") from error


def row_count(example: Any) -> int:
    """The number of rows of a prepared example."""
    return len(next(iter(example.values()))) if is_named(example) else len(example)


def first_rows(example: Any, rows: int) -> Any:
    """The first rows of a prepared example."""
    if is_frame(example):
        return example.iloc[:rows]
    if is_named(example):
        return {name: value[:rows] for name, value in example.items()}
    return example[:rows]


def same(left: Any, right: Any) -> bool:
    """Whether two answers of a model agree to the last few bits."""
    one, two = _named(left, "output"), _named(right, "output")
    if one.keys() != two.keys():
        return False
    for name, value in one.items():
        a, b = as_array(value), as_array(two[name])
        if a.shape != b.shape or a.dtype.kind != b.dtype.kind:
            return False
        if not _close(a, b, rtol=1e-6, atol=1e-9):
            return False
    return True


def starts_with(whole: Any, first: Any, rows: int) -> bool:
    """Whether the answer to all rows has one value per row and begins with the answer to the first row alone."""
    one, two = _named(whole, "output"), _named(first, "output")
    for name, value in one.items():
        a = as_array(value)
        b = as_array(two[name]) if name in two else None
        if a.ndim == 0 or len(a) != rows or b is None or b.shape != (1, *a.shape[1:]):
            return False
        if not _close(a[:1], b, rtol=1e-4, atol=1e-6):
            return False
    return True


def instances(example: Any) -> list[Any]:
    """The rows as plain Python values, as a request carries them: numbers, lists, or dicts by column name."""
    if is_frame(example):
        named: dict[str, Sequence[Any]] = {str(name): example[name].tolist() for name in example.columns}
    elif is_named(example):
        named = {name: value.tolist() for name, value in example.items()}
    else:
        rows: list[Any] = example.tolist()
        return rows
    return [dict(zip(named, row, strict=True)) for row in zip(*named.values(), strict=True)]


def encode(example: Any) -> bytes:
    """The example as the JSON body of a request; only as many rows as fit 64 KiB.

    Missing numbers become ``null``.
    """
    rows = row_count(example)
    while True:
        body = msgspec.json.encode({"instances": _plain(instances(first_rows(example, rows)))})
        if len(body) <= _LARGEST_KEPT or rows == 1:
            return body
        rows = max(1, rows // 2)


def _plain(value: Any) -> Any:
    """Whatever JSON cannot carry (pandas' own missing value) as ``None``."""
    if _is_list(value):
        return [_plain(item) for item in value]
    if is_named(value):
        return {key: _plain(item) for key, item in value.items()}
    return value if isinstance(value, str | int | float) else None
