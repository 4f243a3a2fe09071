"""Temporary endpoints of a comparison, recorded so that ``gc`` can delete them if the process is killed.

The record is written before the first endpoint is created, and the process holds a lock that the kernel frees when the
process ends. ``gc`` on this machine deletes the endpoints of records whose lock is free. On other machines, or if the
record is lost, the endpoints are removed by their ttl.
"""

from __future__ import annotations

import contextlib
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from ..errors import JournalError, SdkError
from ..executor.locks import Locks
from ..packaging import disk
from ..util import kept
from ..util.names import check_name

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

_LARGEST = 1 << 20  # bytes of a record


class Passing(msgspec.Struct, frozen=True):
    """A temporary endpoint, which is about to be created and must be deleted later."""

    target: str
    name: str

    @property
    def base(self) -> str:
        """The name of the target in the configuration, without a region."""
        return self.target.partition("@")[0]


class TemporaryRecords:
    """The records of temporary endpoints in one state folder."""

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir / "passing"

    @cached_property
    def _locks(self) -> Locks:
        """The locks of the runs; making them makes the folder, and sets aside what is in its place."""
        return Locks(self._folder)

    @contextlib.contextmanager
    def kept(self, run: str, endpoints: Sequence[Passing]) -> Generator[None]:
        """Keep the record of a run for the block; remove it only if the block succeeds, else leave it to ``gc``."""
        with self._locks.held(run, f"run {run}"):
            disk.write_file(self._path(run), msgspec.json.encode(list(endpoints)))
            yield
            self.forget(run)

    def abandoned(self, target: str) -> list[tuple[str, Passing]]:
        """Return (run, endpoint) of each recorded endpoint on a target, in any region, whose process has ended."""
        found: list[tuple[str, Passing]] = []
        try:
            locks = self._locks
        except JournalError:
            if self._folder.is_dir():
                raise
            return found  # a disk that can hold no further folder: without the folder there are no records
        for path in sorted(self._folder.glob("*.json")):
            if locks.is_free(path.stem):
                found += [(path.stem, one) for one in self._read(path) if target in (one.target, one.base)]
        return found

    def _read(self, path: Path) -> list[Passing]:
        """Return the endpoints of a record; set an unreadable record aside and rely on the ttl of its endpoints."""
        try:
            data = kept.read_regular(path, _LARGEST)
            if data is None:
                return []  # another process has just removed it
            endpoints = msgspec.json.decode(data, type=list[Passing])
            for one in endpoints:
                check_name(one.name)
        except (ValueError, RecursionError, SdkError):
            kept.set_aside(path)
            return []
        return endpoints

    def gone(self, run: str, target: str, name: str) -> None:
        """Remove a deleted endpoint from the record of a run; remove the record with its last endpoint."""
        path = self._path(run)
        left = [one for one in self._read(path) if (one.target, one.name) != (target, name)]
        if left:
            disk.write_file(path, msgspec.json.encode(left))
        else:
            self.forget(run)

    def forget(self, run: str) -> None:
        """Remove the record of a run and its lock file."""
        self._path(run).unlink(missing_ok=True)
        (self._folder / f"{run}.lock").unlink(missing_ok=True)

    def _path(self, run: str) -> Path:
        return self._folder / f"{run}.json"
