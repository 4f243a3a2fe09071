"""Settings of the target, each seen on the cloud: identity, compute, time-out, concurrency, following the log."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from sdk.errors import AuthError, ConfigError, DeployFailed, SdkError, ThrottledError, TimedOut
from sdk_contract.clouds.azureml.jobs import CLUSTER
from sdk_contract.samples import ANSWER, SAY, SLEEP

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sdk.client import Client
    from sdk.client.endpoint import Endpoint
    from sdk_contract.clouds.azureml import AzureMLCloud
    from sdk_contract.samples import Samples

IDENTITY = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/Me"
SCRIPT = "import os, pathlib\npathlib.Path(os.environ['MLPORT_OUTPUT_DIR'], 'x').touch()\n"


@pytest.mark.full
def test_an_identity_of_the_user(cloud: AzureMLCloud, make_client: Callable[..., Client], samples: Samples) -> None:
    """The endpoint acts as it from the start, the same again changes nothing, and Azure lets nobody change it."""
    client = make_client(cloud, identity=IDENTITY)
    client.deploy(samples.model(1), name="churn")
    (found,) = cloud.endpoints.all.values()
    assert {"type": "UserAssigned", "userAssignedIdentities": {IDENTITY.lower(): {}}} == found.body["identity"]
    with cloud.calls.since() as calls:
        client.deploy(samples.model(1), name="churn")
    assert [] == calls.changing.operations
    with pytest.raises(ConfigError, match="identity"):
        make_client(cloud).deploy(samples.model(2), name="churn")
    assert [3.0] == list(client.predict("churn", [[ANSWER, 2.0]]).values)
    assert 1 == len(client.status("churn").deployments)


def test_an_endpoint_without_a_public_address(
    cloud: AzureMLCloud, make_client: Callable[..., Client], samples: Samples
) -> None:
    """The plan says so; it answers in the network of the workspace, and elsewhere the refusal names the setting."""
    client = make_client(cloud, public=False)
    plan = client.plan(samples.model(1), name="closed")
    assert "answers in the workspace's network only" in str(plan)
    cloud.scoring.inside = True
    client.deploy(samples.model(1), name="closed")
    (found,) = cloud.endpoints.all.values()
    assert "Disabled" == found.body["properties"]["publicNetworkAccess"]
    assert [3.0] == list(client.predict("closed", [[ANSWER, 2.0]]).values)
    cloud.scoring.inside = False
    with pytest.raises(AuthError, match="public = false"):
        client.predict("closed", [[ANSWER, 2.0]])


MANAGED = {"publicNetworkAccess": "Disabled", "managedNetwork": {"isolationMode": "AllowOnlyApprovedOutbound"}}


@pytest.mark.parametrize(
    ("network", "message", "help_"),
    [
        ({}, "has a public address", "--public-network-access Disabled"),
        ({"publicNetworkAccess": "Enabled"}, "has a public address", "--public-network-access Disabled"),
        (MANAGED, r"managed network \(AllowOnlyApprovedOutbound\)", "leave public_egress out"),
    ],
)
def test_containers_without_internet_where_the_workspace_does_not_allow_it(
    cloud: AzureMLCloud, make_client: Callable[..., Client], samples: Samples, network: Any, message: str, help_: str
) -> None:
    """Refused before an image is built, with the command that helps; doctor says the same."""
    cloud.world.network.update(network)
    client = make_client(cloud, public_egress=False)
    with cloud.calls.since() as calls, pytest.raises(ConfigError, match=message) as refused:
        client.deploy(samples.model(1), name="closed")
    assert help_ in str(refused.value.hint)
    assert set() == {call.operation for call in calls.changing} & {"PutManifest", "StartUpload", "PutEndpoint"}
    (check,) = [one for one in client.doctor()["t"] if one.name == "outbound network"]
    assert (False, refused.value.hint) == (check.ok, check.hint)


def test_containers_without_internet(cloud: AzureMLCloud, make_client: Callable[..., Client], samples: Samples) -> None:
    """A deployment is made so, once; what the containers may reach is not played."""
    cloud.world.network["publicNetworkAccess"] = "Disabled"
    client = make_client(cloud, public_egress=False)
    client.deploy(samples.model(1), name="closed")
    (found,) = cloud.endpoints.all.values()
    (deployment,) = found.deployments.values()
    assert "Disabled" == deployment.body["properties"]["egressPublicNetworkAccess"]
    with cloud.calls.since() as calls:
        client.deploy(samples.model(1), name="closed")
    assert [] == calls.changing.operations


def test_a_managed_network_needs_no_setting(
    cloud: AzureMLCloud, make_client: Callable[..., Client], samples: Samples
) -> None:
    """Its rules are the workspace's: nothing about a network is sent, and doctor names it."""
    cloud.world.network.update(MANAGED)
    client = make_client(cloud)
    client.deploy(samples.model(1), name="managed")
    (found,) = cloud.endpoints.all.values()
    (deployment,) = found.deployments.values()
    assert "egressPublicNetworkAccess" not in deployment.body["properties"]
    (check,) = [one for one in client.doctor()["t"] if one.name == "outbound network"]
    assert check.ok
    assert "AllowOnlyApprovedOutbound" in check.detail


@pytest.mark.full
def test_a_cluster_of_the_workspace(cloud: AzureMLCloud, make_client: Callable[..., Client], tmp_path: Path) -> None:
    """Jobs run where `compute` says; one that is not there is refused; Azure keeps the record, which gc lists apart."""
    (tmp_path / "train.py").write_text(SCRIPT)
    client = make_client(cloud, compute=CLUSTER)
    job = client.train(tmp_path / "train.py", name="job").wait()
    assert "succeeded" == job.refresh().state
    assert str(cloud.jobs.all["job"].told["computeId"]).endswith(f"/computes/{CLUSTER}")
    kept = client.gc(apply=True)
    assert ([], ["job"]) == (kept.removed, [one.id for one in kept.kept_records])
    with pytest.raises(SdkError, match="nobody"):
        make_client(cloud, compute="nobody").train(tmp_path / "train.py", name="lost").wait()
    assert ["job"] == list(cloud.jobs.all)


@pytest.mark.full
def test_the_log_is_followed(client: Client, samples: Samples) -> None:
    """Lines that come later come, each of them once."""
    endpoint = client.deploy(samples.model(1), name="churn")
    endpoint.predict([[SAY, 1.0]])
    seen: list[str] = []
    lines = endpoint.logs(follow=True)
    for number in (2, 3, None):
        seen += (said := [next(line.text for line in lines if "told to say" in line.text)])
        assert said
        if number:
            endpoint.predict([[SAY, float(number)]])
    assert [f"contract: told to say {number}" for number in (1, 2, 3)] == seen


@pytest.mark.full
def test_what_the_gateway_refuses(cloud: AzureMLCloud, make_client: Callable[..., Client], samples: Samples) -> None:
    """Its time-out and its limit of requests in flight are errors of ours that say which setting to change."""
    endpoint = make_client(cloud, concurrency=1).deploy(samples.model(1), name="churn")
    with cloud.calls.since() as calls, ThreadPoolExecutor(4) as threads:
        ended = list(threads.map(lambda _: _slow(endpoint, 1.0), range(4)))
    assert 429 in [call.status for call in calls]
    assert {"concurrency"} >= {"concurrency" if "concurrency" in str(one) else one for one in ended if one != [2.0]}
    (found,) = cloud.endpoints.all.values()
    (behind,) = found.deployments.values()
    behind.body["properties"]["requestSettings"]["requestTimeout"] = "PT0.2S"
    with cloud.calls.since() as calls, pytest.raises(TimedOut, match="deadline_s"):
        endpoint.predict([[SLEEP, 1.0]])
    assert [408] == [call.status for call in calls]


def _slow(endpoint: Endpoint, seconds: float) -> Any:
    """What one of many gets: its answer, or the refusal."""
    try:
        return list(endpoint.predict([[SLEEP, seconds]]).values)
    except ThrottledError as error:
        return f"{error} {error.hint}"


@pytest.mark.full
def test_an_operation_that_fails(cloud: AzureMLCloud, client: Client, samples: Samples) -> None:
    """Azure's reason and its code are in the error, and nothing is left."""
    cloud.faults.add("PutDeployment", "fail")
    with pytest.raises(DeployFailed) as failed:
        client.deploy(samples.model(1), name="churn")
    assert "InternalServerError" in str(failed.value.reason)
    assert [] == [item for item in cloud.inventory() if item.startswith(("deployment", "endpoint", "process"))]
