"""A file system that is really full."""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def small_disk(folder: Path, size_mib: int) -> Iterator[Path]:
    """Make a folder with a file system of its own; skip the test where this user cannot."""
    folder.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_mib}m,mode=700", "mlport-test", str(folder)]
    made = subprocess.run(mount, capture_output=True, text=True, check=False) if os.geteuid() == 0 else None
    if made is None or made.returncode != 0:
        pytest.skip(f"cannot mount a file system: {made.stderr.strip() if made else 'only root can'}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextlib.contextmanager
def full(folder: Path, free_kib: int) -> Iterator[None]:
    """Leave only so much room."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        size = 0
        for piece in (2**20, 2**12):
            with contextlib.suppress(OSError):
                while written := file.write(b"x" * piece):
                    size += written
        file.truncate(max(size - free_kib * 1024, 0))
    try:
        yield
    finally:
        filler.unlink()
