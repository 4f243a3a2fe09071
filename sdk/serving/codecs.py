"""Decodes request bodies and encodes response bodies: `{"instances": …}` JSON, .npy, and the forms of `bodies`.

The Open Inference Protocol is in the module `v2`.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Self, cast

import msgspec

from . import answers, bodies, columnar, media, npy, streams
from .convert import Array
from .failures import RequestError, bad_input
from .jsontext import encode_json
from .media import CSV, EVENTS, JSON, NPY
from .signature import FREE, ServedSignature

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .outputs import Outputs
    from .settings import ServerLimits


class Input(msgspec.Struct, frozen=True):
    """The checked input of one request: tensors by name, or the free JSON value; `rows` is the number of rows.

    `stream` says whether the body asks for a streamed answer.
    """

    tensors: dict[str, Array]
    free: Any
    rows: int
    stream: bool = False


class Answer(msgspec.Struct, frozen=True):
    """A response: content type, body and further headers; `pieces` is an asynchronous iterator over a streamed body."""

    content_type: bytes
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()
    status: int = 200
    pieces: Any = None


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    instances: list[Any] | dict[str, Any]
    parameters: dict[str, Any] | None = None
    stream: bool = False


class Digits(float):
    """A number of a request that keeps its text, since a decimal number can have more digits than a float."""

    text: str

    def __new__(cls, text: str) -> Self:
        """Parse a number.

        Raises:
            ValueError: the number is out of the range of a float.
        """
        number = super().__new__(cls, text)
        if math.isinf(number):
            raise ValueError("Number out of range")
        number.text = text
        return number


_NOT_JSON = re.compile(rb"[\[,:]\s*(?:NaN|-?Infinity)\b")
_decode_body = msgspec.json.Decoder(_Body).decode
_decode_digits = msgspec.json.Decoder(_Body, float_hook=Digits).decode
_decode_any = msgspec.json.Decoder().decode
_decode_any_digits = msgspec.json.Decoder(float_hook=Digits).decode


def parse(decode: Any, body: bytes | memoryview, limits: ServerLimits) -> Any:
    """Decode JSON within the limits; raise a 400 for any fault of the text.

    Nested containers need a hundred times their size in memory, so their number is checked before decoding.
    """
    data = bytes(body)
    if data.count(b"[") + data.count(b"{") > limits.max_json_containers:
        raise bad_input("too_complex", f"the JSON has more than {limits.max_json_containers} arrays and objects; send "
                        "fewer rows at a time or application/x-npy", "body")  # fmt: skip
    try:
        return decode(data)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        field = path.strip(".`") or _quoted(message) or "body"
        raise bad_input("bad_request", message, field) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        hint = "; JSON has no NaN and no Infinity, send null for a missing number" if _NOT_JSON.search(data) else ""
        raise bad_input("bad_json", f"the body is no valid JSON: {error}{hint}", "body") from None
    except RecursionError:
        raise bad_input("bad_json", "the JSON is nested too deeply", "body") from None


def _quoted(message: str) -> str:
    return message.split("`")[1] if "field `" in message else ""


def decode(kind: bytes, header: bytes, body: bytes, signature: ServedSignature, limits: ServerLimits) -> Input:
    """Decode a body by its media type.

    Args:
        kind: The media type, without parameters.
        header: The whole value of the content type.
        body: The body.
        signature: The signature of the model.
        limits: The limits of a body.

    Raises:
        RequestError: 400 for input that the model cannot take, 415 for another media type.
    """
    if kind == JSON:
        return decode_instances(body, signature, limits)
    if kind == NPY:
        return decode_npy(body, signature)
    if kind == CSV:
        return from_rows(bodies.from_csv(body, _header_said(header), signature, limits), signature)
    if kind in media.LINES:
        return from_rows(bodies.from_lines(body, parse, Digits if signature.exact else None, limits), signature)
    if kind in media.ARROW or kind in media.PARQUET:
        if not columnar.available():
            message = f"reading {kind.decode()} needs pyarrow, which is not in this model's lock; pack it with pyarrow"
            raise RequestError(415, "unsupported_media_type", f"{message} in requirements=", "content-type")
        read = columnar.from_arrow if kind in media.ARROW else columnar.from_parquet
        return from_rows(bodies.from_columns(read(body, limits), signature), signature)
    raise unsupported(kind, media.names(media.SHOWN_BODIES))


def unsupported(sent: bytes, expected: str) -> RequestError:
    """Return the 415 error for a media type."""
    shown = sent.decode("ascii", "replace") or "none"
    message = f"the content type is {shown}, expected {expected}"
    return RequestError(415, "unsupported_media_type", message, "content-type")


def _header_said(content_type: bytes) -> bytes | None:
    said = media.parameters(content_type).get(b"header")
    if said not in {None, b"present", b"absent"}:
        message = "the parameter header of text/csv is present or absent"
        raise RequestError(415, "unsupported_media_type", message, "content-type")
    return said


def _explained(error: RequestError, body: Any) -> RequestError:
    """Add what to send to the error of a body without a key for rows: a bare row, or the first of several lines."""
    if isinstance(body, dict) and not cast("dict[str, Any]", body).keys().isdisjoint(bodies.FORMS):
        return error
    lines = media.LINES[0].decode()
    message = f'{error.message}; send rows as {{"instances": [row, ...]}}, and JSON lines with content-type {lines}'
    return RequestError(error.status, error.code, message, error.field)


def decode_instances(body: bytes, signature: ServedSignature, limits: ServerLimits) -> Input:
    """Decode `{"instances": [row, …]}`, a dict of columns in place of the rows, or another form; see `bodies`."""
    try:
        decoded: _Body = parse(_decode_digits if signature.exact else _decode_body, body, limits)
    except RequestError as error:
        if error.code != "bad_request":
            raise
        try:
            other = parse(_decode_any_digits if signature.exact else _decode_any, body, limits)
        except RequestError:
            raise _explained(error, {}) from None
        rows = bodies.rows_of(other, signature)
        if rows is None:
            raise _explained(error, other) from None
        return from_rows(rows, signature)
    if decoded.parameters:
        raise bad_input("unknown_parameters", "this model takes no parameters", "parameters")
    instances = decoded.instances if isinstance(decoded.instances, list) else signature.rows(decoded.instances)
    given = from_rows(instances, signature)
    return msgspec.structs.replace(given, stream=True) if decoded.stream else given


def from_rows(rows: list[Any], signature: ServedSignature) -> Input:
    """Convert decoded rows to the input."""
    if signature.free:
        if not rows:
            raise bad_input("empty", "`instances` is empty; send at least one row", "instances")
        return Input({}, rows, len(rows))
    return from_tensors(signature.from_instances(rows), signature)


def decode_npy(body: bytes, signature: ServedSignature) -> Input:
    """Decode a .npy body as the whole input."""
    array = npy.decode(body)
    if signature.free:
        return from_tensors({FREE: array}, signature)
    return from_tensors(signature.from_array(array, "body"), signature)


def from_tensors(tensors: dict[str, Array], signature: ServedSignature) -> Input:
    """Return the input that consists of already checked tensors."""
    return Input(tensors, None, signature.row_count(tensors))


def encode_predictions(outputs: Outputs) -> Answer:
    """Return `{"predictions": …}`, with one item per row if the outputs have rows."""
    return Answer(JSON, encode_json({"predictions": _predictions(outputs)}))


def encode(form: bytes, outputs: Outputs) -> Answer:
    """Encode the outputs in a form that `media.wanted` returned.

    Raises:
        RequestError: 406; the outputs cannot be encoded in this form.
    """
    if form == JSON:
        return encode_predictions(outputs)
    if form == NPY:
        return encode_npy(outputs)
    if form == CSV:
        return Answer(b"text/csv; charset=utf-8", answers.as_csv(outputs))
    rows = _predictions(outputs)
    items = [encode_json(one) for one in (rows if isinstance(rows, list) else [rows])]  # pyright: ignore[reportUnknownVariableType]
    return Answer(form, streams.piece(form, items) + (streams.END if form == EVENTS else b""))


def _predictions(outputs: Outputs) -> Any:
    arrays = outputs.arrays
    if not arrays:
        return outputs.free
    if len(arrays) == 1:
        return next(iter(arrays.values())).tolist()
    values = {name: array.tolist() for name, array in arrays.items()}
    if len({len(array) if array.ndim else -1 for array in arrays.values()} - {-1}) == 1 and all(
        array.ndim for array in arrays.values()
    ):
        return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    return values


def encode_npy(outputs: Outputs) -> Answer:
    """Return the single output as a .npy body."""
    if not outputs.is_one_tensor:
        raise RequestError(406, "not_acceptable", "this model's output is no single array; ask for application/json")
    return Answer(NPY, npy.encode(next(iter(outputs.arrays.values()))))


def media_type(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> bytes:
    """Return the media type in the header `name`, in lower case and without parameters; refuse a charset but UTF-8."""
    value = next((content for key, content in headers if key == name), b"")
    kind, *parameters = value.lower().split(b";")
    for parameter in parameters:
        key, _, content = parameter.strip().partition(b"=")
        if key == b"charset" and content.strip(b'"') not in {b"utf-8", b"utf8"}:
            raise RequestError(415, "unsupported_media_type", "the charset must be utf-8", name.decode())
    return kind.strip()
