"""Files and folders that only their owner may read: credentials, and what credentials open."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from . import scratch

if TYPE_CHECKING:
    from pathlib import Path


def make_folders(path: Path) -> None:
    """Make a folder and the missing ones above it, each with mode 0700; Python's own ``parents`` leaves those open."""
    for folder in reversed([path, *path.parents]):
        if not folder.is_dir():
            folder.mkdir(mode=0o700, exist_ok=True)


def private_folder(path: Path) -> Path:
    """Make a folder that only its owner may enter; one that is there is closed to all others.

    Raises:
        PermissionError: It belongs to another user, or others could put another in its place.
    """
    make_folders(path)
    trouble = make_private(path)
    if trouble:
        raise PermissionError(f"{path} {trouble}")
    return path


def make_private(folder: Path) -> str:
    """Close a folder of ours to everybody else; say why it cannot be used if that is not enough.

    It holds tokens and secrets. Who owns it, or may rename it from a folder above, could put another in its place.
    """
    facts = folder.stat()
    if facts.st_uid != os.geteuid():
        return f"belongs to another user ({facts.st_uid})"
    if facts.st_mode & 0o077:
        folder.chmod(0o700)
    for parent in folder.resolve().parents:
        mode = parent.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            return f"lies in {parent}, where every user may put another folder in its place: run chmod o-w {parent}"
    return ""


def write_private(path: Path, data: bytes) -> None:
    """Write a file with mode 0600, in one step, in place of one that may be there."""
    with scratch.file(path.parent) as (fresh, stream):
        stream.write(data)
        stream.flush()
        fresh.replace(path)
