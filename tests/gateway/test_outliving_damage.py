"""Replicas whose files were removed, replaced or damaged while there was no gateway stay behind in no case."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from sdk.serving.gateway import client
from sdk.serving.gateway.child import Child, written_into
from sdk.serving.gateway.lifeline import Lifeline
from sdk.serving.gateway.table import Replica, Spawn
from tests.disks import full, small_disk
from tests.gateway.harness import FAST, Endpoint, lives, until
from tests.gateway.test_outliving import parent_of, printed, replace_gateway

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def removed(path: Path) -> None:
    path.unlink()


def replaced(path: Path) -> None:
    text = path.read_text()
    path.unlink()
    path.write_text(text)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "file").write_text("")


def link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def huge(path: Path) -> None:
    os.truncate(path, 1 << 40)


DAMAGE: list[tuple[Callable[[Path], None], str]] = [
    *((one, ".lock") for one in (removed, replaced, pipe, folder, link, huge)),
    *((one, ".out") for one in (pipe, folder)),
]


def clear_log(endpoint: Endpoint, count: int) -> None:
    """Expect so many lines about files that were set aside, and nothing else."""
    log = endpoint.folder / "logs" / "gateway.log"
    lines = log.read_text().splitlines()
    assert [] == [line for line in lines if "it was set aside as" not in line]
    assert count == len(lines)
    os.truncate(log, 0)


def test_no_damage_to_its_files_leaves_a_replica_behind(endpoint: Endpoint, tmp_path: Path) -> None:
    """The next one starts, though it needs the device of the one before."""
    replicas = endpoint.deployment("a", 100, len(DAMAGE))["replicas"]
    for number, replica in enumerate(replicas):
        replica["spawn"]["locks"] = [str(tmp_path / f"gpu-{number}.lock")]
    endpoint.put(a={"weight": 100, "replicas": replicas})
    before = {one["id"]: endpoint.replica(one["id"])["pid"] for one in replicas}

    def damage() -> None:
        for (change, suffix), name in zip(DAMAGE, before, strict=True):
            change(endpoint.folder / f"b-{name}{suffix}")

    replace_gateway(endpoint, damage)
    until(lambda: all(endpoint.replica(name)["ready"] for name in before))
    assert [] == [name for name, pid in before.items() if lives(pid)]
    for _ in before:
        endpoint.post("/print?text=heard")
    until(lambda: printed(endpoint).count("heard") == len(before))
    endpoint.put(b=endpoint.deployment("b"), wait_drained=True)
    assert [] == [path.name for path in endpoint.folder.glob("b-a-*") if ".damaged-" not in path.name]
    clear_log(endpoint, 4)


def test_one_taken_over_whose_lock_was_removed_can_be_ended(endpoint: Endpoint) -> None:
    endpoint.put(a=endpoint.deployment("a"))
    replace_gateway(endpoint)
    pid = endpoint.replica("a-0")["pid"]
    (endpoint.folder / "b-a-0.lock").unlink()
    os.kill(pid, signal.SIGSTOP)
    endpoint.put(b=endpoint.deployment("b"), limits={"stop_s": 0.1}, wait_drained=True)
    assert not lives(pid)


def test_a_folder_in_place_of_a_file_does_not_keep_a_replica_from_ending(endpoint: Endpoint) -> None:
    endpoint.put(a=endpoint.deployment("a"))
    for name in ("b-a-0.lock", "b-a-0.out", "b-a-0.sock"):
        folder(endpoint.folder / name)
    endpoint.put(b=endpoint.deployment("b"), wait_drained=True)
    assert [] == endpoint.status()["retiring"]
    clear_log(endpoint, 3)


def test_a_limit_that_the_system_does_not_allow_is_reported(endpoint: Endpoint) -> None:
    """It was waited for until the replica was late, and the gateway could not be stopped."""
    impossible = endpoint.deployment("a", limits={"open_files": 1 << 62})
    with pytest.raises(client.GatewayError, match="limits could not be set"):
        client.put_table(endpoint.folder, {"generation": 1, "deployments": {"a": impossible}, "limits": FAST})


@pytest.mark.parametrize("lifeline", [None, Lifeline()])
def test_a_replica_starts_on_a_full_disk(tmp_path: Path, lifeline: Lifeline | None) -> None:
    """Its lock has no room for its number. It ran, was not known of, and kept its lock from the next one."""
    replica = Replica(id="a", address="127.0.0.1:1", spawn=Spawn(argv=["sleep", "600"], env=dict(os.environ)))
    with small_disk(tmp_path / "disk", 1) as disk, full(disk, 0):
        child = Child.start(replica, disk / "b-a.lock", lifeline)
        assert b"" == (disk / "b-a.lock").read_bytes()
        child.kill("the test ends")
        assert "SIGKILL" == until(child.poll).signal
        os.close(child.output)


def test_a_keeper_that_is_stopped_while_there_is_no_gateway_ends(endpoint: Endpoint) -> None:
    endpoint.put(a=endpoint.deployment("a"))
    gateway = endpoint.status()["gateway"]["pid"]
    pids = [parent_of(gateway), endpoint.replica("a-0")["pid"]]
    os.kill(pids[0], signal.SIGSTOP)
    os.kill(gateway, signal.SIGKILL)
    os.kill(pids[0], signal.SIGTERM)
    os.kill(pids[0], signal.SIGCONT)
    until(lambda: not any(map(lives, pids)))


def test_what_was_noted_for_others_does_not_hide_an_exit_code() -> None:
    lifeline = Lifeline()
    for number in range(20_000):
        lifeline.note(1_000_000 + number, 0)
    lifeline.note(7, 9 << 8)
    assert 9 == lifeline.exit_code(7)
    assert lifeline.exit_code(7, patience_s=0) is None


def test_an_exit_code_is_waited_for_though_others_come_first() -> None:
    lifeline = Lifeline()
    lifeline.note(8, 0)
    if not (pid := os.fork()):
        for number in (9, 10, 7):
            lifeline.note(number, number << 8)
        os._exit(0)
    assert 7 == lifeline.exit_code(7, patience_s=20)
    os.waitpid(pid, 0)


def test_what_was_noted_for_an_earlier_process_is_dropped() -> None:
    lifeline = Lifeline()
    lifeline.note(7, 1 << 8)
    lifeline.forget(7)
    assert lifeline.exit_code(7, patience_s=0) is None


def test_the_number_in_a_lock_is_found_beside_its_fingerprint(tmp_path: Path) -> None:
    """Systems without /proc need it."""
    for text, expected in (("12 abc\n", [12]), ("12", [12]), ("", []), ("x 12", []), ("-1 a", [])):
        (tmp_path / "lock").write_text(text)
        assert expected == written_into(tmp_path / "lock")
