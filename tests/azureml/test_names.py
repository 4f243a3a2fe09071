"""Names keep the case of their first use and are compared without it, by the mini cloud and by the adapter."""

from __future__ import annotations

import doctest
from typing import TYPE_CHECKING, Any

import pytest

from sdk.errors import SdkError
from sdk_azureml import AzureMLOptions, _spelling
from sdk_contract.clouds import mini_cloud
from sdk_contract.clouds.azureml import names
from sdk_contract.clouds.azureml.world import size_of
from sdk_contract.samples import ANSWER
from tests.azureml.conftest import Arm
from tests.azureml.test_cloud import ENDPOINT, body, code, register, settle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sdk.client import Client
    from sdk_contract.clouds.azureml import AzureMLCloud
    from sdk_contract.samples import Samples


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureMLCloud]:
    """A mini cloud whose containers do not matter: images are not there, so deployments fail."""
    with mini_cloud("azureml", folder=tmp_path_factory.mktemp("calm")) as made:
        yield made  # type: ignore[misc]  # it is this cloud


@pytest.mark.parametrize("module", [names, _spelling])
def test_examples_are_true(module: Any) -> None:
    found = doctest.testmod(module)
    assert (0, True) == (found.failed, found.attempted > 0)


def test_an_endpoint_and_its_deployment(calm: AzureMLCloud) -> None:
    """Each case of a name reads, changes and deletes the same thing, which is listed as it was made."""
    arm = Arm(calm)
    register(arm)
    arm("PUT", "/onlineEndpoints/MyPoint", ENDPOINT).raise_for_status()
    assert "MyPoint" == settle(arm, "/onlineEndpoints/mypoint")["name"]
    arm("PUT", "/onlineEndpoints/MYPOINT", {**ENDPOINT, "tags": {"again": "1"}}).raise_for_status()
    settle(arm, "/onlineEndpoints/MyPoint")
    listed = arm("GET", "/onlineEndpoints").json()["value"]
    assert [("MyPoint", {"again": "1"})] == [(one["name"], one["tags"]) for one in listed]
    arm("PUT", "/onlineEndpoints/mypoint/deployments/Blue", body(calm)).raise_for_status()
    shown = settle(arm, "/onlineEndpoints/MyPoint/deployments/BLUE")
    assert "Blue" == shown["name"]
    assert shown["id"].endswith("/onlineEndpoints/MyPoint/deployments/Blue")
    split = {"location": "x", "properties": {"authMode": "Key", "traffic": {"bLUE": 100}}}
    arm("PUT", "/onlineEndpoints/MyPoint", split).raise_for_status()
    settle(arm, "/onlineEndpoints/MyPoint")
    refused = arm("DELETE", "/onlineEndpoints/MyPoint/deployments/blue")
    assert (409, "Conflict") == (refused.status_code, code(refused)), "it has traffic"
    arm("PUT", "/onlineEndpoints/MyPoint", ENDPOINT).raise_for_status()
    settle(arm, "/onlineEndpoints/MyPoint")
    assert 202 == arm("DELETE", "/onlineEndpoints/MyPoint/deployments/bluE").status_code
    while arm("GET", "/onlineEndpoints/mypoint/deployments/blue").status_code != 404:
        pass
    assert 202 == arm("DELETE", "/onlineEndpoints/mYPOINT").status_code


def test_the_path_itself(calm: AzureMLCloud) -> None:
    """Subscription, resource group, provider, workspace and the words between them, in another case."""
    arm, place = Arm(calm), calm.world.place
    shouted = place.path.replace("resourceGroups", "resourcegroups").replace(place.workspace, place.workspace.upper())
    shouted = shouted.replace("Microsoft.MachineLearningServices", "microsoft.machinelearningservices")
    shouted = shouted.replace("/subscriptions/", "/subscriptions/").replace(place.resource_group, "MINI-RG")
    answer = arm("GET", shouted)
    assert (200, place.workspace) == (answer.status_code, answer.json()["name"])
    assert 200 == arm("GET", f"{shouted}/ONLINEENDPOINTS").status_code


@pytest.mark.parametrize("kind", ["models", "environments", "data"])
def test_assets(calm: AzureMLCloud, kind: str) -> None:
    """A second version joins the first under its name, and both are found in any case."""
    arm = Arm(calm)
    told = {"properties": {"image": "h/r@sha256:0", "modelUri": "u", "dataUri": "u"}}
    for name, version in (("Iris", "1"), ("IRIS", "2"), ("iris", "1")):
        arm("PUT", f"/{kind}/{name}/versions/{version}", told).raise_for_status()
    listed = arm("GET", f"/{kind}").json()["value"]
    assert ["Iris"] == [one["name"] for one in listed if one["name"].lower() == "iris"]
    assert ["2", "1"] == [one["name"] for one in arm("GET", f"/{kind}/iRIS/versions").json()["value"]]
    assert arm("GET", f"/{kind}/iris/versions/1").json()["id"].endswith(f"/{kind}/Iris/versions/1")


def test_an_environment_is_named_in_any_case(calm: AzureMLCloud) -> None:
    arm = Arm(calm)
    register(arm)
    arm("PUT", "/onlineEndpoints/refers", ENDPOINT).raise_for_status()
    settle(arm, "/onlineEndpoints/refers")
    wanted = body(calm, size="STANDARD_DS2_V2")
    wanted["properties"]["environmentId"] = wanted["properties"]["environmentId"].upper()
    answer = arm("PUT", "/onlineEndpoints/refers/deployments/blue", wanted)
    assert 201 == answer.status_code, answer.text
    assert "STANDARD_DS2_V2" == answer.json()["properties"]["instanceType"]
    assert {"standardDSv2Family": 2} == calm.endpoints.used()
    assert None is size_of("Standard_DS99_v2")


@pytest.mark.parametrize("given", ["STANDARD_DS3_V2", "standard_ds3_v2", "Standard_DS3_v2"])
def test_an_instance_type_of_a_target(given: str) -> None:
    """It is spelled as Azure does, so that prices, quota and what is deployed agree."""
    place = {"subscription": "s", "resource_group": "g", "workspace": "wsp"}
    options = AzureMLOptions.model_validate({**place, "instance": given, "region": "West Europe"})
    assert ("Standard_DS3_v2", "westeurope") == (options.instance, options.region)


def test_a_target_spelled_in_capitals(
    cloud: AzureMLCloud, make_client: Callable[..., Client], samples: Samples
) -> None:
    """Deployed with everything in capitals, it has a price, answers, and is found again in small letters."""
    place = cloud.world.place
    loud = {
        "instance": "STANDARD_DS2_V2",
        "region": "West Europe",
        "resource_group": place.resource_group.upper(),
        "workspace": place.workspace.upper(),
    }
    endpoint = make_client(cloud, **loud).deploy(samples.model(1), name="churn")
    assert [2.0] == list(endpoint.predict([[ANSWER, 1.0]]).values)
    quiet = make_client(cloud, machine="other")
    (found,) = quiet.list()
    assert ("churn", "Standard_DS2_v2") == (found.name, found.deployments[0].instance)
    assert found.usd_per_hour
    quiet.delete("churn")
    with pytest.raises(SdkError):
        quiet.status("churn")
    assert [] == list(cloud.endpoints.all)
