"""Trusted certificate authorities of this machine, loaded once because loading takes longer than most calls."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    import ssl

_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")  # variables that may name other authorities


def authorities() -> ssl.SSLContext:
    """Return the TLS context that all clients and threads share, the same that httpx makes for each client.

    Example:
        >>> authorities() is authorities()
        True
    """
    return _loaded(*(os.environ.get(name) for name in _VARIABLES))


@functools.lru_cache(maxsize=4)
def _loaded(_file: str | None, _folder: str | None) -> ssl.SSLContext:
    return httpx.create_ssl_context()
