"""Folders that are there completely or not at all, whatever happens while they are written."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import stat
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sdk.errors import PackagingError

if TYPE_CHECKING:
    from collections.abc import Generator

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REFUSED = {errno.EROFS, errno.EACCES, errno.EPERM}
_NOT_PLAIN = {errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENXIO, errno.EISDIR, errno.ENODEV}
_BLOCK = 1 << 20
_STALE_S = 86_400.0


def state_dir() -> Path:
    """The folder for what mlport keeps between runs; made on first use, readable by its owner only.

    ``MLPORT_STATE_DIR``, else ``$XDG_STATE_HOME/mlport``, else ``~/.local/state/mlport``.
    """
    chosen = os.environ.get("MLPORT_STATE_DIR")
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return subfolder(Path(chosen) if chosen else Path(base) / "mlport")


def cache_dir() -> Path:
    """The folder for what can be made again: environments, image layers, packages, resolved locks.

    ``MLPORT_CACHE_DIR``, else the state folder. Several state folders can share one, and a CI job can keep it: each
    entry is named by what it is made of.
    """
    chosen = os.environ.get("MLPORT_CACHE_DIR")
    return subfolder(Path(chosen)) if chosen else state_dir()


def make_private(folder: Path) -> str:
    """Close a folder of ours to everybody else; say why it cannot be used if that is not enough.

    It holds tokens and secrets. Who owns it, or may rename it from a folder above, could put another in its place.
    """
    facts = folder.stat()
    if facts.st_uid != os.geteuid():
        return "belongs to another user"
    if facts.st_mode & 0o077:
        folder.chmod(0o700)
    for parent in folder.resolve().parents:
        mode = parent.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            return f"lies in {parent}, where every user may put another folder in its place: run chmod o-w {parent}"
    return ""


def subfolder(path: Path) -> Path:
    """``path``, made with mode 0700 if it is not there."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
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
    subfolder(parent)
    with writing(parent):
        folder = Path(tempfile.mkdtemp(prefix=".new-", dir=parent))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def sweep(parent: Path) -> None:
    """Remove what processes that were killed left half-made in ``parent`` more than a day ago."""
    for path in parent.glob(".new-*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _STALE_S:
                shutil.rmtree(path, ignore_errors=True)


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
        handle, temporary = tempfile.mkstemp(prefix=".new-", dir=subfolder(path.parent))
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
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


def set_aside(path: Path) -> Path:
    """Rename what stands in the way; it is no error if it is gone."""
    aside = path.with_name(f"{path.name}.damaged-{secrets.token_hex(4)}")
    with suppress(FileNotFoundError):
        path.rename(aside)
    return aside


def remove(path: Path) -> None:
    """Remove a file, link or folder, whatever it is; it is no error if it is not there."""
    with suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def sync_tree(folder: Path) -> None:
    """Bring every file and folder below ``folder`` to the disk, so that a rename of it is safe."""
    for root, _, files in os.walk(folder):
        for name in files:
            sync(Path(root) / name)
        sync(Path(root))


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
