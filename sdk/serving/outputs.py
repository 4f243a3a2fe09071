"""Normalises a model's result to one form: named arrays, or one free JSON value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgspec
import numpy as np

from . import parts, times
from .convert import DATATYPES, Array, is_list, iso_text
from .failures import RequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .signature import ServedSignature


class Outputs(msgspec.Struct, frozen=True):
    """The outputs of a model: named arrays, or the value in `free` if it has no array form.

    `items` is an iterator over the items of a streamed answer, or the `ItemStream` that transports them.
    """

    arrays: dict[str, Array] = {}
    free: Any = None
    items: Any = None

    @property
    def is_one_tensor(self) -> bool:
        """Whether there is exactly one output, of a type that `.npy` supports."""
        return len(self.arrays) == 1 and self.are_tensors

    @property
    def are_tensors(self) -> bool:
        """Whether `.npy` and the Open Inference Protocol support the types; they cannot represent missing values."""
        return bool(self.arrays) and all(map(_is_tensor, self.arrays.values()))


def normalise(result: Any, signature: ServedSignature, method: str, rows: int, *, lists: bool = False) -> Outputs:
    """Return the outputs in `result`, checked against the signature; see `parts.outputs_in`.

    Raises:
        RequestError: 500 `bad_model_output`; the model violated its own signature.
    """
    declared = [one.name for one in signature.outputs]
    alone = len(declared) < 2 and not lists
    found: dict[str, Any]
    if (type(result) is np.ndarray and result.dtype.names is None) or (alone and type(result) is list):
        # fast path for the usual results
        found = {declared[0] if len(declared) == 1 else method: result}
    else:
        found = parts.outputs_in(result, declared, method, rows, lists=lists)
    named = _arrays(found)
    if named is None:
        if why := parts.fault(result):
            raise _bad(why)
        free = _by_row(result)
        if signature.rowwise and not (is_list(free) and len(free) == rows):
            raise _bad(f"the model must return a list of {rows} rows, one for each row of the input")
        return Outputs(free=free)
    if signature.rowwise:
        for name, array in named.items():
            if array.ndim == 0 or len(array) != rows:
                got = "a single value" if array.ndim == 0 else f"{len(array)} rows"
                raise _bad(f"output {name!r} has {got} for {rows} rows of input")
    return Outputs(named)


def _by_row(result: Any) -> Any:
    """Return the rows of a table whose cells are not single values; return anything else unchanged."""
    return result.to_dict("records") if hasattr(result, "columns") and hasattr(result, "to_dict") else result


def _arrays(values: dict[str, Any]) -> dict[str, Array] | None:
    arrays: dict[str, Array] = {}
    for name, value in values.items():
        array = _array(value)
        if array is None:
            return None
        arrays[name] = array
    return arrays or None


def _array(value: Any) -> Array | None:
    if hasattr(value, "detach"):  # torch
        value = value.detach().cpu()
        value = value.float() if str(value.dtype) == "torch.bfloat16" else value  # not a numpy type
    if hasattr(value, "toarray"):  # scipy sparse
        value = value.toarray()
    if hasattr(value, "to_numpy"):  # pandas
        value = _of_pandas(value)
    elif hasattr(value, "numpy"):  # torch, tensorflow
        value = value.numpy()
    if not isinstance(value, np.ndarray | np.generic | list | tuple | bool | int | float | str):
        return None
    try:
        array: Array = np.asarray(cast("Any", value))
    except (ValueError, OverflowError):
        return None
    if isinstance(value, np.ma.MaskedArray):
        array = _unmasked(value)
    return None if parts.is_sequence(value) and _loses(value, array) else _plain(array)


def _unmasked(value: Any) -> Array:
    """Convert a masked array to a plain one, with NaN for masked floats and None for other masked values."""
    gaps = np.ma.getmaskarray(value)
    if not gaps.any():
        return np.asarray(value.data)
    found: Array = np.array(value.data, dtype=value.dtype if value.dtype.kind == "f" else object)
    found[gaps] = np.nan if found.dtype.kind == "f" else None
    return found


def _of_pandas(value: Any) -> Array:
    """Return a column as an array; whole numbers next to missing values stay whole if floats would lose digits."""
    array: Array = value.to_numpy()
    is_whole = getattr(getattr(value, "dtype", None), "kind", "") in {"i", "u"}
    if is_whole and array.dtype.kind == "f" and (np.abs(array) >= 2.0**53).any():
        return np.asarray(value.to_numpy(dtype=object))
    return array


def _loses(values: Sequence[Any], array: Array) -> bool:
    """Return whether numpy changed a value to match its neighbours: text, booleans or very large integers."""
    if array.dtype.kind not in "fiuU":
        return False
    kinds = {kind for one in _types(values) for kind in _KINDS if issubclass(one, kind)}
    is_mixed = len(kinds) > 1 and (bool in kinds or np.bool_ in kinds or str in kinds)
    return is_mixed or (array.dtype.kind == "f" and int in kinds and bool((np.abs(array) >= 2.0**53).any()))


_KINDS = (bool, np.bool_, str, int, float, np.number)


def _types(values: Sequence[Any]) -> set[type]:
    """Return the types of the values, including those in nested lists."""
    found: set[type] = set(map(type, values))
    if found & {list, tuple}:
        found -= {list, tuple}
        found = found.union(*(_types(one) for one in values if parts.is_sequence(one)))
    return found


def _plain(array: Array) -> Array | None:
    """Convert `array` to a dtype that can be sent; return None if there is none."""
    kind = array.dtype.kind
    if kind in "biufU":
        return array.astype(np.float64) if array.dtype.name not in DATATYPES and kind == "f" else array
    if kind in "mM":
        return iso_text(array)
    return _cells(array) if kind == "T" or (kind == "O" and array.size) else None


def _cells(array: Array) -> Array | None:
    """Return objects as text, numbers and booleans, with None for missing values; None if any has another type."""
    found = array.astype(object)
    if _is_tensor(found):
        return found
    for where, one in np.ndenumerate(cast("Any", found)):
        value = _cell(one)
        if not isinstance(value, str | bool | int | float | None):
            return None
        found[where] = value
    return found


def _cell(value: Any) -> Any:
    """Convert a missing value to None and a numpy number to a Python one."""
    if type(value).__name__ in times.GAPS:
        return None
    is_number = getattr(getattr(value, "dtype", None), "kind", "") in {"b", "i", "u", "f"}
    return value.item() if is_number and not value.ndim else value


def _is_tensor(array: Array) -> bool:
    return array.dtype.kind != "O" or all(isinstance(one, str) for one in array.flat)


def _bad(message: str) -> RequestError:
    return RequestError(500, "bad_model_output", message)
