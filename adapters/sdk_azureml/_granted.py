"""Checks of the caller's rights: Azure lists what a caller may do on a workspace and on its group."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from sdk.adapter.rights import CHECKED, rights_check, rights_unknown
from sdk.errors import SdkError

from ._policy import places_of, rights_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sdk.adapter.types import Check

    from ._arm import Arm
    from ._rights import Right, Scope
    from .options import AzureMLOptions

_API = "2022-04-01"
_CALL_S = 20.0
_ASKED: tuple[Scope, ...] = ("workspace", "group")
Granted = list[dict[str, Any]]


def checks(arm: Arm, options: AzureMLOptions, target: str) -> Iterator[Check]:
    """Yield a check of the caller's rights for each role; missing rights that only a deployer needs are a warning."""
    places = places_of(options)
    try:
        granted: dict[Scope, Granted] = {scope: _permissions(arm, places[scope]) for scope in _ASKED}
    except SdkError as error:
        yield rights_unknown(error)
        return
    for role in CHECKED:
        missing = (one for one in rights_of(options, role) if not _has(granted, one))
        shown = ", ".join(f"{one.action} on the {one.scope}" for one in missing)
        yield rights_check(role, shown, target, "the roles to give")


def _permissions(arm: Arm, scope: str) -> Granted:
    path = f"{scope}/providers/Microsoft.Authorization/permissions"
    return list(arm.values(path, "list permissions", timeout=_CALL_S, api=_API))


def _has(granted: Mapping[Scope, Granted], right: Right) -> bool:
    """Check for a right; assume it on a subscription, whose rights Azure does not list (quota has its own check)."""
    if right.scope not in granted:
        return True
    gives, takes = ("dataActions", "notDataActions") if right.data else ("actions", "notActions")
    return any(
        _matches(one.get(gives), right.action) and not _matches(one.get(takes), right.action)
        for one in granted[right.scope]
    )


def _matches(patterns: list[str] | None, action: str) -> bool:
    """Check whether an action matches one of the patterns, in which ``*`` stands for any text.

    Example:
        >>> _matches(["Microsoft.Storage/*/read"], "microsoft.storage/accounts/read"), _matches(None, "a/read")
        (True, False)
    """
    found = (re.escape(one).replace(r"\*", ".*") for one in patterns or ())
    return any(re.fullmatch(one, action, re.IGNORECASE) for one in found)
