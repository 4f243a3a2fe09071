"""Read the inputs that a model file declares (names, types and axes) from its bytes, without loading the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgspec

from sdk.errors import ConfigError
from sdk.packaging import examples
from sdk.packaging.manifest import Tensor
from sdk.serving.columns import whole_inputs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_ONNX_TYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 8: "str", 9: "bool",
    10: "float16", 11: "float64", 12: "uint32", 13: "uint64",
}  # fmt: skip
_GRAPH, _INITIALIZER, _INPUT, _NAME, _TYPE = 7, 5, 11, 1, 2
_INITIALIZER_NAME, _TENSOR_TYPE, _SHAPE, _DIMENSION, _SIZE = 8, 1, 2, 1, 1


STATED = frozenset({"onnx", "keras"})
"""The flavours whose files and objects declare axes and types; estimators know a width but no type."""


def inputs_of(example: Any, stated: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return the inputs of a prepared example, with the axes that the file declares, if any.

    Raises:
        ConfigError: The example disagrees with the file.
    """
    inputs = examples.inputs(example)
    if not inputs or not stated or examples.is_frame(example):
        return inputs
    found = merged(inputs, stated)
    _check_rows(stated, {name: array.shape for name, array in examples.arrays(example).items()})
    return found


def widened(inputs: Sequence[Tensor], stated: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return the inputs of an example that a live model has answered, with the model's own axes where they agree."""
    try:
        return merged(inputs, stated) if stated else tuple(inputs)
    except ConfigError:
        return tuple(inputs)


def merged(inputs: Sequence[Tensor], stated: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Combine the inputs of an example with the axes and types of the file, which the example must agree with.

    Raises:
        ConfigError: The example has other names, or another length than the file fixes.
    """
    names = {one.name: one for one in stated}
    if len(inputs) == len(stated) == 1:
        names = {inputs[0].name: stated[0]}
    if unknown := sorted({one.name for one in inputs} ^ names.keys()):
        raise ConfigError(
            f"example: the file has the inputs {', '.join(names)}, and {unknown[0]!r} is not in both",
            hint="give an array for each of its inputs by name",
        )
    return tuple(
        msgspec.structs.replace(one, shape=_agreed(one, names[one.name]), dtype=_type(one, names[one.name]))
        for one in inputs
    )


def check_rowwise(wish: bool | None, inputs: Sequence[Tensor]) -> bool | None:
    """Return the user's ``rowwise=``, or False if an input has one value for the whole request.

    Raises:
        ConfigError: The user says ``rowwise=True``, but such an input exists.
    """
    single = next(iter(sorted(whole_inputs(inputs))), None)
    if single is None:
        return wish
    if wish:
        raise ConfigError(
            f"rowwise=True, but input {single!r} is one value for the whole request", hint="leave rowwise= out"
        )
    return False


def _check_rows(stated: Sequence[Tensor], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse an example with more or fewer rows than the file fixes.

    Raises:
        ConfigError: The example has another number of rows.
    """
    for one in stated:
        shape = shapes.get(one.name) if len(shapes) > 1 or len(stated) > 1 else next(iter(shapes.values()), None)
        if shape and len(shape) == len(one.shape) and one.shape[0] not in {-1, shape[0]}:
            raise ConfigError(
                f"example: input {one.name!r} has {shape[0]} rows, and the file fixes {one.shape[0]}",
                hint=f"give {one.shape[0]}, or export the model with a dynamic first axis",
            )


def _type(given: Tensor, stated: Tensor) -> str:
    """Return the type of an input: that of the file, except that floats keep the width they have in the example.

    Whole numbers in an example say nothing about a file that takes fractions, nor about the width of its integers.

    Raises:
        ConfigError: One of the two is text and the other is not.
    """
    is_text = stated.dtype in {"str", "string"}
    if is_text != (given.dtype == "string"):
        what = f"example: input {given.name!r} has the type {given.dtype}, and the file takes {stated.dtype}"
        raise ConfigError(what, hint="give rows as the file takes them")
    if is_text or given.dtype.startswith("float") is stated.dtype.startswith("float") is True:
        return given.dtype
    return stated.dtype


def _agreed(given: Tensor, stated: Tensor) -> tuple[int, ...]:
    if len(given.shape) == 1 and len(stated.shape) == 2 and stated.shape[1] in {-1, 1}:
        return given.shape  # a column without its second axis, which the server adds
    if len(given.shape) != len(stated.shape) or any(
        -1 not in pair and pair[0] != pair[1] for pair in zip(given.shape, stated.shape, strict=True)
    ):
        told = ", ".join("any" if size == -1 else str(size) for size in stated.shape)
        raise ConfigError(
            f"example: input {given.name!r} has the shape {list(given.shape)}, and the file takes [{told}]",
            hint="give rows as the file takes them",
        )
    return stated.shape


# ONNX: a protobuf message (onnx/onnx.proto); a field is a number, a kind and a value


def onnx_inputs(path: Path) -> tuple[Tensor, ...]:
    """Return the inputs of an ONNX graph; none if one is not a tensor, or has an unknown type or rank."""
    data = memoryview(path.read_bytes())
    graph = next((part for number, part in _fields(data) if number == _GRAPH), None)
    if not isinstance(graph, memoryview):
        return ()
    parts = [(number, part) for number, part in _fields(graph) if isinstance(part, memoryview)]
    constants = {_text(part, _INITIALIZER_NAME) for number, part in parts if number == _INITIALIZER}
    found = [_onnx_input(part) for number, part in parts if number == _INPUT]
    tensors = [one for one in found if one is None or one.name not in constants]
    return () if None in tensors else tuple(cast("list[Tensor]", tensors))


def _onnx_input(value: memoryview) -> Tensor | None:
    kind = _part(_part(value, _TYPE), _TENSOR_TYPE)
    dtype = _ONNX_TYPES.get(next((cast("int", part) for number, part in _fields(kind) if number == 1), 0))
    dimensions = [part for number, part in _fields(_part(kind, _SHAPE)) if number == _DIMENSION]
    if dtype is None or all(number != _SHAPE for number, _ in _fields(kind)):
        return None
    shape = tuple(_size(cast("memoryview", one)) for one in dimensions)
    return Tensor(_text(value, _NAME), dtype, shape)


def _size(dimension: memoryview) -> int:
    """Return the length of a fixed dimension, or -1 for a named or missing one."""
    size = next((part for number, part in _fields(dimension) if number == _SIZE), -1)
    return size if isinstance(size, int) and size > 0 else -1


def _part(message: memoryview, wanted: int) -> memoryview:
    found = next((part for number, part in _fields(message) if number == wanted), None)
    return found if isinstance(found, memoryview) else memoryview(b"")


def _text(message: memoryview, wanted: int) -> str:
    return bytes(_part(message, wanted)).decode("utf-8", "replace")


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Iterate over the fields of a protobuf message: whole numbers as they are, everything else as bytes."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        kind = key & 7
        if kind == 0:
            value, place = _varint(data, place)
            yield key >> 3, value
            continue
        if kind not in {1, 2, 5}:
            raise ValueError("it is no protobuf message")
        size, place = _varint(data, place) if kind == 2 else ({1: 8, 5: 4}[kind], place)
        if size > len(data) - place:
            raise ValueError("it is cut off")
        yield key >> 3, data[place : place + size]
        place += size


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if place >= len(data) or shift > 63:
            raise ValueError("it is cut off")
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place


# Keras: the configuration names the input layers


def keras_inputs(config: Any) -> tuple[Tensor, ...]:
    """Return the inputs of a Keras network; none if its configuration does not declare them."""
    found: list[Tensor] = []
    for layer in _items(_entry(_entry(config, "config"), "layers")):
        if _entry(layer, "class_name") != "InputLayer":
            continue
        about = _entry(layer, "config")
        dtype, shape = _entry(about, "dtype"), _items(_entry(about, "batch_shape"))
        if not isinstance(dtype, str) or not shape:
            return ()
        sizes = tuple(size if isinstance(size, int) else -1 for size in shape)
        found.append(Tensor(str(_entry(about, "name")), dtype, sizes))
    return tuple(found)


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []  # pyright: ignore[reportUnknownVariableType] - any JSON


def _entry(table: Any, key: str) -> Any:
    return cast("dict[str, Any]", table).get(key) if isinstance(table, dict) else None
