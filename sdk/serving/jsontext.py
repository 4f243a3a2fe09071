"""JSON of what a model returned. Packing writes a model's answer with it too, also where numpy is not installed."""

from __future__ import annotations

from typing import Any

import msgspec

from . import times
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
    """Return the plain form of an array, a tensor, a table or a moment of any library."""
    if type(value).__name__ in times.GAPS:
        return None
    if hasattr(value, "columns") and hasattr(value, "to_dict"):  # a table of pandas
        return value.to_dict("records")
    if getattr(getattr(value, "dtype", None), "kind", "") in {"m", "M"} and not hasattr(value, "to_numpy"):
        from .convert import iso_text

        return iso_text(value).tolist()  # nanoseconds would become their count
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "isoformat"):  # a moment of pandas
        return value.isoformat()
    raise TypeError(f"{_kind(value)} cannot be sent")


def _kind(value: Any) -> str:
    return "a complex number" if isinstance(value, complex) else f"an object of the type {type(value).__name__}"


_encode = msgspec.json.Encoder(enc_hook=_to_json).encode
