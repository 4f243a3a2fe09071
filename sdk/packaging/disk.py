"""Folders that are there completely or not at all, whatever happens while they are written."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import stat
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sdk import scratch
from sdk.errors import PackagingError
from sdk.private import make_folders

if TYPE_CHECKING:
    from collections.abc import Generator

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REFUSED = {errno.EROFS, errno.EACCES, errno.EPERM}
_NOT_PLAIN = {errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENXIO, errno.EISDIR, errno.ENODEV}
_BLOCK = 1 << 20
ASIDE = ".damaged-"
"""What the name of a damaged file gets, before random digits."""


def state_dir() -> Path:
    """The folder for what mlport keeps between runs; made on first use, readable by its owner only.

    ``MLPORT_STATE_DIR``, else ``$XDG_STATE_HOME/mlport``, else ``~/.local/state/mlport``.
    """
    return subfolder(state_path())


def state_path() -> Path:
    """Where :func:`state_dir` is, without making it: a plan writes nothing."""
    chosen = os.environ.get("MLPORT_STATE_DIR")
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(chosen) if chosen else Path(base) / "mlport"


def cache_dir() -> Path:
    """The folder for what can be made again: environments, image layers, packages, resolved locks.

    ``MLPORT_CACHE_DIR``, else the state folder. Several state folders can share one, and a CI job can keep it: each
    entry is named by what it is made of.
    """
    return subfolder(_cache_path())


def _cache_path() -> Path:
    chosen = os.environ.get("MLPORT_CACHE_DIR")
    return Path(chosen) if chosen else state_path()


def subfolder(path: Path) -> Path:
    """``path``, made with mode 0700 if it is not there."""
    try:
        make_folders(path)
    except OSError as error:
        raise _not_writable(path, error) from error
    return path.resolve()


@contextmanager
def writing(path: Path) -> Generator[None]:
    """Turn what the file system refuses into one error that says what to do.

    Raises:
        PackagingError: The disk is full or ``path`` cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise PackagingError(
                f"no space left while writing {path}",
                operation="write",
                resource=str(path),
                hint=f"free some space, or set {_variable(path)} to a folder on a bigger disk",
            ) from error
        if error.errno in _REFUSED:
            raise _not_writable(path, error) from error
        raise


def _not_writable(path: Path, error: OSError) -> PackagingError:
    return PackagingError(
        f"cannot write to {path}: {error.strerror}",
        operation="write",
        resource=str(path),
        hint=f"make it writable, or set {_variable(path)} to a folder that is",
    )


def _variable(path: Path) -> str:
    """The variable that moves ``path`` elsewhere."""
    cache = os.environ.get("MLPORT_CACHE_DIR")
    return "MLPORT_CACHE_DIR" if cache and path.is_relative_to(Path(cache).resolve()) else "MLPORT_STATE_DIR"


@contextmanager
def staging(parent: Path) -> Generator[Path]:
    """A private folder inside ``parent`` to build in; whatever is left in it at the end is removed."""
    with writing(parent), scratch.folder(subfolder(parent)) as folder:
        yield folder


@contextmanager
def staging_outside(parent: Path) -> Generator[Path]:
    """The same inside a folder of the user's, where :func:`sdk.scratch.sweep` does not look by itself."""
    with writing(parent), scratch.beside(parent, subfolder(cache_dir() / scratch.TMP)) as folder:
        yield folder


@contextmanager
def working_folder() -> Generator[Path]:
    """A private folder for files that a command reads or writes, and that become nothing."""
    with staging(cache_dir() / scratch.TMP) as folder:
        yield folder


def roots(*state_dirs: Path) -> list[Path]:
    """The folders below which temporaries lie: these state folders and the ones of the environment; none is made."""
    return list(dict.fromkeys(path.absolute() for path in (*state_dirs, state_path(), _cache_path())))


@contextmanager
def locked(path: Path) -> Generator[None]:
    """Hold the file lock ``path``; the system lets go of it when the process dies."""
    with writing(path):
        subfolder(path.parent)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def write_file(path: Path, data: bytes) -> None:
    """Write a whole file that survives a crash: temporary name, fsync, rename, fsync of the folder."""
    with writing(path):
        with scratch.file(subfolder(path.parent)) as (fresh, stream):
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
            fresh.replace(path)
        sync(path.parent)


def read_small(path: Path, most: int) -> bytes:
    """The content of a file that somebody else may have written.

    Raises:
        ValueError: It has more than ``most`` bytes.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"it has more than {most:,} bytes")
    return data


def read_regular(path: Path, most: int) -> bytes | None:
    """The content of a file that ought to be there and plain; ``None`` when nothing has this name.

    Raises:
        ValueError: It is no plain file that this user can read, or it has more than ``most`` bytes.
        OSError: It cannot be read for now.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno in _NOT_PLAIN:
            raise ValueError(f"it cannot be read as a file: {error.strerror}") from error
        raise
    try:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode):
            raise ValueError("it is no plain file")
        if facts.st_size > most:
            raise ValueError(f"it has more than {most:,} bytes")
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(handle)


def set_aside(path: Path) -> Path | None:
    """Rename what is damaged and return its new place; ``None`` if another process was faster."""
    aside = path.with_name(f"{path.name}{ASIDE}{secrets.token_hex(4)}")
    try:
        path.rename(aside)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return aside


def sync_tree(folder: Path) -> None:
    """Bring every file and folder below ``folder`` to the disk, so that a rename of it is safe."""
    for root, _, files in os.walk(folder):
        for name in files:
            sync(Path(root) / name)
        sync(Path(root))


def close_tree(folder: Path) -> None:
    """Close a folder and all below it to other users, whatever the umask."""
    for root, _, _ in os.walk(folder):
        Path(root).chmod(0o700)


def sync(path: Path) -> None:
    """Bring one file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_file(path: Path) -> str:
    """SHA-256 of a file, as hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
