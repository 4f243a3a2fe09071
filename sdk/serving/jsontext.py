"""JSON of what a model returned. Packing writes a model's answer with it too, also where numpy is not installed."""

from __future__ import annotations

import sys
from typing import Any

import msgspec

from .failures import RequestError


def encode_json(value: Any) -> bytes:
    """Encode a model's value.

    Raises:
        RequestError: 500; the model returned something that has no JSON form.
    """
    try:
        return _encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise RequestError(500, "bad_model_output", f"the model's output has no JSON form: {error}") from None


def _to_json(value: Any) -> Any:
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.ndarray | numpy.generic):
        return value.tolist()
    raise TypeError(f"{_kind(value)} cannot be sent")


def _kind(value: Any) -> str:
    return "a complex number" if isinstance(value, complex) else f"an object of the type {type(value).__name__}"


_encode = msgspec.json.Encoder(enc_hook=_to_json).encode
