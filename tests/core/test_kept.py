"""Whatever lies in the place of a file that mlport keeps, it counts as missing, nothing waits, and it is replaced."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdk.adapter.identities import Identities
from sdk.adapter.prices import read_prices
from sdk.adapter.shared import mini_clouds
from sdk.adapter.types import DeploymentStatus
from sdk.client import Client
from sdk.client.callers import signature_of, stored
from sdk.client.temporary_endpoints import Passing, TemporaryRecords
from sdk.config.files import read_file
from sdk.config.trust import TrustStore
from sdk.errors import ConfigError, JournalDamaged, PackagingError, SdkError, UnreadableError
from sdk.executor.journal import Journals
from sdk.packaging import disk, lock, venv
from sdk.packaging.bundle import read as read_bundle
from sdk.packaging.image.store import BlobStore
from sdk.util import kept

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SHIPPED = """\
platform,region,usage,instance_type,vcpu,memory_gib,gpu,gpu_count,usd_per_hour,source,as_of,status
cloud,mars,inference,small,2,4,,0,0.10,list,2026-08,quoted
"""
PIN = f"x==1 \\\n    --hash=sha256:{64 * '0'}\n"
SHA = "a" * 64


@dataclass(frozen=True)
class Kind:
    """One kind of file: how it is written and read below a folder, and where it lies."""

    write: Callable[[Path], object]
    read: Callable[[Path], Any]
    path: Callable[[Path], Path]


def only(folder: Path) -> Path:
    (found,) = (path for path in folder.iterdir() if kept.ASIDE not in path.name)
    return found


def write_lock(root: Path) -> None:
    digest = hashlib.sha256(PIN.encode()).hexdigest()
    disk.write_file(root / "lock.json", json.dumps({"text": PIN, "sha256": digest}).encode())


def write_environment(root: Path) -> None:
    (root / "bin").mkdir(exist_ok=True)
    (root / "bin" / "python").touch()
    disk.write_file(root / "mlport-env.json", b"{}")


def deployment(label: str) -> DeploymentStatus:
    return DeploymentStatus("d", 100, "ready", label, "", 1)


def shipped(root: Path) -> Path:
    (root / "shipped.csv").write_text(SHIPPED)
    return root / "shipped.csv"


def prices(root: Path) -> Any:
    (row,) = read_prices(shipped(root), root / "prices" / "cloud.csv")
    return row.price


def locked(root: Path) -> bool:
    with disk.locked(root / "one.lock"):
        return True


KINDS = {
    "identity": Kind(
        lambda root: Identities(root, "aws").check("s3://b", {"account": "1"}),
        lambda root: dict(Identities(root, "aws").compare("s3://b", {})),
        lambda root: only(root / "identities"),
    ),
    "trusted files": Kind(
        lambda root: TrustStore(root).trust(root / "mlport.toml", b"x"),
        lambda root: TrustStore(root).trusts(root / "mlport.toml", b"x"),
        lambda root: root / "trust.json",
    ),
    "resolved lock": Kind(write_lock, lambda root: lock._kept(root / "lock.json"), lambda root: root / "lock.json"),
    "record of an image": Kind(
        lambda root: BlobStore(root).remember("key", b"value"),
        lambda root: BlobStore(root).recall("key"),
        lambda root: only(root / "keys"),
    ),
    "blob": Kind(
        lambda root: BlobStore(root).put(b"value"),
        lambda root: BlobStore(root).read(f"sha256:{hashlib.sha256(b'value').hexdigest()}"),
        lambda root: only(root / "blobs"),
    ),
    "price table": Kind(
        lambda root: disk.write_file(root / "prices" / "cloud.csv", SHIPPED.replace("0.10", "0.20").encode()),
        prices,
        lambda root: root / "prices" / "cloud.csv",
    ),
    "environment": Kind(write_environment, venv.is_sound, lambda root: root / "mlport-env.json"),
    "lock file": Kind(locked, locked, lambda root: root / "one.lock"),
}


def pipe(path: Path) -> None:
    os.mkfifo(path)


def folder(path: Path) -> None:
    (path / "inside").mkdir(parents=True)


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


def deep(path: Path) -> None:
    path.write_bytes(b"[" * 100_000)


def long_number(path: Path) -> None:
    path.write_bytes(b'{"name": ' + b"9" * 5000 + b"}")


PLACES = [pipe, folder, dangling, loop, endless, huge, deep, long_number]


@pytest.fixture(autouse=True)
def awake() -> Iterator[None]:
    """End a test that waits for a pipe or reads without end."""

    def end(*_: object) -> None:
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("place", PLACES, ids=lambda one: one.__name__)
@pytest.mark.parametrize("name", KINDS)
def test_what_is_in_its_place_counts_as_missing_and_is_replaced(
    name: str, place: Callable[[Path], None], tmp_path: Path
) -> None:
    kind = KINDS[name]
    missing = kind.read(tmp_path)
    kind.write(tmp_path)
    assert name == "lock file" or missing != kind.read(tmp_path)
    path = kind.path(tmp_path)
    sound = kind.read(tmp_path)
    path.unlink()
    place(path)
    if name != "record of an image" or place not in {deep, long_number}:  # what it holds is up to its reader
        assert missing == kind.read(tmp_path)
    kind.write(tmp_path)
    assert sound == kind.read(tmp_path)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=9,
)
DAMAGE = st.one_of(
    st.binary(max_size=99),
    VALUES.map(lambda value: json.dumps(value).encode()),
    st.tuples(st.integers(0, 300), st.integers(0, 20), st.binary(max_size=9)),
)


def damaged(sound: bytes, how: bytes | tuple[int, int, bytes]) -> bytes:
    """Return other content, or the sound one with some bytes replaced by others."""
    if isinstance(how, bytes):
        return how
    start, count, fresh = how
    start %= len(sound) + 1
    return sound[:start] + fresh + sound[start + count :]


CONTENTS = [name for name in KINDS if name != "lock file"]


def read_and_replace(name: str, how: Any, root: Path) -> None:
    """Damage a record: it is read without an error, and replaced, or refused until it is removed."""
    kind = KINDS[name]
    kind.write(root)
    sound, path = kind.read(root), kind.path(root)
    path.write_bytes(damaged(path.read_bytes(), how))
    kind.read(root)
    try:
        kind.write(root)
    except SdkError:
        path.unlink()
        kind.write(root)
    assert sound == kind.read(root)
    shutil.rmtree(root)


@settings(max_examples=25, deadline=None)
@given(name=st.sampled_from(CONTENTS), how=DAMAGE)
def test_any_content_is_read_and_replaced(name: str, how: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    read_and_replace(name, how, tmp_path_factory.mktemp("kept"))


@pytest.mark.full
@pytest.mark.parametrize("name", CONTENTS)
@settings(max_examples=400, deadline=None)
@given(how=DAMAGE)
def test_much_content_is_read_and_replaced(name: str, how: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The same more often for each kind."""
    read_and_replace(name, how, tmp_path_factory.mktemp("kept"))


@pytest.mark.parametrize("place", [pipe, dangling, loop, endless, deep], ids=lambda one: one.__name__)
def test_what_is_no_folder_is_set_aside(
    place: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In our state folder; what the user named stays."""
    monkeypatch.setenv("MLPORT_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("MLPORT_CACHE_DIR", raising=False)
    place(disk.state_dir() / "images")
    assert (disk.subfolder(disk.state_dir() / "images" / "blobs")).is_dir()
    place(tmp_path / "state" / "executor")
    assert [] == Journals(tmp_path / "state" / "executor").unfinished()
    place(tmp_path / "state" / "passing")
    assert [] == TemporaryRecords(tmp_path / "state").abandoned("t")
    assert 3 == len(list((tmp_path / "state").glob(f"*{kept.ASIDE}*")))
    place(tmp_path / "file")
    monkeypatch.setenv("MLPORT_STATE_DIR", str(tmp_path / "file"))
    with pytest.raises(PackagingError, match="cannot write"):
        disk.subfolder(tmp_path / "file" / "models")


@pytest.mark.parametrize("place", PLACES, ids=lambda one: one.__name__)
def test_a_record_of_a_comparison_is_set_aside(place: Callable[[Path], None], tmp_path: Path) -> None:
    (tmp_path / "passing").mkdir()
    place(tmp_path / "passing" / "bad.json")
    with pytest.raises(KeyboardInterrupt), TemporaryRecords(tmp_path).kept("good", [Passing("t", "kept")]):
        raise KeyboardInterrupt
    assert [("good", Passing("t", "kept"))] == TemporaryRecords(tmp_path).abandoned("t")


@pytest.mark.parametrize("place", PLACES, ids=lambda one: one.__name__)
def test_a_journal_is_damaged(place: Callable[[Path], None], tmp_path: Path) -> None:
    """Neither looking at it nor opening it waits, and it can be moved out of the way."""
    journals = Journals(tmp_path)
    place(tmp_path / "open" / "abcd.jsonl")
    if place is not dangling:
        with pytest.raises(JournalDamaged):
            journals.peek("abcd")
    with pytest.raises(JournalDamaged):
        journals.load("abcd")
    journals.set_aside("abcd")
    assert [] == journals.unfinished()


@pytest.mark.parametrize("part", ["executor", "executor/*", "executor/*/locks", "executor/*/open", "passing"])
def test_a_verb_needs_no_folder_to_be_sound(part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLPORT_STATE_DIR", str(tmp_path))
    options: dict[str, Any] = {"default": "local", "state_dir": str(tmp_path)}
    with Client(options, env={"MLPORT_OWNER": "me"}) as client:
        client.gc()
    (path,) = tmp_path.glob(part)
    shutil.rmtree(path)
    pipe(path)
    with Client(options, env={"MLPORT_OWNER": "me"}) as client:
        assert [] == client.gc(apply=True).orphans
    assert path.is_dir()


@pytest.mark.parametrize("place", PLACES, ids=lambda one: one.__name__)
def test_the_kept_copy_of_a_model(place: Callable[[Path], None], tmp_path: Path) -> None:
    """Its signature is unknown then; a predict needs none."""
    (tmp_path / "models" / SHA).mkdir(parents=True)
    place(tmp_path / "models" / SHA / "mlport.json")
    with pytest.raises(SdkError):
        read_bundle(tmp_path / "models" / SHA)
    assert signature_of(tmp_path, deployment(SHA[:32])) is None


@pytest.mark.parametrize("label", ["", "*", "../elsewhere/", "[a-z]", "a" * 31])
def test_a_damaged_label_names_no_model(label: str, tmp_path: Path) -> None:
    """Not even that of another deployment."""
    (tmp_path / "models" / SHA).mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    assert stored(tmp_path, deployment(label)) is None
    assert tmp_path / "models" / SHA == stored(tmp_path, deployment(SHA[:32]))


@pytest.mark.parametrize("place", [pipe, folder, loop, endless], ids=lambda one: one.__name__)
def test_a_project_file_is_a_file(place: Callable[[Path], None], tmp_path: Path) -> None:
    """One that was found and not named: a cloned repository may hold links to anything."""
    place(tmp_path / "mlport.toml")
    with pytest.raises(ConfigError, match="cannot read"):
        read_file(tmp_path / "mlport.toml")


@pytest.mark.parametrize("place", [pipe, folder, loop, endless, huge], ids=lambda one: one.__name__)
def test_what_a_mini_cloud_wrote(place: Callable[[Path], None], tmp_path: Path) -> None:
    place(tmp_path / "env.json")
    with pytest.raises(UnreadableError):
        mini_clouds._variables("vertex", tmp_path / "env.json")


@pytest.mark.parametrize("cell", ["nan", "inf", "-inf", "1e999", "x", "", "2,9", '"'], ids=lambda cell: cell or "empty")
def test_a_price_table_is_used_whole_or_not_at_all(cell: str, tmp_path: Path) -> None:
    """Also if a number of processors is none, or a row has other cells than the first line."""
    (tmp_path / "prices").mkdir()
    table = tmp_path / "prices" / "cloud.csv"
    table.write_text(SHIPPED.replace("0.10", "0.20").replace(",,0,", f",,{cell},"))
    assert 0.1 == prices(tmp_path)
    assert 1 == len(list(table.parent.glob(f"*{kept.ASIDE}*")))
