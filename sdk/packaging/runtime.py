"""List the model server's files, which are copied into every environment and image, and compute their digest."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from sdk.packaging import disk

SOURCE = Path(__file__).parents[1] / "serving"


def files() -> list[Path]:
    """Return all files of the model server, in a fixed order."""
    return sorted(path for path in SOURCE.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


@cache
def digest() -> str:
    """Return the SHA-256 (hex) of names and contents of the model server's files; another server has another digest.

    Example:
        >>> len(digest())
        64
    """
    lines = (f"{disk.sha256_file(path)} {path.relative_to(SOURCE).as_posix()}" for path in files())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
