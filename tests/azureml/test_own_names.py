"""Any subscription, group, workspace and region on a mini cloud without arguments, by Azure's own clients.

They run in this process with what the mini cloud's variables say; every test has names of its own. `MLClient` takes
seconds to import, so the sample of the tests uses the pipeline of `azure-core` below it.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from sdk.errors import ConfigError
from sdk_contract.clouds import mini_cloud
from tests.azureml.conftest import Arm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sdk_azureml import AzureMLAdapter
    from sdk_contract.clouds.azureml import AzureMLCloud

pytestmark = pytest.mark.filterwarnings("ignore::Warning")  # of the libraries of Azure's own client

ONE = ("11111111-1111-1111-1111-111111111111", "rg-one", "ws-one")
TWO = ("22222222-2222-2222-2222-222222222222", "rg-two", "ws-two")


@pytest.fixture(scope="module")
def open_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureMLCloud]:
    with mini_cloud("azureml", folder=tmp_path_factory.mktemp("open")) as made:
        yield made  # type: ignore[misc]  # it is this cloud
        assert [] == made.errors  # type: ignore[attr-defined]  # as above


@pytest.fixture(scope="module")
def credential(open_cloud: AzureMLCloud) -> Iterator[Any]:
    """What Azure's clients sign in with by default."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in open_cloud.env.items():
            patch.setenv(name, value)
        from azure.identity import DefaultAzureCredential

        yield DefaultAzureCredential()


@pytest.fixture(scope="module")
def ml(credential: Any) -> Callable[[tuple[str, str, str]], Any]:
    """Azure's own client of a workspace."""
    from azure.ai.ml import MLClient

    return lambda place: MLClient(credential, *place)


@pytest.fixture(scope="module")
def core(open_cloud: AzureMLCloud, credential: Any) -> Callable[..., Any]:
    """One request through the pipeline of Azure's clients."""
    from azure.core import PipelineClient
    from azure.core.pipeline.policies import BearerTokenCredentialPolicy
    from azure.core.rest import HttpRequest

    make: Any = PipelineClient
    guard: Any = BearerTokenCredentialPolicy
    client = make(open_cloud.url, policies=[guard(credential, f"{open_cloud.url}/.default")])

    def send(method: str, url: str, body: Any = None) -> Any:
        return client.send_request(
            HttpRequest(method, f"{open_cloud.url}{url}", params={"api-version": "2024-10-01"}, json=body)
        )

    return send


def path(place: tuple[str, str, str], rest: str = "") -> str:
    groups = f"/subscriptions/{place[0]}/resourceGroups/{place[1]}"
    return f"{groups}/providers/Microsoft.MachineLearningServices/workspaces/{place[2]}{rest}"


def endpoint(name: str, **tags: str) -> Any:
    from azure.ai.ml.entities import ManagedOnlineEndpoint

    return ManagedOnlineEndpoint(name=name, auth_mode="key", tags=tags)


def test_the_same_name_in_two_workspaces(core: Callable[..., Any]) -> None:
    """In two subscriptions, groups and regions: neither is seen from the other."""
    places = {("3" * 8, "rg-3", "ws-3"): "westeurope", ("4" * 8, "rg-4", "ws-4"): "northeurope"}
    for place, region in places.items():
        assert 200 == core("PUT", path(place), {"location": region}).status_code
        body = {"location": region, "tags": {"of": place[2]}, "properties": {"authMode": "Key"}}
        assert 201 == core("PUT", path(place, "/onlineEndpoints/pair-ep"), body).status_code
    found = [core("GET", path(place, "/onlineEndpoints/pair-ep")).json() for place in places]
    assert [("westeurope", "ws-3"), ("northeurope", "ws-4")] == [(it["location"], it["tags"]["of"]) for it in found]
    assert 2 == len({it["properties"]["scoringUri"] for it in found})
    gone, left = places
    assert 202 == core("DELETE", path(gone, "/onlineEndpoints/pair-ep")).status_code
    core("GET", path(gone, "/onlineEndpoints/pair-ep"))  # shows that it is being deleted
    listed = [core("GET", path(place, "/onlineEndpoints")).json()["value"] for place in (gone, left)]
    assert [[], ["pair-ep"]] == [[it["name"] for it in value] for value in listed]


@pytest.mark.full
def test_two_workspaces_have_endpoints_of_one_name(open_cloud: AzureMLCloud, ml: Callable[..., Any]) -> None:
    """In two subscriptions, groups and regions: each is made, changed, listed and deleted without the other."""
    made = Arm(open_cloud)("PUT", path(TWO), {"location": "North Europe"})
    assert (200, "northeurope") == (made.status_code, made.json()["location"])
    one, two = ml(ONE), ml(TWO)
    for place, client in ((ONE, one), (TWO, two)):
        client.online_endpoints.begin_create_or_update(endpoint("twin-ep", of=place[2])).result()
    found = [client.online_endpoints.get("twin-ep") for client in (one, two)]
    assert [("westeurope", "ws-one"), ("northeurope", "ws-two")] == [(it.location, it.tags["of"]) for it in found]
    assert 2 == len({it.scoring_uri for it in found})
    assert 2 == len({client.online_endpoints.get_keys("twin-ep").primary_key for client in (one, two)})
    one.online_endpoints.begin_delete("twin-ep").result()
    assert ([], ["twin-ep"]) == tuple([it.name for it in client.online_endpoints.list()] for client in (one, two))


@pytest.mark.full
def test_a_name_is_one_in_the_region(ml: Callable[..., Any]) -> None:
    """Two workspaces of one region share the names of their endpoints, as on Azure."""
    from azure.core.exceptions import HttpResponseError

    ml((*ONE[:2], "ws-a")).online_endpoints.begin_create_or_update(endpoint("shared-ep")).result()
    with pytest.raises(HttpResponseError, match="already exists in the region"):
        ml((*ONE[:2], "ws-b")).online_endpoints.begin_create_or_update(endpoint("shared-ep")).result()


@pytest.mark.full
def test_assets_are_of_one_workspace(ml: Callable[..., Any]) -> None:
    """An environment of one cannot be read in another of the same group."""
    from azure.ai.ml.entities import Environment
    from azure.core.exceptions import ResourceNotFoundError

    here, there = ml((*ONE[:2], "ws-c")), ml((*ONE[:2], "ws-d"))
    here.environments.create_or_update(Environment(name="env", version="1", image="mini/any:1"))
    assert "1" == here.environments.get("env", "1").version
    with pytest.raises(ResourceNotFoundError):
        there.environments.get("env", "1")


def test_a_workspace_stays_in_its_region(open_cloud: AzureMLCloud) -> None:
    """Another region for a workspace that is there is refused as Azure refuses it."""
    arm, place = Arm(open_cloud), path((*ONE[:2], "ws-fixed"))
    assert 200 == arm("PUT", place, {"location": "eastus2"}).status_code
    again = arm("PUT", place, {"location": "eastus"})
    assert (409, "InvalidResourceLocation") == (again.status_code, again.json()["error"]["code"])
    assert "eastus2" == arm("GET", place).json()["location"]


def test_quota_is_counted_in_each_region(open_cloud: AzureMLCloud) -> None:
    """Every region has its own, also one that was not used yet."""
    usages = f"/subscriptions/{ONE[0]}/providers/Microsoft.MachineLearningServices/locations/japaneast/usages"
    rows = Arm(open_cloud)("GET", usages).json()["value"]
    assert {(0, 100)} == {(row["currentValue"], row["limit"]) for row in rows}


def test_a_target_has_the_workspace_of_its_settings(
    open_cloud: AzureMLCloud, make_adapter: Callable[..., AzureMLAdapter]
) -> None:
    """The region of the settings is where the workspace is made; one that is somewhere else is named."""
    place = {"subscription": TWO[0], "resource_group": "rg-t", "workspace": "ws-t"}
    assert "japaneast" == make_adapter(open_cloud, **place, region="Japan East").price_region()
    assert "japaneast" == make_adapter(open_cloud, **place, region=None).price_region()
    with pytest.raises(ConfigError, match="workspace 'ws-t' is in japaneast"):
        make_adapter(open_cloud, **place, region="eastus").price_region()


def test_a_caller_without_a_token_makes_nothing(open_cloud: AzureMLCloud) -> None:
    """Neither a workspace nor the port of its registry."""
    before = len(open_cloud.sites.all())
    context = ssl.create_default_context(cafile=open_cloud.tls.ca_file)
    with httpx.Client(verify=context, trust_env=False) as client:
        for method in ("GET", "PUT"):
            answer = client.request(method, f"{open_cloud.url}{path((*TWO[:2], 'ws-x'))}", params={"api-version": "1"})
            assert (401, "AuthenticationFailed") == (answer.status_code, answer.json()["error"]["code"])
    assert before == len(open_cloud.sites.all())
