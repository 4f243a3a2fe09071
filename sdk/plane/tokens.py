"""The bearer token of a gateway: how one is made, and how a damaged one is recognised."""

from __future__ import annotations

import re
import secrets

_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")  # as `new_token` makes it


def new_token() -> bytes:
    """Make the token of a new gateway, or one in place of a damaged token.

    Example:
        >>> len(new_token())
        43
    """
    return secrets.token_urlsafe(32).encode()


def sound(data: bytes) -> str:
    """Return the token in the content of its file; empty when it is damaged.

    Example:
        >>> sound(b"two words"), sound(b"a" * 43) == "a" * 43
        ('', True)
    """
    text = data.decode("ascii", "replace")
    return text if _TOKEN.fullmatch(text) else ""
