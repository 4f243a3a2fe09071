"""Handling of answers of a newer platform that this version of Google's library cannot read."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, cast

import msgspec

from sdk.util import foreign

if TYPE_CHECKING:
    import requests

_PLACE = "/operations/"
_KNOWN = ("name", "done", "error")


def tolerate(session: Any) -> None:
    """Make Google's library on a `requests` session accept the operations of newer versions of the platform."""
    session.hooks["response"].append(_forget_details)


def _forget_details(response: requests.Response, *_: Any, **__: Any) -> requests.Response:
    """Reduce a long-running operation to its name, whether it is done, and its error.

    This is a hook of the HTTP session below Google's library, which cannot parse metadata of a type that it does not
    know, not even where it ignores unknown fields. Every other answer stays as it is.
    """
    try:
        found: Any = foreign.parse(response.content)
    except ValueError:
        return response
    if not isinstance(found, dict) or _PLACE not in str(cast("dict[str, Any]", found).get("name")):
        return response
    known = {key: value for key, value in cast("dict[str, Any]", found).items() if key in _KNOWN}
    if isinstance(known.get("error"), dict):
        known["error"] = {key: value for key, value in known["error"].items() if key in {"code", "message"}}
    content = msgspec.json.encode(known)
    shorter = type(response)()
    vars(shorter).update(vars(response))
    vars(shorter).update(_content=content, _content_consumed=True, raw=io.BytesIO(content))
    return shorter


def word_of(value: Any) -> str:
    """Return the name of an enum value, or its number if this version of Google's library has no name for it.

    Example:
        >>> word_of(99)
        '99'
    """
    return str(getattr(value, "name", value))
