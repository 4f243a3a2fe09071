"""A disk without space: what frees space or ends costs goes on, on any target, and nothing new is begun."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import pytest

from sdk.errors import JournalError
from sdk.executor.disk import RealDisk
from sdk.executor.journal import BALLAST_BYTES, SPARE_FILES, Journals
from sdk.executor.locks import Locks

if TYPE_CHECKING:
    from pathlib import Path

BEGIN: dict[str, Any] = {
    "verb": "delete", "name": "churn", "txn": "t1", "owner": "me", "target": "x", "provider": "fake",
    "fingerprint": "ab", "old": None, "new": None, "job": None, "deadline": 1.0, "time": 1.0, "pid": 1, "steps": [],
}  # fmt: skip


class Small(RealDisk):
    """A disk with room for so many bytes; removing the ballast gives its bytes back."""

    def __init__(self, room: int) -> None:
        self.room = room

    def write(self, handle: int, data: bytes) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = min(self.room, len(data))
        self.room -= taken
        return super().write(handle, data[:taken])

    def remove(self, path: Path) -> None:
        size = path.stat().st_size
        super().remove(path)
        self.room += size


def test_a_delete_is_journalled_in_the_space_of_the_ballast(tmp_path: Path) -> None:
    disk = Small(BALLAST_BYTES)
    journals = Journals(tmp_path, disk)
    with pytest.raises(JournalError, match="No space left"):
        journals.begin("t1", **BEGIN)  # the ballast took the last of it
    journal = journals.begin("t1", frees=True, **BEGIN)
    journal.write("committed", step=0)
    journal.end("done")
    assert ["t1.jsonl"] == [path.name for path in (tmp_path / "done").iterdir()]


class Crowded(RealDisk):
    """A disk that holds a limited number of files."""

    def __init__(self, most: int) -> None:
        self.left = most

    def create(self, path: Path) -> int:
        if not self.left:
            raise OSError(errno.ENOSPC, "No space left on device")
        handle = super().create(path)
        self.left -= 1
        return handle

    def remove(self, path: Path) -> None:
        super().remove(path)
        self.left += 1


@pytest.mark.parametrize("most", [1, SPARE_FILES, SPARE_FILES + 1])
def test_files_are_put_by_as_well(tmp_path: Path, most: int) -> None:
    """For the journal of what frees space, and for what the target has to write."""
    disk = Crowded(most)
    journals = Journals(tmp_path, disk)
    with pytest.raises(JournalError, match="No space left"):
        journals.begin("t1", **BEGIN)
    assert not disk.left
    journals.begin("t1", frees=True, **BEGIN).close()
    assert most - 1 == disk.left


def test_half_a_ballast_is_none(tmp_path: Path) -> None:
    """What did not fit is removed, so that a whole one is kept once there is space."""
    disk = Small(BALLAST_BYTES // 2)
    journals = Journals(tmp_path, disk)
    journals.begin("t1", **BEGIN).close()
    assert not (tmp_path / "ballast").exists()
    disk.room = 10 * BALLAST_BYTES
    journals.begin("t2", **BEGIN).close()
    assert BALLAST_BYTES == (tmp_path / "ballast").stat().st_size


def test_without_any_space_a_delete_has_no_journal(tmp_path: Path) -> None:
    journals = Journals(tmp_path, Small(0))
    with pytest.raises(JournalError):
        journals.begin("t1", frees=True, **BEGIN)
    journal = journals.unwritten("t1", **BEGIN)
    journal.write("committed", step=0)
    journal.end("done")
    assert ["begin", "committed"] == [record.event for record in journal.records]
    assert [] == journals.unfinished()


@pytest.mark.parametrize("way", ["folder", "link"])
def test_what_is_in_the_place_of_a_lock_is_set_aside(tmp_path: Path, way: str) -> None:
    path = tmp_path / "churn.lock"
    path.mkdir() if way == "folder" else path.symlink_to("nowhere")
    with Locks(tmp_path).held("churn", "me"):
        assert path.is_file()
    assert 1 == len(list(tmp_path.glob("churn.lock.damaged-*")))


@pytest.mark.parametrize("name", ["../outside", "a/b", "x" * 5000, "", "\ud800"])
def test_a_name_on_a_label_cannot_leave_the_folder(tmp_path: Path, name: str) -> None:
    """Names of endpoints come from labels, which others may write."""
    folder = tmp_path / "locks"
    with Locks(folder).held(name, "me"):
        assert 1 == len(list(folder.iterdir()))
    assert [folder] == list(tmp_path.iterdir())
