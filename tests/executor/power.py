"""A disk in memory that can lose power."""

from __future__ import annotations

import errno
import itertools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class MemoryDisk:
    """A disk in memory that tells which states a power cut may leave behind.

    Every effect is logged; one that was not synced may be lost, alone or together with others.
    """

    def __init__(self, files: dict[str, bytes] | None = None) -> None:
        self.files = {path: bytearray(data) for path, data in (files or {}).items()}
        self._start = {path: bytes(data) for path, data in self.files.items()}
        self.hook: Callable[[str], None] = lambda point: None
        self.log: list[tuple[Any, ...]] = []
        self.errors: dict[str, list[OSError | int]] = {}
        self._handles: dict[int, bytearray] = {}
        self._paths: dict[int, str] = {}
        self._next = 0

    def folder(self, path: Path) -> None:
        """Folders are always there."""

    def create(self, path: Path) -> int:
        self._step("create", str(path))
        if str(path) in self.files:
            raise FileExistsError(errno.EEXIST, "exists", str(path))
        self.files[str(path)] = bytearray()
        self._done("create", str(path))
        return self._open(str(path))

    def open(self, path: Path) -> int:
        if str(path) not in self.files:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        return self._open(str(path))

    def write(self, handle: int, data: bytes) -> int:
        taken = self._step("write", self._paths[handle])
        data = data if taken is None else data[:taken]
        self._handles[handle] += data
        self._done("write", self._paths[handle], bytes(data))
        return len(data)

    def size(self, handle: int) -> int:
        return len(self._handles[handle])

    def truncate(self, handle: int, size: int) -> None:
        self._step("truncate", self._paths[handle])
        del self._handles[handle][size:]
        self._done("truncate", self._paths[handle], size)

    def sync(self, handle: int) -> None:
        self._step("sync", self._paths[handle])
        self._done("sync", self._paths[handle])

    def close(self, handle: int) -> None:
        self._handles.pop(handle)

    def sync_folder(self, path: Path) -> None:
        self._step("sync_folder", str(path))
        self._done("sync_folder", str(path))

    def rename(self, old: Path, new: Path) -> None:
        self._step("rename", str(old))
        self.files[str(new)] = self.files.pop(str(old))
        self._paths = {handle: str(new) if path == str(old) else path for handle, path in self._paths.items()}
        self._done("rename", str(old), str(new))

    def remove(self, path: Path) -> None:
        self._step("remove", str(path))
        if str(path) not in self.files:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        del self.files[str(path)]
        self._done("remove", str(path))

    def read(self, path: Path) -> bytes:
        if str(path) not in self.files:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        return bytes(self.files[str(path)])

    def names(self, folder: Path) -> list[str]:
        prefix = f"{folder}/"
        return sorted(path[len(prefix) :] for path in self.files if path.startswith(prefix))

    def after_power_cut(self, limit: int = 10) -> list[dict[str, bytes]]:
        """All states that a power cut now may leave: any subset of what was not synced may be lost."""
        volatile = self._volatile()[-limit:]
        states: dict[tuple[Any, ...], dict[str, bytes]] = {}
        for choice in itertools.product((False, True), repeat=len(volatile)):
            lost = {effect for effect, gone in zip(volatile, choice, strict=True) if gone}
            files = self._replay(lost)
            states[tuple(sorted(files.items()))] = files
        return list(states.values())

    def durable(self) -> dict[str, bytes]:
        """What surely survives a power cut now."""
        return self._replay(set(self._volatile()))

    def _volatile(self) -> list[tuple[int, str]]:
        """Effects that no later sync made durable: (number in the log, which half of it)."""
        found: list[tuple[int, str]] = []
        synced: set[tuple[str, Any]] = set()
        files = self._inodes()
        for number in range(len(self.log) - 1, -1, -1):
            op, path, *rest = self.log[number]
            if "ballast" in path:
                continue  # whether it survives makes no difference, and its files would hide those that matter
            if op == "sync":
                synced.add(("data", files[number]))
            elif op == "sync_folder":
                synced.add(("names", path))
            elif op in {"write", "truncate"} and ("data", files[number]) not in synced:
                found.append((number, "data"))
            elif op in {"create", "remove", "rename"}:
                found += [(number, "old")] if op == "rename" and ("names", _folder(path)) not in synced else []
                target = rest[0] if op == "rename" else path
                found += [(number, "new")] if ("names", _folder(target)) not in synced else []
        return found[::-1]

    def _inodes(self) -> list[int]:
        """Which file each effect in the log was about, whatever its name was then."""
        names = {path: -1 - index for index, path in enumerate(self._start)}
        result: list[int] = []
        for number, (op, path, *rest) in enumerate(self.log):
            if op == "create":
                names[path] = number
            result.append(names.get(path, number))
            if op == "rename":
                names[rest[0]] = names.pop(path)
            elif op == "remove":
                names.pop(path, None)
        return result

    def _replay(self, lost: set[tuple[int, str]]) -> dict[str, bytes]:
        names = {path: -1 - index for index, path in enumerate(self._start)}
        data = {-1 - index: bytearray(content) for index, content in enumerate(self._start.values())}
        for number, (inode, (op, path, *rest)) in enumerate(zip(self._inodes(), self.log, strict=True)):
            content = data.setdefault(inode, bytearray())
            if op == "write" and (number, "data") not in lost:
                content += rest[0]
            elif op == "truncate" and (number, "data") not in lost:
                del content[rest[0] :]
            elif op == "create" and (number, "new") not in lost:
                names[path] = inode
            elif op == "remove" and (number, "new") not in lost:
                names.pop(path, None)
            elif op == "rename":
                if (number, "old") not in lost:
                    names.pop(path, None)
                if (number, "new") not in lost:
                    names[rest[0]] = inode
        return {path: bytes(data[inode]) for path, inode in names.items()}

    def _open(self, path: str) -> int:
        self._next += 1
        self._handles[self._next] = self.files[path]
        self._paths[self._next] = path
        return self._next

    def _step(self, op: str, path: str) -> int | None:
        """A point to die before, and trouble on demand: an error, or how many bytes a write takes."""
        self.hook(f"disk before {op}")
        if "ballast" in path:
            return None
        trouble = self.errors.get(op)
        if not trouble:
            return None
        item = trouble.pop(0)
        if isinstance(item, OSError):
            raise item
        return item if item >= 0 else None

    def _done(self, op: str, path: str, *rest: Any) -> None:
        self.log.append((op, path, *rest))
        self.hook(f"disk after {op}")


def _folder(path: str) -> str:
    return path.rpartition("/")[0]
