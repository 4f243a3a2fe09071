"""The few file operations that the journal needs, in one place so that tests can lose power between any two."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Protocol

from ..private import make_folders

if TYPE_CHECKING:
    from pathlib import Path

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


class Disk(Protocol):
    """Files that are durable once synced; every method may raise ``OSError``."""

    def folder(self, path: Path) -> None:
        """Makes a folder, private to this user, if it is missing."""
        ...

    def create(self, path: Path) -> int:
        """Opens a new file for appending; fails if it exists."""
        ...

    def open(self, path: Path) -> int:
        """Opens a file that exists for appending."""
        ...

    def write(self, handle: int, data: bytes) -> int:
        """Appends and says how many bytes it took, which may be fewer."""
        ...

    def size(self, handle: int) -> int:
        """Bytes in the file."""
        ...

    def truncate(self, handle: int, size: int) -> None:
        """Cuts the file."""
        ...

    def sync(self, handle: int) -> None:
        """Makes the content durable."""
        ...

    def close(self, handle: int) -> None:
        """Closes."""
        ...

    def sync_folder(self, path: Path) -> None:
        """Makes the names in a folder durable."""
        ...

    def rename(self, old: Path, new: Path) -> None:
        """Moves a file."""
        ...

    def remove(self, path: Path) -> None:
        """Deletes a file."""
        ...

    def read(self, path: Path) -> bytes:
        """The content of a file."""
        ...

    def names(self, folder: Path) -> list[str]:
        """The names in a folder, sorted; none when it does not exist."""
        ...


class RealDisk:
    """The disk of this machine."""

    def folder(self, path: Path) -> None:
        """Makes a folder with mode 0700, if it is missing."""
        make_folders(path)

    def create(self, path: Path) -> int:
        """Opens a new file with mode 0600."""
        return os.open(path, _NEW, 0o600)

    def open(self, path: Path) -> int:
        """Opens a file that exists; links are refused."""
        return os.open(path, _OLD)

    def write(self, handle: int, data: bytes) -> int:
        """Appends."""
        return os.write(handle, data)

    def size(self, handle: int) -> int:
        """Bytes in the file."""
        return os.fstat(handle).st_size

    def truncate(self, handle: int, size: int) -> None:
        """Cuts the file."""
        os.ftruncate(handle, size)

    def sync(self, handle: int) -> None:
        """Returns when the content is on the medium."""
        if sys.platform == "darwin":
            import fcntl

            with contextlib.suppress(OSError):  # not every file system knows it
                fcntl.fcntl(handle, fcntl.F_FULLFSYNC)
                return
        if hasattr(os, "fdatasync"):
            os.fdatasync(handle)
        else:
            os.fsync(handle)

    def close(self, handle: int) -> None:
        """Closes."""
        os.close(handle)

    def sync_folder(self, path: Path) -> None:
        """Returns when the names in a folder are on the medium."""
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def rename(self, old: Path, new: Path) -> None:
        """Moves a file within the file system."""
        old.rename(new)

    def remove(self, path: Path) -> None:
        """Deletes a file."""
        path.unlink()

    def read(self, path: Path) -> bytes:
        """The content of a file."""
        return path.read_bytes()

    def names(self, folder: Path) -> list[str]:
        """The names in a folder, sorted; none when it does not exist."""
        try:
            return sorted(os.listdir(folder))  # noqa: PTH208  # names only, no Path objects
        except FileNotFoundError:
            return []
