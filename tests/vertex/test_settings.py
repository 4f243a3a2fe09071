"""Settings of the target on the mini cloud: what is sent for them, and what becomes of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

import sdk
from sdk.adapter.types import Replicas
from sdk.errors import ConfigError, ConflictError, ModelError, NotFoundError, PayloadTooLargeError, TimedOut
from sdk_contract.clouds.vertex.enums import ACCELERATORS, STRATEGIES
from sdk_contract.clouds.vertex.predicting import SHARED_BYTES
from sdk_contract.samples import ANSWER, ENV, ENV_NAME, FAIL, FAILURE, GOOD_SCRIPT, SLEEP, write_script

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sdk.client import Client
    from tests.vertex.conftest import Place

ACCOUNT = "models@mini-project.iam.gserviceaccount.com"
T4 = "n1-standard-4+NVIDIA_TESLA_T4x1"


@pytest.fixture
def name(place: Place, request: pytest.FixtureRequest) -> Iterator[str]:
    """An endpoint, deleted at the end, after which nothing runs."""
    made = f"e{abs(hash(request.node.name)) % 10**8}"
    yield made
    place.client().delete(made)
    assert [] == place.running()


def deployed(place: Place, name: str) -> list[dict[str, Any]]:
    """What the cloud has deployed to an endpoint, as it was sent."""
    return list(place.cloud.world.tables["endpoints"][name]["deployedModels"])


def wide(rows: Any) -> Any:
    """As many numbers for each row as its first one says."""
    import numpy as np

    return np.ones((len(rows), int(rows[0][0])))


def test_autoscaling(place: Place, name: str) -> None:
    """From 1 to 3 replicas by their load; quota counts the most, the price the least; two are two processes."""
    client = place.client(scale_cpu=70)
    client.deploy(place.samples.model(1), name=name, replicas=Replicas(1, 3))
    (found,) = deployed(place, name)
    resources = found["dedicatedResources"]
    assert (1, 3) == (resources["minReplicaCount"], resources["maxReplicaCount"])
    metric = "aiplatform.googleapis.com/prediction/online/cpu/utilization"
    assert [{"metricName": metric, "target": 70}] == resources["autoscalingMetricSpecs"]
    assert 6 == place.cloud.fleet.cpus(found)
    (shown,) = client.status(name).deployments
    assert (Replicas(1, 3), 0.120272) == (shown.replicas, shown.usd_per_hour)
    client.deploy(place.samples.model(2), name=name, replicas=Replicas(2, 2))
    newest = client.status(name).deployments[-1]
    assert (Replicas(2, 2), 2 * 0.120272) == (newest.replicas, newest.usd_per_hour)
    assert [1, 2] == sorted(len(one.replicas) for one in place.cloud.fleet.running.values())


@pytest.mark.full
def test_a_dedicated_endpoint(place: Place, name: str) -> None:
    """A host of its own that takes 10 MB in one piece; nobody is let in by the shared one, and it stays what it is."""
    client = place.client(dedicated=True)
    endpoint = client.deploy(place.samples.model(1), name=name)
    made = place.cloud.world.tables["endpoints"][name]
    assert {"inferenceTimeout": "600s"} == made["clientConnectionConfig"]
    rows = [[ANSWER, 1.0]] * 300_000
    with place.cloud.calls.since() as calls:
        assert 300_000 == len(endpoint.predict(rows).values)
    assert ["RawPredict"] == [call.operation for call in calls if call.service == "prediction"]
    request = endpoint.request([[ANSWER, 1.0]])
    assert made["dedicatedEndpointDns"] == request.headers["host"]
    with pytest.raises(ConflictError, match="dedicated"):
        place.client().deploy(place.samples.model(2), name=name)
    assert 1 == len(client.status(name).deployments)


@pytest.mark.full
def test_how_long_a_dedicated_endpoint_waits(place: Place, name: str) -> None:
    """As long as its `deadline_s`, which the platform is told."""
    endpoint = place.client(dedicated=True, deadline_s=1.0).deploy(place.samples.model(1), name=name)
    assert {"inferenceTimeout": "1s"} == place.cloud.world.tables["endpoints"][name]["clientConnectionConfig"]
    with pytest.raises(TimedOut):
        endpoint.predict([[SLEEP, 3.0]])


def test_the_limit_of_a_shared_endpoint(place: Place, name: str) -> None:
    """1.5 MB: rows that are independent go out in pieces, others are refused before they are sent."""
    model = sdk.model(wide, name="wide", example=[[1.0, 2.0]], rowwise=True)
    endpoint = place.client().deploy(model, name=name)
    rows = [[1.0, math.pi]] * 150_000
    with place.cloud.calls.since() as calls:
        assert 150_000 == len(endpoint.predict(rows).values)
    pieces = [call.operation for call in calls if call.service == "prediction"]
    assert ["RawPredict"] * 3 == pieces
    place.client().deploy(place.samples.model(1), name=name)
    with place.cloud.calls.since() as calls, pytest.raises(PayloadTooLargeError, match="1500000"):
        place.client().endpoint(name).predict([[ANSWER, math.pi]] * 150_000)
    assert [] == [call for call in calls if call.service == "prediction"]


@pytest.mark.full
def test_an_answer_that_is_too_large(place: Place, name: str) -> None:
    """The platform keeps it back; the error says what to do."""
    model = sdk.model(wide, name="wide", example=[[1.0, 2.0]])
    endpoint = place.client().deploy(model, name=name)
    with pytest.raises(PayloadTooLargeError, match=f"max is {SHARED_BYTES}") as refused:
        endpoint.predict([[500_000.0, 0.0]])
    assert "dedicated" in str(refused.value.hint)


def test_a_deadline_that_a_shared_endpoint_cannot_keep(place: Place) -> None:
    """Refused before anything is made."""
    with place.cloud.calls.since() as calls, pytest.raises(ConfigError, match="dedicated = true"):
        place.client(deadline_s=100.0).deploy(place.samples.model(1), name="late")
    assert 0 == len(calls.changing)


@pytest.mark.full
def test_spare_capacity_with_an_accelerator_under_an_account(place: Place, name: str) -> None:
    """As the platform is told; spot has no price, and the container knows its machine."""
    client = place.client(instance=T4, spot=True, service_account=ACCOUNT)
    client.deploy(place.samples.model(1), name=name)
    (found,) = deployed(place, name)
    resources = found["dedicatedResources"]
    assert (True, ACCOUNT) == (resources["spot"], found["serviceAccount"])
    assert "NVIDIA_TESLA_T4" == resources["machineSpec"]["acceleratorType"]
    (behind,) = place.cloud.fleet.running.values()
    told = [behind.launch.env[f"AIP_{word}_TYPE"] for word in ("MACHINE", "ACCELERATOR")]
    assert ["n1-standard-4", "NVIDIA_TESLA_T4"] == told
    (shown,) = client.status(name).deployments
    assert (T4, None) == (shown.instance, shown.usd_per_hour)


def test_enumerations_have_their_numbers() -> None:
    """Those that the mini cloud reads are those that Google's client writes."""
    from google.cloud.aiplatform_v1.types import AcceleratorType, Scheduling

    assert ACCELERATORS == {number: AcceleratorType(number).name for number in ACCELERATORS}
    assert STRATEGIES == {number: Scheduling.Strategy(number).name for number in STRATEGIES}


def test_the_platforms_own_envelope(place: Place, name: str) -> None:
    """`predict = "json"` goes through `:predict`, says who answered, and keeps the model's own status."""
    client = place.client(predict="json")
    endpoint = client.deploy(place.samples.model(1), name=name)
    with place.cloud.calls.since() as calls:
        answer = endpoint.predict([[ANSWER, 2.0]])
        with pytest.raises(ModelError) as failed:
            endpoint.predict([[FAIL, 0.0]])
    assert ["Predict", "Predict"] == [call.operation for call in calls if call.service == "prediction"]
    (only,) = client.status(name).deployments
    assert ([3.0], only.id) == (list(answer.values), answer.deployment)
    assert 500 == failed.value.status
    assert FAILURE not in str(failed.value)


@pytest.mark.full
def test_routes_of_the_container(place: Place, name: str) -> None:
    """The server answers on the routes that it is told."""
    client = place.client(health_route="/well", predict_route="/say/something")
    endpoint = client.deploy(place.samples.model(1), name=name)
    assert [3.0] == list(endpoint.predict([[ANSWER, 2.0]]).values)
    (behind,) = place.cloud.fleet.running.values()
    assert ("/well", "/say/something") == (behind.health_route, behind.predict_route)


@pytest.mark.full
def test_a_job_as_it_is_set(place: Place, tmp_path: Path) -> None:
    """Machine, accelerator, spot, account, disk and time-out, as the platform is told them."""
    client = place.client(instance=T4, spot=True, service_account=ACCOUNT, disk_gib=200)
    (tmp_path / "rows.csv").write_text("1,2\n")
    data = {"train": str(tmp_path / "rows.csv")}
    script = write_script(tmp_path, GOOD_SCRIPT)
    job = client.train(script, name="set", data=data, params={"C": 1.0}, timeout=600)
    status = job.refresh()
    assert ("succeeded", T4, None) == (status.state, status.instance, status.usd)
    (made,) = place.cloud.world.tables["customJobs"].values()
    told, (pool,) = made["jobSpec"], made["jobSpec"]["workerPoolSpecs"]
    assert {"bootDiskType": "pd-ssd", "bootDiskSizeGb": 200} == pool["diskSpec"]
    assert "NVIDIA_TESLA_T4" == pool["machineSpec"]["acceleratorType"]
    assert (ACCOUNT, "600s") == (told["serviceAccount"], told["scheduling"]["timeout"])
    assert "SPOT" == told["scheduling"]["strategy"]
    assert "disableRetries" not in told["scheduling"], "the platform may start it again when its machine is taken away"
    client.delete("set")
    assert [] == list(place.cloud.world.tables["customJobs"])


def test_secrets_of_secret_manager(place: Place, name: str) -> None:
    """`cloud:NAME` is read from the project, a version when one is named; the plan shows names only."""
    place.cloud.secrets.put("prod-value", "41")
    place.cloud.secrets.put("prod-value", "51")
    client = place.client()
    endpoint = deploy_with_secret(client, place, name, "cloud:prod-value/1")
    assert [42.0] == list(endpoint.predict([[ENV, 0.0]]).values)
    endpoint = deploy_with_secret(client, place, name, "cloud:prod-value")
    assert [52.0] == list(endpoint.predict([[ENV, 0.0]]).values)


def deploy_with_secret(client: Client, place: Place, name: str, secret: str) -> Any:
    """Model 1 with one secret."""
    return client.deploy(place.samples.model(1), name=name, secrets={ENV_NAME: secret})


def test_secrets_that_are_not_there(place: Place) -> None:
    """Named in the error, and nothing is left."""
    with pytest.raises(NotFoundError, match="nobody"):
        deploy_with_secret(place.client(), place, "lost", "cloud:nobody")
    with place.cloud.calls.since() as calls, pytest.raises(ConfigError, match="cloud:NAME/VERSION"):
        deploy_with_secret(place.client(), place, "lost", "cloud:projects/p/secrets/s")
    assert 0 == len(calls.changing)
    assert [] == place.running()
