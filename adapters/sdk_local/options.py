"""What a `local` target can be told, and what it can do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdk.adapter import YES, Capability, Support
from sdk.plane.options import GatewayOptions

if TYPE_CHECKING:
    from collections.abc import Mapping


class LocalOptions(GatewayOptions):
    """Settings of a target with ``provider = "local"``."""


_UNSUPPORTED = {
    Capability.AUTOSCALE: Support(
        ok=False,
        reason="not_implemented",
        text="a local deployment keeps its number of replicas: set replicas.min and replicas.max alike",
    ),
    Capability.INSTANCES: Support(
        ok=False, reason="never", text="this machine has no instance types: use resources = { cpu, memory_gib }"
    ),
    Capability.GPU: Support(
        ok=False, reason="not_implemented", text="local processes are not assigned GPUs: leave resources.gpu at 0"
    ),
    Capability.LEASE: Support(
        ok=False, reason="never", text="no other machine can change what runs here; a file lock is enough"
    ),
    Capability.IMAGES: Support(
        ok=False, reason="never", text='local runs processes, not images: use a target with provider = "docker"'
    ),
}


def capabilities() -> Mapping[Capability, Support]:
    """Every capability with what `local` says to it; no option changes it."""
    return {capability: _UNSUPPORTED.get(capability, YES) for capability in Capability}
