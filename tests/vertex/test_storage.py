"""The bucket: what is sent again, what is changed how often, and what is left after a delete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sdk.adapter import AdapterContext, Labels, Materials, Ref, Resource
from sdk.adapter.shared.transfers import Meter
from sdk.errors import AuthError, PlatformError
from sdk.util.redact import Redactor
from sdk_vertex import VertexAdapter
from sdk_vertex._plan import FILES
from sdk_vertex.options import VertexOptions
from tests.recording import RecordingClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.vertex.conftest import Place

LARGE = b"0123456789abcdef" * (20 << 16)  # 20 MiB: three pieces
KEPT = 5 << 20  # of each piece of 8 MiB


class Impatient(RecordingClock):
    """A clock that only writes down how long it would wait."""

    paused: float

    def sleep(self, seconds: float) -> None:
        self.paused += seconds


@pytest.fixture
def clock() -> Impatient:
    return Impatient()


@pytest.fixture
def adapter(place: Place, tmp_path: Path, clock: Impatient) -> Iterator[Any]:
    options = VertexOptions(project="mini-project", region="europe-west4")
    made: Any = VertexAdapter(options, AdapterContext("gcp", "me", tmp_path / "state", clock, Redactor()))
    if not made._bucket.exists(timeout=10.0):
        made._bucket.make(timeout=10.0)
    yield made
    place.cloud.storage.most = None
    place.cloud.storage.ends = []
    place.cloud.faults.clear()
    made.close()


def content(place: Place, name: str) -> bytes:
    """What the mini cloud has."""
    return (place.cloud.storage.folder / "mini-project-mlport-europe-west4" / name).read_bytes()


def upload(adapter: Any, tmp_path: Path) -> None:
    """A large file, in pieces."""
    (tmp_path / "large").write_bytes(LARGE)
    adapter._bucket.upload(tmp_path / "large", "data/large", timeout=10.0)


def test_an_upload_goes_on_from_what_the_platform_kept(place: Place, adapter: Any, tmp_path: Path) -> None:
    """It may keep less of a piece than it was sent."""
    place.cloud.storage.most = KEPT
    with place.cloud.calls.since() as calls:
        upload(adapter, tmp_path)
    assert LARGE == content(place, "data/large")
    assert 4 == len([call for call in calls if call.operation == "ResumeUpload"])


@pytest.mark.parametrize("trouble", ["drop_before", "drop_after", "unavailable", "throttle"])
def test_an_upload_goes_on_after_trouble(
    place: Place, adapter: Any, tmp_path: Path, clock: Impatient, trouble: Any
) -> None:
    """It asks how much has arrived, and goes on from there; whether or not the piece was kept."""
    place.cloud.faults.add("ResumeUpload", trouble, after=1)
    upload(adapter, tmp_path)
    assert LARGE == content(place, "data/large")
    assert clock.paused > 0


@pytest.mark.parametrize("status", [404, 410])
def test_an_upload_that_the_platform_ended_begins_anew(place: Place, adapter: Any, tmp_path: Path, status: int) -> None:
    """As reported for long uploads: nothing of such an upload can be used; the third end in a row is an error."""
    seen: list[int] = []
    place.cloud.storage.ends = [status]
    (tmp_path / "large").write_bytes(LARGE)
    meter = Meter(lambda _what, done, _total: seen.append(done), "upload", len(LARGE))
    with place.cloud.calls.since() as calls:
        adapter._bucket.upload(tmp_path / "large", "data/large", timeout=10.0, meter=meter)
    assert LARGE == content(place, "data/large")
    assert [2, 5] == [len([one for one in calls if one.operation == name]) for name in ("InsertObject", "ResumeUpload")]
    assert len(LARGE) == seen[-1]
    place.cloud.storage.ends = [status] * 9
    with place.cloud.calls.since() as calls, pytest.raises(PlatformError) as ended:
        upload(adapter, tmp_path)
    assert (status, 3) == (ended.value.status, len([one for one in calls if one.operation == "InsertObject"]))


def test_an_upload_that_does_not_go_on_ends(place: Place, adapter: Any, tmp_path: Path) -> None:
    place.cloud.storage.most = 0
    with pytest.raises(PlatformError, match="does not go on after 0 of"):
        upload(adapter, tmp_path)


def test_the_files_of_a_job_are_marked_with_one_write(place: Place, adapter: Any) -> None:
    """The object that says whose they are carries its labels from the beginning."""
    with place.cloud.calls.since() as calls:
        adapter.create(Resource(FILES, "job-files", {}, Labels("job-files", "me", "t1")), Materials(), timeout=10.0)
    assert ["InsertObject"] == [call.operation for call in calls.changing]
    live = adapter.read(Ref(FILES, "job-files"), timeout=10.0)
    assert ("ready", "t1", "me") == (live.state, live.labels.txn, live.labels.owner)
    adapter.delete(live, timeout=10.0)


def planned(adapter: Any, path: Path) -> Resource:
    """An input of a job."""
    made: Resource = adapter._inputs.plan("train", path, Labels("job", "me", "t1"))
    return made


def test_the_data_of_a_job_goes_several_files_at_a_time(place: Place, adapter: Any, tmp_path: Path) -> None:
    """With progress in bytes, from all files together; a failure of one is that of all, and what is there stays."""
    folder = tmp_path / "rows"
    folder.mkdir()
    for number in range(20):
        (folder / f"{number}.csv").write_text(f"{number}\n" * 1000)
    total = sum(file.stat().st_size for file in folder.iterdir())
    seen: list[tuple[str, int, int | None]] = []
    resource = planned(adapter, folder)
    adapter.create(resource, Materials(progress=lambda *report: seen.append(report)), timeout=30.0)
    assert ("upload 20 file(s) to Cloud Storage", total, total) == seen[-1]
    for number in range(20):
        assert f"{number}\n" * 1000 == content(place, f"mlport/data/{resource.id}/{number}.csv").decode()
    adapter.delete(adapter.read(resource.ref, timeout=10.0), timeout=10.0)
    place.cloud.faults.add("InsertObject", "denied", after=5, times=99)
    with pytest.raises(AuthError):
        adapter.create(resource, Materials(), timeout=30.0)
    place.cloud.faults.clear()
    assert adapter.read(resource.ref, timeout=10.0) is None, "it is not whole"
    with place.cloud.calls.since() as calls:
        adapter.create(resource, Materials(), timeout=30.0)
    assert 20 > len([call for call in calls if call.operation == "InsertObject"])
    adapter.delete(adapter.read(resource.ref, timeout=10.0), timeout=10.0)


def test_a_change_that_comes_too_soon_is_made_later(
    place: Place, adapter: Any, tmp_path: Path, clock: Impatient
) -> None:
    """An object is changed about once a second."""
    (tmp_path / "rows.csv").write_text("1,2\n")
    resource = planned(adapter, tmp_path / "rows.csv")
    place.cloud.faults.add("InsertObject", "throttle", times=2)
    place.cloud.faults.add("DeleteObject", "throttle", times=1)
    adapter.create(resource, Materials(), timeout=10.0)
    adapter.delete(adapter.read(resource.ref, timeout=10.0), timeout=10.0)
    assert 4.0 == clock.paused
    assert adapter.read(resource.ref, timeout=10.0) is None


@pytest.mark.parametrize("trouble", ["unavailable", "drop_before", "throttle"])
def test_small_files_and_downloads_survive_trouble(
    place: Place, adapter: Any, tmp_path: Path, clock: Impatient, trouble: Any
) -> None:
    """What can be asked twice is asked twice."""
    (tmp_path / "rows.csv").write_text("1,2\n")
    place.cloud.faults.add("InsertObject", trouble)
    adapter._bucket.upload(tmp_path / "rows.csv", "data/rows.csv", timeout=10.0)
    place.cloud.faults.add("GetObject", trouble, after=1)
    adapter._bucket.download("data/rows.csv", tmp_path / "copy.csv", timeout=10.0)
    assert "1,2\n" == (tmp_path / "copy.csv").read_text()
    assert 2.0 == clock.paused
    assert [] == place.cloud.faults.pending


def test_deleted_data_is_not_billed_for_a_week(place: Place, adapter: Any) -> None:
    """The bucket that mlport makes keeps nothing that was deleted."""
    adapter._bucket.put("data/rows", b"1", "text/plain", timeout=10.0)
    adapter._bucket.delete("data/rows", timeout=10.0)
    assert [] == place.cloud.storage.kept
