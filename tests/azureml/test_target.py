"""What is Azure's own about the target: autoscale, mirrors, keys, registries, regions, two clouds at once."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from sdk.adapter.prices import find_price
from sdk.adapter.types import EndpointState, Replicas
from sdk.errors import AuthError, ConfigError, ModelError, PlatformError, QuotaError
from sdk_contract.clouds import mini_cloud
from sdk_contract.clouds.azureml import AzureMLCloud
from sdk_contract.samples import ANSWER, FAIL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sdk.client import Client
    from sdk_azureml import AzureMLAdapter
    from sdk_contract.samples import Samples


def test_one_round_trip_and_the_key_is_asked_for_once(cloud: AzureMLCloud, client: Client, samples: Samples) -> None:
    """A prediction is one request; the key is kept, and renewed when it was changed."""
    endpoint = client.deploy(samples.model(1), name="churn")
    endpoint.predict([[ANSWER, 1.0]])
    with cloud.calls.since() as calls:
        for _ in range(5):
            endpoint.predict([[ANSWER, 1.0]])
        with pytest.raises(ModelError) as failed:
            endpoint.predict([[FAIL, 1.0]])
    assert ["Score"] * 6 == calls.operations
    assert (500, 424) == (failed.value.status, calls[-1].status)
    (found,) = cloud.endpoints.all.values()
    found.keys[0] = "changed-by-somebody"
    with cloud.calls.since() as calls:
        assert [2.0] == list(endpoint.predict([[ANSWER, 1.0]]).values)
    assert ["Score", "ListKeys", "Score"] == calls.operations


@pytest.mark.full
@pytest.mark.parametrize(("auth", "asked"), [("token", ["GetEndpointToken"]), ("aad", ["GetToken"])])
def test_other_ways_to_call(
    cloud: AzureMLCloud, make_client: Callable[..., Client], samples: Samples, auth: str, asked: list[str]
) -> None:
    """Endpoints with tokens of their own, and those that take the caller's."""
    endpoint = make_client(cloud, auth=auth).deploy(samples.model(1), name="churn")
    endpoint = make_client(cloud, machine="other", auth=auth).endpoint("churn")
    with cloud.calls.since() as calls:
        assert [3.0, 3.0] == [endpoint.predict([[ANSWER, 2.0]]).values[0] for _ in range(2)]
    assert asked == calls.of("GetEndpointToken", "ListKeys", "GetToken").operations[-1:]
    assert 2 == len(calls.of("Score"))


@pytest.mark.full
def test_replicas_from_one_to_three(cloud: AzureMLCloud, client: Client, samples: Samples) -> None:
    """An autoscale setting hangs on the deployment, is no change the second time, and goes with it."""
    client.deploy(samples.model(1), name="churn", replicas=Replicas(1, 3))
    (setting,) = cloud.monitor.settings.values()
    (profile,) = setting["properties"]["profiles"]
    assert {"minimum": "1", "maximum": "3", "default": "1"} == profile["capacity"]
    assert Replicas(1, 3) == client.status("churn").deployments[0].replicas
    with cloud.calls.since() as calls:
        client.deploy(samples.model(1), name="churn", replicas=Replicas(1, 3))
    assert [] == calls.changing.operations
    client.deploy(samples.model(2), name="churn")
    client.finalize("churn")
    assert {} == cloud.monitor.settings
    assert [1] == [item.traffic // 100 for item in client.status("churn").deployments]


@pytest.mark.full
def test_a_dark_deployment_gets_a_copy(
    cloud: AzureMLCloud, make_client: Callable[..., Client], samples: Samples
) -> None:
    """With `mirror` the newest deployment sees half of the traffic while its answers go to nobody."""
    client = make_client(cloud, mirror=50)
    client.deploy(samples.model(1), name="churn")
    endpoint = client.deploy(samples.model(2), name="churn", traffic=0)
    assert {3.0} == {float(endpoint.predict([[ANSWER, 2.0]]).values[0]) for _ in range(40)}
    (found,) = cloud.endpoints.all.values()
    newest = max(client.status("churn").deployments, key=lambda item: item.generation)
    assert {newest.id: 50} == found.body["properties"]["mirrorTraffic"]
    seen = client.monitor("churn", window="10m").metrics
    assert seen is not None
    assert 5 < sum(seen.deployments[newest.id].values()) < 40
    endpoint.promote()
    assert {} == found.body["properties"]["mirrorTraffic"]


@pytest.mark.full
def test_the_name_in_the_region_is_shown(cloud: AzureMLCloud, client: Client, samples: Samples) -> None:
    """Status and plan tell the name that the endpoint has on Azure."""
    plan = client.plan(samples.model(1), name="churn")
    client.deploy(samples.model(1), name="churn")
    (name,) = cloud.endpoints.all
    status = client.status("churn")
    assert name in str(plan)
    assert name in str(status.url)
    assert name == status.deployments[0].settings["endpoint"]


@pytest.mark.full
def test_a_workspace_without_a_registry(tmp_path: Path, make_client: Callable[..., Client], samples: Samples) -> None:
    """Doctor and deploy say that there is none and how to get one; with one it works."""
    with mini_cloud("azureml", runner="fork", folder=tmp_path / "c", registry=False) as cloud:
        client = make_client(cloud)
        (checks,) = [found for name, found in client.doctor().items() if name == "t"]
        assert ["registry"] == [check.name for check in checks if not check.ok]
        with pytest.raises(PlatformError, match="az acr create"):
            client.deploy(samples.model(1), name="churn")
        assert [] == [item for item in cloud.inventory() if item.startswith(("endpoint", "deployment"))]


@pytest.mark.full
def test_too_little_quota(tmp_path: Path, make_client: Callable[..., Client], samples: Samples) -> None:
    """One deployment of two cores needs four; doctor knows before, and a deploy is a QuotaError that leaves nothing."""
    with mini_cloud("azureml", runner="fork", folder=tmp_path / "c", cores=3) as cloud:
        client = make_client(cloud)
        (checks,) = [found for name, found in client.doctor().items() if name == "t"]
        assert [("quota", False)] == [(check.name, check.ok) for check in checks if not check.ok]
        with pytest.raises(QuotaError) as refused:
            client.deploy(samples.model(1), name="churn")
        assert "Not enough quota available for Standard_DS2_v2" in str(refused.value)
        assert "Current usage/limit: 0/3. Additional needed: 4" in str(refused.value)
        assert "ask for more quota" in str(refused.value)
        assert [] == [item for item in cloud.inventory() if item.startswith(("endpoint", "deployment"))]


def test_nobody_is_signed_in_any_more(cloud: AzureMLCloud, client: Client) -> None:
    """A token that Azure does not take any more is an AuthError that says what to do."""
    client.list()
    cloud.identity.revoke()
    with pytest.raises(AuthError, match="az login"):
        client.list()


@pytest.mark.full
def test_two_clouds_in_one_process(tmp_path: Path, make_client: Callable[..., Client], samples: Samples) -> None:
    """Each target goes to its own cloud, with its own tokens, keys and certificates; no setting is shared."""
    with (
        mini_cloud("azureml", runner="fork", folder=tmp_path / "1") as one,
        mini_cloud("azureml", runner="fork", folder=tmp_path / "2") as two,
    ):
        clients = [make_client(one, "one"), make_client(two, "two")]
        for n, client in enumerate(clients, 1):
            client.deploy(samples.model(n), name="churn")
        assert [3.0, 4.0] == [client.predict("churn", [[ANSWER, 2.0]]).values[0] for client in clients]
        clients[0].delete("churn")
        assert EndpointState.READY is clients[1].status("churn").state
        assert [] == [item for item in one.inventory() if item.startswith("endpoint")]


def test_nothing_of_azure_is_loaded() -> None:
    """Neither the core nor the adapter loads a package of Azure; its client lives in a child of its own."""
    code = "import sys, sdk, sdk_azureml; print([name for name in sys.modules if name.startswith(('azure', 'msal'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "[]" == done.stdout.strip()


@pytest.mark.full
def test_jobs_leave_the_process_alone(
    cloud: AzureMLCloud, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Submitting a job by Azure's own client touches neither the environment nor the modules of this process."""
    monkeypatch.delenv("AZUREML_CURRENT_CLOUD", raising=False)
    (tmp_path / "train.py").write_text(
        "import os, pathlib\npathlib.Path(os.environ['MLPORT_OUTPUT_DIR'], 'x').touch()\n"
    )
    job = client.train(tmp_path / "train.py", name="job")
    assert "succeeded" == job.refresh().state
    assert "AZUREML_CURRENT_CLOUD" not in os.environ
    assert [] == [name for name in sys.modules if name.startswith("azure.ai")]
    kept: Any = client.gc()
    assert [] == kept.orphans


def test_the_adapter_knows_its_resources(cloud: AzureMLCloud, make_adapter: Callable[..., AzureMLAdapter]) -> None:
    """The target's identity is the workspace; nothing is asked for to tell it."""
    adapter = make_adapter(cloud)
    with cloud.calls.since() as calls:
        where = adapter.where()
    assert [] == list(calls)
    assert cloud.world.place.path == where["workspace"]


def test_prices_are_those_of_the_region_of_the_workspace(tmp_path: Path, make_adapter: Callable[..., Any]) -> None:
    """They are found without the setting; a setting that names another region is refused, and what runs is priced."""
    with mini_cloud("azureml", runner="fork", folder=tmp_path / "cloud", region="eastus") as cloud:
        assert isinstance(cloud, AzureMLCloud)
        found, wrong = make_adapter(cloud, region=None), make_adapter(cloud, region="westeurope")
        assert "eastus" == found.price_region()
        with pytest.raises(ConfigError, match="region = 'westeurope': workspace 'mini-ws' is in eastus"):
            wrong.price_region()
        row = find_price(found.prices(), "Standard_DS2_v2", region="eastus")
        assert row is not None
        assert row.usd_per_hour == found._price("Standard_DS2_v2") == wrong._price("Standard_DS2_v2")
