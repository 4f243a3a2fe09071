"""Which machine types this mini cloud takes: the table of the adapter, which says so for serving and for training."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from sdk.instances import read_types

from .errors import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdk.prices import Usage
    from sdk.types import Json


def check_machine(machine: Mapping[str, Json], usage: Usage, field: str) -> None:
    """Refuse a machine type that the platform does not take for this use.

    Raises:
        Refusal: With the message of the platform.
    """
    name = machine.get("machineType")
    if name not in read_types(files("sdk_vertex") / "machines.csv").of(usage):
        raise Refusal(
            "INVALID_ARGUMENT",
            f'List of found errors:\t1.Field: {field}.machine_type; Message: Machine type "{name}" is not supported.\t',
        )
