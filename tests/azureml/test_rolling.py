"""A deployment that is updated in place goes on answering: the new containers take over when they are ready."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import pytest

from sdk_contract.samples import ANSWER
from tests.azureml.test_cloud import register, settle
from tests.steady import Load, answered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdk.client import Client
    from sdk_contract.clouds.azureml import AzureMLCloud
    from sdk_contract.clouds.azureml.online import Endpoint
    from sdk_contract.samples import Samples
    from tests.azureml.conftest import Arm


@pytest.fixture
def steady(cloud: AzureMLCloud, client: Client, samples: Samples) -> Iterator[tuple[str, list[Load]]]:
    """The path of a deployment, and two clients that keep asking its endpoint."""
    endpoint = client.deploy(samples.model(1), name="busy")
    request = endpoint.request([[ANSWER, 1.0]])
    token = request.headers["authorization"].removeprefix("Bearer ")
    context = ssl.create_default_context(cafile=cloud.tls.ca_file)
    loads = [Load(str(request.url), token, fresh=one, row=(ANSWER, 1.0), tls=context) for one in (True, False)]
    for load in loads:
        load.start()
    answered(loads)
    (there,) = cloud.endpoints.all.values()
    yield f"/onlineEndpoints/{there.name}/deployments/{next(iter(there.deployments))}", loads
    for load in loads:
        load.enough.set()
        load.join(30)


def changed(arm: Arm, path: str, **properties: Any) -> dict[str, Any]:
    """The deployment as it is, with other properties."""
    shown = arm("GET", path).json()
    kept = ("location", "kind", "sku", "tags")
    return {**{key: shown[key] for key in kept}, "properties": {**shown["properties"], **properties}}


def only(cloud: AzureMLCloud) -> Endpoint:
    return next(one for one in cloud.endpoints.all.values() if one.name.startswith("busy"))


def finish(loads: list[Load]) -> None:
    """Stop asking; nothing was lost."""
    answered(loads)
    for load in loads:
        load.enough.set()
        load.join(30)
        assert [] == load.broken
        assert {200} == {status for status, _ in load.answers}


def test_an_update_in_place_loses_no_request(
    cloud: AzureMLCloud, client: Client, arm: Arm, samples: Samples, steady: tuple[str, list[Load]]
) -> None:
    """Another environment under a hundred requests a second: the old containers answer until the new ones do."""
    path, loads = steady
    client.deploy(samples.model(2), name="other")
    other = next(one for one in cloud.endpoints.all.values() if one.name.startswith("other"))
    environment = next(iter(other.deployments.values())).body["properties"]["environmentId"]
    before = len(cloud.runner.alive()) if cloud.runner else 0
    arm("PUT", path, changed(arm, path, environmentId=environment)).raise_for_status()
    answered(loads, 3)
    assert "Succeeded" == settle(arm, path)["properties"]["provisioningState"]
    while next(iter(only(cloud).deployments.values())).before is not None:
        pass
    finish(loads)
    assert {2.0, 3.0} == {answer[0] for load in loads for _, answer in load.answers}
    while cloud.runner and len(cloud.runner.alive()) > before:
        pass


def test_an_update_that_fails_leaves_the_old_containers_serving(
    arm: Arm, cloud: AzureMLCloud, steady: tuple[str, list[Load]]
) -> None:
    """An image that is not there: the deployment is failed, and every request is answered all the same."""
    path, loads = steady
    register(arm)
    missing = f"{cloud.world.place.path}/environments/e/versions/1"
    arm("PUT", path, changed(arm, path, environmentId=missing)).raise_for_status()
    assert "Failed" == settle(arm, path)["properties"]["provisioningState"]
    finish(loads)
