"""The few file operations of the journal, in one place so that tests can simulate power loss between any two."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from typing import TYPE_CHECKING, Protocol

from ..util import kept
from ..util.private import make_folders

if TYPE_CHECKING:
    from pathlib import Path

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
_LARGEST = 64 << 20  # bytes of a journal


class Disk(Protocol):
    """Files that are durable once synced; every method may raise ``OSError``."""

    def folder(self, path: Path) -> None:
        """Make a folder, private to this user, if it is missing."""
        ...

    def create(self, path: Path) -> int:
        """Open a new file for appending; fail if it exists."""
        ...

    def open(self, path: Path) -> int:
        """Open an existing file for appending."""
        ...

    def write(self, handle: int, data: bytes) -> int:
        """Append data and return how many bytes were written, which may be fewer than given."""
        ...

    def size(self, handle: int) -> int:
        """Return the size of the file in bytes."""
        ...

    def truncate(self, handle: int, size: int) -> None:
        """Cut the file to this size."""
        ...

    def sync(self, handle: int) -> None:
        """Make the content of the file durable."""
        ...

    def close(self, handle: int) -> None:
        """Close the file."""
        ...

    def sync_folder(self, path: Path) -> None:
        """Make the names in a folder durable."""
        ...

    def rename(self, old: Path, new: Path) -> None:
        """Move a file."""
        ...

    def remove(self, path: Path) -> None:
        """Delete a file."""
        ...

    def read(self, path: Path) -> bytes:
        """Return the content of a file; raise ``ValueError`` if it is not a file, or larger than any journal."""
        ...

    def names(self, folder: Path) -> list[str]:
        """Return the sorted names in a folder; an empty list if it does not exist."""
        ...


class RealDisk:
    """The disk of this machine."""

    def folder(self, path: Path) -> None:
        """Make a folder with mode 0700, if it is missing."""
        make_folders(path)

    def create(self, path: Path) -> int:
        """Open a new file with mode 0600."""
        return os.open(path, _NEW, 0o600)

    def open(self, path: Path) -> int:
        """Open an existing file; refuse links."""
        return os.open(path, _OLD)

    def write(self, handle: int, data: bytes) -> int:
        """Append data and return how many bytes were written."""
        return os.write(handle, data)

    def size(self, handle: int) -> int:
        """Return the size of the file in bytes."""
        return os.fstat(handle).st_size

    def truncate(self, handle: int, size: int) -> None:
        """Cut the file to this size."""
        os.ftruncate(handle, size)

    def sync(self, handle: int) -> None:
        """Return once the content is on the medium."""
        if sys.platform == "darwin":
            import fcntl

            with contextlib.suppress(OSError):  # not every file system supports it
                fcntl.fcntl(handle, fcntl.F_FULLFSYNC)
                return
        if hasattr(os, "fdatasync"):
            os.fdatasync(handle)
        else:
            os.fsync(handle)

    def close(self, handle: int) -> None:
        """Close the file."""
        os.close(handle)

    def sync_folder(self, path: Path) -> None:
        """Return once the names in a folder are on the medium."""
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def rename(self, old: Path, new: Path) -> None:
        """Move a file within the file system."""
        old.rename(new)

    def remove(self, path: Path) -> None:
        """Delete a file."""
        path.unlink()

    def read(self, path: Path) -> bytes:
        """Return the content of a file."""
        data = kept.read_regular(path, _LARGEST)
        if data is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return data

    def names(self, folder: Path) -> list[str]:
        """Return the sorted names in a folder; an empty list if it does not exist."""
        try:
            return sorted(os.listdir(folder))  # noqa: PTH208  # names only, no Path objects
        except FileNotFoundError:
            return []
