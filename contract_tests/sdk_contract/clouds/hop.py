"""Which headers a gateway drops and which it forwards.

Source: https://www.rfc-editor.org/rfc/rfc9110#name-message-forwarding
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from collections.abc import Mapping

_HOP = frozenset(
    [
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ]
)
_REWRITTEN = frozenset(["content-length", "date", "server"])  # each server writes its own


def end_to_end(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that a gateway forwards; it also drops those that ``Connection`` names.

    Example:
        >>> end_to_end({"connection": "close, x-mine", "x-mine": "1", "content-encoding": "gzip"})
        {'content-encoding': 'gzip'}
    """
    lower = {name.lower(): text for name, text in headers.items()}
    named = {name.strip().lower() for name in lower.get("connection", "").split(",")}
    return {name: text for name, text in lower.items() if name not in _HOP | _REWRITTEN | named}


def whole(answer: httpx.Response, raw: bytes) -> httpx.Response:
    """Return the answer of a container with its body as received, encoded or not, in ``extensions["raw"]``."""
    try:
        return httpx.Response(answer.status_code, headers=answer.headers, content=raw, extensions={"raw": raw})
    except httpx.DecodingError:  # the body does not have the encoding it claims; the client will notice
        plain = {name: text for name, text in answer.headers.items() if name != "content-encoding"}
        return httpx.Response(answer.status_code, headers=plain, content=raw, extensions={"raw": raw})
