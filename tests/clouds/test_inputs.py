"""Local data of jobs on every cloud: sent once, needed until the job is over, removed by ``gc --shared``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sdk.adapter import Labels, Materials, Ref
from sdk.adapter.shared.transfers import Meter
from sdk.adapter.shared.uploads import DATA, UNFINISHED
from sdk_contract.samples import write_script
from tests.clouds.rigs import AzureML, Sagemaker, Vertex

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sdk_contract.rig import Rig


READS = """
import os, pathlib, sys, time
file, folder = (pathlib.Path(os.environ[f"MLPORT_DATA_{name}"]) for name in ("TRAIN", "ALL"))
assert file.read_text() == (folder / "rows.csv").read_text() == "1,2\\n3,4\\n5,6\\n"
assert (folder / "deep" / "b c+ü#1.csv").read_text() == "1,2\\n"
pathlib.Path(os.environ["MLPORT_OUTPUT_DIR"], "seen.txt").write_text("both")
"""


@pytest.fixture(scope="module", params=[Sagemaker, Vertex, AzureML], ids=lambda kind: kind.__name__.lower())
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    made = request.param(tmp_path_factory.mktemp("rig"))
    made.start()
    yield made
    made.retire()
    made.stop()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a deeper one, and names that have to be quoted."""
    found = tmp_path / "rows"
    (found / "deep").mkdir(parents=True)
    (found / "rows.csv").write_text("1,2\n3,4\n5,6\n")
    (found / "deep" / "b c+ü#1.csv").write_text("1,2\n")
    return found


def inputs_of(rig: Rig) -> list[Any]:
    adapter = rig.make()
    found = [live for live in adapter.list(timeout=60.0) if live.kind == DATA]
    adapter.close()
    return found


def test_data_is_sent_once_and_lives_as_long_as_a_job_needs_it(rig: Any, folder: Path) -> None:
    """The same content is not sent for another job; it is an orphan once all jobs that read it are over."""
    client, data = rig.client(), {"train": str(folder / "rows.csv"), "all": str(folder)}
    client.train(write_script(folder.parent, READS, "a.py"), name=rig.name("job"), data=data).wait()
    stored = {one.id for one in inputs_of(rig)}
    assert 2 == len(stored)
    endless = write_script(folder.parent, f"{READS}time.sleep(600)\n", "b.py")
    plan = client.train(endless, name=rig.name("job"), data=data, dry_run=True)
    assert DATA not in {step.ref.kind for step in plan.steps}, "the same content is there"
    job = client.train(endless, name=rig.name("job"), data=data, wait=False)

    def sweep() -> set[str]:
        removed = client.session().executor.gc(apply=True, shared=True, min_age_s=0).removed
        return {one.id for one in removed if one.kind == DATA}

    assert set() == sweep(), "a job reads it"
    job.stop()
    rig.eventually(lambda: client.job(job.name).refresh().state.finished, bool)
    assert stored == sweep(), "no job needs it any more"
    assert [] == inputs_of(rig)


def test_an_upload_that_broke_off_goes_on(rig: Any, folder: Path) -> None:
    """What was sent is not sent again; what never came to its end is counted only once nothing can be under way."""
    (folder / "large.bin").write_bytes(b"x" * (17 << 20))
    adapter: Any = rig.make()
    resource = adapter._inputs.plan("train", folder, Labels("job", rig.owner, "t1"))
    store = adapter._shelf if adapter.provider == "sagemaker" else adapter._shelf(60.0)
    small = {f"data/{resource.id}/{name}": folder / name for name in ("rows.csv", "deep/b c+ü#1.csv")}
    store.write("data/.keep", b"")
    store.upload(small, Meter(None, "upload", None))
    assert adapter.read(resource.ref, timeout=60.0) is None
    assert adapter.read(Ref(DATA, f"{resource.id}{UNFINISHED}"), timeout=60.0) is None, "it may still be under way"
    seen: list[tuple[str, int, int | None]] = []
    adapter.create(resource, Materials(progress=lambda *report: seen.append(report)), timeout=60.0)
    assert {("upload 1 file(s)", 17 << 20)} == {(text.partition(" to ")[0], size) for text, _, size in seen}
    assert 17 << 20 == seen[-1][1]
    assert {*small, f"data/{resource.id}/large.bin"} == {one.path for one in store.objects(f"data/{resource.id}/")}
    adapter.delete(adapter.read(resource.ref, timeout=60.0), timeout=60.0)
    assert [] == list(store.objects(f"data/{resource.id}"))
    adapter.close()
