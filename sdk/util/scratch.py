"""Temporary files and folders: creates them, and removes those that killed processes left behind.

The process that makes a temporary holds a lock on it. The system releases the lock when that process ends, for any
reason. So a temporary whose lock is free is garbage, however young, and one whose lock is held is never touched,
however old.

A temporary lies beside its final path, because only then the last step is a rename. A temporary without a final path
lies in ``tmp`` of the cache folder. A temporary in a folder of the user's is recorded by a note in ``tmp``.

Two kinds of folders are not made under another name. An environment cannot be renamed, so it is made in its place, by
the process that holds the lock beside it, and gets its mark last: without the mark it is unfinished. A folder that is
to be removed gets another name first, so that it is gone in one step.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

PREFIX = ".new-"
GONE = ".gone-"
TMP = "tmp"
COMPLETE = "mlport-env.json"
"""The mark of a complete environment: a file in its folder."""
_TEMPORARY = (PREFIX, GONE)
_NOTE = f"{PREFIX}at-"
_OUTSIDE = ".mlport-"
_LONGEST_NOTE = 8192
# Folders with temporaries, below the state folder and the cache folder.
_PLACES = (
    *("", TMP, "models", "programs", "identities", "passing", "prices", "prepared"),
    *("built", "debs", "images/blobs", "images/keys", "locks", "runtime"),
)
_NESTED = ("endpoints", "jobs", "mocks", "envs")  # in these folders, and in the folders below
_BELOW = ("", "records")
_IN_PLACE = "envs"
_ENVIRONMENT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Abandoned:
    """A temporary that its process did not remove before it ended.

    Args:
        path: Its path.
        size: The bytes on disk of it and its content.
    """

    path: Path
    size: int

    @property
    def reason(self) -> str:
        """Why it is there."""
        did = "removed" if self.path.name.startswith(GONE) else "wrote"
        return f"the process that {did} it was killed ({self.size:,} bytes)"


@contextmanager
def folder(parent: Path, prefix: str = PREFIX) -> Generator[Path]:
    """Make a folder with mode 0700 in ``parent``; at the end remove what is left of it."""
    path, lock = _locked(parent, prefix, _make_folder)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


@contextmanager
def file(parent: Path) -> Generator[tuple[Path, BinaryIO]]:
    """Make a file with mode 0600 in ``parent``, open for writing; at the end remove it if it was not renamed."""
    path, handle = _locked(parent, PREFIX, _make_file)
    stream = os.fdopen(handle, "wb")
    try:
        yield path, stream
    finally:
        path.unlink(missing_ok=True)
        stream.close()


@contextmanager
def beside(parent: Path, notes: Path) -> Generator[Path]:
    """Make a folder in a folder of the user's; a note in the folder ``notes`` lets a later process find it.

    If the disk of ``notes`` is full, the note stays empty: work on another disk must not depend on it.
    """
    path = parent / f"{_OUTSIDE}{secrets.token_hex(8)}"
    note, lock = _locked(notes, _NOTE, _make_file)
    try:
        with suppress(OSError):
            os.write(lock, os.fsencode(path))
        path.mkdir(mode=0o700)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        note.unlink(missing_ok=True)
        os.close(lock)


def short_folder() -> Path:
    """Return the private folder for things that need a short path: sockets, and links to folders with sockets.

    Raises:
        PermissionError: Something else has this path, or other users may enter it.
    """
    folder = short_path()
    folder.mkdir(mode=0o700, exist_ok=True)
    if not _is_private(folder):
        raise PermissionError(errno.EPERM, "is not a private folder of this user", str(folder))
    return folder


def short_path() -> Path:
    """Return the path of :func:`short_folder`, without creating it."""
    return Path("/tmp") / f"mlport-{os.getuid()}"  # noqa: S108  # always checked; TMPDIR is too long on macOS


def _is_private(folder: Path) -> bool:
    try:
        facts = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.getuid() and stat.S_IMODE(facts.st_mode) == 0o700


def sweep(roots: Iterable[Path]) -> list[Abandoned]:
    """Remove what ended processes left below these state and cache folders; return what was removed."""
    return [found for path in _everywhere(roots) if (found := _judged(path, remove=True)) is not None]


def abandoned(roots: Iterable[Path]) -> list[Abandoned]:
    """Find what :func:`sweep` would remove."""
    return [found for path in _everywhere(roots) if (found := _judged(path, remove=False)) is not None]


def sweep_folder(parent: Path) -> None:
    """Remove what ended processes left in one folder."""
    for path in _listed(parent, _TEMPORARY):
        _judged(path, remove=True)


def bury(folder: Path) -> None:
    """Remove a folder in one step, then delete its content; do nothing if it does not exist."""
    grave = folder.with_name(f"{GONE}{folder.name}-{secrets.token_hex(4)}")
    with suppress(FileNotFoundError), _opened(folder.parent) as parent, _opened(folder) as lock:
        with suppress(OSError):  # another process holds it; its content is deleted all the same
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        folder.rename(grave)
        os.fsync(parent)
        discard(grave)


@contextmanager
def _opened(folder: Path) -> Generator[int]:
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)


def _everywhere(roots: Iterable[Path]) -> Iterator[Path]:
    for root in dict.fromkeys(roots):
        yield from (path for place in (*_PLACES, *_NESTED) for path in _listed(root / place, _TEMPORARY))
        yield from filter(_is_unfinished, _listed(root / _IN_PLACE, ("",)))
        for nest in _NESTED:
            for one in _listed(root / nest, ("",)):
                yield from (path for below in _BELOW for path in _listed(one / below, _TEMPORARY))
    if _is_private(short_path()):
        yield from _listed(short_path(), _TEMPORARY)


def _is_unfinished(path: Path) -> bool:
    """Check whether this is an environment without its mark, made or not made at the moment."""
    return bool(_ENVIRONMENT.fullmatch(path.name)) and path.is_dir() and not os.path.lexists(path / COMPLETE)


def _lock_of(path: Path) -> Path:
    """Return the file or folder that the process holds which makes a temporary."""
    beside = path.with_name(f"{path.name}.lock")
    return beside if _ENVIRONMENT.fullmatch(path.name) and beside.is_file() else path


def _listed(parent: Path, prefixes: tuple[str, ...]) -> list[Path]:
    """Return the entries of a folder with such names, sorted; empty if the folder does not exist."""
    try:
        with os.scandir(parent) as entries:
            return sorted(parent / entry.name for entry in entries if entry.name.startswith(prefixes))
    except OSError:
        return []


def _judged(path: Path, *, remove: bool) -> Abandoned | None:
    """Return the temporary if no process holds it; never raise, because the calling verb must not fail for this."""
    try:
        handle = os.open(_lock_of(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not path.name.startswith(_TEMPORARY) and not _is_unfinished(path):
            return None  # finished since it was listed
        outside = _noted(path, handle)
        targets = [path] if outside is None else [outside, path]
        found = Abandoned(path if outside is None else outside, sum(map(_size, targets)))
        for target in targets if remove else ():
            discard(target)
    except OSError:
        return None
    else:
        return None if remove and path.exists() else found
    finally:
        os.close(handle)


def _noted(note: Path, handle: int) -> Path | None:
    """Return the folder that a note names, only if mlport made it and it belongs to this user."""
    if not note.name.startswith(_NOTE):
        return None
    path = Path(os.fsdecode(os.read(handle, _LONGEST_NOTE)))
    try:
        ours = path.is_absolute() and path.name.startswith(_OUTSIDE) and path.lstat().st_uid == os.geteuid()
    except (OSError, ValueError):
        return None
    return path if ours else None


def discard(path: Path) -> None:
    """Remove a file, link or folder; do nothing if it does not exist."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _size(path: Path) -> int:
    if not path.is_dir() or path.is_symlink():
        return path.lstat().st_blocks * 512
    total = 0
    for root, _, names in os.walk(path):
        for name in names:
            with suppress(OSError):
                total += os.lstat(Path(root, name)).st_blocks * 512
    return total


def _locked(parent: Path, prefix: str, make: Callable[[Path], int]) -> tuple[Path, int]:
    """Make a new entry in ``parent`` and lock it; make another one if a sweep was faster. Return path and handle."""
    while True:
        path = parent / f"{prefix}{secrets.token_hex(8)}"
        try:
            handle = make(path)
        except FileNotFoundError:
            if parent.is_dir():
                continue
            raise
        with suppress(OSError):  # on a file system without locks, a sweep cannot lock and so removes nothing either
            fcntl.flock(handle, fcntl.LOCK_EX)
        if _is_at(path, handle):
            return path, handle
        os.close(handle)


def _is_at(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def _make_folder(path: Path) -> int:
    path.mkdir(mode=0o700)
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _make_file(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
