"""Enforcement of custom roles, and the call that lists what a caller may do.

Source: https://learn.microsoft.com/azure/role-based-access-control/resource-provider-operations
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..guard import Guard, Need, fits
from ..registry import refusal as registry_refusal
from .answers import DENIED, ArmRoutes, action_of, answer, failure, table
from .blobs import ACCOUNT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ..app import Match, Request, Response

Policy = dict[str, Any]

# Services that are not part of the resource manager, or that authorize by a signature.
_FREE = {"identity", "acr", "logs", "blob", "open"}
_UNCHECKED = {"GetOperation", "GetDiscovery", "GetMetadata"}
_REGISTRY = {
    **dict.fromkeys(("HeadBlob", "GetBlob", "HeadManifest", "GetManifest"), "pull/read"),
    **dict.fromkeys(("StartUpload", "UploadChunk", "FinishUpload", "PutManifest"), "push/write"),
    "DeleteManifest": "artifacts/delete",
}
_METRICS = re.compile(r"/providers/Microsoft\.Insights/metrics$", re.IGNORECASE)
_SCOPE = "{scope:path}/providers/Microsoft.Authorization/permissions"
_API = "Microsoft.MachineLearningServices/workspaces"


def needed_for_image(registry: str) -> list[Need]:
    """Return what an identity needs so that its containers can pull their image."""
    return [Need("Microsoft.ContainerRegistry/registries/pull/read", registry)]


def needed_for_blobs(group: str, *verbs: str) -> list[Need]:
    """Return what an identity needs for some verbs, such as ``read``, on blobs of a storage account in a group."""
    account = f"{group}/providers/Microsoft.Storage/storageAccounts/{ACCOUNT}"
    return [Need(f"Microsoft.Storage/storageAccounts/blobServices/containers/blobs/{verb}", account) for verb in verbs]


class Rights(Guard[Policy]):
    """The rights of callers according to the enforced roles.

    Args:
        workspace: Resource id of the workspace that exists from the start.
        registry: Returns the resource id of its registry.
        valid: Checks whether a token is one of this cloud.
    """

    def __init__(self, workspace: str, registry: Callable[[], str], valid: Callable[[str], bool]) -> None:
        super().__init__()
        self._workspace, self._registry = workspace, registry
        self.routes = ArmRoutes("arm", valid)
        self.routes.add("GET", _SCOPE, "ListPermissions")(self._permissions)

    def needs_of(self, request: Request, match: Match) -> Sequence[Need]:
        """Return the actions that a call needs, according to the operations of the resource providers."""
        return list(self._needs(request, match))

    def _needs(self, request: Request, match: Match) -> Iterator[Need]:
        if match.service in _FREE or match.operation in _UNCHECKED:
            return
        if match.service == "registry":
            if match.operation in _REGISTRY:
                action = f"Microsoft.ContainerRegistry/registries/{_REGISTRY[match.operation]}"
                yield Need(action, self._registry())
        elif match.service == "history":
            yield Need(f"{_API}/experiments/runs/read", self._workspace)
        elif match.service == "scoring":
            if "." in request.headers.get("authorization", ""):  # a token of the directory, not a key
                yield Need(f"{_API}/onlineEndpoints/score/action", self._workspace)
        elif _METRICS.search(request.path):
            yield Need("Microsoft.Insights/metrics/read", request.path)
        else:
            yield Need(action_of(request.method, request.path), request.path)
        yield from self._of_identities(request, match)

    @staticmethod
    def _of_identities(request: Request, match: Match) -> Iterator[Need]:
        """Yield the right to assign each user-assigned identity of an endpoint."""
        if match.operation != "PutEndpoint":
            return
        for name in table(table(table(request.json()).get("identity")).get("userAssignedIdentities")):
            yield Need("Microsoft.ManagedIdentity/userAssignedIdentities/assign/action", name)

    def allows(self, policy: Policy, need: Need) -> bool:
        """Return whether a role with the action is assigned on the resource or above it."""
        return any(_gives(role, need.action) for role in self._roles(policy, need.resource))

    @staticmethod
    def _roles(policy: Policy, resource: str) -> list[dict[str, Any]]:
        """Return the roles that are assigned on a resource or above it."""
        roles = {role["Name"]: role for role in policy["roles"]}
        path = f"{resource.lower()}/"
        return [roles[one["role"]] for one in policy["assignments"] if path.startswith(f"{one['scope'].lower()}/")]

    def refusal(self, request: Request, match: Match, need: Need) -> Response:
        """Return Azure's refusal."""
        if match.service == "registry":
            text = f"requested access to the resource is denied: {need.action}"
            return registry_refusal("DENIED", text, status=403)
        return failure(403, "AuthorizationFailed", DENIED.format(action=need.action, path=need.resource))

    def _permissions(self, request: Request) -> Response:
        """Return what the caller may do on a resource: everything, unless a policy is enforced."""
        policy = self.policy
        if policy is None:
            return answer({"value": [{"actions": ["*"], "notActions": [], "dataActions": ["*"], "notDataActions": []}]})
        roles = self._roles(policy, request.params["scope"])
        return answer(
            {
                "value": [
                    {
                        "actions": one["Actions"],
                        "notActions": one["NotActions"],
                        "dataActions": one["DataActions"],
                        "notDataActions": one["NotDataActions"],
                    }
                    for one in roles
                ]
            }
        )


def _gives(role: dict[str, Any], action: str) -> bool:
    held = any(fits(one.lower(), action.lower()) for one in (*role["Actions"], *role["DataActions"]))
    return held and not any(fits(one.lower(), action.lower()) for one in role["NotActions"])
