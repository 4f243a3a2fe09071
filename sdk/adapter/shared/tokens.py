"""The bearer token of a gateway: generation, and detection of a damaged one."""

from __future__ import annotations

import re
import secrets

_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")  # the form that `new_token` produces


def new_token() -> bytes:
    """Generate the token of a new gateway, or a replacement for a damaged token.

    Example:
        >>> len(new_token())
        43
    """
    return secrets.token_urlsafe(32).encode()


def sound(data: bytes) -> str:
    """Return the token in the content of its file; an empty text if it is damaged.

    Example:
        >>> sound(b"two words"), sound(b"a" * 43) == "a" * 43
        ('', True)
    """
    text = data.decode("ascii", "replace")
    return text if _TOKEN.fullmatch(text) else ""
