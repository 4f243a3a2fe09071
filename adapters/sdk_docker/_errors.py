"""Errors that every module of this adapter raises."""

from __future__ import annotations

from sdk.errors import NotFoundError, UnsupportedError

PROVIDER = "docker"


def gone(kind: str, name: str) -> NotFoundError:
    """The error for what the engine does not have."""
    return NotFoundError(f"{kind} {name} is not there", provider=PROVIDER, operation=f"Read{kind}", resource=name)


def unsupported(capability: str, message: str, *, reason: str = "not_implemented") -> UnsupportedError:
    """The error for what this target does not do."""
    return UnsupportedError(message, capability=capability, reason=reason, provider=PROVIDER)
