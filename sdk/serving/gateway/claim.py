"""The lock and the control socket of a gateway's folder, which a running gateway restores if they are removed.

A user, a clean-up job or a restored backup may remove or replace them while the gateway serves. Without its lock the
gateway counts as dead, and without its socket it cannot be controlled.
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from .table import clear_way

if TYPE_CHECKING:
    from pathlib import Path

LOCK = "gateway.lock"
CONTROL = "control.sock"
MAX_SOCKET = 100  # bytes of a socket path that all systems accept


class Taken(Exception):
    """Raised when another gateway holds the folder."""


class Claim:
    """The claim of a process to be the gateway of a folder: its lock and control socket.

    Args:
        folder: The endpoint's folder.

    Raises:
        Taken: The folder has a gateway.
        OSError: The folder is not writable.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._place = _identity(folder)
        self.lock = _take(folder)
        self.control: socket.socket | None = None
        self._bound: tuple[int, int] | None = None

    def bind(self) -> socket.socket:
        """Listen on the control socket, replacing any file of its name."""
        path = self._folder / CONTROL
        clear_way(path, stat.S_ISSOCK)
        path.unlink(missing_ok=True)
        control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            control.bind(str(path))
        finally:
            os.umask(before)
        control.listen(128)
        self.control, self._bound = control, _identity(path)
        return control

    def holds(self) -> bool:
        """Check whether this is still the gateway of the folder; take a replaced lock again.

        Raises:
            OSError: The folder is gone or not writable.
        """
        if _identity(self._folder) != self._place:
            raise FileNotFoundError(self._folder)
        facts = os.fstat(self.lock)
        if _identity(self._folder / LOCK) == (facts.st_dev, facts.st_ino):
            return True
        try:
            fresh = _take(self._folder)
        except Taken:
            return False
        os.dup2(fresh, self.lock, inheritable=False)
        os.close(fresh)
        return True

    def is_reachable(self) -> bool:
        """Check whether the socket in the folder is the one that was bound last."""
        return self._bound is not None and _identity(self._folder / CONTROL) == self._bound

    def unlink(self) -> None:
        """Remove the socket, unless another socket has its name now."""
        with suppress(OSError):
            if self.is_reachable():
                (self._folder / CONTROL).unlink(missing_ok=True)

    def release(self) -> None:
        """Remove the socket and release the lock."""
        self.unlink()
        os.close(self.lock)


def _take(folder: Path) -> int:
    path = folder / LOCK
    clear_way(path, stat.S_ISREG)
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise Taken from None
    return lock


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        facts = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return facts.st_dev, facts.st_ino
