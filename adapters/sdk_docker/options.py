"""What a `docker` target can be told, and what it can do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from sdk.adapter import YES, Capability, Support
from sdk.plane.options import GatewayOptions

if TYPE_CHECKING:
    from collections.abc import Mapping


class DockerOptions(GatewayOptions):
    """Settings of a target with ``provider = "docker"``."""

    base: str | None = Field(
        default=None, description="image that models are built on", json_schema_extra={"deployment": True}
    )


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
