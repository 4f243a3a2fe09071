"""Protects resources used by endpoints that mlport did not create; some platforms delete them although in use."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ..errors import SdkError
from ..util.waiting import Deadline

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..adapter import Kind, Ref
    from .context import Context
    from .plan import Step


def in_use_by(endpoint: Ref) -> str:
    """Return the reason why a resource is kept."""
    return f"{endpoint} uses it, which mlport did not make"


def can_be_borrowed(kind: Kind) -> bool:
    """Check whether another endpoint can refer to a resource of this kind."""
    return not kind.root and not kind.attached


def borrowed(context: Context, steps: Sequence[Step], deadline: Deadline) -> Mapping[Ref, Ref]:
    """Find resources that a transaction deletes although endpoints that mlport did not create use them.

    The platform is queried only if a delete is of a kind that other endpoints can refer to. An identity that may not
    list endpoints gets an empty result, since it must still be able to delete what it created.

    Returns:
        Each such resource with one endpoint that uses it.
    """
    doomed = {step.ref for step in steps if step.retires and can_be_borrowed(context.kind(step.ref))}
    if not doomed:
        return {}
    with contextlib.suppress(SdkError):
        users = context.remote.users({step.ref for step in steps}, Deadline(context.clock, deadline.left / 4))
        return {ref: user for ref, user in users.items() if ref in doomed}
    return {}
