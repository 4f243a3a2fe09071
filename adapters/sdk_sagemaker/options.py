"""The settings of a `sagemaker` target, and its capabilities."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any, cast

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sdk.adapter import YES, Capability, Support, TargetOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

MOCK = "MLPORT_MOCK_SAGEMAKER_URL"
MOCK_INSTANCE = "ml.m5.large"
_MARKED: Any = {"deployment": True}
_NetworkId = Annotated[str, Field(pattern=r"^[-0-9a-zA-Z]{1,32}$")]


class Serverless(BaseModel):
    """A deployment without instances: while there are no requests, nothing runs and nothing is billed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    memory_mb: int = Field(default=2048, ge=1024, le=6144, multiple_of=1024, description="memory of one copy in MB")
    concurrency: int = Field(default=5, ge=1, le=200, description="most requests at a time")


class SagemakerOptions(TargetOptions):
    """Settings of a target with ``provider = "sagemaker"``."""

    region: str | None = Field(
        default=None,
        pattern=r"^[a-z]{2,5}(-[a-z]+)+-\d{1,2}$",  # it becomes part of host names
        description="AWS region; else AWS_REGION, AWS_DEFAULT_REGION or that of the profile",
    )
    role: str | None = Field(
        default=None,
        pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+$",
        description="ARN of the role that SageMaker takes on: pulls images, reads and writes the bucket",
        json_schema_extra=_MARKED,
    )
    profile: str | None = Field(default=None, description="profile of the AWS configuration files")
    bucket: str | None = Field(
        default=None,
        description="bucket for job data, results and leases; else sagemaker-mlport-ACCOUNT-REGION, made when needed",
    )
    bucket_owner: str | None = Field(
        default=None,
        pattern=r"^\d{12}$",
        description="account that owns the bucket; else that of the role. S3 refuses every call if it is another one",
    )
    prefix: str = Field(
        default="mlport", pattern=r"^[\w.-]+(/[\w.-]+)*$", description="what keys in the bucket begin with"
    )
    repository: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9]+([._/-][a-z0-9]+)*$",
        description="ECR repository of images; else sagemaker-mlport, made when needed",
    )
    base: str | None = Field(default=None, description="image that models are built on", json_schema_extra=_MARKED)
    serverless: Serverless | None = Field(
        default=None,
        description="memory_mb and concurrency: no instances; one deployment only",
        json_schema_extra=_MARKED,
    )
    shadow: int = Field(
        default=0,
        ge=0,
        le=100,
        description="percent of the requests that the newest deployment gets copies of while it has no traffic",
    )
    scale_at: float = Field(
        default=600.0,
        gt=0,
        description="requests per minute and replica that autoscaling aims at",
        json_schema_extra=_MARKED,
    )
    subnets: tuple[_NetworkId, ...] = Field(
        default=(), max_length=16, description="subnets of your VPC, in two zones or more", json_schema_extra=_MARKED
    )
    security_groups: tuple[_NetworkId, ...] = Field(
        default=(), max_length=5, description="security groups, together with subnets", json_schema_extra=_MARKED
    )
    network_isolation: bool = Field(
        default=False, description="containers reach nothing outside", json_schema_extra=_MARKED
    )
    kms_key: str | None = Field(
        default=None,
        description="KMS key for disks of instances (serverless has none) and results of jobs",
        json_schema_extra=_MARKED,
    )
    volume_gb: int = Field(default=30, ge=1, le=16_384, description="disk of a job in GB")
    spot: bool = Field(default=False, description="train on spare capacity, which may be interrupted")
    spot_wait_s: float = Field(default=3600.0, ge=0, description="seconds a spot job may wait beyond its time limit")
    start_s: int = Field(
        default=600,
        ge=60,
        le=3600,
        description="seconds a container may take to become healthy",
        json_schema_extra=_MARKED,
    )
    max_body: int = Field(default=6_291_456, gt=0, description="largest request in bytes that SageMaker takes")
    deadline_s: float = Field(
        default=60.0, gt=0, le=60, description="seconds a prediction may take; SageMaker ends those that take longer"
    )
    delete_logs: bool = Field(default=False, description="delete the log group after the endpoint")

    @model_validator(mode="before")
    @classmethod
    def _play(cls, given: Any) -> Any:
        """Set a default instance on a mini cloud if none is given, since nothing costs anything there."""
        if not os.environ.get(MOCK) or not isinstance(given, dict):
            return given
        table = cast("dict[str, Any]", given)
        said = any(table.get(one) for one in ("instance", "resources", "serverless"))
        return table if said else {**table, "instance": MOCK_INSTANCE}

    @model_validator(mode="after")
    def _together(self) -> SagemakerOptions:
        if bool(self.subnets) != bool(self.security_groups):
            raise ValueError("subnets and security_groups are set together or not at all")
        if self.serverless is not None and (self.subnets or self.shadow or self.network_isolation):
            raise ValueError("serverless has neither subnets, network_isolation nor shadow: leave them out")
        return self


def _lacks(text: str) -> Support:
    return Support(ok=False, reason="upstream", text=text)


_ONE_DEPLOYMENT = _lacks("a serverless endpoint has one deployment only: set an instance, or deploy with all traffic")
_NO_INSTANCES = _lacks("serverless has no instances: leave instance, resources and replicas out, or serverless")
_SERVERLESS = {
    **dict.fromkeys((Capability.TRAFFIC, Capability.DARK_PROBE, Capability.PIN), _ONE_DEPLOYMENT),
    **dict.fromkeys(
        (Capability.INSTANCES, Capability.RESOURCES, Capability.GPU, Capability.REPLICAS, Capability.AUTOSCALE),
        _NO_INSTANCES,
    ),
}
_SHADOW = {Capability.DARK_PROBE: _lacks("a shadow deployment answers nobody: leave shadow at 0 to try one out first")}


def capabilities(options: SagemakerOptions | None) -> Mapping[Capability, Support]:
    """Return the support for every capability under these options."""
    missing: dict[Capability, Support] = {}
    if options is not None and options.serverless is not None:
        missing = _SERVERLESS
    elif options is not None and options.shadow:
        missing = _SHADOW
    return {capability: missing.get(capability, YES) for capability in Capability}
