"""Checks of what a target needs: the caller's identity, the workspace, its registry, its storage, the quota."""

from __future__ import annotations

import math
import re
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdk.adapter.types import Check
from sdk.errors import AuthError, QuotaError, SdkError

from . import _granted
from ._deploy import AUTOSCALE_API
from ._egress import check_egress
from ._json import table
from ._rights import PUSH, advice
from ._storage import DATASTORE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sdk.adapter.prices import PriceRow

    from ._arm import Arm
    from ._images import Images
    from ._pulling import Pulling
    from ._storage import Storage
    from .options import AzureMLOptions

_CALL_S = 20.0
_SPARE = 1.2  # Azure reserves 20 % more than an endpoint's instances, for updates
_TYPE = re.compile(r"Standard_(?P<family>[A-Z]+)\d+(?P<more>[a-z]*)(?:_v(?P<version>\d))?")


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts to check: resource manager, registry, storage, and the right of the endpoint's identity to pull."""

    arm: Arm
    images: Images
    storage: Storage
    pulling: Pulling


def checks(
    parts: Parts, options: AzureMLOptions, machine: Callable[[str | None], PriceRow | None], target: str
) -> Iterator[Check]:
    """Run each check with a real call; stop early if the workspace cannot be reached."""
    arm, images, storage = parts.arm, parts.images, parts.storage
    identity = _try("identity", lambda: f"signed in for {arm.place.arm}" if arm.tokens.arm else "")
    yield identity
    workspace = _try("workspace", lambda: f"{arm.workspace['name']} in {arm.location}") if identity.ok else identity
    if identity.ok:
        yield workspace
    if not workspace.ok:
        return
    if options.region not in {None, arm.location}:
        yield Check("region", False, f"{options.workspace} is in {arm.location}", f"set region = {arm.location!r}")
    yield _try("registry", lambda: _registry(images))
    yield _try("storage", lambda: _storage(storage))
    yield _try("outbound network", lambda: check_egress(arm, options))
    if options.identity is not None:
        yield _try("endpoint identity", lambda: parts.pulling.check(_CALL_S))
    if options.replicas.max > options.replicas.min:
        yield _try("autoscale", lambda: _autoscale(arm))
    yield _try("quota", lambda: _quota(arm, options, machine))
    yield from _granted.checks(arm, options, target)


def _try(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except SdkError as error:
        return Check(name, False, error.message, error.hint)


def _registry(images: Images) -> str:
    """Request a token to push with and check its rights: a registry grants fewer rights instead of refusing.

    Raises:
        AuthError: The caller may not push.
    """
    granted = images.granted(_CALL_S)
    if granted is not None and "push" not in granted:
        raise AuthError(
            f"{images.host}: your identity may {' and '.join(sorted(granted)) or 'do nothing'} there, but not push",
            hint=advice(PUSH),
        )
    return images.host


def _storage(storage: Storage) -> str:
    """Write a lease and remove it, since reading proves nothing about writing.

    Raises:
        ConflictError: Another doctor holds the lease.
    """
    name = f"doctor-{uuid.uuid4().hex[:8]}"
    record = storage.write(name, "{}", None, _CALL_S)
    storage.release(name, record.etag, _CALL_S)
    return f"{DATASTORE}: ready for leases"


def _autoscale(arm: Arm) -> str:
    path = f"{arm.group_path}/providers/Microsoft.Insights/autoscaleSettings"
    found = sum(1 for _ in arm.values(path, "list autoscale settings", timeout=_CALL_S, api=AUTOSCALE_API))
    return f"{found} settings in the resource group"


def _quota(arm: Arm, options: AzureMLOptions, machine: Callable[[str | None], PriceRow | None]) -> str:
    """Return how many cores of the instance's family are free, and how many one deployment takes.

    Raises:
        QuotaError: Too few cores are free.
    """
    row, family = machine(options.instance), family_of(options.instance or "")
    path = f"{arm.workspace_path.partition('/resourceGroups/')[0]}/providers/Microsoft.MachineLearningServices"
    usages = arm.values(f"{path}/locations/{arm.location}/usages", "read quota", timeout=_CALL_S)
    found = next((one for one in usages if str(table(one.get("name")).get("value")).lower() == family.lower()), None)
    if row is None or found is None:
        return f"not known for {options.instance}"
    free = int(found["limit"]) - int(found["currentValue"])
    need = math.ceil(options.replicas.min * _SPARE) * int(row.vcpu)
    if free < need:
        raise QuotaError(
            f"{family}: {free} cores are free, one deployment takes {need}",
            hint="ask for more quota in the portal, or name another instance",
        )
    return f"{family}: {free} cores are free, one deployment takes {need}"


def family_of(instance: str) -> str:
    """Return the family under which Azure counts the cores of an instance type.

    Example:
        >>> family_of("Standard_DS2_v2"), family_of("Standard_D4as_v4")
        ('standardDSv2Family', 'standardDASv4Family')
    """
    found = _TYPE.fullmatch(instance)
    if found is None:
        return ""
    version = f"v{found['version']}" if found["version"] else ""
    return f"standard{found['family']}{found['more'].upper()}{version}Family"
