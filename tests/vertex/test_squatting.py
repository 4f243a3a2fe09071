"""A bucket with our name in another project gets nothing, and one that changes hands is noticed."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from sdk.adapter import AdapterContext
from sdk.errors import NotFoundError, SdkError, SecurityError
from sdk.util.redact import Redactor
from sdk.util.waiting import SystemClock
from sdk_vertex import VertexAdapter
from sdk_vertex._access import Access
from sdk_vertex._images import Images
from sdk_vertex.options import VertexOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sdk_vertex._bucket import Bucket

DEFAULT, OTHER = "mini-project-mlport-europe-west4", "999988887777"
T = 5.0


@pytest.fixture
def bucket(place: Any, tmp_path: Path) -> Iterator[Callable[..., Bucket]]:
    made: list[VertexAdapter] = []

    def make(**settings: Any) -> Bucket:
        options = VertexOptions(project="mini-project", region="europe-west4", **settings)
        made.append(VertexAdapter(options, AdapterContext("gcp", "me", tmp_path, SystemClock(), Redactor())))
        return made[-1]._bucket

    yield make
    for one in made:
        one.close()


@pytest.fixture
def storage(place: Any) -> Iterator[Any]:
    yield place.cloud.storage
    for name in list(place.cloud.storage.buckets):
        del place.cloud.storage.buckets[name]
    place.cloud.storage._hidden.clear()


@pytest.mark.parametrize("hidden", [False, True])
def test_nothing_goes_into_a_squatted_bucket(
    place: Any, storage: Any, bucket: Callable[..., Bucket], tmp_path: Path, hidden: bool
) -> None:
    """Whether its owner shows whose it is or not; only questions about the bucket itself are asked."""
    storage.make_foreign(DEFAULT, OTHER, hidden=hidden)
    file = tmp_path / "train.csv"
    file.write_bytes(b"secret" * (2 << 20))
    attempts: dict[str, Callable[[Bucket], Any]] = {
        "small": lambda one: one.put("x", b"secret", "text/plain", timeout=T),
        "file": lambda one: one.upload(file, "train.csv", timeout=T),
        "read": lambda one: one.get("x", timeout=T),
        "about": lambda one: one.about("x", timeout=T),
        "list": lambda one: list(one.names("", timeout=T)),
        "delete": lambda one: one.delete("x", timeout=T),
        "output": lambda one: one.download("x", tmp_path / "y", timeout=T),
        "make": lambda one: one.exists(timeout=T),
    }
    with place.cloud.calls.since() as calls:
        for attempt in attempts.values():
            with pytest.raises(
                SecurityError, match=f"bucket {DEFAULT} is not used: it is not in project mini-"
            ) as caught:
                attempt(bucket())
            assert 'bucket = "…"' in str(caught.value.hint)
    assert {"ListBuckets", "GetBucket"} == {call.operation for call in calls}


def test_somebody_is_faster_than_our_making_it(place: Any, storage: Any, bucket: Callable[..., Bucket]) -> None:
    """Between the look and the making: the name is taken, and then nothing is written."""
    one = bucket()
    with pytest.raises(NotFoundError):
        one.put("x", b"secret", "text/plain", timeout=T)
    storage.make_foreign(DEFAULT, OTHER)
    one.make(timeout=T)
    with place.cloud.calls.since() as calls, pytest.raises(SecurityError):
        one.put("x", b"secret", "text/plain", timeout=T)
    assert {"ListBuckets", "GetBucket"} == {call.operation for call in calls}


def test_our_own_is_made_and_asked_about_once(place: Any, storage: Any, bucket: Callable[..., Bucket]) -> None:
    one = bucket()
    one.make(timeout=T)
    with place.cloud.calls.since() as calls:
        for number in range(3):
            one.put(f"x{number}", b"1", "text/plain", timeout=T)
    assert ["ListBuckets", *["InsertObject"] * 3] == [call.operation for call in calls]


def test_a_bucket_of_another_project_is_used_when_the_project_is_named(
    storage: Any, bucket: Callable[..., Bucket]
) -> None:
    """A bucket that several projects share."""
    storage.make_foreign("team-data", OTHER)
    with pytest.raises(SecurityError, match="not in project mini-project"):
        bucket(bucket="team-data").exists(timeout=T)
    with pytest.raises(SecurityError, match=f"in project {OTHER}, not in 1234"):
        bucket(bucket="team-data", bucket_owner="1234").exists(timeout=T)
    assert bucket(bucket="team-data", bucket_owner=OTHER).exists(timeout=T)


@pytest.mark.parametrize(("field", "value"), [("projectNumber", "111122223333"), ("location", "US")])
def test_a_bucket_that_changes_hands_is_noticed(
    place: Any, storage: Any, bucket: Callable[..., Bucket], field: str, value: str
) -> None:
    """Also by another process, and where the settings name the new owner."""
    storage.make_bucket("own-data")
    assert bucket(bucket="own-data").exists(timeout=T)
    storage.buckets["own-data"][field] = value
    owner = {"bucket_owner": value} if field == "projectNumber" else {}
    with pytest.raises(SecurityError, match=r"is another one than before: its (project|location) was"):
        bucket(bucket="own-data", **owner).exists(timeout=T)


def test_a_bucket_that_changes_hands_while_a_process_lives_gets_nothing_more(
    place: Any, storage: Any, bucket: Callable[..., Bucket]
) -> None:
    """Deleted, and made again by another project, which lets all others write: it is noticed within a minute."""
    one, clock = bucket(), [1000.0]
    one._owner._now = lambda: clock[0]
    one.make(timeout=T)
    one.put("x", b"1", "text/plain", timeout=T)
    clock[0] += 59
    with place.cloud.calls.since() as calls:
        one.put("y", b"1", "text/plain", timeout=T)
    assert ["InsertObject"] == [call.operation for call in calls]
    storage.drop_bucket(DEFAULT)
    storage.make_foreign(DEFAULT, OTHER)
    clock[0] += 1
    with place.cloud.calls.since() as calls, pytest.raises(SecurityError, match="is not in project mini-project"):
        one.put("z", b"secret", "text/plain", timeout=T)
    assert {"ListBuckets", "GetBucket"} == {call.operation for call in calls}


@pytest.mark.parametrize(
    "wrong",
    [
        {"location": "US"},
        {"iamConfiguration": {"publicAccessPrevention": "inherited", "uniformBucketLevelAccess": {"enabled": True}}},
        {"iamConfiguration": {"publicAccessPrevention": "enforced", "uniformBucketLevelAccess": {"enabled": False}}},
        {"iamConfiguration": {}},
    ],
)
def test_a_default_bucket_in_another_place_or_open_to_the_public_is_refused(
    storage: Any, bucket: Callable[..., Bucket], wrong: dict[str, Any]
) -> None:
    """Of ours, but not as mlport makes it."""
    bucket().make(timeout=T)
    storage.buckets[DEFAULT].update(wrong)
    with pytest.raises(SecurityError, match=r"it is in us|it is not closed to the public"):
        bucket().exists(timeout=T)


@pytest.mark.parametrize("where", ["other-project/locations/europe-west4", "mini-project/locations/us-east1"])
def test_an_answer_about_another_repository_is_refused(place: Any, where: str) -> None:
    """Images are pushed to the repository of the target's own project and region only."""
    answer = {"name": f"projects/{where}/repositories/mlport"}
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=answer))
    options = VertexOptions(project="mini-project", region="europe-west4")
    images = Images(Access(options, time.time, transport), SystemClock(), "me")
    with pytest.raises(SecurityError, match=f"repository mlport of mini-project is projects/{where}"):
        images.read_repository("mlport", timeout=T)


@pytest.mark.parametrize("named", ["https://evil.example/up", "http://127.0.0.1@evil.example/up", "//evil.example/up"])
def test_an_upload_does_not_go_on_at_another_host(place: Any, tmp_path: Path, named: str) -> None:
    """Where an upload goes on is named by an answer, and gets the token and the data."""
    hosts: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        hosts.append(request.url.host)
        if request.method == "POST":
            return httpx.Response(200, headers={"location": named})
        about = {"name": "own-data", "projectNumber": "1", "location": "EUROPE-WEST4"}
        return httpx.Response(200, json={"items": [about]})

    file = tmp_path / "train.csv"
    file.write_bytes(bytes(9 << 20))
    options = VertexOptions(project="mini-project", region="europe-west4", bucket="own-data")
    context = AdapterContext("gcp", "me", tmp_path, SystemClock(), Redactor(), httpx.MockTransport(answer))
    with closing(VertexAdapter(options, context)) as one, pytest.raises(SdkError):
        one._bucket.upload(file, "train.csv", timeout=T)
    assert {"127.0.0.1"} == set(hosts)


def test_a_dedicated_endpoint_is_at_google(place: Any) -> None:
    options = VertexOptions(project="mini-project", region="europe-west4")
    with pytest.raises(SecurityError, match="is not an address of Google Cloud"):
        next(Access(options, time.time).auth_flow(httpx.Request("POST", "https://1.prediction.vertexai.goog.evil/v1")))


@pytest.mark.parametrize("host", ["evilgcr.io", "evil-docker.pkg.dev.example", "gcr.io.example", "a.gcr.io:8443"])
def test_no_registry_of_others_gets_a_token(
    place: Any, host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    access = Access(VertexOptions(project="mini-project", region="europe-west4"), time.time)
    assert access.login(host) is None
    own = [access.login(one) for one in ("gcr.io", "eu.gcr.io", "x-docker.pkg.dev")]
    assert [("oauth2accesstoken", access.token())] * 3 == own
