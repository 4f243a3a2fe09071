"""The rules of the mini cloud: names, quota, busy resources, refused deletes, and the gateway in front of models."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from sdk_azureml import AzureMLAdapter
from sdk_contract.clouds import mini_cloud
from sdk_contract.clouds.azureml.durations import seconds_of
from sdk_contract.clouds.azureml.traffic import Turns, check_traffic
from sdk_contract.clouds.azureml.world import reserved
from tests.azureml.conftest import Arm

if TYPE_CHECKING:
    from pathlib import Path

    from sdk_contract.clouds.azureml import AzureMLCloud

ENDPOINT = {"location": "westeurope", "properties": {"authMode": "Key"}}
ENVIRONMENT = "/environments/e/versions/1"
ROUTE = {"port": 8080, "path": "/score"}


def code(response: httpx.Response) -> str:
    """The code of a refusal."""
    return str(response.json()["error"]["code"])


def settle(arm: Arm, path: str) -> dict[str, Any]:
    """Reads until nothing is under way there."""
    for _ in range(20):
        found: dict[str, Any] = arm("GET", path).json()
        if found["properties"]["provisioningState"] not in {"Creating", "Updating"}:
            return found
    raise AssertionError(path)


@pytest.fixture
def made(arm: Arm) -> str:
    """The path of an endpoint that is there."""
    arm("PUT", "/onlineEndpoints/first", ENDPOINT)
    settle(arm, "/onlineEndpoints/first")
    return "/onlineEndpoints/first"


def body(cloud: AzureMLCloud, size: str = "Standard_DS2_v2", count: int = 1) -> dict[str, Any]:
    """A deployment of an image that is not there."""
    environment = f"{cloud.world.place.path}{ENVIRONMENT}"
    return {"sku": {"capacity": count}, "properties": {"instanceType": size, "environmentId": environment}}


def register(arm: Arm, **properties: Any) -> None:
    """The environment of these deployments."""
    routes = {"livenessRoute": ROUTE, "readinessRoute": ROUTE, "scoringRoute": ROUTE}
    given = {"image": "h/r@sha256:" + "0" * 64, "inferenceConfig": routes, **properties}
    arm("PUT", ENVIRONMENT, {"properties": given}).raise_for_status()


@pytest.mark.parametrize("name", ["ab", "1ab", "a_b", "a" * 33, "ab-"])
def test_bad_names(arm: Arm, name: str) -> None:
    assert (400, "BadArgument") == (
        (found := arm("PUT", f"/onlineEndpoints/{name}", ENDPOINT)).status_code,
        code(found),
    )


@pytest.mark.parametrize("name", ["azure", "my-windows", "login-now", "XboxOne"])
def test_reserved_names(arm: Arm, name: str) -> None:
    assert reserved(name)
    assert "ReservedResourceName" == code(arm("PUT", f"/onlineEndpoints/{name}", ENDPOINT))


def test_a_name_is_unique_in_the_region(tmp_path: Path) -> None:
    with mini_cloud("azureml", folder=tmp_path / "c", taken=("theirs",)) as cloud:
        refused = Arm(cloud)("PUT", "/onlineEndpoints/theirs", ENDPOINT)  # type: ignore[arg-type]  # it is this cloud
    assert (409, "NameUnavailable") == (refused.status_code, code(refused))


def test_states_are_passed_through_and_operations_end(arm: Arm, cloud: AzureMLCloud) -> None:
    """Creating is seen once, then Succeeded; the operation agrees and tells how long to wait."""
    begun = arm("PUT", "/onlineEndpoints/first", ENDPOINT)
    assert (201, "Creating") == (begun.status_code, begun.json()["properties"]["provisioningState"])
    assert "20" == begun.headers["x-ms-retry-after-ms"]
    path = begun.headers["azure-asyncoperation"].partition("?")[0].removeprefix(cloud.url)
    assert "Succeeded" == settle(arm, "/onlineEndpoints/first")["properties"]["provisioningState"]
    assert "Succeeded" == arm("GET", path).json()["status"]


def test_a_busy_endpoint_refuses(tmp_path: Path) -> None:
    """At the real cloud's pace an endpoint is being made for a minute: a change and a delete have to wait."""
    with mini_cloud("azureml", folder=tmp_path / "c", pace=1.0) as cloud:
        arm = Arm(cloud)  # type: ignore[arg-type]  # it is this cloud
        begun = arm("PUT", "/onlineEndpoints/first", ENDPOINT)
        assert "30000" == begun.headers["x-ms-retry-after-ms"]
        for refused in (arm("PUT", "/onlineEndpoints/first", ENDPOINT), arm("DELETE", "/onlineEndpoints/first")):
            assert (409, "Conflict") == (refused.status_code, code(refused))


def test_what_a_deployment_needs(arm: Arm, cloud: AzureMLCloud, made: str) -> None:
    """A machine that is offered, an environment with routes, and quota."""
    path = f"{made}/deployments/blue"
    assert "BadArgument" == code(arm("PUT", path, body(cloud)))
    register(arm, inferenceConfig=None)
    assert "inferenceConfig" in arm("PUT", path, body(cloud)).text
    assert "not offered" in arm("PUT", path, body(cloud, "Standard_Nonsense")).text
    other = {"properties": {"image": "h/r@sha256:" + "0" * 64, "inferenceConfig": {"scoringRoute": ROUTE}}}
    assert 409 == arm("PUT", ENVIRONMENT, other).status_code, "a version never changes"


def test_quota_counts_a_fifth_more(arm: Arm, cloud: AzureMLCloud, made: str) -> None:
    """Fifty instances of two cores need sixty times two; there are a hundred."""
    register(arm)
    refused = arm("PUT", f"{made}/deployments/blue", body(cloud, count=50))
    assert ("BadRequest", "The request is invalid.") == (code(refused), refused.json()["error"]["message"])
    assert "Current usage/limit: 0/100. Additional needed: 120" in refused.text


def test_an_image_that_is_not_there_fails_the_deployment(arm: Arm, cloud: AzureMLCloud, made: str) -> None:
    """The deployment stays as failed and keeps its quota until it is deleted."""
    register(arm)
    path = f"{made}/deployments/blue"
    assert 201 == arm("PUT", path, body(cloud)).status_code
    assert "Failed" == settle(arm, path)["properties"]["provisioningState"]
    assert {"standardDSv2Family": 2} == cloud.endpoints.used()
    assert 202 == arm("DELETE", path).status_code
    for _ in range(3):
        arm("GET", path)
    assert 404 == arm("GET", path).status_code
    assert 204 == arm("DELETE", path).status_code


def test_a_deployment_is_deleted_while_it_is_being_made(arm: Arm, cloud: AzureMLCloud, made: str) -> None:
    """Failing ones stay in Creating for more than an hour; Azure takes a delete meanwhile, so we send it at once."""
    register(arm)
    cloud.world.pace.factor = 1.0
    path = f"{made}/deployments/blue"
    arm("PUT", path, body(cloud))
    assert "Creating" == arm("GET", path).json()["properties"]["provisioningState"]
    assert "creating" in AzureMLAdapter.kinds["Deployment"].deletable
    assert 202 == arm("DELETE", path).status_code
    assert "Deleting" == arm("GET", path).json()["properties"]["provisioningState"]
    assert "creating" not in AzureMLAdapter.kinds["Endpoint"].deletable


def test_traffic_has_rules() -> None:
    known = {"a", "b"}
    assert None is check_traffic({"a": 90, "b": 10}, {}, known)
    assert None is check_traffic({}, {}, known)
    for traffic, mirror in (
        ({"a": 90}, {}),
        ({"c": 100}, {}),
        ({"a": 110, "b": -10}, {}),
        ({"a": 100}, {"b": 51}),
        ({"a": 100}, {"a": 10}),
        ({"a": 100}, {"a": 10, "b": 10}),
    ):
        refused = check_traffic(traffic, mirror, known)
        assert refused is not None, (traffic, mirror)
        assert 400 == refused.status


def test_turns_are_exact() -> None:
    turns = Turns()
    seen = [turns.next({"a": 70, "b": 30, "c": 0}) for _ in range(100)]
    assert (70, 30) == (seen.count("a"), seen.count("b"))
    assert None is turns.next({"a": 0})


@pytest.mark.parametrize(("text", "seconds"), [("PT5S", 5), ("PT1M0.5S", 60.5), ("P1DT1H", 90_000)])
def test_durations(text: str, seconds: float) -> None:
    assert seconds == seconds_of(text)


def test_nobody_without_a_token(cloud: AzureMLCloud, arm: Arm) -> None:
    """Neither the resource manager nor the storage nor the registry answers strangers."""
    with httpx.Client(verify=ssl.create_default_context(cafile=cloud.tls.ca_file), trust_env=False) as client:
        path = cloud.world.place.path
        assert 401 == client.get(f"{cloud.url}{path}", params={"api-version": "2024-10-01"}).status_code
        assert 403 == client.get(f"{cloud.url}/miniaccount/azureml-blobstore/x").status_code
        assert 401 == client.get(f"http://{cloud.registry_host}/v2/").status_code
    assert 400 == arm("GET", "", **{"api-version": ""}).status_code
