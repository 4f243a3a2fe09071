"""Enumerations in requests: Google's REST clients send the number of a value, people and the documentation its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

ACCELERATORS = {
    0: "ACCELERATOR_TYPE_UNSPECIFIED", 1: "NVIDIA_TESLA_K80", 2: "NVIDIA_TESLA_P100", 3: "NVIDIA_TESLA_V100",
    4: "NVIDIA_TESLA_P4", 5: "NVIDIA_TESLA_T4", 6: "TPU_V2", 7: "TPU_V3", 8: "NVIDIA_TESLA_A100", 9: "NVIDIA_A100_80GB",
    10: "TPU_V4_POD", 11: "NVIDIA_L4", 12: "TPU_V5_LITEPOD", 13: "NVIDIA_H100_80GB", 14: "NVIDIA_H100_MEGA_80GB",
    15: "NVIDIA_H200_141GB", 16: "NVIDIA_B200", 17: "NVIDIA_GB200", 18: "NVIDIA_RTX_PRO_6000",
}  # fmt: skip
STRATEGIES = {0: "STRATEGY_UNSPECIFIED", 1: "ON_DEMAND", 2: "LOW_COST", 3: "STANDARD", 4: "SPOT"}
_BY_MEMBER = {"acceleratorType": ACCELERATORS, "strategy": STRATEGIES}


def named(value: Any, member: str = "") -> Any:
    """Return a request with the name of each enumeration's value; an unknown number stays.

    Args:
        value: The request, or a part of it, with members in camel case.
        member: The member whose value this is.

    Example:
        >>> named({"machineSpec": {"acceleratorType": 5, "acceleratorCount": 1}})
        {'machineSpec': {'acceleratorType': 'NVIDIA_TESLA_T4', 'acceleratorCount': 1}}
    """
    if isinstance(value, Mapping):
        return {name: named(inner, name) for name, inner in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, list):
        return [named(inner, member) for inner in cast("Sequence[Any]", value)]
    if isinstance(value, int) and not isinstance(value, bool):
        return _BY_MEMBER.get(member, {}).get(value, value)
    return value
