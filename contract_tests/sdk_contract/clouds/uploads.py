"""Unfinished uploads of blobs to a registry: started, appended to, then stored under their digest or discarded."""

from __future__ import annotations

import re
import shutil
import threading
import uuid
from typing import TYPE_CHECKING

from sdk.packaging import disk

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

_RANGE = re.compile(r"(?:bytes[ =])?(\d+)-(\d+)(?:/.*)?")


class Uploads:
    """Unfinished uploads, each a file.

    Args:
        folder: Where the files are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._known: set[str] = set()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def begin(self) -> str:
        """Start an upload and return its name."""
        name = str(uuid.uuid4())
        (self._folder / name).touch()
        with self._lock:
            self._known.add(name)
        return name

    def known(self, name: str) -> bool:
        """Return whether an upload was started and is not finished."""
        with self._lock:
            return name in self._known

    def size(self, name: str) -> int:
        """Return the number of bytes so far."""
        return (self._folder / name).stat().st_size

    def append(self, name: str, content: BinaryIO | None, content_range: str | None) -> bool:
        """Append a chunk; return false for one whose range does not start at the end."""
        span = _RANGE.fullmatch(content_range) if content_range else None
        if span and int(span[1]) != self.size(name):
            return False
        if content is not None:
            with (self._folder / name).open("ab") as file:
                shutil.copyfileobj(content, file)
        return True

    def digest(self, name: str) -> str:
        """Return the ``sha256:…`` digest of the whole upload."""
        return f"sha256:{disk.sha256_file(self._folder / name)}"

    def move(self, name: str, target: Path) -> None:
        """Finish an upload by moving it to this file."""
        with self._lock:
            self._known.discard(name)
        (self._folder / name).replace(target)

    def drop(self, name: str) -> None:
        """Discard an upload."""
        with self._lock:
            self._known.discard(name)
        (self._folder / name).unlink(missing_ok=True)
