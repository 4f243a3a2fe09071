"""Which headers end at a gateway and which go through it.

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
    """Return the headers that a gateway passes on; those that ``Connection`` names end here too.

    Example:
        >>> end_to_end({"connection": "close, x-mine", "x-mine": "1", "content-encoding": "gzip"})
        {'content-encoding': 'gzip'}
    """
    lower = {name.lower(): text for name, text in headers.items()}
    named = {name.strip().lower() for name in lower.get("connection", "").split(",")}
    return {name: text for name, text in lower.items() if name not in _HOP | _REWRITTEN | named}


def whole(answer: httpx.Response, raw: bytes) -> httpx.Response:
    """Return the answer of a container with its body as it came, encoded or not, in ``extensions["raw"]``."""
    try:
        return httpx.Response(answer.status_code, headers=answer.headers, content=raw, extensions={"raw": raw})
    except httpx.DecodingError:  # it is not in the encoding that it claims, which is for its client to find out
        plain = {name: text for name, text in answer.headers.items() if name != "content-encoding"}
        return httpx.Response(answer.status_code, headers=plain, content=raw, extensions={"raw": raw})
