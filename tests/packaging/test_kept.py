"""A bundle that was packed long ago installs and serves as it was locked, although the index has newer versions."""

from __future__ import annotations

import importlib.metadata
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from packaging.requirements import Requirement

from sdk.errors import PackagingError
from sdk.packaging import venv
from sdk.packaging.lock import RUNTIME, Lock, compile_lock
from sdk.packaging.model import Model
from sdk.packaging.pack import python_minor
from tests.packaging import aged_index

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

pytestmark = pytest.mark.usefixtures("own_cache")

KEPT = Path(__file__).with_name("kept")
DIGESTS = {"mlport-0.1.0-python3.11": "52f198987d28bb48a517d83d091d6dad98c2a33aca026087a4bc97b7f5644ebf"}


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[aged_index.AgedIndex]:
    """The index of today: the old version is still there, and a newer one."""
    with aged_index.serving(tmp_path / "index") as running:
        monkeypatch.setenv("UV_INDEX", running.url)
        yield running


@pytest.fixture(params=DIGESTS)
def kept(request: pytest.FixtureRequest) -> Model:
    """A committed bundle of a released version."""
    return Model.load(KEPT / f"{request.param}.tar.gz")


def _lock_of(index: aged_index.AgedIndex) -> Lock:
    """The one line that matters of a lock, as long as the old version was the newest."""
    made = compile_lock([f"{aged_index.NAME}=={aged_index.OLD}"], python=python_minor())
    lines = made.text.splitlines(keepends=True)
    start = next(number for number, line in enumerate(lines) if line.startswith(f"{aged_index.NAME}=="))
    index.given.clear()
    return Lock(lines[start], made.python)


def _installed(python: Path) -> dict[str, str]:
    code = "import importlib.metadata as m; print(*(f'{d.name.lower()}=={d.version}' for d in m.distributions()))"
    said = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout
    return dict(line.split("==") for line in said.split())


@pytest.mark.parametrize("name", DIGESTS)
def test_a_kept_bundle_has_the_digest_it_was_packed_with(name: str) -> None:
    """A new field of the manifest must not change old digests: one that was not written stays unset."""
    assert DIGESTS[name] == Model.load(KEPT / f"{name}.tar.gz").digest


def test_every_kept_bundle_is_served_by_this_runtime(kept: Model) -> None:
    """The model server may not ask for more than what old bundles are locked to."""
    assert kept.lock is not None
    for line in map(Requirement, RUNTIME):
        assert line.specifier.contains(kept.lock.versions[line.name]), f"{line} shuts out {kept.name}"


def test_a_kept_bundle_serves_with_what_it_was_locked_to(
    kept: Model, index: aged_index.AgedIndex, serve: Callable[..., Any]
) -> None:
    """The old library and the old runtime libraries are installed and answer; the new ones are not even fetched."""
    assert kept.lock is not None
    try:
        venv.interpreter(kept.lock.python)
    except PackagingError:
        pytest.skip(f"no Python {kept.lock.python} on this machine")
    python = venv.environment(kept.lock)
    assert kept.lock.versions == _installed(python)
    assert [index.wheels[aged_index.OLD].name] == index.given
    with serve(kept, python) as client:
        answer = client.post("/invocations", json={"instances": [[1.0, 2.0], [3.0, 4.0]]})
    assert {"predictions": [3.0, 7.0]} == answer.json()


def test_a_new_lock_takes_the_newest_and_an_old_lock_stays(index: aged_index.AgedIndex) -> None:
    """The same index gives the newest to a new model, and to a locked one what it was locked to."""
    assert aged_index.NEW == compile_lock([aged_index.NAME], python=python_minor()).versions[aged_index.NAME]
    python = venv.environment(_lock_of(index))
    assert aged_index.OLD == _installed(python)[aged_index.NAME]


def test_a_yanked_version_that_is_locked_is_installed(index: aged_index.AgedIndex) -> None:
    """Yanked means: not for new locks. Those that have it keep working."""
    old = _lock_of(index)
    index.yanked.add(aged_index.OLD)
    assert {aged_index.NAME: aged_index.OLD} == _installed(venv.environment(old))


def test_a_version_that_was_removed_is_named(index: aged_index.AgedIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newer version does not take its place; the error names what is missing and what can be done."""
    old = _lock_of(index)
    del index.wheels[aged_index.OLD]
    monkeypatch.setenv("UV_NO_CACHE", "1")
    said = r"(?s)agedlib==1\.0.*not on the package index \(any more\): name an index that has it in UV_INDEX"
    with pytest.raises(PackagingError, match=said):
        venv.environment(old)


def test_a_file_that_was_exchanged_is_refused(index: aged_index.AgedIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same name and version with other bytes is not what was locked."""
    old = _lock_of(index)
    aged_index.build_wheel(index.wheels[aged_index.OLD].parent, aged_index.NAME, aged_index.OLD, "VALUE = 666\n")
    monkeypatch.setenv("UV_NO_CACHE", "1")
    said = r"(?s)agedlib==1\.0.*the file is not the one that was locked, so it is not installed"
    with pytest.raises(PackagingError, match=said):
        venv.environment(old)


def test_the_runtime_is_locked_at_what_is_installed_here() -> None:
    """The same environment gives the same lock next year; a wish for another version wins, with all that it needs."""
    made = compile_lock([], python=python_minor()).versions
    for line in map(Requirement, RUNTIME):
        assert importlib.metadata.version(line.name) == made[line.name]
    other = compile_lock(["uvicorn==0.34.0", "click<8.2"], python=python_minor()).versions
    assert ("0.34.0", "8.1") == (other["uvicorn"], other["click"][:3])
