"""Autoscaling through changes of an endpoint: AWS wants it deregistered before a variant goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3
import pytest

from sdk.adapter.types import Replicas
from sdk.errors import DeployFailed, InvalidRequestError, SdkError
from sdk_contract.clouds.sagemaker.rig import ROLE

if TYPE_CHECKING:
    from collections.abc import Iterator

WHERE = {"ServiceNamespace": "sagemaker", "ScalableDimension": "sagemaker:variant:DesiredInstanceCount"}


@pytest.fixture
def aws() -> Iterator[Any]:
    """Application Auto Scaling, as a user sees it."""
    client = boto3.client("application-autoscaling")
    yield client
    client.close()


def scaled(aws: Any) -> dict[str, Any]:
    """The limits and the rule of each variant that is registered."""
    targets = aws.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    rules = {
        one["ResourceId"]: one["TargetTrackingScalingPolicyConfiguration"]
        for one in aws.describe_scaling_policies(ServiceNamespace="sagemaker")["ScalingPolicies"]
    }
    return {
        one["ResourceId"].rpartition("/")[2]: (
            one["MinCapacity"], one["MaxCapacity"], one.get("SuspendedState"), rules.get(one["ResourceId"])
        )
        for one in targets
    }  # fmt: skip


def deployments(client: Any, name: str) -> set[str]:
    return {one.id for one in client.status(name).deployments}


def test_any_number_of_deploys(place: Any, aws: Any) -> None:
    """The third deploy removes a variant: its scaling goes first, the others keep theirs; then it is finalized."""
    client = place.client(instance="ml.m5.large")
    for number in (1, 2):
        client.deploy(place.samples.model(number), name="often", replicas=Replicas(1, 2))
    with place.cloud.calls.since() as calls:
        client.deploy(place.samples.model(3), name="often", replicas=Replicas(1, 3))
    made = [call.operation for call in calls if call.changing]
    assert deployments(client, "often") == set(scaled(aws))
    at = made.index("DeregisterScalableTarget")
    assert "DeleteScalingPolicy" == made[at - 1]
    assert "UpdateEndpoint" in made[:at], "the first update only adds a variant"
    assert "UpdateEndpoint" in made[at:], "the second one removes one"
    client.finalize("often")
    assert [(1, 3)] == [limits[:2] for limits in scaled(aws).values()]
    client.delete("often")
    assert {} == scaled(aws)


@pytest.mark.parametrize(("fault", "error"), [("denied", SdkError), ("fail", DeployFailed)])
def test_an_update_that_is_not_made_gives_scaling_back(place: Any, aws: Any, fault: Any, error: Any) -> None:
    """Refused at once, or rolled back later: limits and rule are as they were, with what somebody had set on them."""
    client = place.client(instance="ml.m5.large")
    for number in (1, 2):
        client.deploy(place.samples.model(number), name="back", replicas=Replicas(1, 2))
    old = next(one.id for one in client.status("back").deployments if not one.traffic)
    resource = f"endpoint/back/variant/{old}"
    aws.register_scalable_target(**WHERE, ResourceId=resource, SuspendedState={"DynamicScalingInSuspended": True})
    (rule,) = aws.describe_scaling_policies(ServiceNamespace="sagemaker", ResourceId=resource)["ScalingPolicies"]
    goal = {**rule["TargetTrackingScalingPolicyConfiguration"], "ScaleInCooldown": 77}
    names = ("PolicyName", "PolicyType", "ResourceId")
    aws.put_scaling_policy(
        **WHERE, **{name: rule[name] for name in names}, TargetTrackingScalingPolicyConfiguration=goal
    )
    before = scaled(aws)
    place.cloud.faults.add("UpdateEndpoint", fault)
    with pytest.raises(error):
        client.finalize("back")
    place.cloud.faults.clear()
    assert before == scaled(aws)
    assert 77 == before[old][3]["ScaleInCooldown"]
    client.delete("back")


def test_scaling_that_is_gone_from_a_kept_deployment_is_made_again(place: Any, aws: Any) -> None:
    """Somebody deregistered it by hand: the next change registers it, and is not refused for it."""
    client = place.client(instance="ml.m5.large")
    client.deploy(place.samples.model(1), name="again", replicas=Replicas(1, 2))
    (kept,) = deployments(client, "again")
    aws.deregister_scalable_target(**WHERE, ResourceId=f"endpoint/again/variant/{kept}")
    client.deploy(place.samples.model(2), name="again", replicas=Replicas(1, 2))
    assert deployments(client, "again") == set(scaled(aws))
    client.delete("again")


def test_scaling_that_others_registered_is_left_to_them(place: Any, aws: Any) -> None:
    """A variant without scaling of ours: AWS refuses to remove it, and the error says how to deregister it."""
    client = place.client(instance="ml.m5.large")
    client.deploy(place.samples.model(1), name="theirs")
    (old,) = deployments(client, "theirs")
    aws.register_scalable_target(**WHERE, ResourceId=f"endpoint/theirs/variant/{old}", MinCapacity=1, MaxCapacity=2)
    client.deploy(place.samples.model(2), name="theirs")
    with pytest.raises(InvalidRequestError, match="must be deregistered as scalable targets") as refused:
        client.finalize("theirs")
    assert "aws application-autoscaling deregister-scalable-target" in str(refused.value.hint)
    client.delete("theirs")
    assert {} == scaled(aws), "AWS drops scalable targets with their endpoint"


def test_gc_keeps_what_another_endpoint_uses(place: Any) -> None:
    """An endpoint made by hand from our configuration keeps it, its model and its image; then all of it goes."""
    client, sagemaker = place.client(instance="ml.m5.large"), boto3.client("sagemaker")
    client.deploy(place.samples.model(1), name="source")
    config = sagemaker.describe_endpoint(EndpointName="source")["EndpointConfigName"]
    sagemaker.create_endpoint(EndpointName="by-hand", EndpointConfigName=config)
    sagemaker.delete_endpoint(EndpointName="source")
    executor = client.session().executor

    def gc() -> Any:
        return executor.gc(apply=True, shared=True, min_age_s=0)

    kept = gc()
    assert [] == [one for one in [*kept.removed, *kept.orphans] if one.kind != "Image"], "images of other tests may go"
    assert ["EndpointConfig", "Image", "Model"] == sorted(one.kind for one in kept.kept_records)
    assert all("Endpoint by-hand uses it" in one.reason for one in kept.kept_records)
    sagemaker.describe_endpoint_config(EndpointConfigName=config)
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="by-hand", WaiterConfig={"Delay": 0.02})
    sagemaker.delete_endpoint(EndpointName="by-hand")
    sagemaker.get_waiter("endpoint_deleted").wait(EndpointName="by-hand", WaiterConfig={"Delay": 0.02})
    assert {"EndpointConfig", "Model", "Image"} <= {one.kind for one in gc().removed}
    sagemaker.close()


def test_gc_keeps_what_an_update_under_way_names(place: Any) -> None:
    """While another configuration comes into use, the endpoint needs both."""
    client, sagemaker = place.client(instance="ml.m5.large"), boto3.client("sagemaker")
    client.deploy(place.samples.model(1), name="moving")
    (old,) = deployments(client, "moving")
    model = sagemaker.describe_model(ModelName=f"moving-{old}")
    tags = sagemaker.list_tags(ResourceArn=model["ModelArn"])["Tags"]
    container = model["PrimaryContainer"]
    sagemaker.create_model(ModelName="moving-next", ExecutionRoleArn=ROLE, PrimaryContainer=container, Tags=tags)
    config = sagemaker.describe_endpoint(EndpointName="moving")["EndpointConfigName"]
    (variant,) = sagemaker.describe_endpoint_config(EndpointConfigName=config)["ProductionVariants"]
    changed = {**variant, "ModelName": "moving-next"}
    sagemaker.create_endpoint_config(EndpointConfigName="moving-next", ProductionVariants=[changed], Tags=tags)
    place.cloud.faults.add("UpdateEndpoint", "stuck")
    sagemaker.update_endpoint(EndpointName="moving", EndpointConfigName="moving-next")
    found = client.session().executor.gc(min_age_s=0)
    assert [] == found.orphans
    place.cloud.faults.clear()
    sagemaker.close()
