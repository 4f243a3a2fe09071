"""What was made just now, while the service that finds things by their tags does not know it yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3
import pytest

from sdk_contract.samples import ANSWER, write_script
from tests.sagemaker.test_inputs import SCRIPT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def late(place: Any) -> Iterator[Any]:
    place.cloud.tagging_late_s = 7200.0
    yield place
    place.cloud.tagging_late_s = 0.0


def test_a_new_endpoint_is_listed_and_keeps_what_it_needs(late: Any) -> None:
    """Sweeping shared things removes neither its image nor anything else of it; what is deleted is gone."""
    client = late.client(instance="ml.m5.large")
    endpoint = client.deploy(late.samples.model(1), name="young")
    assert ["young"] == [one.name for one in client.list()]
    swept = client.session().executor.gc(apply=True, shared=True, min_age_s=0)
    assert [] == [one for one in swept.removed if "young" in one.id]
    assert [3.0] == list(endpoint.predict([[ANSWER, 2.0]]).values)
    sagemaker: Any = boto3.client("sagemaker")
    (variant,) = sagemaker.describe_endpoint(EndpointName="young")["ProductionVariants"]
    image = sagemaker.describe_model(ModelName=f"young-{variant['VariantName']}")["PrimaryContainer"]["Image"]
    ecr: Any = boto3.client("ecr")
    ids = [{"imageDigest": image.partition("@")[2]}]
    assert 1 == len(ecr.describe_images(repositoryName="sagemaker-mlport", imageIds=ids)["imageDetails"]), (
        "it is still there"
    )
    client.delete("young")
    assert [] == client.list()
    sagemaker.close()
    ecr.close()


def test_the_input_of_a_job_that_was_started_just_now_stays(late: Any, tmp_path: Path) -> None:
    """It lies there from an earlier job, so its age does not protect it."""
    client = late.client(instance="ml.m5.large")
    (tmp_path / "one.csv").write_text("1\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "rows.csv").write_text("2\n")
    data = {"folder": str(tmp_path / "folder"), "one": str(tmp_path / "one.csv")}
    late.cloud.faults.add("CreateTrainingJob", "stuck")
    job = client.train(write_script(tmp_path, SCRIPT), name="young-job", data=data, timeout=600, wait=False)
    swept = client.session().executor.gc(apply=True, shared=True, min_age_s=0)
    assert [] == [one for one in swept.removed if one.kind == "Data"]
    job.stop()
    late.cloud.faults.clear()
