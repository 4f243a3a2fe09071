"""Drops root privileges: platforms start containers as root, but a model server needs none of its rights."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .logs import Log


def drop(user: int | None, log: Log) -> None:
    """Become `user` (and the group of the same number) if running as root; 0 or `None` keeps the current user.

    If the container may not change its user, the server logs a warning and continues: it then lacks the other
    capabilities, too.
    """
    if not user or os.geteuid() != 0:
        return
    try:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    except PermissionError:
        log.warning("still_root", wanted=user, mend=f"start the container with --user {user}:{user}")
