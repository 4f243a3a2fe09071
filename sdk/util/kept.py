"""Files that mlport keeps for itself: read only as regular files within a limit, set aside when damaged.

What lies in the place of such a file may be anything after a crash, a full disk or a mistake: a pipe that would be
waited for, a folder, a link to a device, a file of a terabyte. A file that can be made again counts as missing then,
and writing it moves away what is in the way.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from pathlib import Path

ASIDE = ".damaged-"
"""The suffix of a damaged file's new name, before random digits."""
_NOT_PLAIN = {errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENXIO, errno.EISDIR, errno.ENODEV}
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK


def open_regular(path: Path, *, follow: bool = False) -> BinaryIO | None:
    """Open a file for reading that should be a regular file; return ``None`` if it does not exist.

    Args:
        path: Its path.
        follow: Whether a link to a regular file is opened as well.

    Raises:
        ValueError: It is not a regular file that this user can read.
        OSError: It cannot be read at the moment.
    """
    try:
        handle = os.open(path, _READ if follow else _READ | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno in _NOT_PLAIN:
            raise ValueError(error.strerror) from error
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise ValueError("it is not a plain file")
    return os.fdopen(handle, "rb")


def read_regular(path: Path, most: int, *, follow: bool = False) -> bytes | None:
    """Read a file that should be a regular file of at most ``most`` bytes; return ``None`` if it does not exist.

    Raises:
        ValueError: It is not a regular file that this user can read, or it has more bytes.
        OSError: It cannot be read at the moment.
    """
    file = open_regular(path, follow=follow)
    if file is None:
        return None
    with file:
        data = b"" if _is_larger(file, most) else file.read(most + 1)
        if len(data) > most or _is_larger(file, most):
            raise ValueError(f"it has more than {most:,} bytes")
    return data


def _is_larger(file: BinaryIO, most: int) -> bool:
    return os.fstat(file.fileno()).st_size > most


def recall(path: Path, most: int) -> bytes | None:
    """Read a file that can be made again; return ``None`` if it is missing or cannot be used as a file."""
    try:
        return read_regular(path, most)
    except (OSError, ValueError):
        return None


def set_aside(path: Path) -> Path | None:
    """Rename a damaged file and return its new path; ``None`` if another process was faster."""
    aside = path.with_name(f"{path.name}{ASIDE}{secrets.token_hex(4)}")
    try:
        path.rename(aside)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return aside


def replace(fresh: Path, path: Path) -> None:
    """Move a finished file to its place; a folder in that place is set aside."""
    try:
        fresh.replace(path)
    except IsADirectoryError:
        set_aside(path)
        fresh.replace(path)
