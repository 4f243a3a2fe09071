"""Write files and folders atomically, so that a crash leaves them complete or absent."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sdk.errors import PackagingError
from sdk.util import kept, scratch
from sdk.util.private import clear_way, make_folders

if TYPE_CHECKING:
    from collections.abc import Generator

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REFUSED = {errno.EROFS, errno.EACCES, errno.EPERM}
_BLOCK = 1 << 20
_LOCK = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


def state_dir() -> Path:
    """Return the folder of data that mlport keeps between runs, created on first use and readable only by its owner.

    ``MLPORT_STATE_DIR``, else ``$XDG_STATE_HOME/mlport``, else ``~/.local/state/mlport``.
    """
    return subfolder(state_path())


def state_path() -> Path:
    """Return the path of :func:`state_dir` without creating it: a plan writes nothing."""
    chosen = os.environ.get("MLPORT_STATE_DIR")
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(chosen) if chosen else Path(base) / "mlport"


def cache_dir() -> Path:
    """Return the folder of data that can be recreated: environments, image layers, packages, resolved locks.

    ``MLPORT_CACHE_DIR``, else the state folder. Several state folders can share one cache, and a CI job can keep it:
    each entry is named after the inputs that it is made of.
    """
    return subfolder(_cache_path())


def _cache_path() -> Path:
    chosen = os.environ.get("MLPORT_CACHE_DIR")
    return Path(chosen) if chosen else state_path()


def subfolder(path: Path) -> Path:
    """Return ``path`` resolved, after creating it with mode 0700 if it is missing."""
    for root in (state_path(), _cache_path()):
        if root.is_dir():  # what the user named is never touched
            clear_way(path, root)
    try:
        make_folders(path)
    except OSError as error:
        raise _not_writable(path, error) from error
    return path.resolve()


@contextmanager
def writing(path: Path) -> Generator[None]:
    """Turn refusals of the file system into one error with advice.

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
    """Return the environment variable that moves ``path`` elsewhere."""
    cache = os.environ.get("MLPORT_CACHE_DIR")
    return "MLPORT_CACHE_DIR" if cache and path.is_relative_to(Path(cache).resolve()) else "MLPORT_STATE_DIR"


@contextmanager
def staging(parent: Path) -> Generator[Path]:
    """Create a private folder inside ``parent`` to build in; anything left in it at the end is removed."""
    with writing(parent), scratch.folder(subfolder(parent)) as folder:
        yield folder


@contextmanager
def staging_outside(parent: Path) -> Generator[Path]:
    """Create a private folder inside a user's folder, where :func:`sdk.util.scratch.sweep` does not search."""
    with writing(parent), scratch.beside(parent, subfolder(cache_dir() / scratch.TMP)) as folder:
        yield folder


@contextmanager
def working_folder() -> Generator[Path]:
    """Create a private folder for temporary files that a command reads or writes."""
    with staging(cache_dir() / scratch.TMP) as folder:
        yield folder


def roots(*state_dirs: Path) -> list[Path]:
    """Return the folders that hold temporaries: these state folders and those of the environment; none is created."""
    return list(dict.fromkeys(path.absolute() for path in (*state_dirs, state_path(), _cache_path())))


@contextmanager
def locked(path: Path) -> Generator[None]:
    """Hold the file lock ``path``; the system releases it when the process dies."""
    with writing(path):
        subfolder(path.parent)
        descriptor = _lock_file(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _lock_file(path: Path) -> int:
    try:
        return os.open(path, _LOCK, 0o600)
    except OSError as error:
        if error.errno not in {errno.EISDIR, errno.ELOOP, errno.ENXIO}:
            raise
        kept.set_aside(path)  # a folder or a link in its place: no process can hold a lock on that
        return os.open(path, _LOCK, 0o600)


def write_file(path: Path, data: bytes) -> None:
    """Write a whole file so that it survives a crash: temporary name, fsync, rename, fsync of the folder."""
    with writing(path):
        with scratch.file(subfolder(path.parent)) as (fresh, stream):
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
            kept.replace(fresh, path)
        sync(path.parent)


def read_small(path: Path, most: int) -> bytes:
    """Read a small file that another program may have written.

    Raises:
        ValueError: It is not a regular file, or has more than ``most`` bytes.
        OSError: It cannot be read.
    """
    data = kept.read_regular(path, most, follow=True)
    if data is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    return data


def sync_tree(folder: Path) -> None:
    """Flush every file and folder below ``folder`` to the disk, so that renaming it is safe."""
    for root, _, files in os.walk(folder):
        for name in files:
            sync(Path(root) / name)
        sync(Path(root))


def close_tree(folder: Path) -> None:
    """Make a folder and all folders below it inaccessible to other users, whatever the umask."""
    for root, _, _ in os.walk(folder):
        Path(root).chmod(0o700)


def sync(path: Path) -> None:
    """Flush one file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file, as hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
