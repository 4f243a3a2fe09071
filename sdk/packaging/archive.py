"""Read untrusted archives safely, and write archives that are byte for byte reproducible.

The standard library's ``extractall`` follows links that the archive itself created, even with its "data" filter on
some Python 3.11 releases. Here an archive can only create regular files and folders. Each is opened by name relative to
its parent's descriptor, in a new folder that gets its final name once it is complete.
"""

from __future__ import annotations

import gzip
import os
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Self, cast

from sdk.errors import PackagingError
from sdk.packaging import disk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BLOCK = 1 << 20
_HeaderError, _ReadError = tarfile.HeaderError, tarfile.ReadError
_EndMarker: type[tarfile.HeaderError] = vars(tarfile)["EOFHeaderError"]  # not in the type stubs
_DEEPEST = 64
_LONGEST_NAME = 255
_GZIP = b"\x1f\x8b"
_ZIPS = (b"PK\x03\x04", b"PK\x05\x06")
_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    RuntimeError,
    NotImplementedError,
    ValueError,
)


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """The sizes that an archive may unpack to.

    Args:
        file_bytes: Bytes of one file.
        total_bytes: Bytes of all files.
        entries: Number of files and folders.
        ratio: Unpacked bytes per byte of the archive; an archive may always unpack to at least 1 MiB.
    """

    file_bytes: int = 2 * 2**30
    total_bytes: int = 10 * 2**30
    entries: int = 50_000
    ratio: int = 200


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    size: int
    folder: bool
    source: IO[bytes] | None


class _Gauge:
    """A counter of unpacked bytes and entries that enforces the limits, regardless of what the headers claim."""

    def __init__(self, limits: ArchiveLimits, packed: int) -> None:
        self._limits = limits
        self._most = max(packed * limits.ratio, 1 << 20)
        self._written = 0
        self._streamed = 0
        self._entries = 0

    def entry(self) -> None:
        """Count one more file or folder."""
        self._entries += 1
        if self._entries > self._limits.entries:
            raise _refused(f"it has more than {self._limits.entries:,} entries")

    def written(self, count: int, of_file: int) -> None:
        """Count more bytes of a file, which has ``of_file`` bytes so far."""
        if of_file > self._limits.file_bytes:
            raise _refused(f"a file in it is larger than {self._limits.file_bytes:,} bytes")
        self._written += count
        self._check(self._written)

    def streamed(self, count: int) -> None:
        """Count more bytes from the decompressor, including headers and padding."""
        self._streamed += count
        self._check(self._streamed)

    def _check(self, total: int) -> None:
        if total > self._limits.total_bytes:
            raise _refused(f"it unpacks to more than {self._limits.total_bytes:,} bytes")
        if total > self._most:
            raise _refused(f"it unpacks to more than {self._limits.ratio} times its size")


def extract(archive: Path, target: Path, limits: ArchiveLimits | None = None) -> Path:
    """Unpack a ``.tar``, ``.tar.gz`` or ``.zip`` into the new folder ``target``, completely or not at all.

    Args:
        archive: The archive; its first bytes determine its format.
        target: A folder that does not exist yet; its parent does.
        limits: Limits for sizes, number of entries and ratio.

    Raises:
        PackagingError: The archive has links, devices, paths that lead out of it or names that some file systems
            treat as equal, exceeds a limit or is damaged; or no space is left. Nothing is left behind.
    """
    bounds = limits or ArchiveLimits()
    if target.exists() or target.is_symlink():
        raise PackagingError(f"{target} exists", operation="extract", hint="name a folder that does not")
    with disk.staging(target.parent) as work:
        inside = work / "content"
        inside.mkdir(mode=0o700)
        try:
            with archive.open("rb") as file:
                _unpack(file, inside, _Gauge(bounds, archive.stat().st_size))
        except _DAMAGE as error:
            with disk.writing(target):
                _reraise_disk(error)
            raise _refused(f"it is damaged: {error}") from error
        with disk.writing(target):
            inside.rename(target)
    return target


def _reraise_disk(error: BaseException) -> None:
    """Re-raise an error of the file system, which is not the archive's fault."""
    if isinstance(error, OSError) and error.errno is not None:
        raise error


def _unpack(file: IO[bytes], inside: Path, gauge: _Gauge) -> None:
    head = file.read(4)
    file.seek(0)
    if head in _ZIPS:
        entries = _zip_entries(file)
    elif head[:2] == _GZIP:
        entries = _tar_entries(cast("IO[bytes]", _Counted(cast("IO[bytes]", gzip.GzipFile(fileobj=file)), gauge)))
    else:
        entries = _tar_entries(file)
    _write_all(entries, inside, gauge)


class _Counted:
    """A decompressor that counts its output even where it is skipped: headers can be bombs too."""

    def __init__(self, stream: IO[bytes], gauge: _Gauge) -> None:
        self._stream = stream
        self._gauge = gauge

    def read(self, size: int = -1) -> bytes:
        """Read like a file, in small steps."""
        if size < 0 or size > 2 * _BLOCK:
            raise _refused("a header in it asks for too much memory")
        data = self._stream.read(size)
        self._gauge.streamed(len(data))
        return data


class _Strict(tarfile.TarInfo):
    """A header that must be valid; the standard library treats a damaged one as the end of the archive."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Self:
        """Return the next header."""
        try:
            return super().fromtarfile(tarfile)
        except _EndMarker:
            raise
        except _HeaderError as error:
            raise _ReadError(str(error)) from error


def _tar_entries(file: IO[bytes]) -> Iterator[_Entry]:
    with tarfile.open(fileobj=file, mode="r|", errorlevel=2, tarinfo=_Strict) as archive:
        for member in archive:
            if not (member.isreg() or member.isdir()) or member.issparse():
                raise _refused(f"{member.name!r} is neither a regular file nor a folder")
            source = None if member.isdir() else archive.extractfile(member)
            yield _Entry(member.name, member.size, member.isdir(), source)


def _zip_entries(file: IO[bytes]) -> Iterator[_Entry]:
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            mode = member.external_attr >> 16
            if stat.S_IFMT(mode) not in {0, stat.S_IFREG, stat.S_IFDIR}:
                raise _refused(f"{member.filename!r} is neither a regular file nor a folder")
            if member.is_dir():
                yield _Entry(member.filename, 0, folder=True, source=None)
            else:
                if member.flag_bits & 0x1:
                    raise _refused(f"{member.filename!r} is encrypted")
                with archive.open(member) as source:
                    yield _Entry(member.filename, member.file_size, folder=False, source=source)


def _write_all(entries: Iterator[_Entry], inside: Path, gauge: _Gauge) -> None:
    root = os.open(inside, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    seen: dict[tuple[str, ...], tuple[str, ...]] = {}
    files: set[tuple[str, ...]] = set()
    try:
        for entry in entries:
            parts = _parts(entry.name)
            if not parts and entry.folder:
                continue
            for _ in range(_new_names(parts, seen, files, folder=entry.folder)):
                gauge.entry()
            _write(root, parts, entry, gauge)
    finally:
        os.close(root)


def _parts(name: str) -> tuple[str, ...]:
    """Split a path into names; refuse one that leads out of the archive, is too long or deep, or is not printable."""
    if not name or name.startswith(("/", "\\")) or "\\" in name or "\0" in name or name[1:2] == ":":
        raise _refused(f"{name!r} is no relative path")
    parts = tuple(part for part in name.split("/") if part not in {"", "."})
    if ".." in parts:
        raise _refused(f"{name!r} leads out of the archive")
    if len(parts) > _DEEPEST or any(len(os.fsencode(part)) > _LONGEST_NAME for part in parts):
        raise _refused(f"{name[:60]!r}… is too long or too deep")
    if any(not part.isprintable() for part in parts):
        raise _refused(f"{name!r} has characters that cannot be printed")
    return parts


def _new_names(
    parts: tuple[str, ...],
    seen: dict[tuple[str, ...], tuple[str, ...]],
    files: set[tuple[str, ...]],
    *,
    folder: bool,
) -> int:
    """Return how many names an entry adds; refuse names that are equal where case or Unicode form is ignored."""
    if not parts:
        raise _refused("a file in it has no name")
    before = len(seen)
    for depth in range(1, len(parts) + 1):
        path = parts[:depth]
        folded = tuple(unicodedata.normalize("NFKC", part).casefold().rstrip(". ") for part in path)
        if seen.setdefault(folded, path) != path:
            raise _refused(f"{'/'.join(path)!r} and {'/'.join(seen[folded])!r} are one file on some systems")
        if folded in files:
            raise _refused(f"{'/'.join(path)!r} is in it twice")
        if depth == len(parts) and not folder:
            files.add(folded)
    return len(seen) - before


def _write(root: int, parts: tuple[str, ...], entry: _Entry, gauge: _Gauge) -> None:
    folder = _enter(root, parts if entry.folder else parts[:-1])
    try:
        if not entry.folder:
            _write_file(folder, parts[-1], entry, gauge)
    finally:
        os.close(folder)


def _enter(root: int, parts: tuple[str, ...]) -> int:
    """Return a descriptor of the folder, created step by step; a link on the way makes the system call fail."""
    current = os.dup(root)
    for part in parts:
        try:
            with suppress(FileExistsError):  # the open below refuses anything that is not a folder
                os.mkdir(part, 0o755, dir_fd=current)
            deeper = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=current)
        except NotADirectoryError as error:
            raise _refused(f"{'/'.join(parts)!r} is a file and a folder") from error
        finally:
            os.close(current)
        current = deeper
    return current


def _write_file(folder: int, name: str, entry: _Entry, gauge: _Gauge) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(name, flags, 0o644, dir_fd=folder)
    except FileExistsError as error:
        raise _refused(f"{entry.name!r} is in it twice") from error
    written = 0
    with os.fdopen(descriptor, "wb") as file:
        while entry.source and (block := entry.source.read(_BLOCK)):
            written += len(block)
            gauge.written(len(block), written)
            file.write(block)
    if written != entry.size:
        raise _refused(f"{entry.name!r} has {written} bytes instead of {entry.size}")


def write(folder: Path, target: Path) -> Path:
    """Pack the regular files of a folder as ``.tar.gz``: sorted, without this machine's dates, owners or modes."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    with (
        disk.writing(target),
        target.open("xb") as file,
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=6) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = (folder / name).stat().st_size
            info.mode = 0o644
            with (folder / name).open("rb") as content:
                archive.addfile(info, content)
    return target


def _refused(why: str) -> PackagingError:
    return PackagingError(f"archive refused: {why}", operation="extract", hint="get it again from where it was made")
