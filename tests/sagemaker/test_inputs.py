"""Inputs of jobs in S3: a folder or one object is read, never what only begins alike."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config

from sdk.errors import AuthError, ConfigError, QuotaError
from sdk_contract.samples import write_script
from sdk_sagemaker._inputs import Source, locate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OBJECTS = (
    "train/rows.csv", "train/deep/more.csv", "train-old/rows.csv", "one.csv", "one.csv.gz", "both", "both/x",
    "odd name+#?.csv", "marked/", "marked/rows.csv",
)  # fmt: skip
SCRIPT = """
import argparse, json, pathlib
parser = argparse.ArgumentParser()
for name in ("folder", "one", "output"):
    parser.add_argument(f"--{name}")
given = parser.parse_args()
folder, one = pathlib.Path(given.folder), pathlib.Path(given.one)
seen = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
beside = sorted(p.name for p in one.parent.iterdir())
(pathlib.Path(given.output) / "seen.json").write_text(json.dumps([seen, one.read_text(), beside]))
"""


@pytest.fixture(scope="module")
def bucket(place: Any) -> Iterator[str]:
    """Data of the user's, in the region of the target."""
    s3: Any = boto3.client("s3", config=Config(s3={"addressing_style": "path"}))
    s3.create_bucket(Bucket="own-data")
    there = {"LocationConstraint": "eu-west-1"}
    s3.create_bucket(Bucket="far-data", CreateBucketConfiguration=there)
    for key in OBJECTS:
        s3.put_object(Bucket="own-data", Key=key, Body=key.encode())
    s3.put_object(Bucket="far-data", Key="train/rows.csv", Body=b"1\n")
    yield "own-data"
    for name in ("own-data", "far-data"):
        for item in s3.list_objects_v2(Bucket=name)["Contents"]:
            s3.delete_object(Bucket=name, Key=item["Key"])
        s3.delete_bucket(Bucket=name)
    s3.close()


@pytest.fixture
def aws(place: Any, bucket: str) -> Iterator[Any]:
    yield place.client(instance="ml.m5.large").session().adapter.aws
    place.cloud.faults.clear()


FOUND = {
    "train": Source("s3://own-data/train/"),
    "train/": Source("s3://own-data/train/"),
    "marked": Source("s3://own-data/marked/"),
    "one.csv": Source("s3://own-data/one.csv", "one.csv"),
    "train/deep/more.csv": Source("s3://own-data/train/deep/more.csv", "more.csv"),
    "odd name+#?.csv": Source("s3://own-data/odd name+#?.csv", "odd name+#?.csv"),
    "": Source("s3://own-data/"),
}


@pytest.mark.parametrize("key", FOUND)
def test_a_folder_or_one_object(aws: Any, key: str) -> None:
    """By what is there: a folder with its slash, an object with its name."""
    assert FOUND[key] == locate(aws, "train", f"s3://own-data/{key}")


def test_a_bucket_alone_is_a_folder(aws: Any) -> None:
    """SageMaker takes no address without a slash after the bucket."""
    assert Source("s3://own-data/") == locate(aws, "train", "s3://own-data")


@pytest.mark.parametrize(
    ("uri", "text"),
    [
        ("s3://own-data/trai", r"data\.train = 's3://own-data/trai': there is nothing; only train-old"),
        ("s3://own-data/none/", "there is nothing"),
        ("s3://own-data/both", "there is a folder of the same name"),
        ("s3://far-data/train/", "is in eu-west-1, the target in us-east-1"),
        ("s3://nowhere-data/x", "there is no bucket nowhere-data"),
        ("s3:///x", "names no bucket"),
    ],
)
def test_what_no_job_could_read(aws: Any, uri: str, text: str) -> None:
    """The error names the setting, before an image is built."""
    with pytest.raises(ConfigError, match=text):
        locate(aws, "train", uri)


def test_without_the_right_to_list(place: Any, aws: Any) -> None:
    """The role may read what the user may not list: a slash says that it is a folder, an object can be looked at."""
    place.cloud.faults.add("ListObjects", "denied", times=9)
    assert Source("s3://own-data/hidden/") == locate(aws, "train", "s3://own-data/hidden/")
    assert Source("s3://own-data/one.csv", "one.csv") == locate(aws, "train", "s3://own-data/one.csv")
    with pytest.raises(AuthError, match="may not see whether it is a folder or an object") as caught:
        locate(aws, "train", "s3://own-data/hidden")
    assert "s3://own-data/hidden/ if it is a folder" in str(caught.value.hint)
    assert "s3:ListBucket on own-data" in str(caught.value.hint)


def test_a_job_reads_what_is_named_and_nothing_else(place: Any, bucket: str, tmp_path: Path) -> None:
    """A folder beside one whose name begins alike, and an object beside another one; both are left alone."""
    client = place.client(instance="ml.m5.large")
    data = {"folder": "s3://own-data/train", "one": "s3://own-data/one.csv"}
    job = client.train(write_script(tmp_path, SCRIPT), name="exact", data=data, timeout=600)
    assert "succeeded" == job.refresh().state, job.refresh().reason
    job.output(tmp_path / "out")
    seen = json.loads((tmp_path / "out" / "seen.json").read_text())
    assert [["deep/more.csv", "rows.csv"], "one.csv", ["one.csv"]] == seen


def test_a_refused_job_leaves_no_manifest(place: Any, bucket: str, tmp_path: Path) -> None:
    """What was written for a job goes with its refusal; a bucket of another region is refused at once."""
    client, script = place.client(instance="ml.g5.xlarge"), write_script(tmp_path, SCRIPT)
    data = {"folder": "s3://own-data/train/", "one": "s3://own-data/one.csv"}
    with pytest.raises(QuotaError):
        client.train(script, name="refused", data=data, timeout=600)
    assert [] == [item for item in place.cloud.inventory() if "jobs/refused" in item]
    far = place.client(instance="ml.m5.large", bucket="far-data")
    with place.cloud.calls.since() as calls, pytest.raises(ConfigError, match="bucket = 'far-data' is in eu-west-1"):
        far.train(script, name="refused", data=data, timeout=600)
    assert [] == [call.operation for call in calls if call.changing and call.service == "ecr"]
