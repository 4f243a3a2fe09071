"""Errors that every module of this adapter raises."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdk.adapter.shared.gateway_plan import GATEWAY
from sdk.errors import ConflictError, NotFoundError

if TYPE_CHECKING:
    from sdk.adapter import Resource

PROVIDER = "docker"


def gone(kind: str, name: str) -> NotFoundError:
    """Return the error for a resource that the engine does not have."""
    lost = f"if its container was removed by hand, run `mlport delete {name}`, then deploy it again"
    return NotFoundError(
        f"{kind} {name} is not there",
        provider=PROVIDER,
        operation=f"Read{kind}",
        resource=name,
        hint=lost if kind == GATEWAY else None,
    )


def exists(resource: Resource) -> ConflictError:
    """Return the error for an id that is already taken."""
    return ConflictError(
        f"{resource.ref} exists", provider=PROVIDER, operation=f"Create{resource.kind}", resource=resource.id
    )
