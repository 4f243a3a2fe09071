"""Errors that every module of this adapter raises."""

from __future__ import annotations

from sdk.errors import NotFoundError

PROVIDER = "docker"


def gone(kind: str, name: str) -> NotFoundError:
    """The error for what the engine does not have."""
    return NotFoundError(f"{kind} {name} is not there", provider=PROVIDER, operation=f"Read{kind}", resource=name)
