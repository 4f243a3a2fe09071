"""Local locks: one verb at a time per endpoint on this machine; the kernel frees a lock when its holder dies."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
from typing import TYPE_CHECKING

from ..errors import ConflictError, JournalError
from ..util import kept
from ..util.private import clear_way

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

_PLAIN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")
_NO_FILE = {errno.EISDIR, errno.ELOOP, errno.ENXIO}


class Locks:
    """Advisory file locks in one folder; the content of a lock file names its holder.

    Args:
        folder: The folder of the lock files.
        relieve: Frees some space when the disk is too full for a lock file; returns ``False`` if it cannot.
    """

    def __init__(self, folder: Path, relieve: Callable[[], bool] = lambda: False) -> None:
        self._folder = folder
        self._relieve = relieve
        clear_way(folder, folder.parent)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise JournalError(
                f"cannot use the state folder {folder}: {error.strerror}", hint="set MLPORT_STATE_DIR to a writable one"
            ) from error

    @contextlib.contextmanager
    def held(self, name: str, holder: str) -> Generator[None]:
        """Hold the lock of a name for the duration of the context.

        Raises:
            ConflictError: Another verb on this machine holds the lock; the error names the holder.
        """
        handle = self._open(self._folder / f"{name if _PLAIN.fullmatch(name) else _hashed(name)}.lock")
        try:
            _lock(handle, name)
            with contextlib.suppress(OSError):  # on a full disk the lock still holds, only its holder's name is missing
                os.ftruncate(handle, 0)
                os.pwrite(handle, holder.encode(), 0)
            yield
        finally:
            os.close(handle)

    def _open(self, path: Path) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return os.open(path, flags, 0o600)
        except OSError as error:
            if error.errno in _NO_FILE:  # a folder or a link in its place: no process can hold a lock on that
                kept.set_aside(path)
            elif error.errno != errno.ENOSPC or not self._relieve():
                raise JournalError(f"cannot lock {path}: {error.strerror}") from error
        try:
            return os.open(path, flags, 0o600)
        except OSError as error:
            raise JournalError(f"cannot lock {path}: {error.strerror}") from error

    def is_free(self, name: str) -> bool:
        """Check whether the lock of a name is free, so that no verb on this machine is changing it."""
        try:
            with self.held(name, ""):
                return True
        except ConflictError:
            return False


def _hashed(name: str) -> str:
    """Return a safe file name for a name read from a label, which may hold any characters."""
    return hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:40]


def _lock(handle: int, name: str) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(handle, 200, 0).decode(errors="replace") or "another process"
        raise ConflictError(
            f"{name} is being changed by {holder}",
            holder=holder,
            resource=name,
            retryable=True,
            hint="wait until it is done",
        ) from None
