"""Damaged records: whatever is in one file, everything else works, the endpoint is degraded, and it can be removed."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import psutil
import pytest

from sdk.adapter.types import EndpointState
from sdk.util import scratch
from sdk_local._records import (
    DeploymentForm,
    Form,
    GatewayForm,
    JobForm,
    MaterialForm,
    OutcomeForm,
    PushedForm,
    TrafficForm,
    asides,
    read_record,
    read_values,
)
from tests.waits import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import msgspec

FORMS: dict[str, type[Form]] = {
    "gateway": GatewayForm,
    "traffic": TrafficForm,
    "deployment": DeploymentForm,
    "job": JobForm,
    "material": MaterialForm,
}
RUN = "0123456789abcdef" * 2
SOUND: dict[str, dict[str, Any]] = {
    "gateway": {"spec": {"port": 0, "expires_at": 0}, "extra": {"run": RUN}},
    "traffic": {"spec": {"weights": {"d1": 100}}, "extra": {}},
    "deployment": {
        "spec": {"deployment": "d1", "model": "ab", "replicas": 1},
        "extra": {"usd_per_hour": 0.0, "replicas": [{"id": "d1-0", "address": "unix:/x", "spawn": {"argv": ["x"]}}]},
    },
    "job": {"spec": {}, "extra": {"run": RUN}},
    "material": {"spec": {}, "extra": {"python": "/e/bin/python", "folder": "/m"}},
}
LABELS = {"mlport": "1", "mlport-endpoint": "churn", "mlport-owner": "me", "mlport-txn": "t1"}
WRONG: list[Any] = [None, True, -1, 1e308, 10**400, "x" * 99, "\ud800", [], {}, [[]], {"": None}, [None] * 9]


def text(kind: str) -> bytes:
    return json.dumps({"labels": LABELS, "created_at": 1.0, **SOUND[kind]}).encode()


def random_bytes(path: Path) -> None:
    path.write_bytes(random.Random(7).randbytes(300))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def as_folder(path: Path) -> None:
    path.unlink()
    (path / "inside").mkdir(parents=True)


def as_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def as_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def content(data: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(data)

    return write


DAMAGE: dict[str, Callable[[Path], None]] = {
    "random": random_bytes,
    "cut": cut,
    "folder": as_folder,
    "dangling link": as_link,
    "pipe": as_pipe,
    "empty": content(b""),
    "list": content(b"[]"),
    "table": content(b"{}"),
    "null": content(b"null"),
    "number": content(b"1e999"),
    "not UTF-8": content(b'{"labels": {"mlport": "\xff"}}'),
    "nested": content(b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
    "nested lists": content(b"[" * 50_000 + b"]" * 50_000),
    "of another": content(text("gateway")),
}


@pytest.mark.parametrize("kind", FORMS)
def test_sound_records_are_read(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(text(kind))
    record = read_record(path, FORMS[kind], "churn")
    assert record is not None
    assert (SOUND[kind]["spec"], SOUND[kind]["extra"]) == (record.spec, record.extra)
    assert read_record(path, FORMS[kind], "another") is None  # a copy of the record of something else


def variants(value: Any) -> Iterator[Any]:
    """The value with each part of it left out, or replaced by something of another kind."""
    yield from WRONG
    if isinstance(value, dict):
        table = cast("dict[str, Any]", value)
        for key, inner in table.items():
            yield {name: other for name, other in table.items() if name != key}
            yield from ({**table, key: one} for one in variants(inner))
    if isinstance(value, list):
        items: list[Any] = value
        for place, inner in enumerate(items):
            yield from ([*items[:place], one, *items[place + 1 :]] for one in variants(inner))


@pytest.mark.parametrize("kind", FORMS)
def test_each_field_with_each_wrong_value(kind: str, tmp_path: Path) -> None:
    """A record is read as it is, or set aside and counted as not there; nothing is raised and nothing else happens."""
    path, seen = tmp_path / "r.json", set[bool]()
    for value in variants(json.loads(text(kind))):
        path.write_text(json.dumps(value))
        record = read_record(path, FORMS[kind], "churn")
        seen.add(record is None)
        assert path.exists() == (record is not None), value
        if record is not None:
            assert isinstance(record.spec, dict), value
            assert len(record.etag) == 32
        for aside in asides(path):
            aside.unlink()
    assert seen >= {True}


@pytest.mark.parametrize("kind", FORMS)
def test_random_damage(kind: str, tmp_path: Path) -> None:
    """Flipped, removed and repeated bytes of a sound record."""
    chance, path, whole = random.Random(kind), tmp_path / "r.json", text(kind)
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            place = chance.randrange(len(data))
            match chance.randrange(3):
                case 0:
                    data[place] = chance.randrange(256)
                case 1:
                    del data[place : place + chance.randint(1, 40)]
                case _:
                    data[place:place] = data[place // 2 : place]
        path.write_bytes(data)
        record = read_record(path, FORMS[kind])
        assert path.exists() == (record is not None)


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("form", [*FORMS.values(), OutcomeForm, PushedForm])
def test_every_damage_is_set_aside_once(how: str, form: type[msgspec.Struct], tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(text("deployment"))
    DAMAGE[how](path)
    if form in {GatewayForm, JobForm} and how == "of another":
        return
    assert read_values(path, form) is None
    assert [] == list(tmp_path.glob("r.json"))
    assert 1 == len(asides(path))
    assert read_values(path, form) is None
    assert 1 == len(asides(path))


# --- with a real endpoint


def records_of(state: Path, name: str) -> dict[str, Path]:
    folder = state / "endpoints" / name
    return {
        **{path.name.partition("-")[0]: path for path in (folder / "records").glob("*.json")},
        "token": folder / "token",
        "table": folder / "table.json",
        "address": folder / "address.json",
        "pushed": folder / "records" / "pushed",
    }


SHOWN = {"gateway.json", "traffic.json", "d"}


@pytest.fixture
def pair(local: Any, name: str, times: Any) -> Iterator[tuple[str, str]]:
    """Two endpoints; the records of the first are damaged."""
    other = f"{name}-b"
    local.deploy(times(2), name)
    local.deploy(times(3), other)
    yield name, other
    local.delete(other)


@pytest.mark.parametrize("step", [len(DAMAGE), pytest.param(1, marks=pytest.mark.full)])
def test_one_damaged_record_stops_nothing(
    local: Any, pair: tuple[str, str], state: Path, new_local: Any, step: int
) -> None:
    """The endpoint serves on and is degraded with the reason; the other is as ever; listing and gc work."""
    name, other = pair
    for first, (what, path) in enumerate(records_of(state, name).items()):
        for how, damage in list(DAMAGE.items())[5 * first % step :: step]:
            kept = path.read_bytes()
            damage(path)
            client = new_local()
            status = client.status(name)
            while what == "token" and EndpointState.READY != client.status(name).state:
                time.sleep(0.05)  # the gateway starts again with the new one
            assert [[4.0]] == client.predict(name, [[2.0]]), (what, how)
            assert EndpointState.READY == client.status(other).state
            assert {name, other} <= {live.labels.endpoint for live in client.adapter.list(timeout=30)}
            assert [] == client.executor.gc(apply=True).orphans
            if what in SHOWN and how != "of another":
                assert EndpointState.DEGRADED == status.state, (what, how)
                assert path.name in status.reason
            for aside in path.parent.glob(f"{path.name}.damaged-*"):
                shutil.rmtree(aside) if aside.is_dir() and not aside.is_symlink() else aside.unlink()
            if what != "token":  # there is a new one
                scratch.discard(path)  # what a gateway reads at its start only may still be a folder
                path.write_bytes(kept)
            assert EndpointState.READY == client.status(name).state, (what, how)


@pytest.mark.parametrize("how", ["folder", pytest.param("table", marks=pytest.mark.full)])
def test_deploying_again_mends(local: Any, name: str, times: Any, state: Path, how: str) -> None:
    local.deploy(times(2), name)
    for what in ("gateway.json", "traffic.json", "d"):
        DAMAGE[how](records_of(state, name)[what])
    assert EndpointState.DEGRADED == local.status(name).state
    assert EndpointState.READY == local.deploy(times(5), name).status.state
    assert [[10.0]] == local.predict(name, [[2.0]])


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("how", ["random", *(pytest.param(how, marks=pytest.mark.full) for how in DAMAGE)])
def test_delete_removes_what_is_really_there(
    local: Any, name: str, times: Any, state: Path, how: str, ended: bool, left_over: Callable[[str], list[str]]
) -> None:
    """With every record damaged, also when the gateway is gone: nothing is left, and the name can be used again."""
    local.deploy(times(2), name)
    if ended:
        end_gateway(local, name)
    for path in records_of(state, name).values():
        DAMAGE[how](path)
    local.delete(name)
    assert [] == left_over(name)
    assert EndpointState.READY == local.deploy(times(2), name).status.state


def test_gc_sweeps_an_endpoint_without_sound_records(
    local: Any, name: str, times: Any, state: Path, new_local: Any, left_over: Callable[[str], list[str]]
) -> None:
    """One that sends no traffic anywhere, once it is old enough."""
    local.deploy(times(2), name)
    end_gateway(local, name)
    for path in records_of(state, name).values():
        random_bytes(path)
    assert [] == [item for item in local.executor.gc(apply=True).removed if name in item.id]
    later = new_local(ahead=10 * 86_400.0)
    assert {name} == {item.id.partition(".")[0] for item in later.executor.gc(apply=True).removed if name in item.id}
    assert [] == left_over(name)


def end_gateway(local: Any, name: str) -> None:
    """End the gateway with its replicas, and its keeper first, as a restart of the machine does."""
    folder = str(local.adapter._endpoints.folder(name).short)
    found = [one for one in psutil.process_iter(["cmdline"]) if folder in (one.info["cmdline"] or [])]
    for process in sorted(found, key=lambda one: one.create_time()):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(found, 10)


@pytest.mark.parametrize("part", ["endpoints", "jobs"])
def test_what_is_no_folder_is_set_aside(local: Any, name: str, times: Any, state: Path, part: str) -> None:
    path = state / part / name
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.symlink_to("nowhere")
    assert [] == [live for live in local.adapter.list(timeout=30) if live.id.startswith(name)]
    assert 1 == len(asides(path))
    asides(path)[0].unlink()
    if part == "endpoints":
        assert EndpointState.READY == local.deploy(times(2), name).status.state


def test_a_job_with_damaged_records(
    local: Any, state: Path, tmp_path: Path, left_over: Callable[[str], list[str]]
) -> None:
    """It is listed with the reason, also while it runs, and can be deleted."""
    script = tmp_path / "train.py"
    script.write_text("import time\nprint('begun', flush=True)\ntime.sleep(600)\n")
    local.submit(script, "job-damaged")
    while not any("begun" in line.text for line in local.adapter.job_logs("job-damaged")):
        time.sleep(0.05)
    for damage in (random_bytes, as_folder):
        for part in ("job.json", "state.json"):
            path = state / "jobs" / "job-damaged" / part
            if not path.exists():
                path.write_bytes(b"{}")
            damage(path)
        (state / "jobs" / "job-damaged" / "log").write_bytes(b"\xff\x00no time\n1e999 x\n")
        status = local.adapter.job_status("job-damaged", timeout=5)
        assert ("running", True) == (status.state, "job.json" in status.reason)
        assert ["job-damaged"] == [live.id for live in local.adapter.list(timeout=30) if live.kind == "Job"]
        assert [] == [line for line in local.adapter.job_logs("job-damaged") if line.time]
    local.delete("job-damaged")
    assert [] == left_over("job-damaged")


# It ignores a polite request to end, and so does what it starts in a session of its own.
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print("begun", flush=True)
time.sleep(600)
"""


PARTS = 4  # the runner, the program of mlport that it starts, the script, and what the script starts


def run_of(folder: Path) -> list[psutil.Process]:
    """The runner of the job in a folder, and all processes that it started."""
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            words = [*process.cmdline(), process.environ().get("MLPORT_OUTPUT_DIR", "")]
            if any(Path(word).is_relative_to(folder) for word in words):
                found.append(process)
    return found


@pytest.fixture
def stubborn(local: Any, state: Path, tmp_path: Path, left_over: Callable[[str], list[str]]) -> Iterator[str]:
    """The name of a running job, which ends with the test."""
    script, name = tmp_path / "train.py", f"job-stubborn-{os.getpid()}"
    script.write_text(STUBBORN)
    local.submit(script, name)
    until(lambda: any("begun" in line.text for line in local.adapter.job_logs(name)))
    folder = state / "jobs" / name
    assert PARTS == len(run_of(folder))
    yield name
    for process in run_of(folder):
        process.kill()
    assert [] == left_over(name)


def lose(folder: Path, *parts: str) -> None:
    for part in parts:
        (folder / part).unlink(missing_ok=True)


@pytest.mark.parametrize("again", [False, True])
def test_a_job_without_record_and_lock_runs_on_and_can_be_deleted(
    local: Any, state: Path, stubborn: str, again: bool
) -> None:
    """Its runner is found by what it runs; a new file in the place of its lock misleads no client."""
    folder = state / "jobs" / stubborn
    lose(folder, "job.json", "runner.lock", *(["state.json"] if again else []))
    if again:
        (folder / "runner.lock").touch()
    status = local.adapter.job_status(stubborn, timeout=5)
    assert again or "running" == status.state
    assert "job.json is missing" in status.reason
    assert PARTS == len(run_of(state / "jobs" / stubborn)), "a look ends nothing"
    local.delete(stubborn)
    assert [] == run_of(state / "jobs" / stubborn)
    assert not folder.exists()


def test_what_a_killed_runner_left_is_found_without_record_and_lock(local: Any, state: Path, stubborn: str) -> None:
    (runner,) = (one for one in run_of(state / "jobs" / stubborn) if "_runner.py" in " ".join(one.cmdline()))
    runner.kill()
    runner.wait()
    lose(state / "jobs" / stubborn, "job.json", "runner.lock")
    assert run_of(state / "jobs" / stubborn)
    status = local.adapter.job_status(stubborn, timeout=5)
    assert ("failed", True) == (status.state, "killed" in status.reason)
    until(lambda: not run_of(state / "jobs" / stubborn))
    local.delete(stubborn)


@pytest.mark.parametrize("how", [shutil.rmtree, lambda folder: folder.rename(folder.with_name(".gone-elsewhere"))])
def test_a_job_without_its_folder_ends_itself(
    local: Any, state: Path, stubborn: str, how: Callable[[Path], object]
) -> None:
    """No client would find it any more; another job can have the name."""
    how(state / "jobs" / stubborn)
    until(lambda: not run_of(state / "jobs" / stubborn))
    assert local.adapter.job_status(stubborn, timeout=5) is None
    assert [] == [live.id for live in local.adapter.list(timeout=30) if live.id == stubborn]


def test_an_endpoint_without_its_folder_ends_itself(
    local: Any, name: str, times: Any, state: Path, left_over: Callable[[str], list[str]]
) -> None:
    local.deploy(times(2), name)
    assert left_over(name)
    shutil.rmtree(state / "endpoints" / name)
    until(lambda: not left_over(name), lambda: left_over(name))
    assert local.status(name) is None
    assert EndpointState.READY == local.deploy(times(3), name).status.state
    assert [[6.0]] == local.predict(name, [[2.0]])


def loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


@pytest.mark.parametrize("how", [as_pipe, as_folder, as_link, loop, large])
def test_every_file_of_a_job_in_turn(local: Any, state: Path, how: Callable[[Path], None], tmp_path: Path) -> None:
    """Nothing waits, lists go on without an error, its log is empty at worst, and it can be deleted."""
    folder = state / "jobs" / "job-odd"
    (folder / "output").mkdir(mode=0o700, parents=True)
    labels = {**LABELS, "mlport-endpoint": "job-odd"}
    for name in ("job.json", "state.json", "log", "log.1", "runner.lock", "runner.err"):
        for part in ("job.json", "state.json", "log", "log.1", "runner.lock", "runner.err"):
            scratch.discard(folder / part)
            (folder / part).touch()
        (folder / "job.json").write_text(
            json.dumps({"labels": labels, "spec": {}, "created_at": 1.0, "extra": {"run": RUN}})
        )
        how(folder / name)
        if how is not large or not name.startswith("log"):  # that is read near its end, which takes a while
            assert [] == [line.text for line in local.adapter.job_logs("job-odd") if line.text.strip("\0")], name
        assert ["job-odd"] == [live.id for live in local.adapter.list(timeout=30) if live.id == "job-odd"], name
        assert "failed" == local.adapter.job_status("job-odd", timeout=5).state, name
    local.delete("job-odd")
    assert not folder.exists()


def test_the_log_of_a_gateway_that_is_a_pipe(local: Any, name: str, times: Any, state: Path) -> None:
    """A gateway neither waits for a reader when it starts, nor when a replica prints."""
    local.deploy(times(2), name)
    for one in sorted((state / "endpoints" / name / "logs").glob("*.log")):
        as_pipe(one)
    end_gateway(local, name)
    assert [[4.0]] == local.predict(name, [[2.0]])
    assert EndpointState.READY == local.status(name).state
