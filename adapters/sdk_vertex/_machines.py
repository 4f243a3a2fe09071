"""Machine types: their names in settings and prices, and the machine specs that the platform expects."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from sdk.adapter.instances import read_types
from sdk.errors import ConfigError
from sdk.util.suggest import did_you_mean

if TYPE_CHECKING:
    from sdk.adapter.instances import InstanceTypes
    from sdk.adapter.types import Json

_NAME = re.compile(r"(?P<machine>[a-z][a-z0-9-]+)(\+(?P<gpu>[A-Z0-9_]+)x(?P<count>[1-9][0-9]?))?")
# Machine types with built-in accelerators, which a request must name all the same.
_BUILT_IN = (
    (re.compile(r"a2-highgpu-(\d+)g"), "NVIDIA_TESLA_A100"),
    (re.compile(r"a2-ultragpu-(\d+)g"), "NVIDIA_A100_80GB"),
    (re.compile(r"a3-highgpu-(\d+)g"), "NVIDIA_H100_80GB"),
)
_ACCELERATORS = frozenset({
    "NVIDIA_TESLA_K80", "NVIDIA_TESLA_P4", "NVIDIA_TESLA_P100", "NVIDIA_TESLA_T4", "NVIDIA_TESLA_V100", "TPU_V2",
    "TPU_V3",
    "NVIDIA_TESLA_A100", "NVIDIA_A100_80GB", "NVIDIA_L4", "NVIDIA_H100_80GB", "NVIDIA_H100_MEGA_80GB",
    "NVIDIA_H200_141GB", "NVIDIA_B200",
})  # fmt: skip
# Allowed numbers of accelerators per machine. Source (certain): https://cloud.google.com/compute/docs/gpus
_PLAIN = re.compile(r"(e2|n2d?|n4|c2d?|c3d?|c4a?|m[1-4]|t2d)-")  # families that take no accelerators
_COUNTS = {
    **dict.fromkeys(("NVIDIA_TESLA_T4", "NVIDIA_TESLA_P4", "NVIDIA_TESLA_P100"), (1, 2, 4)),
    **dict.fromkeys(("NVIDIA_TESLA_V100", "NVIDIA_TESLA_K80"), (1, 2, 4, 8)),
}
_L4 = {"4": 1, "8": 1, "12": 1, "16": 1, "24": 2, "32": 1, "48": 4, "96": 8}


def machine_types() -> InstanceTypes:
    """Return the machine types that serving accepts, and those that training accepts.

    Sources: https://cloud.google.com/vertex-ai/docs/predictions/configure-compute and
    https://cloud.google.com/vertex-ai/docs/training/configure-compute
    """
    return read_types(Path(__file__).with_name("machines.csv"))


def machine_spec(instance: str) -> dict[str, Json]:
    """Convert a machine type to the platform's machine spec.

    Args:
        instance: A machine type; accelerators that are not built in are added as ``+TYPExCOUNT``.

    Raises:
        ConfigError: The text is not a machine type, or the accelerators do not fit it.

    Example:
        >>> machine_spec("n1-standard-4+NVIDIA_TESLA_T4x1")
        {'machine_type': 'n1-standard-4', 'accelerator_type': 'NVIDIA_TESLA_T4', 'accelerator_count': 1}
        >>> machine_spec("n1-standard-2")
        {'machine_type': 'n1-standard-2'}
    """
    found = _NAME.fullmatch(instance)
    if found is None:
        raise ConfigError(
            f"instance = {instance!r} is no machine type",
            hint="write n1-standard-4, or n1-standard-4+NVIDIA_TESLA_T4x1 with an accelerator",
        )
    gpu, count = found["gpu"], int(found["count"] or 0)
    if gpu is not None and gpu not in _ACCELERATORS:
        raise ConfigError(
            f"instance = {instance!r}: {gpu!r} is not an accelerator that is added to a machine",
            hint=did_you_mean(gpu, _ACCELERATORS),
        )
    own = _own_gpu(found["machine"])
    if gpu is None:
        gpu, count = own
    elif (gpu, count) != own:
        _check_added(instance, found["machine"], gpu, count)
    spec: dict[str, Json] = {"machine_type": found["machine"]}
    return {**spec, "accelerator_type": gpu, "accelerator_count": count} if gpu else spec


def _check_added(instance: str, machine: str, gpu: str, count: int) -> None:
    """Refuse accelerators that cannot be added to a machine.

    Raises:
        ConfigError: Names the machine.
    """
    if _PLAIN.match(machine):
        raise ConfigError(
            f"instance = {instance!r}: {gpu} x {count} cannot be added to {machine}",
            hint="use an n1 machine, or one that has accelerators of its own, such as g2-standard-4",
        )
    counts = _COUNTS.get(gpu)
    if counts is not None and count not in counts:
        raise ConfigError(
            f"instance = {instance!r}: a machine cannot have {count} of {gpu}",
            hint=f"take {', '.join(map(str, counts))}",
        )


def _own_gpu(machine: str) -> tuple[str | None, int]:
    for pattern, gpu in _BUILT_IN:
        if found := pattern.fullmatch(machine):
            return gpu, int(found[1])
    family, _, size = machine.partition("-standard-")
    return ("NVIDIA_L4", _L4[size]) if family == "g2" and size in _L4 else (None, 0)
