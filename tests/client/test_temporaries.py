"""Temporary files: those of killed processes are removed by the next verb, those of living ones are never touched."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sdk.client import Client
from sdk.packaging import disk
from sdk.util import scratch

if TYPE_CHECKING:
    from sdk.executor import GcReport

MAKERS = Path(__file__).with_name("killed_makers.py")
NAMES = (
    *("resolve a lock", "make a program", "make the layer of the packages", "receive a blob", "publish the runtime"),
    *("doctor", "trust", "remember an identity", "create an endpoint", "keep a price table", "pack"),
    *("tunnel through ssh", "write into a folder of the user", "write settings for uv", "change a record"),
    *("make an environment", "remove an environment", "remove an endpoint", "write an image to a file"),
    "fetch Debian packages",
)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, Any]]]:
    """One killed process for each maker, each with a state folder of its own."""
    root = tmp_path_factory.mktemp("killed")
    done = subprocess.run([sys.executable, MAKERS, root], stdout=subprocess.PIPE, check=True)
    return root, json.loads(done.stdout)


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "state"
    use(folder, monkeypatch)
    return folder


def use(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLPORT_STATE_DIR", str(folder))
    monkeypatch.delenv("MLPORT_CACHE_DIR", raising=False)


def client(folder: Path) -> Client:
    return Client({"default": "local", "state_dir": str(folder)}, env={"MLPORT_OWNER": "me"})


def gc(folder: Path, *, apply: bool = False) -> GcReport:
    """The report, without what others leave in the folder of sockets, which all state folders share."""
    with client(folder) as one:
        report = one.gc(apply=apply)
    for found in (report.orphans, report.removed):
        found[:] = [item for item in found if not item.id.startswith(f"{scratch.short_path()}/")]
    return report


def die(code: str, state: Path) -> None:
    """Run a line in a process that is then killed."""
    script = f"import os, sys\nfrom pathlib import Path\nfrom sdk.util import scratch\n{code}"
    env = {**os.environ, "MLPORT_STATE_DIR": str(state)}
    assert -9 == subprocess.run([sys.executable, "-c", script, state], env=env, check=False).returncode


def leave_one(state: Path, place: str = "models") -> Path:
    (state / place).mkdir(mode=0o700, parents=True)
    die(
        f"with scratch.folder(Path(sys.argv[1], {place!r})) as one:\n"
        "    (one / 'weights').write_bytes(bytes(100_000))\n"
        "    os.kill(os.getpid(), 9)",
        state,
    )
    (found,) = (state / place).iterdir()
    return found


@pytest.mark.parametrize("name", NAMES)
def test_the_next_verb_removes_what_a_killed_process_left(
    name: str, killed: tuple[Path, dict[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, outcomes = killed
    assert set(NAMES) == outcomes.keys()
    assert outcomes[name]["signal"], "it was not killed while it wrote"
    assert outcomes[name]["left"]
    use(root / name, monkeypatch)
    with client(root / name) as one:
        one.list()
    assert [] == [path for path in outcomes[name]["left"] if os.path.lexists(path)]


@pytest.mark.parametrize("place", ["endpoints", "jobs"])
def test_gc_counts_what_a_list_removes(place: str, state: Path) -> None:
    """A list of endpoints or jobs removes what was left in their folders, also the one that `gc` makes."""
    left = leave_one(state, place)
    assert [str(left)] == [one.id for one in gc(state).orphans]
    left = leave_one(state.with_name("other"), place)
    assert [str(left)] == [one.id for one in gc(state.with_name("other"), apply=True).removed]
    assert not left.exists()


@pytest.mark.parametrize(
    ("name", "did"),
    [("remove an endpoint", "removed"), ("remove an environment", "wrote"), ("make an environment", "wrote")],
)
def test_gc_counts_folders_that_have_no_other_name_while_they_are_made(
    name: str, did: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "import pathlib, sys\nfrom tests.client import killed_makers as makers\n"
    script += f"makers.OTHERS[{name!r}](pathlib.Path(sys.argv[1]))"
    state = disk.subfolder(tmp_path / "state")
    use(state, monkeypatch)
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    assert -9 == subprocess.run([sys.executable, "-c", script, state], env=env, check=False).returncode
    (found,) = gc(state).orphans
    assert found.reason.startswith(f"the process that {did} it was killed")
    if did == "wrote":  # a list of endpoints removes what is left in their folder
        assert Path(found.id).is_dir(), "it only looked"
        assert [found.id] == [one.id for one in gc(state, apply=True).removed]
    assert not Path(found.id).exists()
    assert [] == gc(state).orphans


def test_an_environment_that_is_being_made_or_is_finished_stays(state: Path) -> None:
    making, finished = (disk.subfolder(state / "envs" / (letter * 40)) for letter in "ab")
    disk.write_file(finished / scratch.COMPLETE, b"{}")
    with disk.locked(state / "envs" / f"{making.name}.lock"):
        assert [] == gc(state).orphans
        assert [] == gc(state, apply=True).removed
        assert making.is_dir()
    assert [str(making)] == [one.id for one in gc(state, apply=True).removed]
    assert finished.is_dir()


def test_gc_counts_them_and_removes_them(state: Path) -> None:
    left = leave_one(state)
    (found,) = [one for one in gc(state).orphans if one.kind == "temporary"]
    assert str(left) == found.id
    assert re.search(r"\(1\d\d,\d{3} bytes\)", found.reason), "in blocks of the disk"
    assert left.is_dir(), "it only looked"
    assert [str(left)] == [one.id for one in gc(state, apply=True).removed if one.kind == "temporary"]
    assert not left.exists()
    assert [] == gc(state).orphans


def test_those_of_a_living_process_stay_however_old_and_count_for_nothing(state: Path, tmp_path: Path) -> None:
    places = [disk.subfolder(state / place) for place in ("models", "programs", "endpoints", "images/blobs")]
    with contextlib.ExitStack() as stack:
        folders = [stack.enter_context(scratch.folder(place)) for place in places]
        file, _ = stack.enter_context(scratch.file(places[0]))
        paths = [*folders, file, stack.enter_context(disk.staging_outside(tmp_path))]
        for path in paths:
            os.utime(path, (0, 0))
        assert [] == gc(state).orphans
        assert [] == gc(state, apply=True).removed
        with client(state) as one:
            one.list()
        assert all(path.exists() for path in paths)
    assert [] == [path for path in paths if path.exists()]


def test_makers_and_sweepers_at_the_same_time(tmp_path: Path) -> None:
    """A sweep between the making of a temporary and its lock costs the maker a second try, and no more."""
    lost: list[Path] = []

    def make() -> None:
        for _ in range(200):
            with scratch.folder(tmp_path) as folder:
                lost.extend([] if folder.is_dir() else [folder])
            with scratch.file(tmp_path) as (path, _file):
                lost.extend([] if path.is_file() else [path])

    threads = [threading.Thread(target=make) for _ in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        scratch.sweep_folder(tmp_path)
    assert [] == lost
    assert [] == list(tmp_path.iterdir())


def test_a_note_leads_only_to_what_was_made_here(state: Path, tmp_path: Path) -> None:
    """A note with another path, a link of that name, or no text removes nothing but itself."""
    mine, target = tmp_path / "thesis", tmp_path / ".mlport-real"
    for folder in (mine, target):
        folder.mkdir()
        (folder / "file").touch()
    link = tmp_path / ".mlport-link"
    link.symlink_to(mine)
    notes = disk.subfolder(state / "tmp")
    texts = [os.fsencode(mine), os.fsencode(link), b"", b"\0", b"relative/.mlport-x", os.fsencode(target) + b"/.."]
    for number, text in enumerate(texts):
        (notes / f".new-at-{number}").write_bytes(text)
    scratch.sweep([state])
    assert (mine / "file").exists()
    assert (target / "file").exists()
    assert [] == list(notes.iterdir())


def test_a_link_is_not_followed(state: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (disk.subfolder(state / "models") / ".new-link").symlink_to(tmp_path / "thesis")
    scratch.sweep([state])
    assert (tmp_path / "thesis").is_dir()


def test_a_sweep_never_fails_a_verb(state: Path) -> None:
    """Files where folders are expected, names that are no temporaries of ours, and pipes."""
    disk.subfolder(state)
    (state / "programs").touch()
    os.mkfifo(disk.subfolder(state / "models") / ".new-pipe")
    with client(state) as one:
        assert [] == list(one.list())


def test_a_sweep_costs_the_same_with_many_models(tmp_path: Path) -> None:
    """It lists a fixed number of folders and opens only temporaries, whatever the state folder holds."""
    script = (
        "import sys\nfrom pathlib import Path\nfrom sdk.util import scratch\n"
        "events = []\n"
        "sys.addaudithook(lambda event, args: events.append(event) if event in ('os.scandir', 'open') else None)\n"
        "root = Path(sys.argv[1])\n"
        "def cost():\n    events.clear()\n    scratch.sweep([root])\n    return len(events)\n"
        "few = cost()\n"
        "for n in range(200):\n    (root / 'models' / f'{n}').mkdir(parents=True)\n"
        "print(few, cost())\n"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE, check=True, text=True)
    few, many = map(int, done.stdout.split())
    assert few == many <= 25
