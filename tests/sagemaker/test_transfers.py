"""Data on its way to S3 and out of it again: failures, repeats, what is left, and what a list costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config

from sdk.adapter import AdapterContext, Labels, Materials, Ref
from sdk.adapter.shared.transfers import Meter
from sdk.adapter.shared.uploads import STALE_S
from sdk.errors import AuthError, ConfigError, ConflictError, SecurityError, UnavailableError
from sdk.util.redact import Redactor
from sdk.util.waiting import SystemClock
from sdk_sagemaker import SagemakerAdapter, SagemakerOptions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROLE = "arn:aws:iam::123456789012:role/mlport"
BUCKET = "sagemaker-mlport-123456789012-us-east-1"
OWN = Labels("shared", "me", "")


@pytest.fixture
def adapter(place: Any, tmp_path: Path) -> Iterator[Any]:
    options = SagemakerOptions(region="us-east-1", instance="ml.m5.large", role=ROLE)
    made = SagemakerAdapter(options, AdapterContext("aws", "me", tmp_path / "state", SystemClock(), Redactor()))
    yield made
    made.close()
    place.cloud.faults.clear()
    place.cloud.locked.codes.clear()


@pytest.fixture
def s3(place: Any) -> Iterator[Any]:
    client: Any = boto3.client("s3", config=Config(s3={"addressing_style": "path"}))
    yield client
    client.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three files, one of them in two parts."""
    found = tmp_path / "data"
    (found / "deep").mkdir(parents=True)
    (found / "a.csv").write_text("1,2\n")
    (found / "deep" / "b c+ü.csv").write_text(f"3,{tmp_path}\n")  # other contents in each test
    (found / "large.bin").write_bytes(b"x" * (17 << 20))
    return found


def upload(adapter: Any, folder: Path, told: list[tuple[str, int, int | None]] | None = None) -> str:
    resource = adapter._inputs.plan("train", folder, OWN)

    def tell(what: str, done: int, total: int | None) -> None:
        if told is not None:
            told.append((what, done, total))

    adapter._inputs.make(adapter._shelf, resource, Materials(progress=tell))
    return str(resource.id)


def puts(calls: Any) -> list[str]:
    return [call.resource for call in calls if call.service == "s3" and call.operation.startswith("PutObject")]


def test_one_refused_request_does_not_end_an_upload(place: Any, adapter: Any, s3: Any, folder: Path) -> None:
    """Files and parts are sent again where S3 is busy; progress is told in bytes and ends at the whole."""
    adapter._storage.put("data/.keep", b"")
    place.cloud.faults.add("PutObject", "unavailable", after=2, times=2)
    told: list[Any] = []
    name = upload(adapter, folder, told)
    assert [] == place.cloud.faults.pending
    keys = [one["Key"] for one in s3.list_objects_v2(Bucket=BUCKET, Prefix=f"mlport/data/{name}")["Contents"]]
    assert {"a.csv", "deep/b c+ü.csv", "large.bin"} == {key.partition(f"{name}/")[2] for key in keys} - {""}
    total = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    assert (total, total) == told[-1][1:]
    assert [one[1] for one in told] == sorted(one[1] for one in told)
    assert "ready" == adapter.read(Ref("Data", name), timeout=30.0).state


def test_what_is_there_is_not_sent_again(place: Any, adapter: Any, folder: Path) -> None:
    """After an upload that broke off, only what is missing goes."""
    resource = adapter._inputs.plan("train", folder, OWN)
    adapter._storage.put("data/.keep", b"")
    place.cloud.faults.add("PostObjectUploads", "denied", times=9)  # the large file cannot begin
    with pytest.raises((AuthError, SecurityError)):
        adapter._inputs.make(adapter._shelf, resource, Materials())
    place.cloud.faults.clear()
    small = folder / "a.csv"
    adapter._storage.transfers.upload(
        {adapter._storage.key(f"data/{resource.id}/a.csv"): small}, Meter(None, "", small.stat().st_size)
    )
    assert adapter.read(Ref("Data", resource.id), timeout=30.0) is None, "it is not whole"
    with place.cloud.calls.since() as calls:
        adapter._inputs.make(adapter._shelf, resource, Materials())
    assert [] == [key for key in puts(calls) if key.endswith("a.csv")]
    assert adapter.read(Ref("Data", resource.id), timeout=30.0).state == "ready"


@pytest.mark.parametrize("longer", ["", "another length\n"])
def test_a_file_that_changes_during_its_upload_is_an_error(adapter: Any, folder: Path, longer: str) -> None:
    """The id names the contents that were planned, so others never get it, even if the size is the same."""
    resource = adapter._inputs.plan("train", folder, OWN)

    def change(_what: str, _done: int, _total: int | None) -> None:
        (folder / "a.csv").write_text("9" * (folder / "a.csv").stat().st_size + longer)

    with pytest.raises(ConflictError, match="was changed during its upload"):
        adapter._inputs.make(adapter._shelf, resource, Materials(progress=change))
    assert adapter.read(Ref("Data", resource.id), timeout=30.0) is None
    assert [] == list(adapter._shelf.objects(f"data/{resource.id}/")), "no other content stays under its id"


def test_a_file_that_changes_after_the_plan_is_not_sent(place: Any, adapter: Any, folder: Path) -> None:
    """Neither another content of the same size nor a file fewer is stored under the id of what was planned."""
    resource = adapter._inputs.plan("train", folder, OWN)
    (folder / "a.csv").write_text("9" * (folder / "a.csv").stat().st_size)
    with place.cloud.calls.since() as calls, pytest.raises(ConflictError, match="was changed before its upload"):
        adapter._inputs.make(adapter._shelf, resource, Materials())
    assert [] == puts(calls)


def test_gc_counts_and_removes_what_a_broken_upload_left(place: Any, adapter: Any, s3: Any, folder: Path) -> None:
    """Objects and the parts of a file, once nothing can be on its way any more; a running upload is not seen."""
    name = "f" * 32
    adapter._storage.put(f"data/{name}/a.csv", b"1\n")
    key = f"mlport/data/{name}/large.bin"
    part = s3.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
    s3.upload_part(Bucket=BUCKET, Key=key, UploadId=part, PartNumber=1, Body=bytes(5 << 20))
    left = Ref("Data", f"{name}.unfinished")

    def listed() -> bool:
        return left in {live.ref for live in adapter.list(timeout=30.0)}

    assert not listed()
    place.cloud._need().moto.age_object(BUCKET, f"mlport/data/{name}/a.csv", STALE_S + 60)
    assert listed()
    live = adapter.read(left, timeout=30.0)
    assert ("failed", "me") == (live.state, live.labels.owner)
    adapter.delete(live, timeout=30.0)
    assert 0 == s3.list_objects_v2(Bucket=BUCKET, Prefix=f"mlport/data/{name}")["KeyCount"]
    assert [] == s3.list_multipart_uploads(Bucket=BUCKET, Prefix=f"mlport/data/{name}").get("Uploads", [])
    assert adapter.read(left, timeout=30.0) is None


@pytest.mark.parametrize(("code", "kind"), [("AccessDenied", AuthError), ("InternalError", UnavailableError)])
def test_what_s3_did_not_delete_is_an_error(
    place: Any, adapter: Any, s3: Any, folder: Path, code: str, kind: type[Exception]
) -> None:
    """DeleteObjects answers 200 and names it in the body."""
    (folder / "large.bin").unlink()
    name = upload(adapter, folder)
    key = f"mlport/data/{name}/a.csv"
    place.cloud.locked.codes[key] = code
    with pytest.raises(kind, match=rf"1 not deleted.*{code}: {key}"):
        adapter._storage.remove(f"data/{name}/")
    assert [key] == [one["Key"] for one in s3.list_objects_v2(Bucket=BUCKET, Prefix=f"mlport/data/{name}/")["Contents"]]
    place.cloud.locked.codes.clear()
    adapter._storage.remove(f"data/{name}/")
    assert 0 == s3.list_objects_v2(Bucket=BUCKET, Prefix=f"mlport/data/{name}/")["KeyCount"]


def test_a_list_looks_at_inputs_not_at_their_files(place: Any, adapter: Any, s3: Any) -> None:
    """An input of more files than one page has costs one entry."""
    moto = place.cloud._need().moto
    adapter._storage.put("data/.keep", b"")
    adapter._storage.remove("data/")
    for number in range(1001):
        moto.put_object(BUCKET, f"mlport/data/{'e' * 32}/{number}", b"")
    adapter._storage.put(f"data/{'e' * 32}.complete", b'{"digest": "e", "files": 1001}')
    with place.cloud.calls.since() as calls:
        found = [live.id for live in adapter._inputs.every(adapter._shelf)]
    unfinished = 1 + sum(name.endswith(".unfinished") for name in found)
    assert "e" * 32 in found
    assert unfinished == sum(call.operation == "ListObjects" for call in calls)
    adapter._storage.remove("data/")


def test_names_that_s3_has_not(adapter: Any, tmp_path: Path) -> None:
    """A file name that is not UTF-8 is refused when the verb is planned, by name."""
    odd = tmp_path / "odd"
    odd.mkdir()
    (odd / b"caf\xe9.csv".decode("utf-8", "surrogateescape")).write_text("1\n")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        adapter._inputs.plan("train", odd, OWN)


@pytest.mark.parametrize("trouble", ["unavailable", "drop_before", "drop_after"])
def test_a_download_goes_on_part_by_part(place: Any, adapter: Any, s3: Any, tmp_path: Path, trouble: Any) -> None:
    """A part that does not arrive is asked for again, and the others are not."""
    content = b"0123456789abcdef" * (40 << 16)  # 40 MiB: three parts
    adapter._storage.put("jobs/x/model.tar.gz", content)
    place.cloud.faults.add("GetObject", trouble, after=1)
    with place.cloud.calls.since() as calls:
        adapter._storage.download("mlport/jobs/x/model.tar.gz", tmp_path / "model.tar.gz")
    assert content == (tmp_path / "model.tar.gz").read_bytes()
    assert 4 == sum(call.operation == "GetObject" for call in calls)
