"""Store blobs by digest, and layers and small records by the key of their inputs, and keep them between builds."""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from sdk.packaging import disk
from sdk.util import kept, scratch

from .layers import Entry, ImageLayer, pack

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from pathlib import Path

BUILDER = "3"  # part of every key: increase it when the same inputs give other bytes
_LARGEST = 64 << 20  # bytes of a small blob or a record
_STALE_S = 86_400.0


class BlobStore:
    """A content-addressed folder; several processes may use it at once, and a lost blob is created again.

    Args:
        folder: The location of the store.
        level: Compression level of new layers; 1 is fast and enough for a local engine.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> store = BlobStore(Path(tempfile.mkdtemp()))
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
        """Return the path of the blob with this digest, whether or not it exists."""
        return self._blobs / digest.replace(":", "-")

    # --- layers -------------------------------------------------------------------------------------------------

    def layer(self, key: str, entries: Callable[[], Iterable[Entry]], *, created_by: str) -> ImageLayer:
        """Return the layer of this key; pack it from its sorted entries if it is missing."""
        return self.find(key) or self.pack(key, entries(), created_by=created_by)

    def find(self, key: str) -> ImageLayer | None:
        """Return the layer of this key, if its blob still exists."""
        data = self.recall(f"{self._level}/{key}")
        if data is None:
            return None
        try:
            layer = msgspec.json.decode(data, type=ImageLayer)
        except (ValueError, RecursionError):
            return None
        return layer if self.size(layer.digest) == layer.size else None

    def pack(self, key: str, entries: Iterable[Entry], *, created_by: str) -> ImageLayer:
        """Pack a layer and store it under its key."""
        with self.incoming() as (file, commit):
            packed = pack(entries, file, level=self._level)
            layer = ImageLayer(packed.diff_id, packed.digest, packed.size, created_by=created_by)
            commit(layer.digest)
        self.remember(f"{self._level}/{key}", json.dumps(asdict(layer)).encode())
        return layer

    # --- blobs --------------------------------------------------------------------------------------------------

    def put(self, data: bytes) -> str:
        """Store a small blob and return its digest."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if self.read(digest) is None:
            disk.write_file(self.path(digest), data)
        return digest

    def read(self, digest: str) -> bytes | None:
        """Return a small blob, or ``None`` if it is missing or damaged."""
        data = kept.recall(self.path(digest), _LARGEST)
        sound = data is not None and f"sha256:{hashlib.sha256(data).hexdigest()}" == digest
        return data if sound else None

    def verified(self, digest: str) -> bool:
        """Check whether the blob exists and its bytes are correct; a damaged blob is removed."""
        path = self.path(digest)
        if not path.is_file():
            return False
        right = f"sha256:{disk.sha256_file(path)}" == digest
        if not right:
            path.unlink(missing_ok=True)
        return right

    @contextmanager
    def incoming(self) -> Generator[tuple[BinaryIO, Callable[[str], None]]]:
        """Open a file for a blob, and yield it with the function that commits it; uncommitted data is removed."""
        with disk.writing(self._blobs), scratch.file(self._blobs) as (fresh, file):

            def commit(digest: str) -> None:
                file.flush()
                os.fsync(file.fileno())
                kept.replace(fresh, self.path(digest))

            yield file, commit

    def size(self, digest: str) -> int:
        """Return the size of a blob in bytes, or -1 if it is missing."""
        try:
            return self.path(digest).stat().st_size
        except OSError:
            return -1

    # --- records ------------------------------------------------------------------------------------------------

    def recall(self, key: str, *, max_age_s: float | None = None) -> bytes | None:
        """Return the record under this key, unless it is older than ``max_age_s``."""
        path = self._record(key)
        try:
            if max_age_s is not None and time.time() - path.stat().st_mtime > max_age_s:
                return None
        except OSError:
            return None
        return kept.recall(path, _LARGEST)

    def remember(self, key: str, data: bytes) -> None:
        """Store a small record, which may be lost at any time."""
        disk.write_file(self._record(key), data)

    def _record(self, key: str) -> Path:
        return self._keys / hashlib.sha256(f"{BUILDER}/{key}".encode()).hexdigest()
