"""Blobs on their way into a registry: begun, appended to, then named by their digest or thrown away."""

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
        folder: Where they are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._known: set[str] = set()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def begin(self) -> str:
        """The name of a new one."""
        name = str(uuid.uuid4())
        (self._folder / name).touch()
        with self._lock:
            self._known.add(name)
        return name

    def known(self, name: str) -> bool:
        """Whether it was begun and is not finished."""
        with self._lock:
            return name in self._known

    def size(self, name: str) -> int:
        """Bytes so far."""
        return (self._folder / name).stat().st_size

    def append(self, name: str, content: BinaryIO | None, content_range: str | None) -> bool:
        """Adds a chunk; refuses one that says to begin elsewhere than at the end."""
        span = _RANGE.fullmatch(content_range) if content_range else None
        if span and int(span[1]) != self.size(name):
            return False
        if content is not None:
            with (self._folder / name).open("ab") as file:
                shutil.copyfileobj(content, file)
        return True

    def digest(self, name: str) -> str:
        """``sha256:…`` of all of it."""
        return f"sha256:{disk.sha256_file(self._folder / name)}"

    def move(self, name: str, target: Path) -> None:
        """Ends it as this file."""
        with self._lock:
            self._known.discard(name)
        (self._folder / name).replace(target)

    def drop(self, name: str) -> None:
        """Throws it away."""
        with self._lock:
            self._known.discard(name)
        (self._folder / name).unlink(missing_ok=True)
