"""What a model returned, brought into one form: named outputs that are arrays, or one free JSON value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgspec
import numpy as np

from . import parts
from .convert import DATATYPES, Array, is_list
from .failures import RequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .signature import Signature


class Outputs(msgspec.Struct, frozen=True):
    """Named arrays; `free` holds the value instead when it has no array form."""

    arrays: dict[str, Array] = {}
    free: Any = None


def normalise(result: Any, signature: Signature, method: str, rows: int, *, lists: bool = False) -> Outputs:
    """Return the outputs in `result`, checked against the signature; see `parts.outputs_in`.

    Raises:
        RequestError: 500 `bad_model_output`; the model broke its own signature.
    """
    declared = [one.name for one in signature.outputs]
    alone = len(declared) < 2 and not lists
    found: dict[str, Any]
    if (type(result) is np.ndarray and result.dtype.names is None) or (alone and type(result) is list):
        # the usual answers, without a search
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
    """Return the rows of a table whose cells are no single values, and anything else as it is."""
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
    if hasattr(value, "toarray"):  # scipy sparse
        value = value.toarray()
    if hasattr(value, "to_numpy"):  # pandas
        value = value.to_numpy()
    elif hasattr(value, "numpy"):  # torch, tensorflow
        value = value.numpy()
    if not isinstance(value, np.ndarray | np.generic | list | tuple | bool | int | float | str):
        return None
    try:
        array: Array = np.asarray(cast("Any", value))
    except (ValueError, OverflowError):
        return None
    return None if parts.is_sequence(value) and _loses(value, array) else _plain(array)


def _loses(values: Sequence[Any], array: Array) -> bool:
    """Return whether numpy changed one row's value for what stands beside it: text, booleans or very large integers."""
    if array.dtype.kind not in "fiuU":
        return False
    kinds = {kind for one in _types(values) for kind in _KINDS if issubclass(one, kind)}
    is_mixed = len(kinds) > 1 and (bool in kinds or np.bool_ in kinds or str in kinds)
    return is_mixed or (array.dtype.kind == "f" and int in kinds and bool((np.abs(array) >= 2.0**53).any()))


_KINDS = (bool, np.bool_, str, int, float, np.number)


def _types(values: Sequence[Any]) -> set[type]:
    """Return the types of the values, nested lists looked into."""
    found: set[type] = set(map(type, values))
    if found & {list, tuple}:
        found -= {list, tuple}
        found = found.union(*(_types(one) for one in values if parts.is_sequence(one)))
    return found


def _plain(array: Array) -> Array | None:
    """Return `array` in a dtype that has a wire form, or None."""
    kind = array.dtype.kind
    if kind in "biufU":
        return array.astype(np.float64) if array.dtype.name not in DATATYPES and kind == "f" else array
    if kind in "mM":
        return array.astype(np.str_)
    if kind == "T" or (kind == "O" and array.size and all(isinstance(one, str) for one in array.flat)):
        return array.astype(object)
    return None


def _bad(message: str) -> RequestError:
    return RequestError(500, "bad_model_output", message)
