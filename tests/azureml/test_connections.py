"""Secrets of the workspace's connections: Azure fills them in for endpoints that were made for it, and for no job."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sdk.errors import ConfigError, UnsupportedError
from sdk_contract.samples import ANSWER

if TYPE_CHECKING:
    from pathlib import Path

    from sdk.client import Client
    from sdk_contract.clouds.azureml import AzureMLCloud
    from sdk_contract.samples import Samples

SECRET = {"PASSWORD": "cloud:store/password"}


def test_an_endpoint_gets_secrets_of_connections(cloud: AzureMLCloud, client: Client, samples: Samples) -> None:
    """It is made with the right to read them, keeps it through every change, and a second deploy changes nothing."""
    cloud.world.connections["store"] = {"password": "a-long-secret"}
    endpoint = client.deploy(samples.model(1), name="churn", secrets=SECRET)
    assert [2.0] == list(endpoint.predict([[ANSWER, 1.0]]).values)
    (made,) = cloud.endpoints.all.values()
    with cloud.calls.since() as calls:
        client.deploy(samples.model(1), name="churn", secrets=SECRET)
    assert [] == calls.changing.operations
    client.deploy(samples.model(2), name="churn", secrets=SECRET)
    assert {"enforce_access_to_default_secret_stores": "enabled"} == made.body["properties"]["properties"]
    (deployed,) = [one for one in made.deployments.values() if made.traffic.get(one.name)]
    assert "a-long-secret" == deployed.fleet.env["PASSWORD"]


def test_an_endpoint_without_that_right_refuses(cloud: AzureMLCloud, client: Client, samples: Samples) -> None:
    """Azure gives the right only to a new endpoint: said before a deployment waits ten minutes for it."""
    client.deploy(samples.model(1), name="churn")
    with cloud.calls.since() as calls, pytest.raises(ConfigError, match="made without the right to read connections"):
        client.deploy(samples.model(2), name="churn", secrets=SECRET)
    assert "PutDeployment" not in calls.operations
    assert ["ready"] == [one.state for one in client.status("churn").deployments]


def test_a_job_gets_none(cloud: AzureMLCloud, client: Client, tmp_path: Path) -> None:
    """It would get the reference instead of the value, so it is refused before anything is uploaded."""
    script = tmp_path / "train.py"
    script.write_text("print(1)\n")
    with cloud.calls.since() as calls, pytest.raises(UnsupportedError, match="PASSWORD"):
        client.train(script, name="job", requirements=[], secrets=SECRET)
    assert [] == calls.changing.operations
