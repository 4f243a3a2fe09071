"""The adapter on the mini cloud, beyond the contract: the calls that each verb makes."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from sdk_contract.samples import ANSWER, ENV, ENV_NAME

if TYPE_CHECKING:
    from sdk_contract.clouds.calls import Call


def changing(calls: Any) -> list[str]:
    """The changing calls but those of leases and of the registry."""
    return [
        call.operation for call in calls if call.changing and call.service in {"sagemaker", "application-autoscaling"}
    ]


def test_the_wire_of_a_deploy_an_update_and_a_rollback(place: Any) -> None:
    """Each makes the calls it needs and no other; while it waits, one question is asked each time."""
    client, calls = place.client(instance="ml.m5.large"), place.cloud.calls
    with calls.since() as first:
        endpoint = client.deploy(place.samples.model(1), name="wire")
    assert ["CreateModel", "CreateEndpointConfig", "CreateEndpoint", "AddTags"] == changing(first)
    with calls.since() as second:
        client.deploy(place.samples.model(2), name="wire")
    assert [
        "CreateModel",
        "CreateEndpointConfig",
        "AddTags",
        "UpdateEndpoint",
        "AddTags",
        "UpdateEndpointWeightsAndCapacities",
        "DeleteEndpointConfig",
    ] == changing(second)
    with calls.since() as third:
        client.rollback("wire")
    assert ["AddTags", "UpdateEndpointWeightsAndCapacities"] == changing(third)
    assert [3.0] == list(endpoint.predict([[ANSWER, 2.0]]).values)
    waiting: list[Call] = list(first)
    created = next(i for i, call in enumerate(waiting) if call.operation == "CreateEndpoint")
    probed = next(i for i, call in enumerate(waiting) if call.operation == "InvokeEndpoint")
    asked = Counter(call.operation for call in waiting[created + 1 : probed])
    assert asked["DescribeEndpoint"] >= 2
    assert asked["ListTags"] <= 5, "tags are asked for when an endpoint changes its state, and for the smoke test"
    assert asked["DescribeModel"] <= 1
    with calls.since() as fourth:
        client.deploy(place.samples.model(1), name="wire")
    assert [] == changing(fourth)
    client.delete("wire")


def test_a_prediction_is_one_call(place: Any) -> None:
    """After the first one an endpoint is only invoked, whatever there is to know about it."""
    client, calls = place.client(instance="ml.m5.large"), place.cloud.calls
    endpoint = client.deploy(place.samples.model(1), name="calls")
    endpoint.predict([[ANSWER, 1.0]])
    with calls.since() as made:
        for _ in range(5):
            endpoint.predict([[ANSWER, 1.0]])
    assert ["InvokeEndpoint"] * 5 == [call.operation for call in made]
    client.delete("calls")


def test_serverless(place: Any) -> None:
    """An endpoint without instances answers, is updated in one step, and costs what nobody can say."""
    client = place.client(serverless={"memory_mb": 1024})
    endpoint = client.deploy(place.samples.model(1), name="serverless", env={ENV_NAME: "4"})
    assert [5.0] == list(endpoint.predict([[ENV, 0.0]]).values)
    client.deploy(place.samples.model(2), name="serverless")
    status = client.status("serverless")
    assert ([100], None) == ([one.traffic for one in status.deployments], status.usd_per_hour)
    assert [2.0] == list(client.predict("serverless", [[ANSWER, 0.0]]).values)
    client.delete("serverless")
