"""A mini cloud that takes its time: each state lasts its share of the real seconds, and no state is left out."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from sdk_contract.clouds import mini_cloud
from sdk_contract.clouds.sagemaker import SagemakerCloud
from tests.clouds.sagemaker.account import Account

PACE = 0.004
CREATE_S, UPDATE_S, START_S, UPLOAD_S = 180, 240, 60, 15  # on the real platform


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with mini_cloud("sagemaker", runner="fork", pace=PACE) as cloud:
        assert isinstance(cloud, SagemakerCloud)
        made = Account(cloud, tmp_path_factory.mktemp("slow"))
        made.prepare()
        yield made
        for client in made.clients.values():
            client.close()
    assert [] == cloud.app.errors


def test_endpoints_take_their_time(slow: Account) -> None:
    """Creating and updating are seen again and again, as long as they last by the cloud's own account."""
    slow.serve("slow", "blue")
    assert slow.seen.count("Creating") > 5
    assert {"Creating", "InService"} == set(slow.seen)
    slow.model("green", slow.push("green"))
    slow.config("slow-2", "green")
    slow.sm.update_endpoint(EndpointName="slow", EndpointConfigName="slow-2")
    begun = slow.sm.describe_endpoint(EndpointName="slow")["PendingDeploymentSummary"]["StartTime"]
    ended = slow.wait("slow")["LastModifiedTime"]
    assert slow.seen.count("Updating") > 5
    assert ended - begun >= timedelta(seconds=UPDATE_S * PACE)
    slow.sm.delete_endpoint(EndpointName="slow")
    slow.wait_gone("slow")


def test_jobs_take_their_time(slow: Account) -> None:
    """Each phase of a job lasts, and is told with its times."""
    slow.job("slow", slow.push())
    told = slow.wait_job("slow")["SecondaryStatusTransitions"]
    lasted = {one["Status"]: one["EndTime"] - one["StartTime"] for one in told if "EndTime" in one}
    assert ["Starting", "Downloading", "Training", "Uploading"] == list(lasted)
    assert lasted["Starting"] >= timedelta(seconds=START_S * PACE)
    assert lasted["Uploading"] >= timedelta(seconds=UPLOAD_S * PACE)
