"""Open Inference Protocol (V2): inference requests and responses as JSON, or as JSON followed by binary tensors."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from .codecs import Answer, Input, from_tensors, parse
from .convert import DATATYPES, DTYPES, Array, as_array
from .failures import RequestError, bad_input
from .jsontext import encode_json
from .media import BINARY, JSON
from .signature import FREE, ServedSignature

if TYPE_CHECKING:
    from .outputs import Outputs
    from .settings import ServerLimits

LENGTH_HEADER = b"inference-header-content-length"
_MAX_NDIM = 32


class _Tensor(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] | None = None
    data: list[Any] | None = None


class _Output(msgspec.Struct):
    name: str
    parameters: dict[str, Any] | None = None


class InferenceRequest(msgspec.Struct):
    """An inference request without its binary part."""

    inputs: list[_Tensor]
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[_Output] | None = None


_decode = msgspec.json.Decoder(InferenceRequest).decode


def decode(
    body: bytes, length: bytes | None, signature: ServedSignature, limits: ServerLimits
) -> tuple[InferenceRequest, Input]:
    """Decode an inference request; `length` is the value of Inference-Header-Content-Length, if sent.

    Raises:
        RequestError: 400 naming the invalid tensor or field.
    """
    size = len(body) if length is None else _header_length(length, len(body))
    request: InferenceRequest = parse(_decode, body[:size] if size < len(body) else body, limits)
    if not request.inputs:
        raise bad_input("empty", "`inputs` is empty; send at least one tensor", "inputs")
    if signature.outputs:
        _check_outputs(request, [one.name for one in signature.outputs])
    tail = memoryview(body)[size:]
    tensors: dict[str, Array] = {}
    used = 0
    for number, tensor in enumerate(request.inputs):
        if tensor.name in tensors:
            raise bad_input("bad_request", f"input {tensor.name!r} is sent twice", f"inputs[{number}].name")
        count = _count(tensor, number)
        sent = _binary_size(tensor, number)
        if sent is None:
            tensors[tensor.name] = _from_json(tensor, count, number)
        else:
            tensors[tensor.name] = _from_binary(tensor, count, tail[used : used + sent], sent, number)
            used += sent
    if used != len(tail):
        raise bad_input("bad_binary", f"the inputs declare {used} bytes of binary data, {len(tail)} were sent", "body")
    return request, from_tensors(_checked(tensors, signature), signature)


def _checked(tensors: dict[str, Array], signature: ServedSignature) -> dict[str, Array]:
    if not signature.free:
        return signature.from_tensors(tensors)
    if len(tensors) == 1:
        return {FREE: next(iter(tensors.values()))}
    return tensors


def _header_length(length: bytes, total: int) -> int:
    if not (length.isdigit() and len(length) < 16 and 0 < int(length) <= total):
        raise bad_input("bad_binary", f"must be a number from 1 to the body's {total} bytes", LENGTH_HEADER.decode())
    return int(length)


def _check_outputs(request: InferenceRequest, known: list[str]) -> None:
    for number, output in enumerate(request.outputs or ()):
        if output.name not in known:
            message = f"output {output.name!r} is unknown; this model gives {', '.join(known)}"
            raise bad_input("unknown_output", message, f"outputs[{number}].name")


def _count(tensor: _Tensor, number: int) -> int:
    field = f"inputs[{number}]"
    if tensor.datatype not in DTYPES and tensor.datatype != "BYTES":
        known = ", ".join([*DTYPES, "BYTES"])
        raise bad_input("bad_type", f"datatype {tensor.datatype!r} is unknown; known are {known}", f"{field}.datatype")
    if len(tensor.shape) > _MAX_NDIM or any(size < 1 for size in tensor.shape):
        message = f"the shape must be at most {_MAX_NDIM} sizes of at least 1, got {tensor.shape[:40]}"
        raise bad_input("bad_shape", message, f"{field}.shape")
    return math.prod(tensor.shape)


def _binary_size(tensor: _Tensor, number: int) -> int | None:
    size = (tensor.parameters or {}).get("binary_data_size")
    if size is None:
        return None
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise bad_input(
            "bad_binary",
            "binary_data_size must be a whole number of bytes",
            f"inputs[{number}].parameters.binary_data_size",
        )
    if tensor.data is not None:
        raise bad_input("bad_binary", "a tensor has either data or binary_data_size", f"inputs[{number}].data")
    return size


def _from_json(tensor: _Tensor, count: int, number: int) -> Array:
    field = f"inputs[{number}].data"
    if not tensor.data:
        raise bad_input("missing_data", f"input {tensor.name!r} has no data", field)
    array = as_array(tensor.data, field, DTYPES.get(tensor.datatype, ""))
    if array.size != count or array.ndim not in {1, len(tensor.shape)}:
        raise bad_input("bad_shape", f"shape {tensor.shape} needs {count} values, got {array.size}", field)
    if array.ndim > 1 and list(array.shape) != tensor.shape:
        raise bad_input("bad_shape", f"data is nested as {list(array.shape)}, shape says {tensor.shape}", field)
    is_number = tensor.datatype.startswith(("FP", "INT", "UINT"))
    wanted = "fiubO" if is_number else "bO" if tensor.datatype == "BOOL" else "O"
    if array.dtype.kind not in wanted:
        raise bad_input("bad_type", f"data must be {tensor.datatype}, got {array.dtype.name}", field)
    return array.reshape(tensor.shape)


def _from_binary(tensor: _Tensor, count: int, data: memoryview, size: int, number: int) -> Array:
    field = f"inputs[{number}].parameters.binary_data_size"
    if len(data) != size:
        raise bad_input("bad_binary", f"{size} bytes are declared, {len(data)} are left in the body", field)
    if tensor.datatype == "BYTES":
        return _texts(data, count, field).reshape(tensor.shape)
    dtype = np.dtype(DTYPES[tensor.datatype]).newbyteorder("<")
    if size != count * dtype.itemsize:
        message = f"shape {tensor.shape} of {tensor.datatype} needs {count * dtype.itemsize} bytes, got {size}"
        raise bad_input("bad_binary", message, field)
    if tensor.datatype == "BOOL" and np.frombuffer(data, np.uint8).max() > 1:
        raise bad_input("bad_value", "a boolean is neither 0 nor 1", field)
    array: Array = np.frombuffer(data, dtype=dtype)
    return array.reshape(tensor.shape)


def _texts(data: memoryview, count: int, field: str) -> Array:
    texts: list[str] = []
    position = 0
    while position + 4 <= len(data) and len(texts) < count:
        (length,) = struct.unpack_from("<I", data, position)
        position += 4 + length
        if position > len(data):
            break
        try:
            texts.append(str(data[position - length : position], "utf-8"))
        except UnicodeDecodeError:
            raise bad_input("bad_value", f"text {len(texts)} is not UTF-8", field) from None
    if len(texts) != count or position != len(data):
        raise bad_input("bad_binary", f"the bytes do not hold exactly {count} length-prefixed texts", field)
    return np.asarray(texts, dtype=object)


def encode(request: InferenceRequest, outputs: Outputs, model: str, version: str) -> Answer:
    """Encode the inference response; outputs are binary if the request asked for that."""
    if not outputs.are_tensors:
        message = "this model's output has no tensor form; use {'instances': …} on /invocations"
        raise RequestError(406, "not_acceptable", message)
    all_binary = (request.parameters or {}).get("binary_data_output") is True
    wanted = {one.name: one.parameters or {} for one in request.outputs or ()} or {name: {} for name in outputs.arrays}
    described: list[dict[str, Any]] = []
    tail: list[bytes] = []
    for name, parameters in wanted.items():
        if name not in outputs.arrays:
            known = ", ".join(outputs.arrays)
            raise bad_input("unknown_output", f"output {name!r} is unknown; this model gives {known}", "outputs")
        binary = parameters.get("binary_data", all_binary) is True
        described.append(_describe(name, outputs.arrays[name], tail if binary else None))
    answer: dict[str, Any] = {"model_name": model, "model_version": version, "outputs": described}
    if request.id is not None:
        answer["id"] = request.id
    head = encode_json(answer)
    if not tail:
        return Answer(JSON, head)
    return Answer(BINARY, b"".join([head, *tail]), ((LENGTH_HEADER, str(len(head)).encode()),))


def _describe(name: str, array: Array, tail: list[bytes] | None) -> dict[str, Any]:
    datatype = DATATYPES.get(array.dtype.name, "BYTES")
    described: dict[str, Any] = {"name": name, "shape": list(array.shape) or [1], "datatype": datatype}
    if tail is None:
        described["data"] = array.ravel().tolist()
        return described
    data = (
        _to_texts(array) if datatype == "BYTES" else array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    )
    tail.append(data)
    described["parameters"] = {"binary_data_size": len(data)}
    return described


def _to_texts(array: Array) -> bytes:
    texts = [str(one).encode("utf-8", "replace") for one in array.ravel().tolist()]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)
