"""Request bodies by value, each accepted by the library's own model of the API."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.validate import ParamValidator

from sdk.adapter import DeploymentSpec, EndpointSpec, JobSpec, Labels, Resource
from sdk.adapter.shared.uploads import DATA
from sdk.adapter.types import Replicas
from sdk.errors import ConfigError
from sdk_sagemaker import SagemakerOptions, _bodies, _plan

ROLE = "arn:aws:iam::123456789012:role/mlport"
LABELS = Labels("churn", "me", "t1", 1, "ab" * 16)
OPTIONS = {"role": ROLE, "region": "us-east-1"}
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/mlport@sha256:" + "a" * 64


def options(**changed: Any) -> SagemakerOptions:
    return SagemakerOptions.model_validate({**OPTIONS, **changed})


def accepted(service: str, operation: str, body: dict[str, Any]) -> None:
    """The library would send it: names, types and required members are those of the API."""
    client = boto3.client(service, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="y")
    shape = client.meta.service_model.operation_model(operation).input_shape
    report = ParamValidator().validate(body, shape)
    assert not report.has_errors(), report.generate_report()


def planned(settings: SagemakerOptions, **changed: Any) -> dict[str, Resource]:
    made: dict[str, Any] = {
        "id": "d1", "model_name": "churn", "model": "ab" * 32, "generation": 1, "instance": "ml.m5.large",
        "env": {"A": "1"}, "secrets": {"PW": "PW"},
    }  # fmt: skip
    spec = EndpointSpec("churn", (DeploymentSpec(**{**made, **changed}),), {"d1": 100}, LABELS, tags={"team": "x"})
    return {one.kind: one for one in _plan.resources(spec, settings)}


def test_a_model() -> None:
    """Image by digest, variables with the values of secrets, network, and all that a status is read back from."""
    settings = options(subnets=["s-1"], security_groups=["g-1"], network_isolation=True)
    body = _bodies.model_body(planned(settings)["Model"], IMAGE, {"PW": "hunter2"}, ROLE, settings)
    accepted("sagemaker", "CreateModel", body)
    assert "churn-d1" == body["ModelName"]
    assert IMAGE == body["PrimaryContainer"]["Image"]
    assert {"A": "1", "PW": "hunter2", "MLPORT_DEPLOYMENT": "d1", "MLPORT_ENDPOINT": "churn"}.items() <= body[
        "PrimaryContainer"
    ]["Environment"].items()
    assert {"Subnets": ["s-1"], "SecurityGroupIds": ["g-1"]} == body["VpcConfig"]
    assert body["EnableNetworkIsolation"]
    tags = _bodies.from_tags(body["Tags"])
    assert {"team": "x", "mlport": "1", "mlport-owner": "me", "mlport-replicas": "1-1", "mlport-gen": "1"}.items() <= (
        tags.items()
    )
    assert {"team": "x"} == _bodies.own_tags(tags)


def test_a_configuration() -> None:
    """One variant per deployment, with its share, its instances and its patience."""
    settings = options(kms_key="k-1", start_s=900)
    resource = planned(settings, replicas=Replicas(2, 2))["EndpointConfig"]
    body = _bodies.config_body(resource)
    accepted("sagemaker", "CreateEndpointConfig", body)
    assert [
        {
            "VariantName": "d1",
            "ModelName": "churn-d1",
            "InitialVariantWeight": 100.0,
            "InstanceType": "ml.m5.large",
            "InitialInstanceCount": 2,
            "ContainerStartupHealthCheckTimeoutInSeconds": 900,
        }
    ] == body["ProductionVariants"]
    assert "k-1" == body["KmsKeyId"]
    (variant,) = body["ProductionVariants"]
    assert (resource.spec or {})["variants"] == {"d1": _bodies.variant_of(variant)}


def test_a_serverless_configuration() -> None:
    """Memory and concurrency instead of instances, and back again."""
    settings = options(serverless={"memory_mb": 3072, "concurrency": 9})
    resource = planned(settings, instance=None)["EndpointConfig"]
    body = _bodies.config_body(resource)
    accepted("sagemaker", "CreateEndpointConfig", body)
    (variant,) = body["ProductionVariants"]
    assert {"MemorySizeInMB": 3072, "MaxConcurrency": 9} == variant["ServerlessConfig"]
    assert (resource.spec or {})["variants"] == {"d1": _bodies.variant_of(variant)}


def test_an_endpoint() -> None:
    """The pointer, with tags that say whose it is."""
    body = _bodies.endpoint_body(planned(options())["Endpoint"], {"team": "x"})
    accepted("sagemaker", "CreateEndpoint", body)
    assert ("churn", "1", "x") == (
        body["EndpointName"],
        _bodies.from_tags(body["Tags"])[_bodies.DARK],
        _bodies.from_tags(body["Tags"])["team"],
    )


OLD = {"config": "c1", "weights": {"d1": 100}}


@pytest.mark.parametrize(
    ("wanted", "excluded"),
    [
        ({"config": "c2", "weights": {"d1": 100, "d2": 0}}, None),
        ({"config": "c2", "weights": {"d1": 0, "d2": 100}}, [{"VariantPropertyType": "DesiredWeight"}]),
        ({"config": "c2", "weights": {"d2": 100}}, None),
    ],
    ids=["the set grows", "other shares", "another one"],
)
def test_a_switch(wanted: dict[str, Any], excluded: Any) -> None:
    """Counts are kept; shares too, unless others are wanted. No DeploymentConfig: the set of variants changes."""
    body = _bodies.switch_body("churn", wanted, OLD)
    accepted("sagemaker", "UpdateEndpoint", body)
    assert ("c2", True) == (body["EndpointConfigName"], body["RetainAllVariantProperties"])
    assert excluded == body.get("ExcludeRetainedVariantProperties")
    assert "DeploymentConfig" not in body


def test_shares() -> None:
    """Weights are the whole percents; what makes no difference is not sent."""
    live = {"config": "c1", "weights": {"d1": 100, "d2": 0}}
    body = _bodies.weights_body("churn", {"config": "c1", "weights": {"d1": 70, "d2": 30}}, live)
    assert body is not None
    accepted("sagemaker", "UpdateEndpointWeightsAndCapacities", body)
    assert [("d1", 70.0), ("d2", 30.0)] == [
        (one["VariantName"], one["DesiredWeight"]) for one in body["DesiredWeightsAndCapacities"]
    ]
    assert _bodies.weights_body("churn", live, live) is None
    assert _bodies.weights_body("churn", OLD, {"config": "c1", "weights": {"d1": 0}}) is None


def test_scaling() -> None:
    """A target with its limits and a policy that tracks the requests of each instance."""
    resources = planned(options(scale_at=120), replicas=Replicas(1, 4))
    target, policy = _bodies.target_body(resources["ScalableTarget"]), _bodies.policy_body(resources["ScalingPolicy"])
    accepted("application-autoscaling", "RegisterScalableTarget", target)
    accepted("application-autoscaling", "PutScalingPolicy", policy)
    assert ("endpoint/churn/variant/d1", 1, 4) == (target["ResourceId"], target["MinCapacity"], target["MaxCapacity"])
    assert 120.0 == policy["TargetTrackingScalingPolicyConfiguration"]["TargetValue"]
    assert "mlport-churn-d1" == policy["PolicyName"]


def job(settings: SagemakerOptions, **changed: Any) -> dict[str, Any]:
    from pathlib import Path

    facts: dict[str, Any] = {
        "name": "fit", "labels": LABELS, "bundle": Path("/nowhere"), "digest": "cd" * 32, "instance": "ml.m5.large",
        "params": {"C": 0.5, "kind": "0.5"}, "env": {"A": "1"}, "timeout_s": 90.5,
        "data": {"train": "/data", "more": "s3://other/x"},
    }  # fmt: skip
    local = {"train": Resource(DATA, "e" * 32, {"digest": "e" * 64, "files": 1}, LABELS)}
    spec = JobSpec(**{**facts, **changed})
    resource = _plan.job_resources(spec, settings, local, {"train": "rows.csv"})[-1]
    return _bodies.job_body(resource, IMAGE, {"PW": "x"}, role=ROLE, place="s3://b/mlport", options=settings)


def test_a_job() -> None:
    """Channels, parameters that read back as what they were, a time limit, tags."""
    body = job(options(kms_key="k", volume_gb=50))
    accepted("sagemaker", "CreateTrainingJob", body)
    channels = {one["ChannelName"]: one["DataSource"]["S3DataSource"]["S3Uri"] for one in body["InputDataConfig"]}
    assert {"train": f"s3://b/mlport/data/{'e' * 32}/", "more": "s3://other/x"} == channels
    assert {"C": "0.5", "kind": '"0.5"'} == body["HyperParameters"]
    assert "/opt/ml/input/data/train/rows.csv" == body["Environment"]["MLPORT_DATA_TRAIN"], "one file, not its folder"
    assert {"MaxRuntimeInSeconds": 91} == body["StoppingCondition"]
    assert {"S3OutputPath": "s3://b/mlport/jobs/fit", "KmsKeyId": "k"} == body["OutputDataConfig"]
    assert not body["EnableManagedSpotTraining"]
    assert "mlport-image" in _bodies.from_tags(body["Tags"])


def test_a_spot_job() -> None:
    """It may wait longer than it may run, and has a place for checkpoints."""
    body = job(options(spot=True, spot_wait_s=600), data={})
    accepted("sagemaker", "CreateTrainingJob", body)
    assert {"MaxRuntimeInSeconds": 91, "MaxWaitTimeInSeconds": 691} == body["StoppingCondition"]
    assert body["CheckpointConfig"]["S3Uri"].endswith("/jobs/fit/checkpoints")
    assert "InputDataConfig" not in body


def test_a_value_too_long_for_a_job() -> None:
    """SageMaker takes 512; more is an error that names the variable."""
    with pytest.raises(ConfigError, match="LONG has 513 bytes"):
        job(options(), env={"LONG": "x" * 513})


def test_a_job_without_an_instance() -> None:
    """There is no default that would cost something."""
    with pytest.raises(ConfigError, match="instance is not set"):
        job(options(), instance=None)
