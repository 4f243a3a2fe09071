"""A file system that is really full: deploys and deletes on a small one of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from sdk.client import Client
from sdk.errors import SdkError
from sdk.packaging.model import model
from tests.disks import full, full_of_files, small_disk
from tests.waits import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from sdk.packaging.model import Model

SIZE_MIB, MOST_FILES = 512, 6_000  # room for one environment
ME = {"MLPORT_OWNER": "me"}


def settings(folder: Path) -> dict[str, str]:
    return {"default": "local", "state_dir": str(folder)}


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state folder on a file system of its own."""
    with small_disk(tmp_path / "state", SIZE_MIB, MOST_FILES) as folder:
        monkeypatch.setenv("MLPORT_STATE_DIR", str(folder))
        try:
            yield folder
        finally:
            with Client(settings(folder), env=ME) as client:
                for endpoint in client.list():
                    client.delete(endpoint.name)


def times(factor: float) -> Model:
    def predict(rows: Any) -> Any:
        return rows * factor

    return model(predict, name="times", example=np.ones((1, 1)))


def attempt(what: Callable[[], object]) -> str:
    """What a verb says; empty when it worked."""
    try:
        what()
    except SdkError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("steps", [(0, 8, 12), pytest.param(range(0, 64, 4), marks=pytest.mark.full)])
def test_deploys_on_a_full_disk(small: Path, steps: Sequence[int]) -> None:
    """Wherever the space ends, journal included: it is said, what serves goes on, and all is undone, at once."""
    with Client(settings(small), env=ME) as client:
        endpoint, refused = client.deploy(times(0), name="full-disk"), list[str]()
        for number, free in enumerate(steps, start=1):
            new = times(number)
            with full(small, free):
                said = attempt(lambda new=new: client.deploy(new, name="full-disk", timeout=120))  # type: ignore[misc]  # binds the loop variable
                answer = endpoint.predict([[1.0]]).values
            assert [[number - 1.0 if said else number]] == answer
            assert [] == client.gc(apply=True).orphans
            refused += [said] if said else []
            client.deploy(new, name="full-disk")
        assert [] == [text for text in refused if "no space left" not in text.lower()]
        assert [] == [text for text in refused if "not everything could be undone" in text]
        assert len(refused) >= 2


def test_full_disk_with_nothing_put_by(small: Path) -> None:
    """Even without the space kept for undoing, whatever cannot be undone at once is undone by `gc`."""
    with Client(settings(small), env=ME) as client:
        client.deploy(times(2), name="full-disk")
        for ballast in small.glob("executor/*/ballast"):
            ballast.unlink()
        with full(small, 16):
            assert "no space left" in attempt(lambda: client.deploy(times(3), name="full-disk")).lower()
        assert [] == client.gc(apply=True).orphans
        assert [[3.0]] == client.deploy(times(3), name="full-disk").predict([[1.0]]).values
        with full(small, 0):
            attempt(lambda: client.delete("full-disk"))
        client.delete("full-disk")
        assert [] == client.gc(apply=True).orphans
        assert [] == [path.name for path in (small / "endpoints").iterdir()]
        assert [] == list(small.glob("executor/*/open/*"))


@pytest.mark.parametrize("ballast", [True, False])
def test_delete_on_a_disk_without_any_space(small: Path, ballast: bool) -> None:
    """What frees space needs none: not for its journal, and not for what the target has to note."""
    with Client(settings(small), env=ME) as client:
        client.deploy(times(2), name="full-disk")
        if not ballast:
            for path in small.glob("executor/*/ballast"):
                path.unlink()
        with full(small, 0):
            client.delete("full-disk")
            assert [] == client.list()
            assert [] == client.gc(apply=True).orphans
        assert [] == [path.name for path in (small / "endpoints").iterdir()]
        assert [] == list(small.glob("executor/*/open/*"))


def test_rollback_on_a_disk_without_any_space(small: Path) -> None:
    """The space that is kept is enough for it, and is kept again once there is any."""
    with Client(settings(small), env=ME) as client:
        client.deploy(times(2), name="full-disk")
        endpoint = client.deploy(times(3), name="full-disk")
        with full(small, 0):
            client.rollback("full-disk")
            assert [[2.0]] == endpoint.predict([[1.0]]).values
        client.deploy(times(4), name="full-disk")
        assert [65_536] == [path.stat().st_size for path in small.glob("executor/*/ballast")]


@pytest.mark.parametrize("how", [full, full_of_files])
@pytest.mark.parametrize("ballast", [True, False])
def test_what_ends_costs_needs_neither_space_nor_files(
    small: Path, tmp_path: Path, ballast: bool, how: Callable[..., Any]
) -> None:
    """A disk may hold no more file although it has space; a job is stopped by a signal then."""
    script = tmp_path / "train.py"
    script.write_text("import time\nprint('begun', flush=True)\ntime.sleep(600)\n")
    with Client(settings(small), env=ME) as client:
        client.deploy(times(2), name="full-disk")
        client.deploy(times(3), name="full-disk")
        jobs = [client.train(script, name=name, wait=False) for name in ("job-stop", "job-delete")]
        until(lambda: all("begun" in [line.text for line in job.logs()] for job in jobs))
        if not ballast:
            for path in small.glob("executor/*/ballast*"):
                path.unlink()
        with how(small, 0) if how is full else how(small):
            assert [] == client.gc().orphans
            if ballast:
                client.rollback("full-disk")
                assert [[2.0]] == client.predict("full-disk", [[1.0]]).values
            jobs[0].stop()
            until(lambda: client.job("job-stop").status.state.finished)
            for name in ("job-stop", "job-delete", "full-disk"):
                client.delete(name)
            assert [] == client.list()
            assert [] == client.gc(apply=True).orphans
        assert [] == [path.name for part in ("endpoints", "jobs") for path in (small / part).iterdir()]
        assert [] == list(small.glob("executor/*/open/*"))
