"""The local lock: one verb at a time per endpoint on this machine, freed by the kernel when its holder dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

from ..errors import ConflictError, JournalError

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path


class Locks:
    """Advisory file locks in one folder; the content of a lock file says who holds it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise JournalError(
                f"cannot use the state folder {folder}: {error.strerror}", hint="set MLPORT_STATE_DIR to a writable one"
            ) from error

    @contextlib.contextmanager
    def held(self, name: str, holder: str) -> Generator[None]:
        """Holds the lock of a name.

        Raises:
            ConflictError: Another verb on this machine is changing it; names the holder.
        """
        path = self._folder / f"{name}.lock"
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise JournalError(f"cannot lock {path}: {error.strerror}") from error
        try:
            _lock(handle, name)
            with contextlib.suppress(OSError):  # on a full disk the lock still holds, only without a name on it
                os.ftruncate(handle, 0)
                os.pwrite(handle, holder.encode(), 0)
            yield
        finally:
            os.close(handle)

    def is_free(self, name: str) -> bool:
        """Whether nobody on this machine is changing it now."""
        try:
            with self.held(name, ""):
                return True
        except ConflictError:
            return False


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
