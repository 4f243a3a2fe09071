"""Models and endpoint configurations: immutable, checked when they are created."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from .errors import invalid
from .state import Record, Shelf, page, tags_of
from .world import without_nothing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..faults import Fault
    from .keys import Spot
    from .world import World

_VALUE_BYTES, _MAP_BYTES = 1024, 32 << 10
_MEMORY_MB = (1024, 2048, 3072, 4096, 5120, 6144)
_OWN_DISKS = re.compile(r"ml\.([a-z]+\d+[a-z]*d[a-z]*|g5|g6e?|p4de|p5\w*|trn\w+)\.")


class Models:
    """The operations on models, such as ``CreateModel``."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.shelf: Shelf[Record] = Shelf("model")

    def create(self, spot: Spot, body: Mapping[str, Any], fault: Fault | None) -> dict[str, Any]:
        """Carry out ``CreateModel``; the image and the data must exist."""
        containers = _containers(body)
        if len(containers) != 1:
            raise invalid("Exactly one of PrimaryContainer and Containers with one element is needed here.")
        if not body.get("ExecutionRoleArn"):
            raise invalid("ExecutionRoleArn is required.")
        record = Record("model", body["ModelName"], spot, body, tags_of(body))
        taken = self.shelf.peek(spot, record.name)
        if taken is None:
            for container in containers:
                _check_environment(container.get("Environment") or {})
                if not container.get("Image"):
                    raise invalid("Either Image or ModelPackageName must be given.")
                self.world.image(str(container["Image"]), spot)
                if container.get("ModelDataUrl"):
                    self.world.data(str(container["ModelDataUrl"]), "model data")
        record.hide(fault)
        self.shelf.add(record)
        return {"ModelArn": record.arn}

    def describe(self, spot: Spot, body: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out ``DescribeModel``."""
        record = self.shelf.get(spot, body["ModelName"])
        shown = {name: value for name, value in record.body.items() if name != "Tags"}
        return without_nothing({
            **shown,
            "ModelArn": record.arn,
            "CreationTime": record.created,
            "EnableNetworkIsolation": bool(record.body.get("EnableNetworkIsolation")),
        })  # fmt: skip

    def list(self, spot: Spot, body: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out ``ListModels``."""

        def show(record: Record) -> dict[str, Any]:
            return {"ModelName": record.name, "ModelArn": record.arn, "CreationTime": record.created}

        return page(body, list(self.shelf.all(spot)), show, "Models", "ModelName")

    def delete(self, spot: Spot, body: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out ``DeleteModel``, even if a configuration names the model, as on the real platform."""
        self.shelf.drop(self.shelf.get(spot, body["ModelName"]))
        return {}


def _check_environment(environment: Mapping[str, str]) -> None:
    """Refuse too long or too many variables: AWS counts bytes, botocore's model counts characters.

    Source: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ContainerDefinition.html (Environment)
    """
    sizes = {name: len(value.encode()) for name, value in environment.items()}
    if any(size > _VALUE_BYTES for size in sizes.values()):
        raise invalid(f"A value of the Environment map is longer than {_VALUE_BYTES} bytes.")
    if sum(len(name) + size for name, size in sizes.items()) > _MAP_BYTES:
        raise invalid(f"All keys and values of the Environment map combined are longer than {_MAP_BYTES} bytes.")


def _containers(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    primary = body.get("PrimaryContainer")
    return [*([primary] if primary else []), *(body.get("Containers") or ())]


class Configs:
    """The operations on endpoint configurations, such as ``CreateEndpointConfig``."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self.shelf: Shelf[Record] = Shelf("endpoint-config")

    def create(self, spot: Spot, body: Mapping[str, Any], fault: Fault | None) -> dict[str, Any]:
        """Carry out ``CreateEndpointConfig``; its models must exist, and its variants must be compatible."""
        variants = [*body["ProductionVariants"], *(body.get("ShadowProductionVariants") or ())]
        names = [variant["VariantName"] for variant in variants]
        if len(set(names)) != len(names):
            raise invalid("Production variant names must be unique within an endpoint configuration.")
        for variant in variants:
            _check_variant(variant, body)
            _check_model(variant, self._models.shelf.get(spot, str(variant.get("ModelName"))))
        _check_serverless(body)
        record = Record("endpoint-config", body["EndpointConfigName"], spot, body, tags_of(body))
        record.hide(fault)
        self.shelf.add(record)
        return {"EndpointConfigArn": record.arn}

    def describe(self, spot: Spot, body: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out ``DescribeEndpointConfig``."""
        record = self.shelf.get(spot, body["EndpointConfigName"])
        shown = {name: value for name, value in record.body.items() if name != "Tags"}
        shown["ProductionVariants"] = [_filled(one) for one in record.body["ProductionVariants"]]
        return without_nothing({**shown, "EndpointConfigArn": record.arn, "CreationTime": record.created})

    def list(self, spot: Spot, body: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out ``ListEndpointConfigs``."""

        def show(record: Record) -> dict[str, Any]:
            return {
                "EndpointConfigName": record.name,
                "EndpointConfigArn": record.arn,
                "CreationTime": record.created,
            }

        return page(body, list(self.shelf.all(spot)), show, "EndpointConfigs", "EndpointConfigName")

    def delete(self, spot: Spot, body: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out ``DeleteEndpointConfig``, even of a live endpoint, which then can no longer be updated as it is."""
        self.shelf.drop(self.shelf.get(spot, body["EndpointConfigName"]))
        return {}


def _filled(variant: Mapping[str, Any]) -> dict[str, Any]:
    return {"InitialVariantWeight": 1.0, **variant}


def _check_model(variant: Mapping[str, Any], model: Record) -> None:
    """Refuse network settings of a model for a serverless variant.

    Source: https://docs.aws.amazon.com/sagemaker/latest/dg/serverless-endpoints.html (feature exclusions)
    """
    for setting in ("VpcConfig", "EnableNetworkIsolation"):
        if variant.get("ServerlessConfig") and model.body.get(setting):
            raise invalid(f"{setting} of model {model.name} is not supported for serverless endpoints.")


def check_disk(instance: str, key: object, name: str) -> None:
    """Refuse a key for the disks of instances with local storage, which is encrypted anyway.

    Source: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateEndpointConfig.html (KmsKeyId)
    """
    if key and _OWN_DISKS.match(instance):
        raise invalid(f"{name} is not supported with {instance}, which has local storage.")


def _check_variant(variant: Mapping[str, Any], body: Mapping[str, Any]) -> None:
    name, serverless = variant["VariantName"], variant.get("ServerlessConfig")
    if not variant.get("ModelName"):
        raise invalid(f"ModelName is required for variant {name}.")
    if serverless is None:
        if not variant.get("InstanceType") or not variant.get("InitialInstanceCount"):
            raise invalid(f"InstanceType and InitialInstanceCount are required for variant {name}.")
        check_disk(str(variant["InstanceType"]), body.get("KmsKeyId"), "KmsKeyId")
        return
    if variant.get("InstanceType") or variant.get("InitialInstanceCount"):
        raise invalid(f"InstanceType and InitialInstanceCount must not be given for serverless variant {name}.")
    if serverless["MemorySizeInMB"] not in _MEMORY_MB:
        allowed = ", ".join(map(str, _MEMORY_MB))
        raise invalid(f"MemorySizeInMB of variant {name} must be one of: {allowed}.")
    provisioned = serverless.get("ProvisionedConcurrency")
    if provisioned and provisioned > serverless["MaxConcurrency"]:
        raise invalid(f"ProvisionedConcurrency of variant {name} must not exceed MaxConcurrency.")


def _check_serverless(body: Mapping[str, Any]) -> None:
    variants = body["ProductionVariants"]
    if not any(variant.get("ServerlessConfig") for variant in variants):
        return
    if len(variants) > 1 or body.get("ShadowProductionVariants"):
        raise invalid("Serverless endpoints support a single production variant only.")
    for name in ("DataCaptureConfig", "VpcConfig", "KmsKeyId", "AsyncInferenceConfig"):
        if body.get(name):
            raise invalid(f"{name} is not supported for serverless endpoints.")
