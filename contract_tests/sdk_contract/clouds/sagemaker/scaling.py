"""The parts of Application Auto Scaling that moto lacks: checks of endpoints, and the alarms of policies.

Sources: https://docs.aws.amazon.com/autoscaling/application/userguide/application-auto-scaling-target-tracking.html,
https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-scaling-update.html and endpoint-delete-with-scaling.html;
https://github.com/aws/aws-cdk/pull/22886 and https://github.com/aws-controllers-k8s/community/pull/1633 for burstable
types, whose wording is ours.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from .errors import invalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from .aws import Moto
    from .endpoints import Endpoints
    from .keys import Spot

_PERIODS = {"High": ("GreaterThanThreshold", 3, 1.0), "Low": ("LessThanThreshold", 15, 0.9)}


class Scaling:
    """Application Auto Scaling for endpoints.

    Args:
        moto: Has the targets and policies.
        endpoints: The endpoints whose variants can be scaled.
    """

    def __init__(self, moto: Moto, endpoints: Endpoints) -> None:
        self._moto, self._endpoints = moto, endpoints

    def before(self, operation: str, spot: Spot, body: Mapping[str, Any]) -> None:
        """Refuse a missing variant, a burstable instance type, and invalid limits.

        Raises:
            AwsError: It is refused.
        """
        if body.get("ServiceNamespace") != "sagemaker" or not operation.startswith(("Register", "Put")):
            return
        name = str(body.get("ResourceId"))
        parts = name.split("/")
        record = self._endpoints.shelf.peek(spot, parts[1]) if len(parts) == 4 else None
        variant = record.fleet.variant(parts[3]) if record else None
        if variant is None:
            raise invalid(f"Could not find the endpoint variant of resource ID {name}.")
        instance = str(variant.body.get("InstanceType"))
        if instance.startswith("ml.t"):
            raise invalid(f"Scaling of variant {variant.name} is not supported: {instance} is a burstable type.")
        if operation == "RegisterScalableTarget":
            low, high = body.get("MinCapacity"), body.get("MaxCapacity")
            if low is not None and high is not None and low > high:
                raise invalid(f"Minimum capacity {low} must not exceed maximum capacity {high}.")
        elif name not in self._targets(spot):
            raise invalid(f"No scalable target registered for namespace: sagemaker, resource ID: {name}.")

    def after(self, spot: Spot) -> None:
        """Delete policies without a target, and create and delete the alarms of policies."""
        tidy(self._moto, spot)

    def _targets(self, spot: Spot) -> set[str]:
        return registered(self._moto, spot)


def registered(moto: Moto, spot: Spot) -> set[str]:
    """Return the resource ids of all variants that are scalable targets."""
    found = moto.backend("applicationautoscaling", spot).targets
    return {name for dimension, targets in found.items() if dimension.startswith("sagemaker:") for name in targets}


def refuse_scaled(moto: Moto, spot: Spot, endpoint: str, variants: Iterable[str]) -> None:
    """Refuse an update that removes these variants, or changes their type, as long as they are scalable targets.

    Raises:
        AwsError: Some are. The wording is quoted from memory of users' reports; it was not checked with an account.
    """
    targets = registered(moto, spot)
    scaled = sorted(name for name in variants if f"endpoint/{endpoint}/variant/{name}" in targets)
    if scaled:
        raise invalid(
            f'The variant(s) "[{", ".join(scaled)}]" must be deregistered as scalable targets with AWS Auto Scaling '
            "before they can be removed or have their instance type updated."
        )


def forget_endpoint(moto: Moto, spot: Spot, endpoint: str) -> None:
    """Deregister all variants of an endpoint that is being deleted, as AWS does."""
    for dimension, targets in moto.backend("applicationautoscaling", spot).targets.items():
        if dimension.startswith("sagemaker:"):
            for name in [one for one in targets if one.startswith(f"endpoint/{endpoint}/variant/")]:
                del targets[name]
    tidy(moto, spot)


def tidy(moto: Moto, spot: Spot) -> None:
    """Delete policies without a target, and create and delete the alarms of policies."""
    with moto.lock:
        backend, watch = moto.backend("applicationautoscaling", spot), moto.backend("cloudwatch", spot)
        targets = registered(moto, spot)
        for key, policy in list(backend.policies.items()):
            if policy.service_namespace == "sagemaker" and policy.resource_id not in targets:
                del backend.policies[key]
        policies = [one for one in backend.policies.values() if one.service_namespace == "sagemaker"]
        for policy in policies:
            if not policy.alarms and policy.target_tracking_scaling_policy_configuration:
                policy.alarms = [watch.put_metric_alarm(**alarm) for alarm in _alarms(policy)]
        kept = {alarm.name for policy in policies for alarm in policy.alarms}
        watch.delete_alarms([one for one in watch.alarms if one.startswith(_PREFIX) and one not in kept])


_PREFIX = "TargetTracking-endpoint/"


def _alarms(policy: Any) -> Iterator[dict[str, Any]]:
    """Yield the two alarms of a policy: above the target for some minutes, and below it for longer."""
    _, endpoint, _, variant = policy.resource_id.split("/")
    goal = float(policy.target_tracking_scaling_policy_configuration["TargetValue"])
    for side, (comparison, periods, share) in _PERIODS.items():
        yield {
            "name": f"TargetTracking-{policy.resource_id}-Alarm{side}-{uuid.uuid4()}",
            "namespace": "AWS/SageMaker",
            "metric_name": "InvocationsPerInstance",
            "comparison_operator": comparison,
            "evaluation_periods": periods,
            "period": 60,
            "threshold": goal * share,
            "statistic": "Sum",
            "description": f"DO NOT EDIT OR DELETE. For TargetTrackingScaling policy {policy.policy_arn}.",
            "dimensions": [{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": variant}],
            "alarm_actions": [policy.policy_arn],
        }
