"""Pure functions that build request bodies for SageMaker and related AWS services from resources."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from ._limits import has_local_disk

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdk.adapter import Resource

    from .options import SagemakerOptions

DARK = "mlport-traffic"  # tag on an endpoint: "0" while its deployments are not meant to get any traffic yet
HASH, NAME, IMAGE_TAG, REPLICAS = "mlport-hash", "mlport-model-name", "mlport-image", "mlport-replicas"
CHANNELS = "/opt/ml/input/data"
METRICS_FILE = "/opt/ml/output/data/metrics.json"  # outside the model directory, so not a file of the model


def to_tags(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Convert tags to the form that AWS uses.

    Example:
        >>> to_tags({"mlport": "1"})
        [{'Key': 'mlport', 'Value': '1'}]
    """
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def from_tags(tags: list[dict[str, str]]) -> dict[str, str]:
    """Convert AWS tags to a mapping; the last value of a repeated key wins.

    Example:
        >>> from_tags([{"Key": "team", "Value": "a"}])
        {'team': 'a'}
    """
    return {one["Key"]: one["Value"] for one in tags}


def own_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Return only the user's own tags, without those of mlport.

    Example:
        >>> own_tags({"mlport": "1", "mlport-owner": "me", "team": "a"})
        {'team': 'a'}
    """
    return {key: value for key, value in tags.items() if key != "mlport" and not key.startswith("mlport-")}


# --- endpoints ----------------------------------------------------------------------------------------------------


def model_body(
    resource: Resource, image: str, secrets: Mapping[str, str], role: str, options: SagemakerOptions
) -> dict[str, Any]:
    """Return the body of CreateModel.

    Args:
        resource: The model.
        image: The URI of its image, by digest.
        secrets: Values by variable; SageMaker stores them with the model.
        role: The role that the model runs under.
        options: The target's settings.
    """
    spec: Any = resource.spec or {}
    replicas = spec["replicas"]
    about = {
        HASH: spec["deployment_hash"],
        NAME: spec["model_name"],
        IMAGE_TAG: spec["image"],
        REPLICAS: f"{replicas['min']}-{replicas['max']}",
    }
    own = {
        "MLPORT_DEPLOYMENT": spec["deployment"],
        "MLPORT_ENDPOINT": resource.labels.endpoint,
        "MLPORT_DEADLINE_S": f"{options.deadline_s:g}",
        "MLPORT_DRAIN_S": "0",
    }
    body: dict[str, Any] = {
        "ModelName": resource.id,
        "PrimaryContainer": {"Image": image, "Environment": {**spec["env"], **secrets, **own}},
        "ExecutionRoleArn": role,
        "EnableNetworkIsolation": options.network_isolation,
        "Tags": to_tags({**spec["tags"], **resource.tags, **about}),
    }
    return {**body, **_vpc(options)}


def _vpc(options: SagemakerOptions) -> dict[str, Any]:
    if not options.subnets:
        return {}
    return {"VpcConfig": {"Subnets": list(options.subnets), "SecurityGroupIds": list(options.security_groups)}}


def config_body(resource: Resource) -> dict[str, Any]:
    """Return the body of CreateEndpointConfig."""
    spec: Any = resource.spec or {}
    shadow = spec["shadow"]
    body: dict[str, Any] = {
        "EndpointConfigName": resource.id,
        "ProductionVariants": [
            variant_body(name, variant, spec["weights"][name])
            for name, variant in spec["variants"].items()
            if name != shadow
        ],
        "Tags": to_tags({**spec["tags"], **resource.tags}),
    }
    if shadow:
        copied = variant_body(shadow, spec["variants"][shadow], spec["shadow_percent"])
        body["ShadowProductionVariants"] = [copied]
    if spec["kms_key"]:
        body["KmsKeyId"] = spec["kms_key"]
    return body


def variant_body(name: str, variant: Mapping[str, Any], weight: float) -> dict[str, Any]:
    """Return one variant of an endpoint configuration."""
    body = {"VariantName": name, "ModelName": variant["model"], "InitialVariantWeight": float(weight)}
    if "memory_mb" in variant:
        limits = {"MemorySizeInMB": variant["memory_mb"], "MaxConcurrency": variant["concurrency"]}
        return {**body, "ServerlessConfig": limits}
    return {
        **body,
        "InstanceType": variant["instance"],
        "InitialInstanceCount": variant["count"],
        "ContainerStartupHealthCheckTimeoutInSeconds": variant["start_s"],
    }


def variant_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that :func:`variant_body` was given, without the traffic share."""
    serverless = body.get("ServerlessConfig")
    if serverless:
        limits = {"memory_mb": serverless["MemorySizeInMB"], "concurrency": serverless["MaxConcurrency"]}
        return {"model": body["ModelName"], **limits}
    return {
        "model": body["ModelName"],
        "instance": body.get("InstanceType"),
        "count": body.get("InitialInstanceCount", 1),
        "start_s": body.get("ContainerStartupHealthCheckTimeoutInSeconds", 600),
    }


def endpoint_tags(resource: Resource, tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tags of an endpoint, the user's own first."""
    weights: Any = (resource.spec or {}).get("weights") or {}
    return {**tags, **resource.tags, DARK: "1" if any(weights.values()) else "0"}


def endpoint_body(resource: Resource, tags: Mapping[str, str]) -> dict[str, Any]:
    """Return the body of CreateEndpoint."""
    spec: Any = resource.spec or {}
    return {
        "EndpointName": resource.id,
        "EndpointConfigName": spec["config"],
        "Tags": to_tags(endpoint_tags(resource, tags)),
    }


def switch_body(name: str, wanted: Mapping[str, Any], live: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of UpdateEndpoint that switches to another configuration.

    Running deployments keep the number of instances that autoscaling gave them. They also keep their traffic shares,
    unless different ones are wanted: then the shares of the new configuration apply. ``DeploymentConfig`` is left out
    because SageMaker accepts it only when the variants stay the same.
    """
    old, new = live["weights"], wanted["weights"]
    same = all(old[one] == new[one] for one in set(old) & set(new))
    keep: dict[str, Any] = {"RetainAllVariantProperties": True}
    if not same:
        keep["ExcludeRetainedVariantProperties"] = [{"VariantPropertyType": "DesiredWeight"}]
    return {"EndpointName": name, "EndpointConfigName": wanted["config"], **keep}


def weights_body(name: str, wanted: Mapping[str, Any], live: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the body of UpdateEndpointWeightsAndCapacities, or ``None`` when nothing has to change.

    A single deployment gets all traffic whatever its weight is. Where no deployment is meant to get traffic yet, the
    weights stay as they are, because a tag on the endpoint records that state.
    """
    weights: Mapping[str, int] = wanted["weights"]
    if len(weights) < 2 or not any(weights.values()) or weights == live["weights"]:
        return None
    rows = [{"VariantName": one, "DesiredWeight": float(weight)} for one, weight in weights.items()]
    return {"EndpointName": name, "DesiredWeightsAndCapacities": rows}


# --- scaling ------------------------------------------------------------------------------------------------------

RULE_SETTINGS = ("ScaleInCooldown", "ScaleOutCooldown", "DisableScaleIn")  # of a policy, where a user has set them
_SCALING = {"ServiceNamespace": "sagemaker", "ScalableDimension": "sagemaker:variant:DesiredInstanceCount"}


def scaling(name: str) -> dict[str, Any]:
    """Return the parameters that identify a deployment's scaling, part of every scaling call."""
    return {**_SCALING, "ResourceId": name}


def target_body(resource: Resource) -> dict[str, Any]:
    """Return the body of RegisterScalableTarget."""
    spec: Any = resource.spec or {}
    suspended = {"SuspendedState": spec["suspended"]} if "suspended" in spec else {}
    return {**scaling(resource.id), "MinCapacity": spec["min"], "MaxCapacity": spec["max"], **suspended}


def policy_name(name: str) -> str:
    """Return the name of a deployment's scaling policy.

    Example:
        >>> policy_name("endpoint/churn/variant/d1")
        'mlport-churn-d1'
    """
    _, endpoint, _, deployment = name.split("/")
    return f"mlport-{endpoint}-{deployment}"


def policy_body(resource: Resource) -> dict[str, Any]:
    """Return the body of PutScalingPolicy.

    The policy keeps the requests per instance near the target value; AWS creates its alarms automatically.
    """
    spec: Any = resource.spec or {}
    return {
        **scaling(resource.id),
        "PolicyName": policy_name(resource.id),
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": {
            "TargetValue": float(spec["per_minute"]),
            "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
            **spec.get("more", {}),
        },
    }


# --- jobs ---------------------------------------------------------------------------------------------------------


def job_body(
    resource: Resource, image: str, secrets: Mapping[str, str], *, role: str, place: str, options: SagemakerOptions
) -> dict[str, Any]:
    """Return the body of CreateTrainingJob.

    Args:
        resource: The job.
        image: The URI of its image, by digest.
        secrets: Values by variable; SageMaker stores them with the job.
        role: The role that the job runs under.
        place: ``s3://BUCKET/PREFIX``, the location of input data and results.
        options: The target's settings.
    """
    spec: Any = resource.spec or {}
    limit = max(1, math.ceil(spec["timeout_s"]))
    stop: dict[str, Any] = {"MaxRuntimeInSeconds": limit}
    if spec["spot"]:
        stop["MaxWaitTimeInSeconds"] = limit + math.ceil(options.spot_wait_s)
    kms = {"KmsKeyId": options.kms_key} if options.kms_key else {}
    disk = {"VolumeKmsKeyId": options.kms_key} if options.kms_key and not has_local_disk(spec["instance"]) else {}
    body: dict[str, Any] = {
        "TrainingJobName": resource.id,
        "AlgorithmSpecification": {"TrainingImage": image, "TrainingInputMode": "File"},
        "RoleArn": role,
        "OutputDataConfig": {"S3OutputPath": f"{place}/jobs/{resource.id}", **kms},
        "ResourceConfig": {
            "InstanceType": spec["instance"], "InstanceCount": 1, "VolumeSizeInGB": options.volume_gb, **disk,
        },
        "StoppingCondition": stop,
        "HyperParameters": params_of(spec["params"]),
        "Environment": {**spec["env"], **secrets, **_inputs(spec), "MLPORT_METRICS_FILE": METRICS_FILE},
        "EnableManagedSpotTraining": spec["spot"],
        "EnableNetworkIsolation": options.network_isolation,
        "Tags": to_tags({**(spec.get("tags") or {}), **resource.tags, IMAGE_TAG: spec["image"]}),
        **_vpc(options),
    }  # fmt: skip
    if spec["data"]:
        body["InputDataConfig"] = _channels(resource.id, spec, place)
    if spec["spot"]:
        body["CheckpointConfig"] = {"S3Uri": f"{place}/jobs/{resource.id}/checkpoints"}
    return body


def params_of(params: Mapping[str, Any]) -> dict[str, str]:
    """Convert hyperparameters to strings: each as JSON, so that it can be read back with its type."""
    return {name: json.dumps(value) for name, value in params.items()}


def objects_of(spec: Mapping[str, Any]) -> dict[str, str]:
    """Return the addresses of those inputs that are a single S3 object each, by channel."""
    known = set(spec["local"])
    return {name: where for name, where in spec["data"].items() if name in spec["files"] and name not in known}


def manifest_path(job: str, channel: str) -> str:
    """Return the path, below the target's prefix, of the manifest that names the single object of a channel."""
    return f"jobs/{job}/inputs/{channel}.manifest"


def _channels(job: str, spec: Mapping[str, Any], place: str) -> list[dict[str, Any]]:
    local, objects = set(spec["local"]), objects_of(spec)
    found: list[dict[str, Any]] = []
    for name, where in spec["data"].items():
        kind = "ManifestFile" if name in objects else "S3Prefix"
        uri = f"{place}/data/{where}/" if name in local else str(where)
        uri = f"{place}/{manifest_path(job, name)}" if name in objects else uri
        source = {"S3DataType": kind, "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}
        found.append({"ChannelName": name, "DataSource": {"S3DataSource": source}, "InputMode": "File"})
    return found


def _inputs(spec: Mapping[str, Any]) -> dict[str, str]:
    """Return environment variables for single-file inputs; directory inputs use the channel's default path."""
    return {f"MLPORT_DATA_{name.upper()}": f"{CHANNELS}/{name}/{file}" for name, file in spec["files"].items()}
