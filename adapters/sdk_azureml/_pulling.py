"""The check, before an image is built, that an endpoint's user-assigned identity may pull from the registry.

Azure grants that right automatically only to an identity that it creates for the endpoint. Without the right, a
deployment fails after ten minutes.
Source: https://learn.microsoft.com/azure/machine-learning/how-to-troubleshoot-online-endpoints (certain)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdk.errors import AuthError, ConfigError, NotFoundError

from ._rights import PULL, role_of

if TYPE_CHECKING:
    from ._arm import Arm

_IDENTITY_API, _ROLES_API = "2023-01-31", "2022-04-01"


class Pulling:
    """The right of one identity to pull from the workspace's registry.

    Args:
        arm: The client of the resource manager.
        identity: Resource id of the identity; ``None`` for one that Azure creates, which gets the right automatically.
    """

    def __init__(self, arm: Arm, identity: str | None) -> None:
        self.arm, self._identity = arm, identity
        self._checked = identity is None

    def check(self, timeout: float) -> str:
        """Refuse an identity without any role on the registry; one with a role may have the right through it.

        Raises:
            ConfigError: The identity does not exist, or has no role.
        """
        if self._checked or self._identity is None:
            return "an identity of the endpoint's own, which Azure lets pull"
        try:
            roles = self._roles(timeout)
        except AuthError:  # no right to see roles: the deployment will show it
            return "not known: your identity may not read role assignments of the registry"
        if not roles:
            registry = self.arm.workspace["properties"].get("containerRegistry")
            raise ConfigError(
                f"identity = {self._identity!r} has no role on the workspace's registry, so no image can be pulled",
                hint=f"az role assignment create --role {role_of(PULL)} --scope {registry} --assignee-object-id "
                f"$(az identity show --ids {self._identity} --query principalId --output tsv) "
                "--assignee-principal-type ServicePrincipal; it takes some minutes until it is in force",
            )
        self._checked = True
        return f"{roles} role(s) of {self._identity} on the registry"

    def _roles(self, timeout: float) -> int:
        """Return how many roles the identity has on the registry, inherited ones included."""
        registry = self.arm.workspace["properties"].get("containerRegistry")
        try:
            response = self.arm.call("GET", str(self._identity), "read identity", timeout=timeout, api=_IDENTITY_API)
        except NotFoundError as error:
            raise ConfigError(f"identity = {self._identity!r} is not there", hint="az identity list") from error
        principal = str(response.json()["properties"]["principalId"])
        path = f"{registry}/providers/Microsoft.Authorization/roleAssignments"
        params = {"$filter": f"assignedTo('{principal}')"}
        return sum(1 for _ in self.arm.values(path, "list roles", timeout=timeout, api=_ROLES_API, params=params))
