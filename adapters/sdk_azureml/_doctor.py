"""What a target needs, tried out: who we are, the workspace, its registry, its storage, the quota."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from sdk.errors import QuotaError, SdkError
from sdk.types import Check

from ._storage import DATASTORE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sdk.prices import PriceRow

    from ._arm import Arm
    from ._images import Images
    from ._storage import Storage
    from .options import AzureMLOptions

_CALL_S = 20.0
_SPARE = 1.2  # of the instances of an endpoint, which Azure keeps free for updates
_TYPE = re.compile(r"Standard_(?P<family>[A-Z]+)\d+(?P<more>[a-z]*)(?:_v(?P<version>\d))?")


def checks(
    arm: Arm,
    images: Images,
    storage: Storage,
    options: AzureMLOptions,
    machine: Callable[[str | None], PriceRow | None],
) -> Iterator[Check]:
    """One real call each; nothing further when the workspace cannot be reached."""
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
    yield _try(
        "storage", lambda: f"{DATASTORE}: {'a lease' if storage.read('doctor', _CALL_S) else 'ready for leases'}"
    )
    yield _try("quota", lambda: _quota(arm, options, machine))


def _try(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except SdkError as error:
        return Check(name, False, error.message, error.hint)


def _registry(images: Images) -> str:
    images.login(images.host)
    return images.host


def _quota(arm: Arm, options: AzureMLOptions, machine: Callable[[str | None], PriceRow | None]) -> str:
    """How many cores of the instance's family are free, and how many one deployment takes.

    Raises:
        QuotaError: Too few.
    """
    row, family = machine(options.instance), family_of(options.instance or "")
    path = f"{arm.workspace_path.partition('/resourceGroups/')[0]}/providers/Microsoft.MachineLearningServices"
    usages = arm.values(f"{path}/locations/{arm.location}/usages", "read quota", timeout=_CALL_S)
    found = next((one for one in usages if one["name"]["value"].lower() == family.lower()), None)
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
    """The family under which Azure counts the cores of an instance type.

    Example:
        >>> family_of("Standard_DS2_v2"), family_of("Standard_D4as_v4")
        ('standardDSv2Family', 'standardDASv4Family')
    """
    found = _TYPE.fullmatch(instance)
    if found is None:
        return ""
    version = f"v{found['version']}" if found["version"] else ""
    return f"standard{found['family']}{found['more'].upper()}{version}Family"
