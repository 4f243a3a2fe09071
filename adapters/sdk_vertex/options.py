"""The settings of a `vertex` target, and its capabilities."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator, model_validator

from sdk.adapter import YES, Capability, Support, TargetOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdk.adapter.prices import Usage

DEPLOYMENT: dict[str, Any] = {"deployment": True}
# The smallest type that serving accepts everywhere, and the cheapest for training, which accepts none with 2 vCPU.
DEFAULT_INSTANCES: Mapping[Usage, str] = {"inference": "n1-standard-2", "training": "e2-standard-4"}
_PROJECT = re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]")
_REGION = re.compile(r"[a-z]+-[a-z]+[0-9]+")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")
_KEY = re.compile(r"projects/[a-z0-9.:-]+/locations/([a-z0-9-]+)/keyRings/[\w-]{1,63}/cryptoKeys/[\w-]{1,63}")
_REPOSITORY = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")


class VertexOptions(TargetOptions):
    """Settings of a target with ``provider = "vertex"``."""

    project: str = Field(description="id of the Google Cloud project")
    region: str = Field(description="region of everything: endpoints, jobs, images, the bucket")
    bucket: str | None = Field(
        default=None,
        description="bucket for leases and for the data and output of jobs; PROJECT-mlport-REGION, made when needed",
    )
    bucket_owner: str | None = Field(
        default=None, pattern=r"^\d{1,19}$", description="number of the project that owns the bucket; else the target's"
    )
    repository: str = Field(default="mlport", description="repository of Artifact Registry; made when needed")
    base: str | None = Field(default=None, description="image that models are built on", json_schema_extra=DEPLOYMENT)
    dedicated: bool = Field(
        default=False,
        description="an endpoint with a host name of its own: 10 MB per request and longer time-outs; fixed when made",
    )
    predict: Literal["raw", "json"] = Field(
        default="raw",
        description="raw keeps integers and NaN as they are; json goes through the platform's own envelope",
    )
    deadline_s: float | None = Field(
        default=None,
        gt=0,
        le=3600,
        description="seconds a prediction may take: at most 60, on a dedicated endpoint 3600 (default 600)",
        json_schema_extra=DEPLOYMENT,
    )
    service_account: str | None = Field(
        default=None, description="account that models and jobs run as", json_schema_extra=DEPLOYMENT
    )
    spot: bool = Field(
        default=False, description="spare capacity: cheaper, may be taken away", json_schema_extra=DEPLOYMENT
    )
    smoke_endpoint: bool = Field(
        default=False,
        description="try a new deployment on a temporary endpoint before its first share; costs a machine meanwhile",
    )
    scale_cpu: int | None = Field(
        default=None, ge=1, le=100, description="percent of cpu that autoscaling aims at", json_schema_extra=DEPLOYMENT
    )
    kms_key: str | None = Field(
        default=None,
        description="Cloud KMS key of models, endpoints and jobs, and of the bucket and repository that mlport makes: "
        "projects/PROJECT/locations/REGION/keyRings/RING/cryptoKeys/KEY; fixed when made",
        json_schema_extra=DEPLOYMENT,
    )
    network: str | None = Field(
        default=None,
        pattern=r"^projects/[0-9]+/global/networks/[a-z]([a-z0-9-]{0,61}[a-z0-9])?$",
        description="VPC network that jobs are peered with: projects/NUMBER/global/networks/NAME",
    )
    public: bool = Field(default=True, description="whether endpoints have a public address; mlport calls no other")
    disk_gib: int = Field(default=100, ge=100, le=64_000, description="disk of a job")
    health_route: str = Field(
        default="/ping", description="path that says whether a replica is well", json_schema_extra=DEPLOYMENT
    )
    predict_route: str = Field(
        default="/invocations", description="path of the container that predicts", json_schema_extra=DEPLOYMENT
    )

    @field_validator("project", "region", "bucket", "repository")
    @classmethod
    def _fits(cls, value: str | None, info: Any) -> str | None:
        patterns = {"project": _PROJECT, "region": _REGION, "bucket": _BUCKET, "repository": _REPOSITORY}
        if value is not None and not patterns[info.field_name].fullmatch(value):
            raise ValueError(f"{info.field_name} = {value!r} does not match {patterns[info.field_name].pattern}")
        return value

    @field_validator("public")
    @classmethod
    def _is_public(cls, value: bool) -> bool:
        """Refuse private endpoints: each has an address of its own, in a network that mlport does not know."""
        if not value:
            raise ValueError(
                "public = false: mlport cannot call private endpoints of Vertex AI; leave it out, and let a service "
                "perimeter (VPC Service Controls) refuse calls from outside your network"
            )
        return value

    @model_validator(mode="after")
    def _fits_the_region(self) -> VertexOptions:
        """Refuse a key that cannot encrypt anything in the target's region."""
        if self.kms_key is None:
            return self
        found = _KEY.fullmatch(self.kms_key)
        if found is None:
            raise ValueError(f"kms_key = {self.kms_key!r} does not match {_KEY.pattern}")
        if found[1] != self.region:
            raise ValueError(f"kms_key is a key in {found[1]!r}; Vertex AI needs one in the target's {self.region!r}")
        return self

    @property
    def staging(self) -> str:
        """The name of the bucket in use."""
        return self.bucket or f"{self.project}-mlport-{self.region}"


_UNSUPPORTED = {
    Capability.DARK_PROBE: Support(
        ok=False,
        reason="upstream",
        text="Vertex AI cannot address a deployment without traffic; begin with a small share, such as "
        "traffic=5, or set smoke_endpoint = true",
    ),
    Capability.PIN: Support(
        ok=False, reason="upstream", text="a request to a Vertex AI endpoint cannot name its deployment"
    ),
}


def capabilities() -> Mapping[Capability, Support]:
    """Return the support for every capability; no option changes it."""
    return {capability: _UNSUPPORTED.get(capability, YES) for capability in Capability}
