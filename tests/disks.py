"""A file system that is really full."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def small_disk(folder: Path, size_mib: int, files: int = 1 << 20) -> Iterator[Path]:
    """Make a folder with a file system of its own, which holds so many files; skip the test where this user cannot."""
    folder.mkdir(mode=0o700)
    options = f"size={size_mib}m,nr_inodes={files},mode=700"
    mount = ["mount", "-t", "tmpfs", "-o", options, "mlport-test", str(folder)]
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


@contextlib.contextmanager
def full_of_files(folder: Path) -> Iterator[None]:
    """Leave room for no more file, although there is space."""
    filler = folder / "filler"
    filler.mkdir()
    with contextlib.suppress(OSError):
        for number in itertools.count():
            (filler / str(number)).touch()
    try:
        yield
    finally:
        shutil.rmtree(filler)
