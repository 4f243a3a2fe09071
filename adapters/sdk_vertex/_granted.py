"""Checks which permissions the caller lacks: Google answers this for the project, the bucket and the repository."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from sdk.adapter.rights import CHECKED, rights_check, rights_unknown
from sdk.errors import SdkError

from ._policy import rights_of
from ._rights import BILLED, Right, role_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sdk.adapter.rights import PolicyRole
    from sdk.adapter.types import Check

    from ._access import Access
    from ._rights import Scope

_CALL_S = 15.0


def checks(access: Access, target: str) -> Iterator[Check]:
    """Yield what the caller lacks for each role; permissions that only a deployer needs are a warning."""
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
    """Return those of a deployer's permissions that the caller lacks, and the scopes that cannot be checked."""
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
    """Return those permissions that the caller has in a scope, or ``None`` if its resource does not exist yet."""
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
