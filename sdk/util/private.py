"""Files and folders that only their owner may read, for credentials and what they protect."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from . import kept, scratch

if TYPE_CHECKING:
    from pathlib import Path


def make_folders(path: Path) -> None:
    """Create a folder and its missing parents, each with mode 0700; ``Path.mkdir`` leaves the parents open."""
    for folder in reversed([path, *path.parents]):
        if not folder.is_dir():
            folder.mkdir(mode=0o700, exist_ok=True)


def clear_way(path: Path, below: Path) -> None:
    """Set aside what has the name of one of our folders, of ``path`` or one between it and ``below``, but is none."""
    for folder in reversed([path, *path.parents]):
        if below in folder.parents and os.path.lexists(folder) and not folder.is_dir():
            with contextlib.suppress(OSError):
                kept.set_aside(folder)


def private_folder(path: Path) -> Path:
    """Create a folder that only its owner may enter; close an existing one to other users.

    Raises:
        PermissionError: It belongs to another user, or other users could replace it.
    """
    make_folders(path)
    trouble = make_private(path)
    if trouble:
        raise PermissionError(f"{path} {trouble}")
    return path


def make_private(folder: Path) -> str:
    """Close a folder of ours to other users; return why it cannot be used if that is not enough, else an empty text.

    The folder holds tokens and secrets. Its owner, and any user who can rename it from a parent, could replace it.
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
    """Write a file with mode 0600 in one step, replacing an existing one."""
    with scratch.file(path.parent) as (fresh, stream):
        stream.write(data)
        stream.flush()
        kept.replace(fresh, path)
