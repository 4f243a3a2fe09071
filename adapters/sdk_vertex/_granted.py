"""Which rights the caller lacks: Google says so of the project, of the bucket and of the repository."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from sdk.errors import SdkError
from sdk.rights import CHECKED, rights_check, rights_unknown

from ._policy import rights_of
from ._rights import BILLED, Right, role_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sdk.rights import PolicyRole
    from sdk.types import Check

    from ._access import Access
    from ._rights import Scope

_CALL_S = 15.0


def checks(access: Access, target: str) -> Iterator[Check]:
    """What the caller lacks for each role; what only a deployer needs is a warning."""
    try:
        lacks, unknown = _lacking(access)
    except SdkError as error:
        yield rights_unknown(error)
        return
    for role in CHECKED:
        missing = [one for one in rights_of(role) if one in lacks]
        yield _check(role, missing, unknown, target)


def _check(role: PolicyRole, missing: list[Right], unknown: Sequence[Scope], target: str) -> Check:
    rest = f"; unknown on what does not exist yet: {' and '.join(unknown)}" if unknown and role != "caller" else ""
    shown = ", ".join(f"{one.permission} on the {one.scope}" for one in missing)
    roles = sorted({found for one in missing if (found := role_of(one.permission))})
    prints = f"what to grant; {' and '.join(roles)} would do as well"
    return rights_check(role, f"{shown}{rest}" if shown else "", target, prints, granted=f"granted{rest}")


def _lacking(access: Access) -> tuple[set[Right], list[Scope]]:
    """Those of a deployer's rights that the caller does not have, and the scopes that cannot be asked about."""
    wanted: dict[Scope, list[Right]] = {}
    for right in rights_of("deployer"):
        if right.scope in {"project", "bucket", "repository"} and right != BILLED:
            wanted.setdefault(right.scope, []).append(right)
    lacks: set[Right] = set()
    unknown: list[Scope] = []
    for scope, rights in wanted.items():
        granted = _granted(access, scope, [one.permission for one in rights])
        if granted is None:
            unknown.append(scope)
        else:
            lacks |= {one for one in rights if one.permission not in granted}
    return lacks, unknown


def _granted(access: Access, scope: Scope, permissions: list[str]) -> list[str] | None:
    """Which of the permissions the caller has there; ``None`` where there is nothing yet."""
    options = access.options
    if scope == "bucket":
        query = urlencode([("permissions", one) for one in permissions])
        url = f"{access.url('storage')}/storage/v1/b/{options.staging}/iam/testPermissions?{query}"
        answer = access.send("GET", url, "TestBucketPermissions", timeout=_CALL_S, ok=(200, 404))
    else:
        place = f"projects/{options.project}"
        if scope == "repository":
            place = f"{place}/locations/{options.region}/repositories/{options.repository}"
        service = "cloudresourcemanager" if scope == "project" else "artifactregistry"
        url = f"{access.url(service)}/v1/{place}:testIamPermissions"
        body = {"permissions": sorted(permissions)}
        answer = access.send("POST", url, "TestIamPermissions", timeout=_CALL_S, json=body, ok=(200, 404))
    if answer.status_code == 404:
        return None
    told: dict[str, Any] = answer.json()
    return told.get("permissions") or []
