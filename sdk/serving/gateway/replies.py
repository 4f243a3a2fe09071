"""Responses of the gateway itself."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec


def render(status: int, value: dict[str, Any], *, keep: bool, retry_after: int | None = None) -> bytes:
    """Return a whole JSON response as bytes."""
    body = msgspec.json.encode(value)
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        "cache-control: no-store",
    ]
    if "request_id" in value.get("error", {}):
        lines.append(f"x-request-id: {value['error']['request_id']}")
    if status == HTTPStatus.UNAUTHORIZED:
        lines.append("www-authenticate: Bearer")
    if retry_after is not None:
        lines.append(f"retry-after: {retry_after}")
    if not keep:
        lines.append("connection: close")
    return "\r\n".join([*lines, "", ""]).encode() + body
