"""Keeps what endpoints that mlport did not make use; some platforms would delete it in spite of that."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ..errors import SdkError
from ..waiting import Deadline

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..adapter import Kind, Ref
    from .context import Context
    from .plan import Step


def in_use_by(endpoint: Ref) -> str:
    """Say why a resource stays."""
    return f"{endpoint} uses it, which mlport did not make"


def can_be_borrowed(kind: Kind) -> bool:
    """Whether another endpoint can refer to a resource of this kind."""
    return not kind.root and not kind.attached


def borrowed(context: Context, steps: Sequence[Step], deadline: Deadline) -> Mapping[Ref, Ref]:
    """Return what the deletes of a transaction would take from endpoints that mlport did not make, with one of these.

    The platform is asked only if a delete is of a kind that others can refer to. An identity that may not list
    endpoints goes on without an answer, since it must be able to delete what it made.
    """
    doomed = {step.ref for step in steps if step.retires and can_be_borrowed(context.kind(step.ref))}
    if not doomed:
        return {}
    with contextlib.suppress(SdkError):
        users = context.remote.users({step.ref for step in steps}, Deadline(context.clock, deadline.left / 4))
        return {ref: user for ref, user in users.items() if ref in doomed}
    return {}
