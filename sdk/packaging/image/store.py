"""Blobs by digest, and layers and small records by the key of what they were made from, kept between builds."""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, BinaryIO

from sdk import scratch
from sdk.packaging import disk

from .layers import Entry, Layer, pack

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from pathlib import Path

BUILDER = "3"  # part of every key: raise it when the same inputs give other bytes
_STALE_S = 86_400.0


class Store:
    """A content-addressed folder; two processes may use it at once, and a lost blob is made again.

    Args:
        folder: Where it lives.
        level: Compression level of new layers; 1 is fast and enough for a local engine.

    Example:
        >>> import tempfile
        >>> store = Store(Path(tempfile.mkdtemp()))
        >>> store.read(store.put(b"bytes"))
        b'bytes'
    """

    def __init__(self, folder: Path, *, level: int = 1) -> None:
        self.folder = disk.subfolder(folder)
        self._blobs = disk.subfolder(folder / "blobs")
        self._keys = disk.subfolder(folder / "keys")
        self._level = level
        scratch.sweep_folder(self._blobs)

    def path(self, digest: str) -> Path:
        """Where the blob of this digest is, or would be."""
        return self._blobs / digest.replace(":", "-")

    # --- layers -------------------------------------------------------------------------------------------------

    def layer(self, key: str, entries: Callable[[], Iterable[Entry]], *, created_by: str) -> Layer:
        """The layer of this key, packed from its sorted entries unless it is there already."""
        return self.find(key) or self.pack(key, entries(), created_by=created_by)

    def find(self, key: str) -> Layer | None:
        """The layer of this key, if its blob is still there."""
        data = self.recall(f"{self._level}/{key}")
        if data is None:
            return None
        try:
            layer = Layer(**json.loads(data))
        except (ValueError, TypeError):
            return None
        return layer if self.size(layer.digest) == layer.size else None

    def pack(self, key: str, entries: Iterable[Entry], *, created_by: str) -> Layer:
        """Pack a layer and keep it under its key."""
        with self.incoming() as (file, commit):
            packed = pack(entries, file, level=self._level)
            layer = Layer(packed.diff_id, packed.digest, packed.size, created_by=created_by)
            commit(layer.digest)
        self.remember(f"{self._level}/{key}", json.dumps(asdict(layer)).encode())
        return layer

    # --- blobs --------------------------------------------------------------------------------------------------

    def put(self, data: bytes) -> str:
        """Keep a small blob; its digest."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if self.read(digest) is None:
            disk.write_file(self.path(digest), data)
        return digest

    def read(self, digest: str) -> bytes | None:
        """A small blob, or ``None`` when it is not there or its bytes are wrong."""
        try:
            data = self.path(digest).read_bytes()
        except OSError:
            return None
        return data if f"sha256:{hashlib.sha256(data).hexdigest()}" == digest else None

    def verified(self, digest: str) -> bool:
        """Whether the blob is there and its bytes are right; wrong ones are removed."""
        path = self.path(digest)
        if not path.is_file():
            return False
        right = f"sha256:{disk.sha256_file(path)}" == digest
        if not right:
            path.unlink(missing_ok=True)
        return right

    @contextmanager
    def incoming(self) -> Generator[tuple[BinaryIO, Callable[[str], None]]]:
        """A file to write a blob to, and the call that names it; without that call nothing stays."""
        with disk.writing(self._blobs), scratch.file(self._blobs) as (fresh, file):

            def commit(digest: str) -> None:
                file.flush()
                os.fsync(file.fileno())
                fresh.replace(self.path(digest))

            yield file, commit

    def size(self, digest: str) -> int:
        """Bytes of a blob, -1 when it is not there."""
        try:
            return self.path(digest).stat().st_size
        except OSError:
            return -1

    # --- records ------------------------------------------------------------------------------------------------

    def recall(self, key: str, *, max_age_s: float | None = None) -> bytes | None:
        """What was remembered under this key, unless that was too long ago."""
        path = self._record(key)
        try:
            if max_age_s is not None and time.time() - path.stat().st_mtime > max_age_s:
                return None
            return path.read_bytes()
        except OSError:
            return None

    def remember(self, key: str, data: bytes) -> None:
        """Keep a small record, which may be forgotten at any time."""
        disk.write_file(self._record(key), data)

    def _record(self, key: str) -> Path:
        return self._keys / hashlib.sha256(f"{BUILDER}/{key}".encode()).hexdigest()
