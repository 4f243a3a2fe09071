"""Seal a folder into a bundle, verify bundles, and store them under their digest."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from sdk.errors import ConfigError, LockMismatchError, PackagingError
from sdk.packaging import disk
from sdk.packaging.lock import Lock
from sdk.packaging.manifest import EXAMPLE, MANIFEST, FileRecord, Manifest, decode_manifest
from sdk.serving import fields
from sdk.util import foreign, scratch

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_EXAMPLE = 16 << 20
_REMAKE = "pack the model again with sdk.model(), or fetch the bundle again"


def seal(folder: Path, manifest: Manifest) -> Manifest:
    """Record every file of ``folder`` and write ``mlport.json``; all files become read-only.

    Raises:
        ConfigError: The manifest has a value that a reader would refuse.
    """
    records: dict[str, FileRecord] = {}
    with disk.writing(folder):
        for name, path in _walk(folder):
            path.chmod(0o444)
            records[name] = FileRecord(sha256=disk.sha256_file(path), size=path.stat().st_size)
        sealed = msgspec.structs.replace(manifest, files=records)
        if wrong := fields.fault(sealed):
            raise ConfigError(f"the model cannot be packed: {wrong}", hint="correct that value")
        (folder / MANIFEST).write_bytes(sealed.encode())
        (folder / MANIFEST).chmod(0o444)
    return sealed


def verify(folder: Path) -> Manifest:
    """Read the manifest of a bundle and compare every file with it.

    Raises:
        PackagingError: The folder is not a bundle.
        LockMismatchError: A file is missing, changed, not in the manifest, or not a regular file; or the lock has
            more than exact versions with hashes.
    """
    manifest = read(folder)
    present = dict(_walk(folder))
    for name, record in manifest.files.items():
        path = present.pop(name, None)
        if path is None:
            raise LockMismatchError(f"model file {name} is missing in {folder}", resource=name, hint=_REMAKE)
        if path.stat().st_size != record.size or disk.sha256_file(path) != record.sha256:
            raise LockMismatchError(f"model file {name} in {folder} was changed", resource=name, hint=_REMAKE)
    present.pop(MANIFEST)
    if present:
        name = min(present)
        raise LockMismatchError(f"file {name} in {folder} is not part of the model", resource=name, hint="remove it")
    Lock.of(folder, manifest)
    return manifest


def read(folder: Path) -> Manifest:
    """Read the manifest of the bundle in ``folder``, without checking its files.

    Raises:
        PackagingError: The folder has no manifest.
        LockMismatchError: It cannot be read, or a value in it is invalid; the message names the field.
    """
    try:
        return _decoded(disk.read_small(folder / MANIFEST, fields.MOST_BYTES))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise PackagingError(f"{folder} is no model bundle: it has no {MANIFEST}", hint=_REMAKE) from error
    except (ValueError, OSError, RecursionError) as error:
        raise LockMismatchError(f"{folder / MANIFEST} cannot be used: {error}", hint=_REMAKE) from error


def example_in(folder: Path) -> list[Any] | None:
    """Return the example rows packed with the model in ``folder``; ``None`` if it was packed without any.

    Raises:
        UnreadableError: The file does not hold rows.
    """
    path = folder / EXAMPLE
    if not path.is_file():
        return None
    with foreign.understood(f"{EXAMPLE} in {folder}"):
        rows: list[Any] = foreign.parse(disk.read_small(path, _MOST_EXAMPLE), EXAMPLE)["instances"]
    return rows


def _decoded(data: bytes) -> Manifest:
    manifest = decode_manifest(data)
    if wrong := fields.fault(manifest):
        raise ValueError(wrong)
    return manifest


def store(staged: Path, manifest: Manifest, models: Path) -> Path:
    """Move a sealed folder to its place ``models/<digest>``; an intact bundle already in that place stays.

    Two writers of the same bundle both succeed; a damaged bundle in that place is replaced.
    """
    target = models / manifest.digest
    with disk.writing(target):
        disk.sync_tree(staged)
        if not _rename(staged, target):
            _replace_if_damaged(staged, target)
        disk.sync(models)
    return target


def _rename(staged: Path, target: Path) -> bool:
    try:
        staged.rename(target)
    except OSError as error:
        if error.errno in {errno.ENOTEMPTY, errno.EEXIST}:
            return False
        raise
    return True


def _replace_if_damaged(staged: Path, target: Path) -> None:
    with disk.locked(target.parent / ".lock"):
        try:
            verify(target)
        except PackagingError:
            with scratch.folder(target.parent) as aside:
                target.rename(aside / "bundle")
                staged.rename(target)


def _walk(folder: Path) -> Iterator[tuple[str, Path]]:
    for root, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            path = Path(root) / name
            relative = path.relative_to(folder).as_posix()
            if not stat.S_ISREG(path.lstat().st_mode):
                raise LockMismatchError(
                    f"{relative} in {folder} is not a regular file", resource=relative, hint=_REMAKE
                )
            yield relative, path
        for name in folders:
            if (Path(root) / name).is_symlink():
                raise LockMismatchError(f"{name} in {folder} is a link", resource=name, hint=_REMAKE)
