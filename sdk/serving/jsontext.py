"""Encodes model results as JSON; packing uses it too, also where numpy is not installed."""

from __future__ import annotations

from typing import Any

import msgspec

from . import times
from .failures import RequestError


def encode_json(value: Any) -> bytes:
    """Encode a value returned by a model.

    Raises:
        RequestError: 500; the model returned something that has no JSON form.
    """
    try:
        return _encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise RequestError(500, "bad_model_output", f"the model's output has no JSON form: {error}") from None


def _to_json(value: Any) -> Any:
    """Convert an array, a tensor, a table or a timestamp of any library to plain values."""
    if type(value).__name__ in times.GAPS:
        return None
    if hasattr(value, "columns") and hasattr(value, "to_dict"):  # a pandas table
        return value.to_dict("records")
    if getattr(getattr(value, "dtype", None), "kind", "") in {"m", "M"} and not hasattr(value, "to_numpy"):
        from .convert import iso_text

        return iso_text(value).tolist()  # `tolist` would return nanoseconds as integers
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "isoformat"):  # a pandas timestamp
        return value.isoformat()
    raise TypeError(f"{_kind(value)} cannot be sent")


def _kind(value: Any) -> str:
    return "a complex number" if isinstance(value, complex) else f"an object of the type {type(value).__name__}"


_encode = msgspec.json.Encoder(enc_hook=_to_json).encode
