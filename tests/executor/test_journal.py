"""The journal: what it accepts, and what it makes of a damaged or full disk."""

from __future__ import annotations

import errno
import os
import random
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sdk.errors import JournalDamaged, JournalError
from sdk.executor import journal_safe
from sdk.executor.journal import BALLAST_BYTES, JournalRecord, Journals, decode, encode
from sdk_contract.fake import ConfigFake, TrafficFake
from tests.executor.power import MemoryDisk
from tests.executor.world import Client, Kill, Switch, World, finalize, fresh, update

if TYPE_CHECKING:
    from collections import Counter

    from sdk_contract.fake import FakeAdapter

STATES = Path("/state")
BEGIN: dict[str, Any] = {
    "verb": "deploy", "name": "churn", "txn": "t1", "owner": "me", "target": "ab", "provider": "fake",
    "fingerprint": "ab12", "old": None, "new": "d1", "job": None, "deadline": 60.0, "time": 1.0, "pid": 7, "steps": [],
}  # fmt: skip


def real_journal(folder: Path) -> bytes:
    """The bytes of a journal of a whole update."""
    world = World(ConfigFake, folder)
    verb = world.prepare("update")
    Client(world).run(verb)
    files = world.disk_of("laptop").files
    return bytes(max((data for path, data in files.items() if "/done/" in path), key=len))


def finished(world: World) -> list[str]:
    return [path for path in world.disk_of("laptop").files if "/done/" in path]


def test_finished_journals_are_kept_for_thirty_days(tmp_path: Path) -> None:
    """Those of the last thirty days stay for people to read; the next change, or `gc`, removes older ones."""
    world = World(ConfigFake, tmp_path)
    client = Client(world)
    client.run(fresh)
    first = finished(world)
    world.clock.sleep(29 * 86_400)
    client.run(update)
    both = finished(world)
    assert (1, 2) == (len(first), len(both))
    world.clock.sleep(2 * 86_400)
    client.executor.gc(apply=True)
    assert sorted(set(both) - set(first)) == finished(world)
    world.clock.sleep(31 * 86_400)
    client.run(finalize)
    assert 1 == len(finished(world))


def test_a_replacement_that_was_cut_off_is_removed(tmp_path: Path) -> None:
    """A process that was killed while it wrote a journal anew leaves the old one, and a part of the new one."""
    journals = Journals(tmp_path)
    journals.begin("000000abcd", **BEGIN).close()
    half = journals.open_folder / "000000abcd.new"
    half.write_bytes(b"half")
    journals.load("000000abcd").end("done")
    assert not half.exists()


def test_unfinished_and_unknown_files_are_never_pruned(tmp_path: Path) -> None:
    """However old, a transaction that has not ended stays, and so does a file that is none of ours."""
    journals = Journals(tmp_path)
    journals.begin("000000abcd", **BEGIN)
    journals.begin("000001abcd", **BEGIN).end("done")
    (journals.done_folder / "notes.txt").touch()
    (journals.done_folder / "old.jsonl").touch()
    journals.prune(2e9)
    assert ["000000abcd"] == journals.unfinished()
    assert ["notes.txt", "old.jsonl"] == sorted(path.name for path in journals.done_folder.iterdir())


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.full)])
def test_every_truncation_is_a_prefix(step: int, tmp_path: Path) -> None:
    """However a file is cut, what is read is the beginning of what was written, never something else."""
    data = real_journal(tmp_path)
    whole = decode(data)
    for size in range(0, len(data), step):
        records = decode(data[:size])
        assert whole[: len(records)] == records
    assert len(whole) > 10


@pytest.mark.parametrize("number", [2_000, pytest.param(100_000, marks=pytest.mark.full)])
def test_flipped_bits_are_noticed(number: int, tmp_path: Path) -> None:
    """No flipped bit changes what is read: it is an error, or it hit the tail that is dropped anyway."""
    data, chance = real_journal(tmp_path), random.Random(3)
    whole = decode(data)
    for _ in range(number):
        broken = bytearray(data)
        broken[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        try:
            records = decode(bytes(broken))
        except JournalDamaged:
            continue
        assert whole == records, "a flip in the middle was silently taken"


def test_lost_last_newline() -> None:
    """A last record that is whole but for its newline counts; one byte less and it does not."""
    line = encode(0, JournalRecord("abort", {"reason": "error"}))
    assert 1 == len(decode(line[:-1]))
    assert 0 == len(decode(line[:-2]))


@pytest.mark.parametrize(
    "field",
    [
        {"verb": "deploy; rm -rf"},
        {"name": "https://user:password@host/"},
        {"old": "Bearer abc"},
        {"fingerprint": "not hex"},
        {"steps": [{"password": "x"}]},
        {"deadline": float("nan")},
        {"password": "x"},
    ],
)
def test_only_typed_fields_enter(field: dict[str, Any], tmp_path: Path) -> None:
    """Text that is no id, hash, enum or number cannot be written, so no secret can."""
    journals = Journals(tmp_path)
    with pytest.raises(JournalError):
        journals.begin("t1", **{**BEGIN, **field})
    assert [] == journals.unfinished()


@pytest.mark.parametrize("secret", ["s3cr3t value", "AKIA/+==", 'a"b', "https://host/?sig=x", "x" * 600])
def test_unsafe_specs_are_refused_by_name(secret: str) -> None:
    """A mutable kind whose spec could hold a secret is refused with the name of the field."""
    with pytest.raises(JournalError, match="'token' of Traffic churn"):
        journal_safe({"weights": {"d1": 100}, "token": secret}, "Traffic churn")


def test_files_are_private(tmp_path: Path) -> None:
    """Folders are 0700 and files 0600, and a link is not followed."""
    journals = Journals(tmp_path / "new")
    journals.begin("t1", **BEGIN)
    path = journals.open_folder / "t1.jsonl"
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    assert 0o700 == stat.S_IMODE(journals.open_folder.stat().st_mode)
    (journals.open_folder / "t2.jsonl").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(JournalError):
        journals.load("t2")


def test_a_name_is_used_once(tmp_path: Path) -> None:
    """Two transactions cannot share a file, and an id cannot lead out of the folder."""
    journals = Journals(tmp_path)
    journals.begin("t1", **BEGIN)
    with pytest.raises(JournalError, match="exists"):
        journals.begin("t1", **BEGIN)
    with pytest.raises(JournalError, match="no transaction id"):
        journals.begin("../t1", **BEGIN)


def test_damaged_journals_are_set_aside(tmp_path: Path) -> None:
    """gc does not guess: it moves a damaged journal aside and works from labels."""
    world = World(ConfigFake, tmp_path)
    world.prepare("update")
    switch = Switch(60)
    with pytest.raises(Kill):
        Client(world).mortal(switch).run(update)
    disk = world.disk_of("laptop")
    disk.hook = lambda point: None
    path = next(path for path in disk.files if "/open/" in path)
    disk.files[path][40] ^= 1
    world.clock.sleep(8000)
    report = Client(world).executor.gc(apply=True)
    assert ["damaged"] == [item.outcome for item in report.recovered]
    assert any("/damaged/" in path for path in disk.files)
    assert [] == world.converge().executor.gc().orphans
    assert [] == world.orphans()


@pytest.mark.parametrize("step", [pytest.param(13), pytest.param(1, marks=pytest.mark.full)])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EINTR])
@pytest.mark.parametrize("op", ["write", "sync", "create", "rename", "sync_folder", "short"])
@pytest.mark.parametrize("shape", [ConfigFake, TrafficFake])
def test_disk_trouble(
    shape: type[FakeAdapter], *, op: str, code: int, step: int, tmp_path: Path, tally: Counter[str]
) -> None:
    """Whichever file operation fails, no call is made without its intent, and nothing is left."""
    for at in range(0, 40, step):
        world = World(shape, tmp_path)
        verb = world.prepare("update")
        disk = world.disk_of("laptop")
        trouble: OSError | int = 5 if op == "short" else OSError(code, os.strerror(code))
        waits: list[OSError | int] = [-1] * at
        disk.errors = {"write" if op == "short" else op: [*waits, trouble]}
        client = Client(world)
        client.adapter.hook = lambda point, disk=disk: _intent_is_durable(point, disk)  # type: ignore[misc]
        try:
            client.run(verb)
        except (JournalError, OSError) as error:
            assert isinstance(error, JournalError), f"a bare {error!r} crossed the border"  # noqa: PT017
        tally["disk trouble"] += 1
        disk.errors.clear()
        client.adapter.hook = lambda point: None
        world.clock.sleep(60)
        world.converge()
        assert [] == world.faults(), f"{op} number {at}"


def _intent_is_durable(point: str, disk: MemoryDisk) -> None:
    """I2: before a create or update is sent, its intent is on the medium."""
    if not point.startswith(("before create", "before update")):
        return
    _, action, kind = point.split()
    durable = [data for path, data in disk.durable().items() if "/open/" in path]
    records = decode(durable[0])
    last = next(record for record in reversed(records) if record.event == "intent")
    assert (action, kind) == (last.data["action"], last.data["kind"])


def test_ballast_lets_a_full_disk_be_cleaned_up(tmp_path: Path) -> None:
    """On a full disk nothing new is begun, and the ballast makes room for recording that what was is undone."""
    disk = MemoryDisk()
    journals = Journals(STATES, disk)
    journal = journals.begin("t1", **BEGIN)
    assert BALLAST_BYTES == len(disk.files[str(STATES / "ballast")])
    disk.errors["write"] = [OSError(errno.ENOSPC, "full")]
    with pytest.raises(JournalError, match="full"):
        journal.write("probed", step=0)
    assert str(STATES / "ballast") in disk.files
    disk.errors["write"] = [OSError(errno.ENOSPC, "full")]
    journal.note("abort", reason="error")
    assert str(STATES / "ballast") not in disk.files
    assert ["begin", "abort"] == [record.event for record in journals.peek("t1")]


def test_a_failed_write_leaves_no_half_record(tmp_path: Path) -> None:
    """A write that fails in the middle is cut off, and the journal can go on."""
    disk = MemoryDisk()
    journal = Journals(STATES, disk).begin("t1", **BEGIN)
    disk.remove(STATES / "ballast")
    disk.errors["write"] = [7, OSError(errno.ENOSPC, "full")]
    with pytest.raises(JournalError, match="full"):
        journal.write("abort", reason="error")
    journal.write("abort", reason="interrupt")
    records = Journals(STATES, disk).peek("t1")
    assert ["error" if item.data.get("reason") == "error" else item.event for item in records] == ["begin", "abort"]


def test_a_file_whose_sync_failed_is_not_trusted() -> None:
    """After a failed sync the records go on in a new file, which replaces the old one."""
    disk = MemoryDisk()
    journal = Journals(STATES, disk).begin("t1", **BEGIN)
    disk.errors["sync"] = [OSError(errno.EIO, "input/output error")]
    with pytest.raises(JournalError):
        journal.write("abort", reason="error")
    journal.write("abort", reason="interrupt")
    durable = disk.durable()[str(STATES / "open" / "t1.jsonl")]
    assert ["begin", "abort"] == [record.event for record in decode(durable)]


def test_a_state_folder_that_cannot_be_used(tmp_path: Path) -> None:
    """A state folder that is a file is refused with a hint."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(JournalError, match="MLPORT_STATE_DIR"):
        Journals(tmp_path / "file" / "executor" / "target")
    assert "x" == (tmp_path / "file").read_text()


def together(*records: tuple[str, dict[str, Any]]) -> bytes:
    return b"".join(encode(seq, JournalRecord(event, data)) for seq, (event, data) in enumerate(records))


STEP: dict[str, Any] = {
    "action": "create", "kind": "Config", "id": "c", "hash": "ab", "parents": [], "tags": {}, "usd": None,
    "commit": False, "before": None, "after": None,
}  # fmt: skip
ONE = {**BEGIN, "steps": [STEP]}


@pytest.mark.parametrize(
    "data",
    [
        together(("begin", ONE), ("probed", {"step": 1})),
        together(("begin", ONE), ("probed", {"step": -1})),
        together(("begin", ONE), ("probed", {"step": 0.5})),
        together(("begin", ONE), ("begin", ONE)),
        together(("probed", {"step": 0}), ("begin", ONE)),
        together(("end", {"outcome": "done"})),
        together(("begin", {**BEGIN, "steps": [{**STEP, "parents": [["only-a-kind"]]}]})),
        None,
    ],
)
def test_records_that_do_not_belong_together_are_set_aside(data: bytes | None, tmp_path: Path) -> None:
    """Also a folder with the name of a journal; a change of that name goes on, and `gc` tells."""
    journals = Journals(tmp_path / "place")
    executor = Client(World(ConfigFake, tmp_path)).executor
    executor.journals = journals
    path = journals.open_folder / "000000abcd.jsonl"
    if data is None:
        path.mkdir()
    else:
        path.write_bytes(data)
    assert executor._peek("000000abcd") is None
    assert ["damaged"] == [item.outcome for item in executor.gc(apply=True).recovered]
    assert [path.name] == [one.name for one in journals.damaged_folder.iterdir()]
    assert [] == executor.gc(apply=True).recovered
