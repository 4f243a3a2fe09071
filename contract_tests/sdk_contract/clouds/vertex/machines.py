"""Which machine types this mini cloud accepts for serving and for training, according to the adapter's table.

Which accelerators fit which machine: https://cloud.google.com/vertex-ai/docs/predictions/configure-compute and
https://cloud.google.com/compute/docs/gpus
"""

from __future__ import annotations

import re
from importlib.resources import files
from typing import TYPE_CHECKING

from sdk.adapter.instances import read_types

from .errors import Refusal
from .values import integer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdk.adapter.prices import Usage
    from sdk.adapter.types import Json


_SOME, _MORE = frozenset({1, 2, 4}), frozenset({1, 2, 4, 8})
_ADDED = {
    "NVIDIA_TESLA_T4": _SOME, "NVIDIA_TESLA_P4": _SOME, "NVIDIA_TESLA_P100": _SOME, "NVIDIA_TESLA_V100": _MORE,
    "NVIDIA_TESLA_K80": _MORE, "TPU_V2": _MORE, "TPU_V3": _MORE,
}  # fmt: skip
"""Accelerators that can be added to a machine of the family n1, and the allowed numbers of each."""
_OWN = (
    (re.compile(r"a2-(?:high|mega)gpu-(\d+)g"), "NVIDIA_TESLA_A100"),
    (re.compile(r"a2-ultragpu-(\d+)g"), "NVIDIA_A100_80GB"),
    (re.compile(r"a3-(?:high|edge)gpu-(\d+)g"), "NVIDIA_H100_80GB"),
    (re.compile(r"a3-megagpu-(\d+)g"), "NVIDIA_H100_MEGA_80GB"),
    (re.compile(r"a3-ultragpu-(\d+)g"), "NVIDIA_H200_141GB"),
    (re.compile(r"a4-highgpu-(\d+)g"), "NVIDIA_B200"),
    (re.compile(r"g2-standard-\d+()"), "NVIDIA_L4"),
)
"""Machines that include accelerators, whose number is a part of the machine type."""
_L4 = {"24": 2, "48": 4, "96": 8}  # of a g2-standard-N; all others have one


def check_machine(machine: Mapping[str, Json], usage: Usage, field: str) -> None:
    """Refuse a machine type that the platform does not offer for this use, or accelerators that do not fit it.

    Raises:
        Refusal: With the message of the platform.
    """
    name = machine.get("machineType")
    if name not in read_types(files("sdk_vertex") / "machines.csv").of(usage):
        raise Refusal(
            "INVALID_ARGUMENT",
            f'List of found errors:\t1.Field: {field}.machine_type; Message: Machine type "{name}" is not supported.\t',
        )
    kind, count = str(machine.get("acceleratorType") or ""), integer(machine, "acceleratorCount")
    if bool(kind) != bool(count):
        raise Refusal("INVALID_ARGUMENT", f"{field}: accelerator_type and accelerator_count go together.")
    if kind and count not in _counts(str(name), kind):
        raise Refusal(
            "INVALID_ARGUMENT",
            f'List of found errors:\t1.Field: {field}; Message: Accelerator type "{kind}" with count {count} is not '
            f'supported for machine type "{name}".\t',
        )


def _counts(machine: str, kind: str) -> frozenset[int]:
    """Return the allowed numbers of accelerators of a kind for a machine."""
    if machine.startswith("n1-"):
        return _ADDED.get(kind, frozenset())
    for pattern, own in _OWN:
        if (found := pattern.fullmatch(machine)) and own == kind:
            return frozenset({int(found[1] or _L4.get(machine.rpartition("-")[2], 1))})
    return frozenset()
