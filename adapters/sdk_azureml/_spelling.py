"""Names that Azure compares without regard to case, in the spelling that it uses itself."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sdk.prices import read_prices

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

T = TypeVar("T")


@cache
def _sizes() -> dict[str, str]:
    rows = read_prices(Path(__file__).with_name("prices.csv"))
    return {row.instance_type.lower(): row.instance_type for row in rows}


def instance(name: str) -> str:
    """Return an instance type as Azure spells it; one that the price table does not know stays as it is.

    Example:
        >>> instance("STANDARD_DS3_V2")
        'Standard_DS3_v2'
    """
    return _sizes().get(name.lower(), name)


def region(name: str) -> str:
    """Return the name of a region for one that is given as people write it.

    Example:
        >>> region("West Europe")
        'westeurope'
    """
    return name.replace(" ", "").lower()


def same(one: str, other: str) -> bool:
    """Return whether two names mean the same thing to Azure."""
    return one.lower() == other.lower()


def by_known(known: Iterable[str], given: Mapping[str, T]) -> dict[str, T]:
    """Return a table with its keys spelled as in ``known``; a key that is not there stays as it is.

    Example:
        >>> by_known(["d1-a"], {"D1-A": 100})
        {'d1-a': 100}
    """
    spelled = {name.lower(): name for name in known}
    return {spelled.get(name.lower(), name): value for name, value in given.items()}
