"""A bucket with our name under another account gets nothing: S3 is asked with every call whose it must be."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from sdk.adapter import AdapterContext
from sdk.errors import SecurityError
from sdk.util.redact import Redactor
from sdk.util.waiting import SystemClock
from sdk_contract.clouds.sagemaker.keys import Spot
from sdk_sagemaker import SagemakerAdapter
from sdk_sagemaker._owners import OWNER, SOURCE_OWNER
from sdk_sagemaker.options import SagemakerOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OURS, SQUATTER = "123456789012", "999988887777"
DEFAULT = f"sagemaker-mlport-{OURS}-us-east-1"
SOURCE = Path(__file__).parents[2] / "adapters" / "sdk_sagemaker"
WITHOUT = {"CreateBucket", "CreateSession", "RenameObject"}  # of S3: they do not take the condition


@pytest.fixture
def adapter(place: Any, tmp_path: Path) -> Iterator[Callable[..., SagemakerAdapter]]:
    made: list[SagemakerAdapter] = []

    def make(**settings: Any) -> SagemakerAdapter:
        role = f"arn:aws:iam::{OURS}:role/mlport"
        options = SagemakerOptions(region="us-east-1", instance="ml.m5.large", role=role, **settings)
        made.append(SagemakerAdapter(options, AdapterContext("aws", "me", tmp_path, SystemClock(), Redactor())))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def squat(place: Any) -> Iterator[Callable[[str], None]]:
    """Makes a bucket that belongs to somebody else, who lets everybody read and write it."""
    names: list[str] = []

    def make(name: str) -> None:
        place.cloud._moto.backend("s3", Spot(OURS, "us-east-1")).create_bucket(name, "us-east-1")
        place.cloud.owners.foreign[name] = SQUATTER
        names.append(name)

    yield make
    for name in names:
        del place.cloud.owners.foreign[name]
        with closing(boto3.client("s3")) as s3:
            for item in s3.list_objects_v2(Bucket=name).get("Contents", ()):
                s3.delete_object(Bucket=name, Key=item["Key"])
            s3.delete_bucket(Bucket=name)


def keys(place: Any, bucket: str) -> list[str]:
    return list(place.cloud._moto.backend("s3", Spot(OURS, "us-east-1")).buckets[bucket].keys)


def test_nothing_is_written_into_a_squatted_bucket(
    place: Any, adapter: Any, squat: Callable[[str], None], tmp_path: Path
) -> None:
    """Leases, inputs, results and lists."""
    squat(DEFAULT)
    one = adapter()
    file = tmp_path / "train.csv"
    file.write_text("secret,1\n")
    resource = one._inputs.plan("train", file, _labels())
    attempts: dict[str, Callable[[], Any]] = {
        "lease": lambda: one._storage.lease_write("locks/x", "{}", None),
        "read": lambda: one._storage.lease_read("locks/x"),
        "data": lambda: one._inputs.make(one._shelf, resource, _Materials()),
        "list": lambda: list(one._inputs.every(one._shelf)),
        "delete": lambda: one._storage.lease_delete("locks/x", '"1"'),
        "output": lambda: one._storage.download("mlport/jobs/x/model.tar.gz", tmp_path / "model.tar.gz"),
        "job": one._storage.verify,
    }
    for what, attempt in attempts.items():
        with pytest.raises(SecurityError, match=rf"bucket {DEFAULT} is not used: .* than {OURS}") as caught:
            attempt()
        assert 'bucket = "…"' in str(caught.value.hint), what
    assert [] == keys(place, DEFAULT)


class _Materials:
    progress = None


def _labels() -> Any:
    from sdk.adapter import Labels

    return Labels("shared", "me", "")


def test_a_bucket_of_another_account_is_used_when_its_owner_is_named(
    place: Any, adapter: Any, squat: Callable[[str], None]
) -> None:
    """A bucket that several accounts share."""
    squat("team-data")
    with pytest.raises(SecurityError):
        adapter(bucket="team-data")._storage.lease_write("locks/x", "{}", None)
    one = adapter(bucket="team-data", bucket_owner=SQUATTER)
    one._storage.lease_write("locks/x", "{}", None)
    one._storage.verify()
    assert ["mlport/locks/x"] == keys(place, "team-data")


def test_a_bucket_that_changes_hands_is_noticed(adapter: Any, squat: Callable[[str], None], tmp_path: Path) -> None:
    """Also by another process, and where the settings name the new owner."""
    squat("team-data")
    adapter(bucket="team-data", bucket_owner=SQUATTER)._storage.verify()
    attempts: list[Callable[[Any], Any]] = [
        lambda one: one.lease_write("locks/y", "{}", None),
        lambda one: one.verify(),
    ]
    for attempt in attempts:
        with pytest.raises(SecurityError, match=f"its account was {SQUATTER} and is {OURS}") as caught:
            attempt(adapter(bucket="team-data")._storage)
        assert str(tmp_path / "identities") in str(caught.value.hint)


def test_every_call_carries_the_condition(place: Any, adapter: Any, tmp_path: Path) -> None:
    """By what arrives at S3 from everything that the adapter does with the bucket."""
    one = adapter()
    place.cloud.owners.unconditional.clear()
    file = tmp_path / "large.bin"
    file.write_bytes(bytes(9 << 20))  # in several parts
    resource = one._inputs.plan("train", file, _labels())
    with place.cloud.calls.since() as calls:
        one._inputs.make(one._shelf, resource, _Materials())
        one._storage.download(f"mlport/data/{resource.id}/large.bin", tmp_path / "back.bin")
        lease = one._storage.lease_write("locks/x", "{}", None)
        one._storage.lease_delete("locks/x", lease.etag)
        list(one._inputs.every(one._shelf))
        one._inputs.delete(one._shelf, resource.id)
        list(one.doctor())
    asked = {call.operation for call in calls if call.service == "s3"}
    assert {"PutObject", "GetObject", "HeadObject", "ListObjects", "DeleteObjects", "DeleteObject"} <= asked
    assert [] == place.cloud.owners.unconditional


def test_every_operation_of_s3_gets_the_condition(adapter: Any) -> None:
    """By the library's own description: also those that the adapter does not use yet; copies have two."""
    client = adapter().aws.client("s3")
    model = client.meta.service_model
    for name in model.operation_names:
        operation = model.operation_model(name)
        members = set(operation.input_shape.members) if operation.input_shape else set()
        added = client.meta.events.emit(f"provide-client-params.s3.{name}", params={}, model=operation)[0][1]
        assert members & {OWNER, SOURCE_OWNER} == set(added), name
        assert not added or set(added.values()) == {OURS}
        assert OWNER in added or "Bucket" not in members or name in WITHOUT, name


def test_the_adapter_uses_no_operation_without_the_condition() -> None:
    """Making a bucket apart, which can only make one of ours."""
    used = {found for file in SOURCE.glob("*.py") for found in re.findall(r'"s3",\s*"(\w+)"', file.read_text())}
    camel = {name: "".join(part.capitalize() for part in name.split("_")) for name in used}
    assert {"create_bucket"} == {name for name, operation in camel.items() if operation in WITHOUT}
    assert {"put_object", "get_object", "head_bucket", "delete_objects"} <= used


def test_the_repository_must_be_that_of_the_role(place: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials of another account than the role's reach another registry; a session is used as it is."""
    with closing(boto3.client("sts")) as sts:
        session = sts.assume_role(RoleArn=f"arn:aws:iam::{OURS}:role/mlport", RoleSessionName="me")["Credentials"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", session["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", session["SecretAccessKey"])
    monkeypatch.setenv("AWS_SESSION_TOKEN", session["SessionToken"])
    role = f"arn:aws:iam::{SQUATTER}:role/mlport"
    options = SagemakerOptions(region="us-east-1", instance="ml.m5.large", role=role, repository="base")
    context = AdapterContext("aws", "me", tmp_path, SystemClock(), Redactor())
    with closing(SagemakerAdapter(options, context)) as one, pytest.raises(SecurityError, match=f"in account {OURS}"):
        list(one._images.every())
