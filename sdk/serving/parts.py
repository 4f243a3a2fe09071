"""Extracts named outputs from a model's result before they become arrays; needs no library, as packing uses it too.

Several outputs can be a table, a mapping, a dataclass, a named tuple, or a sequence of arrays, such as the result of
`predict_proba` of a multi-output classifier. The signature names those of a sequence, else `output_0`, `output_1`, …
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

PYTHON = frozenset({"function", "class", "mlflow"})  # flavours whose lists may hold one array per row


def is_sequence(value: Any) -> TypeGuard[Sequence[Any]]:
    """Return whether `value` is a list or a tuple."""
    return isinstance(value, list | tuple)


def is_array(value: Any) -> bool:
    """Return whether `value` is an array, a tensor or a table with at least one axis, of any library."""
    return bool(len(getattr(value, "shape", ()))) if not is_sequence(value) else False


def as_scalars(value: Any) -> Any:
    """Convert arrays without axes, single or by name, to the numbers and texts that functions and classes expect."""
    if isinstance(value, dict):
        return {name: as_scalars(one) for name, one in value.items()}  # pyright: ignore[reportUnknownVariableType]
    return value[()] if getattr(value, "shape", None) == () else value


def fault(result: Any) -> str | None:
    """Return why `result` is not a valid result, or None."""
    if result is None:
        return "the model returned None"
    if is_stream(result):
        return (
            f"the model returned an iterator ({type(result).__name__}); only functions and classes can stream answers"
        )
    return None


def is_stream(result: Any) -> bool:
    """Return whether a result is an iterator, whose items are sent as they come."""
    return hasattr(result, "__next__") or hasattr(result, "__anext__")


def by_name(answer: Any, names: Sequence[str] | None) -> Any:
    """Return a sequence of outputs as a mapping if the library knows their names."""
    if not names or not is_sequence(answer) or not len(answer) == len(set(names)) == len(names) > 1:
        return answer
    return dict(zip(map(str, names), answer, strict=True))


def outputs_in(result: Any, declared: Sequence[str], method: str, rows: int, *, lists: bool) -> dict[str, Any]:
    """Return the outputs in `result` by name; a single output has its declared name, or that of the method.

    Args:
        result: What the model returned.
        declared: Names of the outputs in the signature.
        method: The method that was called.
        rows: Number of rows of the input.
        lists: Whether a list of arrays is a list of outputs, as for the estimators and networks of all libraries.
    """
    alone = declared[0] if len(declared) == 1 else method
    frame = getattr(result, "columns", None)
    if frame is not None and hasattr(result, "to_numpy"):
        if len(frame) == 1 and len(declared) == 1:
            return {alone: result.iloc[:, 0] if hasattr(result, "iloc") else result[frame[0]]}
        return {str(name): result[name] for name in frame}
    if (named := _by_field(result)) is not None:
        return named
    if is_sequence(result):
        return _in_sequence(_leaves(result) if lists else result, declared, alone, rows, lists=lists)
    return {alone: result}


def _leaves(result: Sequence[Any]) -> Sequence[Any]:
    """Flatten nested sequences of arrays, such as those of a recurrent network; return any other `result` unchanged."""
    found: list[Any] = []
    for one in result:
        found += _leaves(one) if is_sequence(one) else [one]
    return found if any(map(is_sequence, result)) and all(map(is_array, found)) else result


def may_be_outputs(result: Sequence[Any], rows: int, *, lists: bool) -> bool:
    """Return whether a sequence looks like a sequence of outputs rather than of rows."""
    if not result:
        return False
    if lists:
        return all(map(is_array, result))
    return isinstance(result, tuple) and all(is_array(one) and one.shape[0] == rows for one in result)


def _by_field(result: Any) -> dict[str, Any] | None:
    """Return the fields of a mapping, a dataclass or a structured numpy array; None for anything else."""
    names: tuple[str, ...] | None = getattr(getattr(result, "dtype", None), "names", None)
    if names is not None:
        return {name: result[name] for name in names}
    described: dict[str, Any] | None = getattr(result, "__dataclass_fields__", None)
    if isinstance(result, Mapping):
        return {str(name): value for name, value in result.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if described is None or isinstance(result, type):
        return None
    return {name: getattr(result, name) for name in described}


def _in_sequence(
    result: Sequence[Any], declared: Sequence[str], alone: str, rows: int, *, lists: bool
) -> dict[str, Any]:
    names: Sequence[str] = getattr(result, "_fields", ())
    if names and all(map(is_array, result)):
        return dict(zip(names, result, strict=True))
    if len(result) == len(declared) > 1:
        return dict(zip(declared, result, strict=True))
    if len(declared) <= 1 and may_be_outputs(result, rows, lists=lists):
        if len(result) == 1:
            return {alone: result[0]}
        if not declared:
            return {f"output_{number}": one for number, one in enumerate(result)}
    return {alone: result}
