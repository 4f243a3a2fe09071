"""Azure's own spelling of names that Azure compares without regard to case."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sdk.adapter.instances import read_types

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sdk.adapter.instances import InstanceTypes

T = TypeVar("T")


def machine_types() -> InstanceTypes:
    """Return the sizes of virtual machines that endpoints support, and those that jobs support.

    Source: https://learn.microsoft.com/azure/machine-learning/reference-managed-online-endpoints-vm-sku-list
    """
    return read_types(Path(__file__).with_name("machines.csv"))


@cache
def _sizes() -> dict[str, str]:
    types = machine_types()
    return {name.lower(): name for name in types.inference | types.training}


def instance(name: str) -> str:
    """Return an instance type in Azure's spelling; one that is not in the table stays as it is.

    Example:
        >>> instance("STANDARD_DS3_V2")
        'Standard_DS3_v2'
    """
    return _sizes().get(name.lower(), name)


def region(name: str) -> str:
    """Return the name of a region, given its display name.

    Example:
        >>> region("West Europe")
        'westeurope'
    """
    return name.replace(" ", "").lower()


def same(one: str, other: str) -> bool:
    """Return whether two names are the same to Azure."""
    return one.lower() == other.lower()


def by_known(known: Iterable[str], given: Mapping[str, T]) -> dict[str, T]:
    """Return a table with its keys spelled as in ``known``; a key that is not in it stays as it is.

    Example:
        >>> by_known(["d1-a"], {"D1-A": 100})
        {'d1-a': 100}
    """
    spelled = {name.lower(): name for name in known}
    return {spelled.get(name.lower(), name): value for name, value in given.items()}
