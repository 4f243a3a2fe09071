"""Checks that the storage and the registry belong to the workspace, and are the same as before.

Both are found through the workspace, so an attacker cannot reserve their names in advance. But a user with write access
to a workspace can point its default datastore at a foreign account, which would then receive leases and job outputs.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from sdk.errors import SecurityError

from ._errors import PROVIDER

if TYPE_CHECKING:
    from sdk.adapter.identities import Identities

    from ._arm import Arm
    from .options import AzureMLOptions

_REGISTRIES = ("azurecr.io", "azurecr.cn", "azurecr.us")
_REGISTRY_ID = re.compile(
    r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.ContainerRegistry/registries/[a-z0-9-]+",
    re.IGNORECASE,
)


class Owners:
    """The resources that belong to one workspace.

    Args:
        arm: The client of the resource manager.
        options: The target's settings.
        identities: The record of resources seen before.
    """

    def __init__(self, arm: Arm, options: AzureMLOptions, identities: Identities) -> None:
        self.arm, self.options, self._identities = arm, options, identities

    def check_store(self, store: dict[str, Any]) -> None:
        """Refuse a datastore in an account that is not the workspace's own.

        Raises:
            SecurityError: The datastore is in another account, or was in another one before.
        """
        account = _last(str(store["accountName"]).rstrip("#"))
        wanted = self.options.storage_account or _last(
            str(self.arm.workspace["properties"].get("storageAccount") or "")
        )
        if account.lower() != wanted.lower():
            raise self._refused(
                f"the default datastore is in the storage account {account!r}, that of the workspace is {wanted!r}",
                account,
                'put it right with az ml datastore update; if it is meant, name it with storage_account = "…"',
            )
        name = f"datastore of {self.arm.workspace_path}"
        self._identities.check(name, {"storage account": account, "container": str(store["containerName"])})

    def check_registry_id(self, known: str) -> None:
        """Refuse a registry id of the workspace that is malformed, before the registry is read.

        Raises:
            SecurityError: The id is not that of a registry.
        """
        if not _REGISTRY_ID.fullmatch(known):
            raise self._refused(
                f"the workspace names {known!r} as its registry, which is not the id of a registry", known, None
            )

    def check_registry(self, wanted: str, found: dict[str, Any], host: str) -> None:
        """Refuse a registry that is not the workspace's.

        Raises:
            SecurityError: It is another one, is not a registry of Azure, or was another one before.
        """
        if str(found.get("id", "")).lower() != wanted.lower():
            raise self._refused(f"the registry of the workspace is {wanted}, not {found.get('id')}", wanted, None)
        self.arm.place.check("the registry of the workspace", f"https://{host}", *_REGISTRIES)
        seen = {"id": wanted.lower()} if self.arm.place.mini else {"id": wanted.lower(), "host": host}
        self._identities.check(f"registry of {self.arm.workspace_path}", seen)

    def _refused(self, message: str, resource: str, hint: str | None) -> SecurityError:
        usual = 'look at the workspace: az ml workspace show; or name another one with workspace = "…"'
        return SecurityError(message, provider=PROVIDER, operation="verify", resource=resource, hint=hint or usual)


def _last(path: str) -> str:
    """Return the last part of an Azure path, which is a name."""
    return path.rstrip("/").rpartition("/")[2]
