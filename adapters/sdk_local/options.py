"""The settings of a `local` target, and its capabilities."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

from pydantic import Field, field_validator

from sdk.adapter import YES, Capability, Support
from sdk.adapter.shared.gateway_options import GatewayOptions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class LocalOptions(GatewayOptions):
    """Settings of a target with ``provider = "local"``."""

    gpus: tuple[str, ...] | None = Field(
        default=None, description="ids of the GPUs that may be used; none given: all that nvidia-smi lists"
    )

    @field_validator("gpus", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        """Convert comma-separated text, as in an environment variable, and whole numbers to ids."""
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        if isinstance(value, list | tuple):
            items = cast("Sequence[object]", value)
            return tuple(str(item) if type(item) is int else item for item in items)
        return value

    @field_validator("gpus")
    @classmethod
    def _checked(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for one in value or ():
            if not _DEVICE.fullmatch(one):
                raise ValueError(f"{one!r} is not the id of a device, such as 0 or GPU-5a1e…")
        if value is not None and len(set(value)) < len(value):
            raise ValueError("a device is named twice")
        return value


_DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9/_.:-]{0,99}")
_UNSUPPORTED = {
    Capability.AUTOSCALE: Support(
        ok=False,
        reason="not_implemented",
        text="a local deployment keeps its number of replicas: set replicas.min and replicas.max alike",
    ),
    Capability.INSTANCES: Support(
        ok=False, reason="never", text="this machine has no instance types: use resources = { cpu, memory_gib }"
    ),
    Capability.LEASE: Support(
        ok=False, reason="never", text="no other machine can change what runs here; a file lock is enough"
    ),
    Capability.IMAGES: Support(
        ok=False, reason="never", text='local runs processes, not images: use a target with provider = "docker"'
    ),
}


def capabilities() -> Mapping[Capability, Support]:
    """Return the support of `local` for every capability; no option changes it."""
    return {capability: _UNSUPPORTED.get(capability, YES) for capability in Capability}
