"""What an endpoint of somebody else uses stays: AWS would delete it, and then no longer patch that endpoint."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdk.executor.context import Event

NOW = {"Delay": 0.02}


@pytest.fixture(scope="module")
def sagemaker(place: Any) -> Iterator[Any]:
    """SageMaker, as a user sees it; takes the place first, which sets the environment."""
    assert place.cloud
    client = boto3.client("sagemaker")
    yield client
    client.close()


def borrow(sagemaker: Any, endpoint: str, name: str) -> tuple[str, list[str]]:
    """Make another endpoint from the configuration of one; return that configuration and its models."""
    config = sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointConfigName"]
    variants = sagemaker.describe_endpoint_config(EndpointConfigName=config)["ProductionVariants"]
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config)
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name, WaiterConfig=NOW)
    return config, [one["ModelName"] for one in variants]


def give_back(sagemaker: Any, name: str) -> None:
    sagemaker.delete_endpoint(EndpointName=name)
    sagemaker.get_waiter("endpoint_deleted").wait(EndpointName=name, WaiterConfig=NOW)


def is_there(sagemaker: Any, config: str, models: list[str]) -> list[bool]:
    def answers(call: Any, **which: str) -> bool:
        try:
            return bool(call(**which))
        except ClientError:
            return False

    found = [answers(sagemaker.describe_endpoint_config, EndpointConfigName=config)]
    return found + [answers(sagemaker.describe_model, ModelName=model) for model in models]


def test_delete_leaves_it_and_gc_takes_it_later(place: Any, sagemaker: Any) -> None:
    """`delete` removes the endpoint, says what it leaves and why; `gc` removes that once it is free."""
    events: list[Event] = []
    client = place.client(instance="ml.m5.large", progress=events.append)
    client.deploy(place.samples.model(1), name="lent")
    config, models = borrow(sagemaker, "lent", "borrower")
    client.delete("lent")
    assert [True, True] == is_there(sagemaker, config, models)
    assert [f"EndpointConfig {config}", f"Model {models[0]}"] == sorted(
        one.detail.partition(": ")[0] for one in events if one.stage == "left alone"
    )
    assert all("Endpoint borrower uses it" in one.detail for one in events if one.stage == "left alone")
    assert "lent" not in [one.name for one in client.list()]
    give_back(sagemaker, "borrower")
    client.session().executor.gc(apply=True, min_age_s=0)
    assert [False, False] == is_there(sagemaker, config, models)


def test_a_deploy_leaves_the_version_that_it_replaces(place: Any, sagemaker: Any) -> None:
    """Deploys retire older configurations and versions, except those that somebody else's endpoint uses."""
    client = place.client(instance="ml.m5.large")
    client.deploy(place.samples.model(1), name="moved-on")
    config, models = borrow(sagemaker, "moved-on", "stays")
    client.deploy(place.samples.model(2), name="moved-on")
    client.finalize("moved-on")
    assert [True, True] == is_there(sagemaker, config, models)
    give_back(sagemaker, "stays")
    client.delete("moved-on")
    client.session().executor.gc(apply=True, min_age_s=0)
    assert [False, False] == is_there(sagemaker, config, models)


def test_other_endpoints_of_mlport_are_not_read(place: Any, sagemaker: Any) -> None:
    """The question costs two calls, however many endpoints mlport has made, beside the lists of what is young."""
    assert sagemaker
    client = place.client(instance="ml.m5.large")
    for name in ("one", "two"):
        client.deploy(place.samples.model(1), name=name)
    with place.cloud.calls.since() as calls:
        client.delete("one")
    made = [call.operation for call in calls]
    pairs = list(itertools.pairwise(made))
    asked = pairs.index(("ListEndpoints", "GetResources"))
    assert 1 == pairs.count(("ListEndpoints", "GetResources"))
    assert not {"DescribeModel", "DescribeEndpointConfig"} & set(made[asked : made.index("DeleteEndpoint")])
    client.delete("two")


def test_without_the_right_to_list_everything_still_goes(place: Any, sagemaker: Any) -> None:
    """An identity must be able to delete what it made, whatever else it may not see."""
    client = place.client(instance="ml.m5.large")
    client.deploy(place.samples.model(1), name="alone")
    config = sagemaker.describe_endpoint(EndpointName="alone")["EndpointConfigName"]
    place.cloud.faults.add("ListEndpoints", "denied", times=9)
    client.delete("alone")
    place.cloud.faults.clear()
    assert [False] == is_there(sagemaker, config, [])
