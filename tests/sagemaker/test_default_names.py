"""The default bucket and repository: AWS's managed policy covers them, and those of earlier versions stay in use."""

from __future__ import annotations

import json
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config

from sdk.adapter import AdapterContext, Labels, Materials
from sdk.errors import AuthError, ConflictError
from sdk.util.redact import Redactor
from sdk.util.waiting import SystemClock
from sdk_contract.clouds.guard import Need
from sdk_contract.clouds.sagemaker.keys import Spot
from sdk_contract.clouds.sagemaker.managed import FULL_ACCESS
from sdk_contract.samples import ANSWER
from sdk_sagemaker import SagemakerAdapter, SagemakerOptions
from tests.sagemaker.conftest import ROLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ACCOUNT = "123456789012"
BUCKET, OLD_BUCKET = f"sagemaker-mlport-{ACCOUNT}-us-east-1", f"mlport-{ACCOUNT}-us-east-1"
REPOSITORY, OLD_REPOSITORY = "sagemaker-mlport", "mlport"
OLD = {"bucket": OLD_BUCKET, "repository": OLD_REPOSITORY}


@pytest.fixture
def cloud(place: Any) -> Iterator[Any]:
    """The mini cloud without any bucket and without a repository of ours."""
    _forget()
    yield place.cloud
    place.cloud.owners.foreign.clear()
    _forget()


@pytest.fixture
def managed(cloud: Any) -> Iterator[None]:
    """Callers hold AmazonSageMakerFullAccess and nothing else."""
    with cloud.rights.enforced(FULL_ACCESS):
        yield


@pytest.fixture
def adapter(cloud: Any, tmp_path: Path) -> Iterator[Callable[..., SagemakerAdapter]]:
    made: list[SagemakerAdapter] = []

    def make(**settings: Any) -> SagemakerAdapter:
        options = SagemakerOptions(region="us-east-1", instance="ml.m5.large", role=ROLE, **settings)
        made.append(SagemakerAdapter(options, AdapterContext("aws", "me", tmp_path, SystemClock(), Redactor())))
        return made[-1]

    yield make
    for one in made:
        one.close()


def _forget() -> None:
    with closing(boto3.client("ecr")) as ecr:
        for one in ecr.describe_repositories()["repositories"]:
            if one["repositoryName"] != "base":
                ecr.delete_repository(repositoryName=one["repositoryName"], force=True)
    s3 = boto3.resource("s3", config=Config(s3={"addressing_style": "path"}))
    for bucket in s3.buckets.all():
        bucket.objects.all().delete()
        bucket.delete()
    s3.meta.client.close()


def made(cloud: Any) -> set[str]:
    """The buckets and repositories that are there."""
    found = (item.partition(" ") for item in cloud.inventory() if item.startswith(("bucket ", "repository ")))
    return {name for _, _, name in found} - {"base"}


def looks(calls: Any) -> list[str]:
    """The calls that look whether a bucket or repository of an earlier version is there."""
    return [call.operation for call in calls if call.operation in {"HeadBucket", "DescribeRepositories"}]


@pytest.mark.usefixtures("managed")
def test_verbs_work_with_nothing_but_the_managed_policy(place: Any, cloud: Any, tmp_path: Path) -> None:
    """Deploy, predict, list, clean up and delete."""
    client = place.client(instance="ml.m5.large", state=tmp_path / "state")
    endpoint = client.deploy(place.samples.model(1), name="managed")
    assert 3.0 == float(endpoint.predict([[ANSWER, 2.0]]).values[0])
    assert {"managed"} == {one.name for one in client.list()}
    client.delete("managed")
    client.gc(shared=True)
    assert {BUCKET, REPOSITORY} == made(cloud)


@pytest.mark.usefixtures("managed")
def test_data_of_jobs_needs_nothing_but_the_managed_policy(adapter: Any, tmp_path: Path) -> None:
    """Uploaded in parts, listed, and removed, though dead uploads cannot be listed with these rights."""
    (tmp_path / "rows.bin").write_bytes(bytes(17 << 20))
    one = adapter()
    resource = one._inputs.plan("train", tmp_path / "rows.bin", Labels("shared", "me", ""))
    one._inputs.make(one._shelf, resource, Materials())
    one._storage.verify()
    assert [resource.id] == [live.id for live in one._inputs.every(one._shelf)]
    one._inputs.delete(one._shelf, resource.id)
    assert [] == list(one._inputs.every(one._shelf))


@pytest.mark.usefixtures("managed")
def test_the_managed_policy_refuses_the_names_of_earlier_versions(cloud: Any, adapter: Any) -> None:
    """This is what the mini cloud plays of the policy: an object, and a push."""
    with closing(boto3.client("s3")) as s3:
        s3.create_bucket(Bucket=OLD_BUCKET)
    with pytest.raises(AuthError):
        adapter(**OLD)._storage.lease_write("locks/x", "{}", None)
    for name, may in ((REPOSITORY, True), (OLD_REPOSITORY, False)):
        push = Need("ecr:PutImage", f"arn:aws:ecr:us-east-1:{ACCOUNT}:repository/{name}")
        assert may is cloud.rights.allows(FULL_ACCESS, push)


def test_what_an_earlier_version_left_is_found(place: Any, cloud: Any, tmp_path: Path) -> None:
    """Its endpoint, image and data are used, counted and removed; neither another bucket nor repository is made."""
    with closing(boto3.client("s3")) as s3:
        s3.create_bucket(Bucket=OLD_BUCKET)
    earlier = place.client(instance="ml.m5.large", state=tmp_path / "earlier", **OLD)
    earlier.deploy(place.samples.model(1), name="older")
    client = place.client(instance="ml.m5.large", state=tmp_path / "state")
    with cloud.calls.since() as calls:
        client.deploy(place.samples.model(1), name="newer")
    assert [] == [call for call in calls if call.service == "registry" and call.changing], "the image is there"
    assert {"older", "newer"} == {one.name for one in client.list()}
    client.delete("older")
    client.delete("newer")
    report = client.gc(shared=True)
    assert ["Image"] == [left.kind for left in (*report.young, *report.orphans)]
    assert {OLD_BUCKET, OLD_REPOSITORY} == made(cloud)


def test_clients_of_an_earlier_version_and_of_this_one_keep_each_other_out(
    place: Any, cloud: Any, adapter: Any, tmp_path: Path
) -> None:
    """Both have their leases in one bucket."""
    lease = {"owner": "colleague", "txn": "t1", "expires": time.time() + 100}
    earlier = adapter(bucket=OLD_BUCKET)
    with closing(boto3.client("s3")) as s3:
        s3.create_bucket(Bucket=OLD_BUCKET)
    earlier._storage.lease_write("locks/held", json.dumps(lease), None)
    client = place.client(instance="ml.m5.large", state=tmp_path / "state")
    with pytest.raises(ConflictError, match="colleague"):
        client.deploy(place.samples.model(1), name="held")
    assert {OLD_BUCKET, REPOSITORY} >= made(cloud)


def test_looking_for_earlier_names_costs_one_call_each(cloud: Any, adapter: Any) -> None:
    """And none where the settings name the bucket and the repository."""
    one = adapter()
    with cloud.calls.since() as calls:
        for _ in range(3):
            assert (BUCKET, REPOSITORY) == (one.aws.bucket, one.aws.repository)
    assert ["HeadBucket", "DescribeRepositories"] == looks(calls)
    named = adapter(bucket="mine", repository="ours")
    with cloud.calls.since() as calls:
        assert ("mine", "ours") == (named.aws.bucket, named.aws.repository)
    assert [] == looks(calls)


def test_a_look_that_fails_is_repeated(cloud: Any, adapter: Any) -> None:
    """An outage does not decide which bucket is used."""
    with closing(boto3.client("s3")) as s3:
        s3.create_bucket(Bucket=OLD_BUCKET)
    cloud.faults.add("HeadBucket", "unavailable")
    one = adapter()
    with pytest.raises(Exception, match="503"):
        _ = one.aws.bucket
    assert OLD_BUCKET == one.aws.bucket


def test_an_earlier_bucket_of_somebody_else_is_not_used(cloud: Any, adapter: Any) -> None:
    """The name of earlier versions can be guessed as well: whoever takes it stops nobody, and `doctor` says so."""
    cloud._moto.backend("s3", Spot(ACCOUNT, "us-east-1")).create_bucket(OLD_BUCKET, "us-east-1")
    cloud.owners.foreign[OLD_BUCKET] = "999988887777"
    one = adapter()
    one._storage.lease_write("locks/x", "{}", None)
    assert BUCKET == one.aws.bucket
    (bucket,) = [check for check in one.doctor() if check.name == "bucket"]
    assert bucket.ok
    assert f"{OLD_BUCKET}, the default of earlier versions, is not used" in bucket.detail


def test_doctor_says_that_an_earlier_name_is_in_use(cloud: Any, adapter: Any) -> None:
    """Since the managed policy does not cover it."""
    with closing(boto3.client("s3")) as s3, closing(boto3.client("ecr")) as ecr:
        s3.create_bucket(Bucket=OLD_BUCKET)
        ecr.create_repository(repositoryName=OLD_REPOSITORY)
    found = {check.name: check.detail for check in adapter().doctor()}
    text = "the default of earlier versions, which AmazonSageMakerFullAccess does not cover"
    assert f"{OLD_BUCKET}; {text}" == found["bucket"]
    assert f"repository {OLD_REPOSITORY}; {text}" == found["images"]


def test_an_earlier_bucket_that_is_deleted_is_not_made_again(cloud: Any, adapter: Any) -> None:
    """Also by a client that has used it."""
    with closing(boto3.client("s3")) as s3:
        s3.create_bucket(Bucket=OLD_BUCKET)
        one = adapter()
        assert OLD_BUCKET == one.aws.bucket
        s3.delete_bucket(Bucket=OLD_BUCKET)
    one._storage.lease_write("locks/x", "{}", None)
    assert {BUCKET} == made(cloud)
