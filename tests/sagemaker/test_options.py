"""Options of SageMaker on the mini cloud: shadows, autoscaling, secrets of the account."""

from __future__ import annotations

from typing import Any

import boto3

from sdk.types import Replicas
from sdk_contract.samples import ANSWER, ENV, ENV_NAME


def test_a_shadow(place: Any) -> None:
    """A shadow gets copies and answers nobody; promoted, it answers everybody."""
    client = place.client(instance="ml.m5.large", shadow=100)
    client.deploy(place.samples.model(1), name="shadow")
    endpoint = client.deploy(place.samples.model(2), name="shadow", traffic=0)
    assert {1.0} == {float(endpoint.predict([[ANSWER, 0.0]]).values[0]) for _ in range(5)}
    about = boto3.client("sagemaker").describe_endpoint(EndpointName="shadow")
    assert 1 == len(about["ShadowProductionVariants"])
    client.promote("shadow")
    assert {2.0} == {float(endpoint.predict([[ANSWER, 0.0]]).values[0]) for _ in range(5)}
    client.delete("shadow")


def test_autoscaling(place: Any) -> None:
    """Replicas from 1 to 3 are registered, stay through an update, and go with the endpoint."""
    client = place.client(instance="ml.m5.large")
    client.deploy(place.samples.model(1), name="scaled", replicas=Replicas(1, 3))
    assert [Replicas(1, 3)] == [one.replicas for one in client.status("scaled").deployments]
    scaling = boto3.client("application-autoscaling")
    (target,) = scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    assert (1, 3) == (target["MinCapacity"], target["MaxCapacity"])
    assert [] == client.gc().orphans
    client.delete("scaled")
    assert [] == scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    assert [] == [one for one in place.cloud.inventory() if one.startswith(("endpoint", "model", "scal", "process"))]


def test_secrets_of_secrets_manager(place: Any) -> None:
    """`cloud:NAME` is read from the account, and reaches the model."""
    boto3.client("secretsmanager").create_secret(Name="prod/value", SecretString="41")
    client = place.client(instance="ml.m5.large")
    endpoint = client.deploy(place.samples.model(1), name="secret", secrets={ENV_NAME: "cloud:prod/value"})
    assert [42.0] == list(endpoint.predict([[ENV, 0.0]]).values)
    client.delete("secret")
