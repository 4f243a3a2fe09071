"""Blobs by digest and layers by the key of what they were made from, kept between builds."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from sdk.packaging import disk

from .layers import Entry, Layer, pack

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

BUILDER = "1"  # part of every key: raise it when the same inputs give other bytes


class Store:
    """A content-addressed folder; two processes may use it at once, and a bad blob is made again.

    Args:
        folder: Where it lives.
        level: Compression level of new layers; 1 is fast and enough for a local engine.
    """

    def __init__(self, folder: Path, *, level: int = 1) -> None:
        self._blobs = disk.subfolder(folder / "blobs")
        self._keys = disk.subfolder(folder / "layers")
        self._level = level

    def path(self, digest: str) -> Path:
        """Where the blob of this digest is, or would be."""
        return self._blobs / digest.replace(":", "-")

    def layer(self, key: str, entries: Callable[[], list[Entry]], *, created_by: str) -> Layer:
        """The layer of this key, packed from its entries unless it is there already."""
        name = hashlib.sha256(f"{BUILDER}/{self._level}/{key}".encode()).hexdigest()
        record = self._keys / f"{name}.json"
        found = self._known(record)
        if found is not None:
            return found
        with self.incoming() as (file, commit):
            packed = pack(entries(), file, level=self._level)
            layer = Layer(packed.diff_id, packed.digest, packed.size, created_by=created_by)
            commit(layer.digest)
        disk.write_file(record, json.dumps(asdict(layer)).encode())
        return layer

    def put(self, data: bytes) -> str:
        """Keep a small blob; its digest."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if not self.path(digest).exists():
            disk.write_file(self.path(digest), data)
        return digest

    @contextmanager
    def incoming(self) -> Generator[tuple[BinaryIO, Callable[[str], None]]]:
        """A file to write a blob to, and the call that names it; without that call nothing stays."""
        with disk.writing(self._blobs):
            handle, temporary = tempfile.mkstemp(prefix=".new-", dir=self._blobs)
            try:
                with os.fdopen(handle, "wb") as file:

                    def commit(digest: str) -> None:
                        file.flush()
                        os.fsync(file.fileno())
                        Path(temporary).replace(self.path(digest))

                    yield file, commit
            finally:
                Path(temporary).unlink(missing_ok=True)

    def verified(self, digest: str) -> bool:
        """Whether the blob is there and its bytes are right."""
        path = self.path(digest)
        return path.is_file() and f"sha256:{disk.sha256_file(path)}" == digest

    def _known(self, record: Path) -> Layer | None:
        try:
            layer = Layer(**json.loads(record.read_bytes()))
        except (OSError, ValueError, TypeError):
            return None
        path = self.path(layer.digest)
        return layer if path.is_file() and path.stat().st_size == layer.size else None
