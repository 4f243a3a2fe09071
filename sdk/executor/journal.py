"""The journal: a write-ahead log of each transaction, on disk before the call is made.

One file per transaction, ``open/<txn>.jsonl``, moved to ``done/`` when nothing is left to do. A record is a line
``crc32 length json``: the checksum finds flipped bits, and the length distinguishes a torn tail (dropped, since its
call was never made) from two records run together (damaged). No data is ever guessed from a damaged file.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import JournalDamaged, JournalError
from ..util import kept
from ..util.private import clear_way
from . import fields as f
from .disk import Disk, RealDisk
from .txn import begun_at

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

BALLAST_BYTES = 65_536
SPARE_FILES = 8  # a disk may be unable to hold one more file although it has space
FREEING = frozenset({"delete", "rollback", "finalize"})
"""The verbs that free space or stop costs."""
_FROM_LABELS = "run `mlport gc`, which works from labels alone"
_NO_FILE = {errno.EISDIR, errno.ELOOP, errno.ENXIO}
_TXN = re.compile(r"[a-z0-9]{1,32}")
_TORN = re.compile(rb"[0-9a-f]{0,8}|[0-9a-f]{8} [0-9a-f]{0,6}|[0-9a-f]{8} ([0-9a-f]{6}) ?(\{[^\n]*)?")
_LINE = re.compile(rb"([0-9a-f]{8}) ([0-9a-f]{6}) (\{.*)", re.DOTALL)

_ref = f.list_of(f.is_id)
_image = f.record_of(spec=f.is_plain, tags=f.is_plain, parents=f.list_of(_ref))
_step = f.record_of(
    action=f.is_id,
    kind=f.is_id,
    id=f.is_id,
    hash=f.is_hex,
    parents=f.list_of(_ref),
    tags=f.is_plain,
    usd=f.optional(f.is_number),
    commit=f.is_flag,
    before=f.optional(_image),
    after=f.optional(_image),
)

# The allow-list: every event and the check of each of its fields.
EVENTS: dict[str, dict[str, Any]] = {
    "begin": {
        "verb": f.is_id, "name": f.is_id, "txn": f.is_id, "owner": f.is_id, "target": f.is_id, "provider": f.is_id,
        "fingerprint": f.is_hex, "old": f.optional(f.is_id), "new": f.optional(f.is_id), "job": f.optional(f.is_id),
        "deadline": f.is_number, "time": f.is_number, "pid": f.is_number, "steps": f.list_of(_step),
    },
    "intent": {
        "step": f.is_number, "action": f.is_id, "kind": f.is_id, "id": f.is_id, "attempt": f.is_number,
        "time": f.is_number,
    },
    "ack": {
        "step": f.is_number, "outcome": f.is_id, "operation": f.optional(f.is_id), "time": f.is_number,
        "status": f.optional(f.is_number),
    },
    "settled": {"step": f.is_number, "outcome": f.is_id},
    "probed": {"step": f.is_number},
    "committed": {"step": f.is_number},
    "abort": {"reason": f.is_id},
    "detached": {"step": f.is_number, "until": f.is_number},
    "left": {"refs": f.list_of(_ref)},
    "end": {"outcome": f.is_id},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class JournalRecord:
    """One event and its fields."""

    event: str
    data: Mapping[str, Any]


def encode(seq: int, record: JournalRecord) -> bytes:
    """Encode a record as one line.

    Raises:
        JournalError: A field is unknown, missing or of a wrong type.
    """
    _check(record, JournalError)
    body = {"seq": seq, "event": record.event, **record.data}
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    return b"%08x %06x %s\n" % (zlib.crc32(text), len(text), text)


def decode(data: bytes) -> list[JournalRecord]:
    """Decode the records of a file, without a torn last one.

    Raises:
        JournalDamaged: The file differs from what was written, other than by a torn end of its last record.
    """
    *lines, tail = data.split(b"\n")
    records = [_record(line, seq) for seq, line in enumerate(lines)]
    if not tail:
        return records
    torn = _TORN.fullmatch(tail)
    if torn is None:
        raise JournalDamaged(f"record {len(lines)} is damaged", hint=_FROM_LABELS)
    if torn[1] and len(tail) - 16 >= int(torn[1], 16):
        records.append(_record(tail, len(lines)))
    return records


def _record(line: bytes, seq: int) -> JournalRecord:
    match = _LINE.fullmatch(line)
    damaged = JournalDamaged(f"record {seq} is damaged", hint=_FROM_LABELS)
    if match is None or int(match[2], 16) != len(match[3]) or int(match[1], 16) != zlib.crc32(match[3]):
        raise damaged
    body = json.loads(match[3])
    if body.pop("seq", None) != seq:
        raise damaged
    record = JournalRecord(body.pop("event", ""), body)
    _check(record, JournalDamaged)
    return record


def _check(record: JournalRecord, error: type[JournalError]) -> None:
    fields = EVENTS.get(record.event)
    if fields is None or record.data.keys() != fields.keys():
        raise error(f"unknown journal record {record.event!r} with {sorted(record.data)}")
    for name, check in fields.items():
        if not check(record.data[name]):
            raise error(f"field {name!r} of journal record {record.event!r} is not of its type")


def _unusable(txn: str, reason: object) -> JournalDamaged:
    return JournalDamaged(f"the journal of {txn} cannot be used: {reason}", hint=_FROM_LABELS)


class Notes(Protocol):
    """A receiver of records that recovery does not need."""

    def note(self, event: str, **data: Any) -> None:
        """Append a record if possible."""
        ...


class NoJournal:
    """A journal that keeps no records, for work that is safe to repeat from labels alone."""

    def note(self, event: str, **data: Any) -> None:
        """Drop the record."""


class Journal:
    """The open journal of one transaction; :class:`Journals` makes them.

    ``write`` returns only when the record is on the medium. If writing fails, the file is cut back to its last whole
    record and :class:`~sdk.errors.JournalError` is raised: the call must then not be made.
    """

    def __init__(self, store: Journals, txn: str, handle: int, path: Path, records: list[JournalRecord]) -> None:
        self._store = store
        self.handle = handle
        self._path = path
        self._dead = False
        self.txn = txn
        self.records = records

    def write(self, event: str, **data: Any) -> None:
        """Append one record durably."""
        record = JournalRecord(event, data)
        line = encode(len(self.records), record)
        try:
            self._append(line)
        except OSError as error:
            raise JournalError(f"cannot write {self._path}: {error.strerror}", hint="free some space") from error
        self.records.append(record)

    def note(self, event: str, **data: Any) -> None:
        """Append a record that recovery does not need; a full disk must not stop the clean-up."""
        try:
            self.write(event, **data)
        except JournalError:
            if self.relieve():
                with contextlib.suppress(JournalError):
                    self.write(event, **data)

    def relieve(self) -> bool:
        """Free the space reserved for the writes of a clean-up; return ``False`` if it was freed before."""
        return self._store.drop_ballast()

    def end(self, outcome: str) -> None:
        """End a transaction that has nothing left to do, and move its file to ``done/``."""
        self.note("end", outcome=outcome)
        self.close()
        with contextlib.suppress(OSError):  # the next `gc` moves an ended journal that is still in the wrong folder
            self._store.retire(self._path)

    def close(self) -> None:
        """Close the file; the transaction stays open."""
        if self.handle >= 0:
            handle, self.handle = self.handle, -1
            with contextlib.suppress(OSError):
                self._store.disk.close(handle)

    def _append(self, line: bytes) -> None:
        if self._dead:
            self._reopen()
        disk, size = self._store.disk, self._store.disk.size(self.handle)
        try:
            self._write_all(line)
        except OSError:
            disk.truncate(self.handle, size)
            raise
        try:
            disk.sync(self.handle)
        except OSError:
            self._dead = True  # the state of unsynced pages after an error is unknown
            raise

    def _write_all(self, line: bytes) -> None:
        disk, rest = self._store.disk, line
        while rest:
            try:
                rest = rest[disk.write(self.handle, rest) :]
            except OSError as error:
                if error.errno != errno.EINTR:
                    raise

    def _reopen(self) -> None:
        """Continue in a new file with all durable records; it replaces the file whose sync failed."""
        self.handle, self._path = self._store.replace(self.handle, self._path, self.records)
        self._dead = False


class Unwritten(Journal):
    """A journal that keeps records in memory only; see :meth:`Journals.unwritten`."""

    def write(self, event: str, **data: Any) -> None:
        """Keep one record in memory."""
        self.records.append(JournalRecord(event, data))

    def end(self, outcome: str) -> None:
        """Do nothing, since there is not a file to move."""


class Journals:
    """The folder with the journals of one target.

    Args:
        folder: The folder; created with mode 0700.
        disk: The file operations; default the real disk.
    """

    def __init__(self, folder: Path, disk: Disk | None = None) -> None:
        self.disk: Disk = disk or RealDisk()
        self.open_folder = folder / "open"
        self.done_folder = folder / "done"
        self.damaged_folder = folder / "damaged"
        self._ballast = folder / "ballast"
        self._spares = [folder / f"ballast-{number}" for number in range(SPARE_FILES)]
        clear_way(folder, folder.parent.parent)  # the state folder, which the user named
        try:
            for path in (folder, self.open_folder, self.done_folder, self.damaged_folder):
                self._make(path)
        except OSError as error:
            raise JournalError(
                f"cannot use the state folder {folder}: {error.strerror}", hint="set MLPORT_STATE_DIR to a writable one"
            ) from error

    def _make(self, path: Path) -> None:
        """Make a folder; what else has its name is set aside, and labels are enough without the journals in it."""
        try:
            self.disk.folder(path)
        except (FileExistsError, NotADirectoryError):
            kept.set_aside(path)
            self.disk.folder(path)

    def begin(self, txn: str, /, *, frees: bool = False, **data: Any) -> Journal:
        """Begin a transaction; return once its first record and its file name are durable.

        Args:
            txn: Its id.
            frees: The transaction frees space or stops costs: on a full disk the ballast is dropped for it.
            data: The fields of the first record.
        """
        if not _TXN.fullmatch(txn):
            raise JournalError(f"{txn!r} is no transaction id", hint="make one with new_txn()")
        self._fill_ballast()
        try:
            return self._begin(txn, data)
        except JournalError:
            if not (frees and self.drop_ballast()):
                raise
            return self._begin(txn, data)

    def unwritten(self, txn: str, /, **data: Any) -> Journal:
        """Return a journal without a file, for deletes on a full disk without ballast; deletes can be repeated."""
        return Unwritten(self, txn, -1, self.open_folder / f"{txn}.jsonl", [JournalRecord("begin", data)])

    def _begin(self, txn: str, data: Mapping[str, Any]) -> Journal:
        path = self.open_folder / f"{txn}.jsonl"
        try:
            journal = Journal(self, txn, self.disk.create(path), path, [])
        except OSError as error:
            raise JournalError(f"cannot create {path}: {error.strerror}") from error
        try:
            journal.write("begin", **data)
            self.disk.sync_folder(self.open_folder)
        except OSError as error:
            raise JournalError(f"cannot sync {self.open_folder}: {error.strerror}") from error
        except JournalError:
            journal.close()
            with contextlib.suppress(OSError):
                self.disk.remove(path)
            raise
        return journal

    def unfinished(self) -> list[str]:
        """Return the ids of the transactions that have not ended, sorted by name."""
        return [name.removesuffix(".jsonl") for name in self.disk.names(self.open_folder) if name.endswith(".jsonl")]

    def load(self, txn: str) -> Journal:
        """Open the journal of an unfinished transaction to continue it.

        Raises:
            JournalDamaged: The file cannot be trusted.
            JournalError: The transaction does not exist, or its file cannot be read.
        """
        path = self.open_folder / f"{txn}.jsonl"
        try:
            handle = self.disk.open(path)
        except OSError as error:
            if error.errno in _NO_FILE:
                raise _unusable(txn, error.strerror) from error
            raise JournalError(f"no unfinished transaction {txn!r} here: {error.strerror}") from error
        with contextlib.suppress(OSError):  # left over by a process that was killed while it replaced the file
            self.disk.remove(path.with_suffix(".new"))
        journal = Journal(self, txn, handle, path, [])
        try:
            journal.records = self._whole(journal, handle, path)
        except OSError as error:
            journal.close()
            if error.errno == errno.ENOSPC and self.drop_ballast():
                return self.load(txn)
            raise JournalError(f"cannot read {path}: {error.strerror}") from error
        except ValueError as error:
            journal.close()
            raise _unusable(txn, error) from error
        except JournalDamaged:
            journal.close()
            raise
        return journal

    def peek(self, txn: str) -> list[JournalRecord]:
        """Return the records of an unfinished transaction without opening its file for writing."""
        try:
            return decode(self.disk.read(self.open_folder / f"{txn}.jsonl"))
        except ValueError as error:
            raise _unusable(txn, error) from error
        except OSError as error:
            raise JournalError(f"no unfinished transaction {txn!r} here: {error.strerror}") from error

    def retire(self, path: Path) -> None:
        """Move the file of an ended transaction to ``done/``."""
        self._move(path, self.done_folder)

    def prune(self, before: float) -> None:
        """Remove the journals of ended transactions that were begun before this time (Unix seconds).

        Files that cannot be removed now are left to the next call. Unfinished and damaged journals are never touched.
        """
        with contextlib.suppress(OSError):
            for name in self.disk.names(self.done_folder):
                begun = begun_at(name.removesuffix(".jsonl"))
                if begun is not None and begun < before:
                    self.disk.remove(self.done_folder / name)

    def forget(self, txn: str) -> None:
        """Remove a file without a single whole record: its process died before it made any call."""
        with contextlib.suppress(OSError):
            self.disk.remove(self.open_folder / f"{txn}.jsonl")

    def set_aside(self, txn: str) -> None:
        """Move a damaged file to ``damaged/`` for manual inspection."""
        self._move(self.open_folder / f"{txn}.jsonl", self.damaged_folder)

    def drop_ballast(self) -> bool:
        """Remove the ballast, which reserves space and files for a full disk; return ``False`` if there is none."""
        removed = False
        for path in (self._ballast, *self._spares):
            with contextlib.suppress(OSError):
                self.disk.remove(path)
                removed = True
        return removed

    def replace(self, handle: int, path: Path, records: list[JournalRecord]) -> tuple[int, Path]:
        """Write these records to a new file that replaces the old one; return its handle and path."""
        with contextlib.suppress(OSError):
            self.disk.close(handle)
        fresh = path.with_suffix(".new")
        with contextlib.suppress(OSError):
            self.disk.remove(fresh)
        new = self.disk.create(fresh)
        for seq, record in enumerate(records):
            line = encode(seq, record)
            while line:
                line = line[self.disk.write(new, line) :]
        self.disk.sync(new)
        self.disk.rename(fresh, path)
        self.disk.sync_folder(path.parent)
        return new, path

    def _whole(self, journal: Journal, handle: int, path: Path) -> list[JournalRecord]:
        """Return all whole records; cut off a torn tail so that the next record starts on a line of its own."""
        data = self.disk.read(path)
        records = decode(data)
        whole = b"".join(encode(seq, record) for seq, record in enumerate(records))
        if data != whole:
            journal.handle, _ = self.replace(handle, path, records)
        return records

    def _move(self, path: Path, folder: Path) -> None:
        self.disk.rename(path, folder / path.name)
        self.disk.sync_folder(folder)
        self.disk.sync_folder(self.open_folder)

    def _fill_ballast(self) -> None:
        with contextlib.suppress(OSError):  # the last one exists already, or the disk can hold no more files
            for path in reversed(self._spares):
                self.disk.close(self.disk.create(path))
        with contextlib.suppress(OSError):  # the file exists already
            handle = self.disk.create(self._ballast)
            try:
                whole = self.disk.write(handle, os.urandom(BALLAST_BYTES)) == BALLAST_BYTES  # zeros may occupy no space
                self.disk.sync(handle)
            except OSError:
                whole = False
            finally:
                self.disk.close(handle)
            if not whole:  # the disk is full now: a partial file must not prevent a whole one later
                self.disk.remove(self._ballast)
