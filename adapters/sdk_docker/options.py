"""What a `docker` target can be told, and what it can do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from sdk.adapter import YES, Capability, Support, TargetOptions

if TYPE_CHECKING:
    from collections.abc import Mapping


class DockerOptions(TargetOptions):
    """Settings of a target with ``provider = "docker"``."""

    base: str | None = Field(
        default=None, description="image that models are built on", json_schema_extra={"deployment": True}
    )
    port: int = Field(default=0, ge=0, le=65_535, description="port of the endpoint on 127.0.0.1; 0 takes a free one")
    usd_per_hour: float | None = Field(default=0.0, ge=0, description="what an hour of one replica or job costs you")
    max_body: int = Field(
        default=25 * 2**20, gt=0, description="largest request in bytes", json_schema_extra={"deployment": True}
    )
    deadline_s: float = Field(
        default=60.0, gt=0, description="seconds a prediction may take", json_schema_extra={"deployment": True}
    )
    start_s: float = Field(default=300.0, gt=0, description="seconds a replica may take to load its model")
    drain_s: float = Field(default=30.0, gt=0, description="seconds open requests may keep a removed replica alive")
    stop_s: float = Field(default=10.0, gt=0, description="seconds between asking a job to end and killing it")


_UNSUPPORTED = {
    Capability.AUTOSCALE: Support(
        ok=False,
        reason="not_implemented",
        text="a docker deployment keeps its number of replicas: set replicas.min and replicas.max alike",
    ),
    Capability.INSTANCES: Support(
        ok=False, reason="never", text="an engine has no instance types: use resources = { cpu, memory_gib }"
    ),
    Capability.GPU: Support(
        ok=False, reason="not_implemented", text="containers are not assigned GPUs: leave resources.gpu at 0"
    ),
    Capability.LEASE: Support(
        ok=False, reason="not_implemented", text="changes from two machines at once are not kept apart on an engine"
    ),
    Capability.IMAGES: Support(
        ok=False, reason="not_implemented", text="the model must have files: give the model, not an image made from it"
    ),
}


def capabilities() -> Mapping[Capability, Support]:
    """Every capability with what `docker` says to it; no option changes it."""
    return {capability: _UNSUPPORTED.get(capability, YES) for capability in Capability}
