"""Examine a model's answer to its example: which outputs it has, and whether the server can send it."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import msgspec

from sdk.errors import ConfigError
from sdk.packaging import examples
from sdk.packaging.manifest import Signature, Tensor
from sdk.packaging.plain import PlainArray

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_NO_JSON = "return numbers, text, lists, dicts, arrays or tables"
_HINTS = {
    "returned a set": "return a list with one value per row",
    "returned an iterator": "return a list with one value per row",
    "returned None": "return one value per row",
    "complex": "return its two parts, such as [value.real, value.imag]",
}


def output_names(answer: Any, rows: int, again: Callable[[int], Any], *, lists: bool) -> tuple[str, ...]:
    """Return the names of the outputs in a sequence of several outputs, or an empty tuple for rows or another value.

    Args:
        answer: What the model returned for its example.
        rows: Rows of the example.
        again: Returns the model's answer to the given number of the example's first rows.
        lists: Whether the model belongs to a library, where a list holds outputs rather than rows.
    """
    parts = _parts()
    if not parts.is_sequence(answer) or len(answer) < 2:
        _check_wrapped(answer, rows, again, lists=lists)
        return ()
    size = len(answer)
    fields: tuple[str, ...] = getattr(answer, "_fields", ())
    names = fields or tuple(f"output_{place}" for place in range(size))
    if lists:
        looks_so = parts.may_be_outputs(answer, rows, lists=True)
    else:
        looks_so = all(_length(one) == rows for one in answer) and (
            isinstance(answer, tuple) or all(map(parts.is_array, answer))
        )
    if looks_so and size == rows:  # a list with as many arrays as rows is ambiguous
        return names if len(again(1)) == size else ()
    return names if looks_so else ()


def _check_wrapped(answer: Any, rows: int, again: Callable[[int], Any], *, lists: bool) -> None:
    """Refuse a list with only one array for all rows: the server would take it as the value of the first row.

    Raises:
        ConfigError: The answer is such a list; the hint says what to return instead.
    """
    if lists or not isinstance(answer, list) or len(answer) != 1 or rows < 2:  # pyright: ignore[reportUnknownArgumentType]
        return
    if _parts().is_array(answer[0]) and _length(answer[0]) == rows:
        first = again(1)
        if isinstance(first, list) and len(first) == 1 and _length(first[0]) == 1:  # pyright: ignore[reportUnknownArgumentType]
            raise ConfigError(
                f"the model returned the values of {rows} rows as one array in a list",
                hint="return the array without the list around it, or a dict such as {'score': array}",
            )


def named(answer: Any, names: Sequence[str], rows: int, method: str, *, lists: bool) -> dict[str, Any]:
    """Return the outputs in an answer by name, separated as the server does it."""
    parts = _parts()
    declared = names or ((method,) if parts.is_sequence(answer) else ())
    found: dict[str, Any] = parts.outputs_in(answer, declared, method, rows, lists=lists)
    return found


def outputs(found: Mapping[str, Any], rows: int, *, vary: bool = False) -> tuple[Tensor, ...]:
    """Return the signature of an answer's outputs; empty if one of them is a JSON value but not an array.

    ``vary`` says that axes of the inputs other than the row axis vary, so those of the outputs may vary too.
    """
    try:
        shown = tuple(_output(name, examples.as_array(value), rows) for name, value in found.items())
    except ConfigError:
        return ()
    if not vary:
        return shown
    return tuple(msgspec.structs.replace(one, shape=(*one.shape[:1], *(-1 for _ in one.shape[1:]))) for one in shown)


def _output(name: str, array: Any, rows: int) -> Tensor:
    shape = array.shape
    if array.dtype.kind == "O" and not all(isinstance(value, str) for value in array.flat):
        raise ConfigError(f"the model's output {name!r} has missing values", hint="they travel as plain JSON")
    if array.ndim and len(array) == rows:
        shape = (-1, *shape[1:])
    return Tensor(name, examples.dtype_name(array, f"the model's output {name!r}"), tuple(map(int, shape)))


def each_row(found: Mapping[str, Any], rows: int) -> bool:
    """Check whether every output has one value per row."""
    return all(_length(value) == rows for value in found.values())


def told(found: Mapping[str, Any]) -> str:
    """Describe in words how many values each output of an answer has."""
    lengths = {name: _length(value) for name, value in found.items()}
    words = [f"{'one value' if size < 0 else f'{size} values'} in {name!r}" for name, size in lengths.items()]
    return ", ".join(words[:5])


def starts_with(whole: Mapping[str, Any], first: Mapping[str, Any]) -> bool:
    """Check whether the answer to all rows begins with the answer to the first row alone."""
    for name, value in whole.items():
        a = examples.as_array(value)
        b = examples.as_array(first[name]) if name in first else None
        if b is None or b.shape != (1, *a.shape[1:]) or not _close(a[:1], b, rtol=1e-4, atol=1e-6):
            return False
    return True


def same(left: Any, right: Any) -> bool:
    """Check whether two answers of a model agree except for the last few bits."""
    one, two = (_parts().outputs_in(answer, (), "output", -1, lists=True) for answer in (left, right))
    if one.keys() != two.keys():
        return False
    for name, value in one.items():
        a, b = examples.as_array(value), examples.as_array(two[name])
        if a.shape != b.shape or a.dtype.kind != b.dtype.kind:
            return False
        if not _close(a, b, rtol=1e-6, atol=1e-9):
            return False
    return True


def check(example: Any, answer: Any, signature: Signature, method: str, *, lists: bool) -> None:
    """Read the example and write the answer as the server will.

    Raises:
        ConfigError: The server would refuse the example or the answer; the message says why.
    """
    failures: Any = import_module("sdk.serving.failures")
    written = _plainly if find_spec("numpy") is None else partial(_round_trip, example, signature, method, lists=lists)
    try:
        why = _parts().fault(answer) or _unordered(answer) or written(answer)
    except failures.RequestError as error:
        if error.status < 500:
            what = f"the server refuses the example: {error.message}"
            raise ConfigError(what, hint="give rows like those it will be asked for") from error
        why = error.message
    if why:
        hint = next((hint for words, hint in _HINTS.items() if words in why), _NO_JSON)
        raise ConfigError(f"the answer to the example cannot be sent: {why}", hint=hint)


def default(value: Any, signature: Signature, method: str, *, streams: bool) -> Any:
    """Return a default answer as plain JSON.

    Raises:
        ConfigError: The model could not answer this.
    """
    failures: Any = import_module("sdk.serving.failures")
    why = "the model yields its answer, which has no default" if streams else None
    if not signature.rowwise and any(one.shape[:1] == (-1,) for one in signature.outputs):
        what = "default: the model returns one value per row, but does not say that rows are independent"
        raise ConfigError(what, hint="pass rowwise=True if they are; a whole answer of varying length has no default")
    try:
        plain = msgspec.json.decode(import_module("sdk.serving.jsontext").encode_json(value))
    except failures.RequestError as error:
        raise ConfigError(f"default: {error.message}", hint=_NO_JSON) from error
    if why is None and find_spec("numpy") is not None:
        why = import_module("sdk.serving.defaults").DefaultAnswer(plain, _served(signature), method, 0.0).fault()
    if why is not None:
        raise ConfigError(f"default: {why}", hint="give the prediction for one row, as the model returns it")
    return plain


def _unordered(answer: Any) -> str | None:
    """Return why a set cannot hold the values of rows; inside the value of one row, a set becomes a list."""
    return "the model returned a set, which has no order" if type(answer) in {set, frozenset} else None


def _plainly(answer: Any) -> None:
    """Write the answer where numpy is not installed, so that it holds only Python's own values."""
    import_module("sdk.serving.jsontext").encode_json(answer)


def _round_trip(example: Any, signature: Signature, method: str, answer: Any, *, lists: bool) -> None:
    """Decode the example's JSON and encode the answer as JSON, as the server will."""
    codecs: Any = import_module("sdk.serving.codecs")
    written: Any = import_module("sdk.serving.outputs")
    theirs = _served(signature)
    limits = import_module("sdk.serving.settings").ServerLimits()
    codecs.decode_instances(examples.encode(example), theirs, limits)
    rows = examples.row_count(example)
    codecs.encode_predictions(written.normalise(answer, theirs, method, rows, lists=lists))


def _served(signature: Signature) -> Any:
    """Return a signature as the server reads it."""
    return msgspec.convert(msgspec.to_builtins(signature), import_module("sdk.serving.signature").ServedSignature)


def _parts() -> Any:
    """Import the server's module that separates answers: late, as training jobs ship this module without it."""
    return import_module("sdk.serving.parts")


def _length(value: Any) -> int:
    shape = getattr(value, "shape", None)
    if shape is not None:
        return int(shape[0]) if len(shape) else -1
    return len(value) if hasattr(value, "__len__") and not isinstance(value, str) else -1


def _close(a: Any, b: Any, *, rtol: float, atol: float) -> bool:
    if isinstance(a, PlainArray):
        return a.close_to(b, rtol=rtol, atol=atol)
    import numpy as np

    if a.dtype.kind in "fc":
        return bool(np.allclose(a, b, rtol=rtol, atol=atol, equal_nan=True))
    return bool(np.array_equal(a, b))
