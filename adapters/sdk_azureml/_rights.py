"""Rights that each call needs, the verbs that make it, and Azure's roles for it: for policies, doctor and hints.

Source of the roles: https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
Source of the actions: https://learn.microsoft.com/azure/role-based-access-control/resource-provider-operations
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, NamedTuple

from sdk.adapter.rights import LISTS_OWN, READS_ENDPOINTS, TAKES_LEASES, neutral, row

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdk.adapter.rights import CallRights, RightsRow

Scope = Literal["workspace", "group", "subscription"]


class Right(NamedTuple):
    """An action, or with ``data`` a data action, and the scope on which it is granted.

    ``only`` names the setting of a target without which the action is not needed.
    """

    action: str
    scope: Scope = "workspace"
    data: bool = False
    only: str = ""


_CHANGES = "deploy traffic finalize delete gc"
_SHARED = "gc --shared"
_BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
_IMAGES = "Microsoft.ContainerRegistry/registries"


def _row(verbs: str, *rights: Right | str, also: str = "") -> RightsRow[Right]:
    return row(verbs, *(one if isinstance(one, Right) else _own(one) for one in rights), also=also)


def _own(action: str) -> Right:
    return Right(f"Microsoft.MachineLearningServices/workspaces/{action}")


def _blob(action: str) -> Right:
    return Right(f"{_BLOBS}/{action}", "group", data=True)


_PUSH, _PULL, _DROP = (Right(f"{_IMAGES}/{one}", "group") for one in ("push/write", "pull/read", "artifacts/delete"))
_ENVIRONMENTS = ("environments/read", "environments/versions/read")
_SCALING = "Microsoft.Insights/autoscaleSettings"
_METRICS = Right("Microsoft.Insights/metrics/read")
_IDENTITY = "Microsoft.ManagedIdentity/userAssignedIdentities"
CALLS: Mapping[str, RightsRow[Right]] = {
    "endpoints:GetEndpoint": _row(f"{READS_ENDPOINTS} train", "onlineEndpoints/read"),
    "endpoints:ListEndpoints": _row(LISTS_OWN, "onlineEndpoints/read"),
    "endpoints:PutEndpoint": _row(
        _CHANGES, "onlineEndpoints/write", Right(f"{_IDENTITY}/assign/action", "group", only="identity")
    ),
    "endpoints:DeleteEndpoint": _row("deploy delete gc", "onlineEndpoints/delete"),
    "endpoints:ListKeys": _row("predict stream deploy", "onlineEndpoints/listKeys/action"),
    "endpoints:GetEndpointToken": _row("predict stream deploy", "onlineEndpoints/token/action"),
    "scoring:Score": _row("predict stream deploy", "onlineEndpoints/score/action"),
    "deployments:GetDeployment": _row(_CHANGES, "onlineEndpoints/deployments/read"),
    "deployments:ListDeployments": _row(READS_ENDPOINTS, "onlineEndpoints/deployments/read"),
    "deployments:PutDeployment": _row("deploy gc", "onlineEndpoints/deployments/write"),
    "deployments:DeleteDeployment": _row("deploy finalize delete gc", "onlineEndpoints/deployments/delete"),
    "deployments:GetLogs": _row("logs monitor deploy", "onlineEndpoints/deployments/getLogs/action"),
    "assets:GetEnvironment": _row(f"{READS_ENDPOINTS} train", *_ENVIRONMENTS),
    "assets:ListEnvironments": _row(LISTS_OWN, *_ENVIRONMENTS),
    "assets:ListEnvironmentVersions": _row(LISTS_OWN, *_ENVIRONMENTS),
    "assets:GetEnvironmentContainer": _row("deploy train gc", *_ENVIRONMENTS, also=_SHARED),
    "assets:PutEnvironment": _row("deploy train", "environments/versions/write", also=_SHARED),
    "assets:PutEnvironmentContainer": _row("deploy train", "environments/write", also=_SHARED),
    "jobs:GetJob": _row("train stop gc", "jobs/read"),
    "jobs:ListJobs": _row(LISTS_OWN, "jobs/read"),
    "jobs:PutJob": _row("train", "jobs/write"),
    "jobs:CancelJob": _row("train stop", "jobs/cancel/action"),
    "jobs:GetCompute": _row("train", "computes/read"),
    "history:GetRunDetails": _row("train stop", "experiments/runs/read"),
    "arm:GetWorkspace": _row(f"{READS_ENDPOINTS} train doctor", "read"),
    "arm:GetRegistry": _row(f"{READS_ENDPOINTS} train doctor", Right(f"{_IMAGES}/read", "group")),
    "arm:GetDatastore": _row(f"{TAKES_LEASES} doctor", "datastores/read"),
    "arm:ListSecrets": _row(f"{TAKES_LEASES} doctor", "datastores/listsecrets/action"),
    "arm:ListUsages": _row("doctor", Right("Microsoft.MachineLearningServices/locations/usages/read", "subscription")),
    "arm:ListPermissions": _row("doctor", Right("Microsoft.Authorization/permissions/read", "group")),
    "arm:ListRoleAssignments": _row(
        "deploy doctor", Right("Microsoft.Authorization/roleAssignments/read", "group", only="identity")
    ),
    "arm:GetIdentity": _row("deploy doctor", Right(f"{_IDENTITY}/read", "group", only="identity")),
    "arm:GetOperation": _row(_CHANGES),
    "arm:GetDiscovery": _row("train stop"),
    "identity:GetToken": _row(f"{READS_ENDPOINTS} train stop doctor"),
    "logs:GetLog": _row("train"),
    "monitor:ListAutoscale": _row(f"{LISTS_OWN} doctor", Right(f"{_SCALING}/read", "group")),
    "monitor:GetAutoscale": _row(READS_ENDPOINTS, Right(f"{_SCALING}/read", "group")),
    "monitor:PutAutoscale": _row("deploy gc", Right(f"{_SCALING}/write", "group")),
    "monitor:DeleteAutoscale": _row("deploy finalize delete gc", Right(f"{_SCALING}/delete", "group")),
    "monitor:GetEndpointMetrics": _row("monitor", _METRICS),
    "monitor:GetDeploymentMetrics": _row("monitor", _METRICS),
    "acr:ExchangeToken": _row(f"{READS_ENDPOINTS} train doctor"),
    "acr:GetToken": _row(f"{READS_ENDPOINTS} train doctor"),
    "registry:HeadBlob": _row("deploy train", _PULL),
    "registry:GetBlob": _row("deploy train", _PULL),
    "registry:HeadManifest": _row(f"{READS_ENDPOINTS} train", _PULL),
    "registry:GetManifest": _row(f"{READS_ENDPOINTS} train", _PULL),
    "registry:StartUpload": _row("deploy train", _PUSH),
    "registry:UploadChunk": _row("deploy train", _PUSH),
    "registry:FinishUpload": _row("deploy train", _PUSH),
    "registry:PutManifest": _row("deploy train", _PUSH),
    "registry:DeleteManifest": _row("", _DROP, also=_SHARED),
    "blob:GetBlob": _row(TAKES_LEASES, _blob("read"), also=_SHARED),
    "blob:ListBlobs": _row(f"{LISTS_OWN} train", _blob("read")),
    "blob:PutBlob": _row(f"{TAKES_LEASES} doctor", _blob("write")),
    "blob:PutBlock": _row("train", _blob("write")),
    "blob:PutBlockList": _row("train", _blob("write")),
    "blob:DeleteBlob": _row(f"{TAKES_LEASES} doctor", _blob("delete")),
}
"""By call, named as in the call logs of mini clouds: service and operation."""

RUNTIME = (_PULL, _blob("read"), _blob("write"), _blob("delete"))
"""What a user-assigned identity of endpoints or jobs does: pull images, read and write data."""

_ACTION = re.compile(r"perform action '([^']+)'")
_REGISTRY, _ACCOUNT = "the workspace's registry", "the workspace's storage account"
_ABAC = "if the registry has repository permissions (ABAC), Container Registry Repository {} instead"
ROLES = (  # start of an action, in lower case; the role that has it, where to assign it, and a remark
    ("microsoft.machinelearningservices/locations/", "Reader", "the subscription", ""),
    ("microsoft.machinelearningservices/", "AzureML Data Scientist", "the workspace", ""),
    ("microsoft.insights/metrics", "Monitoring Reader", "the workspace", ""),
    ("microsoft.insights/autoscalesettings", "Contributor", "the resource group", ""),
    ("microsoft.containerregistry/registries/read", "Reader", _REGISTRY, ""),
    ("microsoft.containerregistry/registries/pull", "AcrPull", _REGISTRY, _ABAC.format("Reader")),
    ("microsoft.containerregistry/registries/artifacts/delete", "AcrDelete", _REGISTRY, ""),
    ("microsoft.containerregistry/", "AcrPush", _REGISTRY, _ABAC.format("Writer")),
    ("microsoft.storage/", "Storage Blob Data Contributor", _ACCOUNT, ""),
)
"""The only place that names roles: all hints take them from here."""
_CALL_OF = {  # for refusals without an action: the call that an operation makes
    "sign in to the registry": "registry:PutManifest",
    "delete image": "registry:DeleteManifest",
    "read registry": "arm:GetRegistry",
    "read metrics": "monitor:GetEndpointMetrics",
    **dict.fromkeys(("read lease", "read blob", "list blobs", "download"), "blob:GetBlob"),
    **dict.fromkeys(("write lease", "upload"), "blob:PutBlob"),
    **dict.fromkeys(("delete lease", "delete blob"), "blob:DeleteBlob"),
    **dict.fromkeys(("list autoscale settings", "read autoscale"), "monitor:GetAutoscale"),
    "create autoscale": "monitor:PutAutoscale",
    "delete autoscale": "monitor:DeleteAutoscale",
}
PULL, PUSH, WRITE_BLOBS = _PULL.action, _PUSH.action, _blob("write").action
READ_WORKSPACE = _own("read").action


def role_of(action: str) -> str | None:
    """Return the role that has an action.

    Example:
        >>> role_of("Microsoft.ContainerRegistry/registries/pull/read")
        'AcrPull'
    """
    return next((role for begin, role, _, _ in ROLES if action.lower().startswith(begin)), None)


def advice(action: str, whose: str = "your identity") -> str:
    """Return what to ask an administrator for.

    Example:
        >>> advice("Microsoft.Insights/metrics/read")
        'give your identity Microsoft.Insights/metrics/read on the workspace; the role Monitoring Reader has it'
    """
    for begin, role, place, more in ROLES:
        if action.lower().startswith(begin):
            return f"give {whose} {action} on {place}; the role {role} has it{more and f'; {more}'}"
    return f"give {whose} {action}"


def call_rights() -> list[CallRights]:
    """Return the table in neutral form."""
    return neutral(CALLS, lambda right: right.action)


def hint_of(operation: str, message: str) -> str | None:
    """Return what to ask an administrator for after a refusal: the right for that call; ``None`` if it is unknown.

    Example:
        >>> hint_of("read metrics", "… to perform action 'Microsoft.Insights/metrics/read' over scope …")
        'give your identity Microsoft.Insights/metrics/read on the workspace; the role Monitoring Reader has it'
    """
    found = _ACTION.search(message)
    if found is not None:
        return advice(found[1])
    call = _CALL_OF.get(operation)
    return None if call is None else advice(CALLS[call].rights[0].action)
