"""Endpoints that live only as long as the process that made them: what it leaves behind when it is killed is known.

A record is written before the first of them is made, and a lock held that the kernel frees with the process. ``gc`` on
this machine takes a record whose lock is free for waste; from any other machine, and when the record is lost, the ttl
on the endpoints themselves is what ends them.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import msgspec

from ..errors import SdkError
from ..executor.locks import Locks
from ..names import check_name
from ..packaging import disk

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

_LARGEST = 1 << 20  # bytes of a record


class Passing(msgspec.Struct, frozen=True):
    """An endpoint that is about to be made, and is to go again."""

    target: str
    name: str


class Records:
    """The records of one state folder."""

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir / "passing"
        self._locks = Locks(self._folder)

    @contextlib.contextmanager
    def kept(self, run: str, endpoints: Sequence[Passing]) -> Generator[None]:
        """Keeps the record of a run until the block ends well; one that ends badly leaves it to ``gc``."""
        with self._locks.held(run, f"run {run}"):
            disk.write_file(self._path(run), msgspec.json.encode(list(endpoints)))
            yield
            self.forget(run)

    def abandoned(self, target: str) -> list[tuple[str, str]]:
        """The (run, endpoint name) on a target whose run is no more."""
        found: list[tuple[str, str]] = []
        for path in sorted(self._folder.glob("*.json")):
            if self._locks.is_free(path.stem):
                found += [(path.stem, one.name) for one in self._read(path) if one.target == target]
        return found

    def _read(self, path: Path) -> list[Passing]:
        """The endpoints of a record. One that cannot be read is set aside: the ttl on its endpoints ends them."""
        try:
            data = disk.read_regular(path, _LARGEST)
            if data is None:
                return []  # another process has just forgotten it
            endpoints = msgspec.json.decode(data, type=list[Passing])
            for one in endpoints:
                check_name(one.name)
        except (ValueError, RecursionError, SdkError):
            disk.set_aside(path)
            return []
        return endpoints

    def gone(self, run: str, target: str, name: str) -> None:
        """Notes that one of them is no more; the last one takes the record with it."""
        path = self._path(run)
        left = [one for one in self._read(path) if (one.target, one.name) != (target, name)]
        if left:
            disk.write_file(path, msgspec.json.encode(left))
        else:
            self.forget(run)

    def forget(self, run: str) -> None:
        """Removes a record."""
        self._path(run).unlink(missing_ok=True)
        (self._folder / f"{run}.lock").unlink(missing_ok=True)

    def _path(self, run: str) -> Path:
        return self._folder / f"{run}.json"
