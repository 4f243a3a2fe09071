"""The settings of an `azureml` target, and its capabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, JsonValue, field_validator

from sdk.adapter import YES, Capability, Support, TargetOptions

from . import _spelling

if TYPE_CHECKING:
    from collections.abc import Mapping

_DEPLOYMENT: dict[str, JsonValue] = {"deployment": True}  # part of what makes two deployments the same


class AzureMLOptions(TargetOptions):
    """Settings of a target with ``provider = "azureml"``.

    Source of the limits: https://learn.microsoft.com/azure/machine-learning/how-to-manage-quotas
    """

    subscription: str = Field(description="id of the subscription", pattern=r"^[A-Za-z0-9-]{1,64}$")
    resource_group: str = Field(description="resource group of the workspace", pattern=r"^[A-Za-z0-9._()-]{1,90}$")
    workspace: str = Field(description="name of the workspace", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{2,32}$")
    region: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z][A-Za-z0-9 ]{2,39}$",
        description="region of the workspace, such as westeurope; read from the workspace when left out",
    )
    storage_account: str | None = Field(
        default=None, pattern=r"^[a-z0-9]{3,24}$",
        description="storage account of the default datastore, where it is not the workspace's own",
    )  # fmt: skip
    auth: Literal["key", "token", "aad"] = Field(
        default="key", description="how callers of an endpoint show who they are: its key, its token, or their own"
    )
    identity: str | None = Field(
        default=None, description="resource id of a user-assigned identity of the endpoint; left out: one of its own"
    )
    public: bool = Field(default=True, description="whether an endpoint can be called from outside its network")
    public_egress: bool = Field(
        default=True,
        description="whether containers of endpoints may reach the internet, where the workspace's network is not a "
        "managed one",
        json_schema_extra=_DEPLOYMENT,
    )
    base: str | None = Field(default=None, description="image that models are built on", json_schema_extra=_DEPLOYMENT)
    max_body: int = Field(
        default=25 * 2**20, gt=0, description="largest request in bytes that the server takes",
        json_schema_extra=_DEPLOYMENT,
    )  # fmt: skip
    deadline_s: float = Field(
        default=60.0, gt=0, le=180, description="seconds a prediction may take", json_schema_extra=_DEPLOYMENT
    )
    start_s: float = Field(
        default=300.0, gt=0, description="seconds a replica may take to load its model", json_schema_extra=_DEPLOYMENT
    )
    concurrency: int = Field(
        default=64, gt=0, description="requests that one replica may have at once", json_schema_extra=_DEPLOYMENT
    )
    scale_at: int = Field(
        default=70, ge=10, le=95, description="per cent of the processor at which a replica is added",
        json_schema_extra=_DEPLOYMENT,
    )  # fmt: skip
    app_insights: bool = Field(
        default=False, description="whether containers log to Application Insights", json_schema_extra=_DEPLOYMENT
    )
    mirror: int = Field(
        default=0, ge=0, le=50,
        description="per cent of the traffic that the newest deployment gets a copy of while it has 0 %",
    )  # fmt: skip
    compute: str | None = Field(default=None, description="compute cluster of jobs; left out: serverless")
    job_tier: Literal["Standard", "Spot"] = Field(default="Standard", description="whether serverless jobs may wait")
    job_identity: str | None = Field(
        default=None, pattern=r"(?i)^(user|/subscriptions/.+/userAssignedIdentities/[^/]+)$",
        description='as whom jobs reach data: "user" for who submits them, or the resource id of an identity of the '
        "cluster; left out: nobody, for data that needs no identity",
    )  # fmt: skip
    endpoint: str | None = Field(default=None, description="address of the resource manager, for a mini cloud")
    ca: str | None = Field(default=None, description="certificate authority of that address, a file in PEM form")

    @field_validator("instance")
    @classmethod
    def _spelled_instance(cls, given: str | None) -> str | None:
        return None if given is None else _spelling.instance(given)

    @field_validator("region")
    @classmethod
    def _spelled_region(cls, given: str | None) -> str | None:
        return None if given is None else _spelling.region(given)


def capabilities(options: AzureMLOptions | None) -> Mapping[Capability, Support]:
    """Return the support of Azure ML for every capability."""
    del options  # no setting changes them
    return dict.fromkeys(Capability, YES)
