"""Gives up root: platforms start containers as root, a model server needs none of its rights."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .logs import Log


def drop(user: int | None, log: Log) -> None:
    """Become `user` (and the group of the same number) when running as root; 0 or `None` stays what it is.

    Where the container may not change its user, serving goes on with a warning: it has no other capability either.
    """
    if not user or os.geteuid() != 0:
        return
    try:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    except PermissionError:
        log.warning("still_root", wanted=user, mend=f"start the container with --user {user}:{user}")
