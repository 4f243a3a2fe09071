"""Pack deterministic layers: a tree of files becomes the same tar bytes wherever and whenever it is packed.

Entries are sorted, owned by 0:0, dated 0 and have mode 0644 or 0755, so that only names and contents determine the
``diff_id`` (SHA-256 of the tar, hex with ``sha256:``). The compressed blob is a cache of the tar: its digest also
depends on the compressor and is recorded next to it.
"""

from __future__ import annotations

import hashlib
import io
import os
import struct
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_BLOCK = 1 << 20
_GZIP_HEADER = struct.pack("<BBBBLBB", 0x1F, 0x8B, 8, 0, 0, 0, 255)  # no name, no time, unknown system

LAYER_TYPE = "application/vnd.docker.image.rootfs.diff.tar.gzip"


@dataclass(frozen=True, slots=True)
class Entry:
    """One path of a layer: a file with ``content`` (bytes or a file on disk), a link with ``target``, or a folder."""

    path: str
    content: bytes | Path | None = None
    target: str | None = None
    executable: bool = False
    mode: int | None = None

    def info(self) -> tarfile.TarInfo:
        """Return the tar header of the entry."""
        header = tarfile.TarInfo(self.path)
        header.mtime = 0
        if self.target is not None:
            header.type, header.linkname, header.mode = tarfile.SYMTYPE, self.target, 0o777
        elif self.content is None:
            header.type, header.mode = tarfile.DIRTYPE, self.mode or 0o755
        else:
            header.mode = self.mode or (0o755 if self.executable else 0o644)
            header.size = len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size
        return header


@dataclass(frozen=True, slots=True)
class ImageLayer:
    """One layer: ``diff_id`` names its contents, ``digest`` and ``size`` its compressed blob."""

    diff_id: str
    digest: str
    size: int
    media_type: str = LAYER_TYPE
    created_by: str = ""


def tree(folder: Path, prefix: str, *, skip: frozenset[str] = frozenset({"__pycache__"})) -> Iterator[Entry]:
    """Iterate over the entries of a folder on disk, placed under ``prefix`` in the image, without names in ``skip``."""
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in skip)
        inside = PurePosixPath(prefix) / PurePosixPath(*Path(root).relative_to(folder).parts)
        for name in [*folders, *sorted(files)]:
            path = Path(root) / name
            where = str(inside / name).lstrip("/")
            if path.is_symlink():
                yield Entry(where, target=str(path.readlink()))
            elif path.is_file() and name not in skip:
                yield Entry(where, path, executable=os.access(path, os.X_OK))


def with_parents(entries: Iterable[Entry], *, known: frozenset[str] = frozenset()) -> list[Entry]:
    """Return the entries sorted by path, and each parent folder once, unless a layer below has it (``known``)."""
    found = {entry.path: entry for entry in entries}
    for path in list(found):
        for parent in PurePosixPath(path).parents:
            name = str(parent)
            if name != "." and name not in known:
                found.setdefault(name, Entry(name))
    return [found[path] for path in sorted(found)]


def write_tar(entries: Iterable[Entry], out: BinaryIO) -> None:
    """Write sorted entries as a PAX tar."""
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_BLOCK) as archive:
        for entry in entries:
            header = entry.info()
            if isinstance(entry.content, Path):
                with entry.content.open("rb") as file:
                    archive.addfile(header, file)
            else:
                archive.addfile(header, io.BytesIO(entry.content) if entry.content is not None else None)


class Compressor(io.RawIOBase):
    """A gzip stream without name or time that computes the digests of its input and its output."""

    def __init__(self, out: BinaryIO, level: int) -> None:
        super().__init__()
        self._out = out
        self._deflate = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
        self._plain, self._packed = hashlib.sha256(), hashlib.sha256()
        self._crc = self._length = self.size = 0
        self._emit(_GZIP_HEADER)

    def writable(self) -> bool:
        """Return true: the stream can only be written."""
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]  # tarfile writes bytes only
        """Compress more data."""
        self._plain.update(data)
        self._crc = zlib.crc32(data, self._crc)
        self._length += len(data)
        self._emit(self._deflate.compress(data))
        return len(data)

    def finish(self) -> ImageLayer:
        """End the stream, and return the layer that it wrote."""
        self._emit(self._deflate.flush())
        self._emit(struct.pack("<LL", self._crc, self._length & 0xFFFFFFFF))
        return ImageLayer(f"sha256:{self._plain.hexdigest()}", f"sha256:{self._packed.hexdigest()}", self.size)

    def _emit(self, data: bytes) -> None:
        self._packed.update(data)
        self.size += len(data)
        self._out.write(data)


def pack(entries: Iterable[Entry], out: BinaryIO, *, level: int = 1) -> ImageLayer:
    """Write sorted entries as a compressed layer.

    Example:
        >>> one = pack(with_parents([Entry("opt/a", b"1")]), io.BytesIO())
        >>> one == pack(with_parents([Entry("opt/a", b"1")]), io.BytesIO())
        True
    """
    stream = Compressor(out, level)
    write_tar(entries, stream)  # type: ignore[arg-type]  # a raw writer is all that a streamed tar needs
    return stream.finish()


def content_key(entries: Iterable[Entry]) -> str:
    """Return the SHA-256 (hex) of names, modes and contents: the cache key of a layer."""
    digest = hashlib.sha256()
    for entry in entries:
        header = entry.info()
        kind = f"{entry.path}\0{header.mode:o}\0{entry.target or ''}\0{header.size}\0"
        digest.update(kind.encode())
        digest.update(_content_hash(entry.content))
    return digest.hexdigest()


def _content_hash(content: bytes | Path | None) -> bytes:
    if content is None:
        return b""
    if isinstance(content, bytes):
        return hashlib.sha256(content).digest()
    with content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def opaque(folder: str) -> Entry:
    """Return the marker that hides the content of the layers below in a folder."""
    return Entry(f"{folder}/.wh..wh..opq", b"")
