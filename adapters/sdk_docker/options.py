"""The settings of a `docker` target, and its capabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from sdk.adapter import YES, Capability, Support
from sdk.adapter.shared.gateway_options import GatewayOptions

if TYPE_CHECKING:
    from collections.abc import Mapping


class DockerOptions(GatewayOptions):
    """Settings of a target with ``provider = "docker"``."""

    base: str | None = Field(
        default=None, description="image that models are built on", json_schema_extra={"deployment": True}
    )
    host: str | None = Field(
        default=None,
        description="the engine: unix://, tcp:// or ssh:// address, or the name of a Docker context; "
        "left out, what Docker's own command line would use",
    )
    reach: Literal["auto", "port", "tunnel"] = Field(
        default="auto",
        description="how predictions get to the endpoint: its port on 127.0.0.1, or a tunnel through the engine; "
        "auto takes the port when the engine is on this machine",
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
}


def capabilities() -> Mapping[Capability, Support]:
    """Return the support of `docker` for every capability; no option changes it."""
    return {capability: _UNSUPPORTED.get(capability, YES) for capability in Capability}
