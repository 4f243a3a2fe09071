"""Small records in the gateway's folder for its managers, each replaced by compare-and-swap.

The labels of a container engine are immutable, and its volumes have no conditional writes. Clients of an engine
therefore store here what they must not overwrite unseen. The gateway is the only writer, so a swap is atomic.
"""

from __future__ import annotations

import re
import secrets
import stat
import time
from typing import TYPE_CHECKING, Any

import msgspec

from .table import clear_way, save, set_aside

if TYPE_CHECKING:
    from pathlib import Path

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_MANY = 256


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A named value; ``etag`` changes with every write, ``created_at`` (Unix seconds) does not."""

    etag: str
    created_at: float
    value: dict[str, Any]


class RecordChanged(Exception):
    """Raised when a record does not have the expected etag.

    Attributes:
        present: The present record, or ``None``.

    """

    def __init__(self, name: str, present: Record | None) -> None:
        super().__init__(f"Record {name} is not the one that was expected; read it again.")
        self.present = present


class Records:
    """All records in one folder, which is created if missing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def all(self) -> dict[str, Record]:
        """Return all records by name."""
        found: dict[str, Record] = {}
        clear_way(self._folder, stat.S_ISDIR)
        for path in sorted(self._folder.glob("*.json")):
            record = self._read(path.stem)
            if record is not None:
                found[path.stem] = record
        return found

    def damaged(self) -> dict[str, str]:
        """Return the records that were set aside and not rewritten since, each with the name of the damaged file."""
        found = {path.name.partition(".json")[0]: path.name for path in sorted(self._folder.glob("*.json.damaged-*"))}
        return {name: aside for name, aside in found.items() if not self._path(name).is_file()}

    def put(self, name: str, value: dict[str, Any], expected: str | None) -> Record:
        """Write a record if the present one has this etag; ``None`` means that it must not exist.

        Raises:
            RecordChanged: The present record has another etag.
            ValueError: The name is invalid, or there are too many records.

        """
        present = self._expect(name, expected)
        if present is None and len(list(self._folder.glob("*.json"))) >= _MANY:
            raise ValueError(f"records: there are {_MANY} already; delete one first")
        created = time.time() if present is None else present.created_at
        record = Record(etag=secrets.token_hex(8), created_at=created, value=value)
        clear_way(self._folder, stat.S_ISDIR)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        save(self._path(name), msgspec.json.encode(record))
        return record

    def delete(self, name: str, expected: str) -> None:
        """Delete a record if it has this etag.

        Raises:
            RecordChanged: The present record has another etag.

        """
        self._expect(name, expected)
        self._path(name).unlink()
        for aside in self._folder.glob(f"{name}.json.damaged-*"):
            aside.rename(aside.with_name(f".{aside.name}"))  # kept for inspection, but no longer listed

    def _expect(self, name: str, expected: str | None) -> Record | None:
        if not _NAME.fullmatch(name):
            raise ValueError(f"record: {name!r} must match {_NAME.pattern}")
        present = self._read(name)
        if (None if present is None else present.etag) != expected:
            raise RecordChanged(name, present)
        return present

    def _read(self, name: str) -> Record | None:
        path = self._path(name)
        clear_way(path, stat.S_ISREG)
        try:
            return msgspec.json.decode(path.read_bytes(), type=Record)
        except FileNotFoundError:
            return None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            set_aside(path, str(error))
            return None

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.json"
