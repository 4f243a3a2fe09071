"""A platform newer than this adapter: unknown fields, states and words never break a verb, and are never undone."""

from __future__ import annotations

import json
import ssl
from typing import TYPE_CHECKING, Any, ClassVar

import httpx
import pytest

from sdk.adapter.types import EndpointState, JobState
from sdk.client import Client
from sdk_azureml import AzureMLOptions, _bodies
from sdk_azureml._train import state_of
from sdk_contract.samples import ANSWER
from tests.azureml.conftest import INSTANCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sdk_contract.clouds.azureml import AzureMLCloud
    from sdk_contract.samples import Samples
    from tests.azureml.conftest import Arm

NEW: dict[str, Any] = {"anything": "new", "count": 1}


class Newer(httpx.BaseTransport):
    """The network to a platform that answers with more than is known.

    Args:
        inner: The network.

    Attributes:
        words: What is put in place of known words, such as a state.
        without: Fields that are null.
    """

    #: Objects whose keys are data: names that the user or the platform gives, not fields.
    data: ClassVar = {"tags", "traffic", "mirrorTraffic", "environmentVariables", "userAssignedIdentities", "logFiles"}

    def __init__(self, inner: httpx.BaseTransport) -> None:
        self._inner = inner
        self.words: dict[str, str] = {}
        self.without: set[str] = set()
        self.changed = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """One request."""
        response = self._inner.handle_request(request)
        body = b"".join(response.stream)  # type: ignore[arg-type]  # of a blocking transport
        response.close()
        headers = {name: value for name, value in response.headers.items() if name != "content-length"}
        if response.headers.get("content-type", "").startswith("application/json") and body:
            body = json.dumps(self.newer(json.loads(body))).encode()
        return httpx.Response(response.status_code, headers=headers, content=body)

    def close(self) -> None:
        """Let go of the connections."""
        self._inner.close()

    def newer(self, value: Any, field: str = "") -> Any:
        """The same with unknown fields in every object, and unknown words."""
        if isinstance(value, list):
            return [self.newer(item) for item in value]
        if isinstance(value, dict):
            self.changed += 1
            known = {key: None if key in self.without else self.newer(item, key) for key, item in value.items()}
            return known if field in self.data else {"aNewField": NEW, **known}
        return self.words.get(value, value) if isinstance(value, str) else value


@pytest.fixture
def network(cloud: AzureMLCloud) -> Newer:
    return Newer(httpx.HTTPTransport(verify=ssl.create_default_context(cafile=cloud.tls.ca_file)))


@pytest.fixture
def newer(cloud: AzureMLCloud, network: Newer, tmp_path: Path) -> Iterator[Client]:
    """A client that sees all answers of the resource manager with more in them."""
    target = {"provider": "sdk_azureml:AzureMLAdapter", "instance": INSTANCE, **cloud.settings}
    config = {"default": "t", "owner": "me", "state_dir": str(tmp_path / "newer"), "target": {"t": target}}
    client = Client(config, transport=network)
    yield client
    client.close()


def test_verbs_with_unknown_fields_everywhere(network: Newer, newer: Client, samples: Samples) -> None:
    """From the first deploy to the delete, with every answer changed."""
    endpoint = newer.deploy(samples.model(1), name="newer", replicas={"min": 1, "max": 2}, tags={"team": "a"})
    assert 3.0 == float(endpoint.predict([[ANSWER, 2.0]]).values[0])
    newer.deploy(samples.model(2), name="newer", traffic=0)
    newer.promote("newer")
    assert ["newer"] == [one.name for one in newer.list()]
    assert EndpointState.READY is newer.status("newer").state
    assert newer.session().monitors().metrics("newer", window_s=600, timeout=30).total >= 0
    assert [] == newer.gc().orphans
    assert any(check.ok for check in newer.doctor()["t"])
    newer.delete("newer")
    assert [] == newer.list()
    assert network.changed > 100


def test_unknown_states_hide_nothing(network: Newer, newer: Client, samples: Samples) -> None:
    """A state that is not known is one in which something is under way, and shown as the platform sent it."""
    newer.deploy(samples.model(1), name="newer")
    network.words = {"Succeeded": "Rebalancing"}
    assert ["newer"] == [one.name for one in newer.list()]
    status = newer.status("newer")
    assert "Rebalancing" == status.raw
    assert status.state in {EndpointState.CREATING, EndpointState.UPDATING}
    network.words, network.without = {}, {"createdAt", "capacity", "instanceType", "scoringUri"}
    assert ["newer"] == [one.name for one in newer.list()]
    network.without = set()
    newer.delete("newer")


def test_what_others_have_set_on_an_endpoint_stays(
    cloud: AzureMLCloud, arm: Arm, newer: Client, samples: Samples
) -> None:
    """A description, unknown fields, words and tags: each change of an endpoint sends it whole."""
    newer.deploy(samples.model(1), name="newer")
    (endpoint,) = cloud.endpoints.all.values()
    endpoint.body["properties"] |= {
        "description": "ours",
        "publicNetworkAccess": "SecuredByPerimeter",
        "aRule": "strict",
    }
    endpoint.body["tags"]["policy"] = "applied"
    newer.deploy(samples.model(2), name="newer", traffic=30, tags={"team": "a"})
    told = arm("GET", f"/onlineEndpoints/{endpoint.name}").json()
    wanted = {"description": "ours", "publicNetworkAccess": "SecuredByPerimeter", "aRule": "strict"}
    assert wanted == {key: told["properties"].get(key) for key in wanted}
    assert ("applied", "a") == (told["tags"]["policy"], told["tags"]["team"])


@pytest.mark.parametrize("word", ["Succeeded", "Rebalancing", "", None, 7])
def test_every_state_is_understood(word: Any) -> None:
    """Also none at all, and one of another kind."""
    raw = {"name": "d1", "id": "/a/b/c/d", "properties": {"provisioningState": word}}
    assert _bodies.deployment_live("churn", raw, None).state in {"ready", "updating"}


@pytest.mark.parametrize("word", ["Scheduled", "Paused", "Unknown", "Whatever"])
def test_unknown_states_of_jobs_are_no_end(word: str) -> None:
    """A job is over only where Azure says so in a word that is known."""
    assert JobState.QUEUED is state_of(word)


BROKEN: list[dict[str, Any]] = [
    {"systemData": {"createdAt": "soon"}},
    {"systemData": None, "sku": None, "tags": None},
    {"sku": {"capacity": "several"}},
    {"tags": {"mlport-replicas": "a-b", "mlport": "1", "mlport-endpoint": "churn"}},
    {"properties": None},
]


@pytest.mark.parametrize("more", BROKEN)
def test_values_of_another_form_hide_no_deployment(more: dict[str, Any]) -> None:
    """What cannot be read is unknown; the rest is as it is."""
    raw = {"name": "d1", "id": "/a/b/c/d", "properties": {"provisioningState": "Succeeded"}, **more}
    live = _bodies.deployment_live("churn", raw, 0.1)
    assert ("churn.d1", 0.1) == (live.id, live.usd_per_hour)


def test_an_unknown_way_to_sign_in_is_kept() -> None:
    """Changing the traffic of such an endpoint changes nothing else of it."""
    raw = {"name": "x", "properties": {"authMode": "Passkey"}, "identity": {"type": "SystemAssigned, UserAssigned",
           "userAssignedIdentities": {"/id/One": {"principalId": "p"}}}}  # fmt: skip
    spec: Any = _bodies.endpoint_live("churn", raw).spec
    body = _bodies.endpoint_body("westeurope", {}, spec, {}, raw)
    assert "Passkey" == body["properties"]["authMode"]
    assert {"type": "SystemAssigned, UserAssigned", "userAssignedIdentities": {"/id/One": {}}} == body["identity"]


def test_an_environment_is_archived_as_it_was_made() -> None:
    """Azure refuses another content: fields that it has added since do not come back to it."""
    made = _bodies.environment_body("r.azurecr.io/mlport@sha256:1", "0" * 64)["properties"]
    routes = {name: {**route, "aNewField": NEW} for name, route in made["inferenceConfig"].items()}
    shown = {
        **made,
        "inferenceConfig": {**routes, "aNewField": NEW},
        "aNewField": NEW,
        "provisioningState": "Succeeded",
    }
    assert {**made, "isArchived": True} == _bodies.archived_body({"properties": shown})["properties"]


def test_tags_reach_everything_that_has_tags(
    cloud: AzureMLCloud, client: Client, samples: Samples, make_client: Callable[..., Client]
) -> None:
    """Endpoint, deployment and scaling; a later deploy adds its own, and one without tags changes none."""
    client.deploy(samples.model(1), name="tagged", replicas={"min": 1, "max": 2}, tags={"team": "a b=c"})
    (endpoint,) = cloud.endpoints.all.values()
    (deployment,) = endpoint.deployments.values()
    (setting,) = cloud.monitor.settings.values()
    assert ["a b=c"] * 3 == [one["tags"].get("team") for one in (endpoint.body, deployment.body, setting)]
    client.deploy(samples.model(2), name="tagged", tags={"cost": "b"})
    assert {"team": "a b=c", "cost": "b"}.items() <= endpoint.body["tags"].items()
    with cloud.calls.since() as calls:
        make_client(cloud, machine="there").deploy(samples.model(2), name="tagged")
    assert [] == calls.changing.operations


def test_a_hanging_container_is_restarted_soon_after_its_start() -> None:
    """Whatever time it may take to start."""
    options = AzureMLOptions.model_validate(
        {"subscription": "s", "resource_group": "g", "workspace": "ws1", "start_s": 900}
    )
    probes = _bodies._probes(float(options.start_s))
    assert 900 <= probes["startupProbe"]["failureThreshold"] * 5
    assert (3, "PT10S", "PT900S") == tuple(
        probes["livenessProbe"][key] for key in ("failureThreshold", "period", "initialDelay")
    )
