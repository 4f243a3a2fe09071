"""Which right a refused call needs, and which role of Azure has it.

Source of the roles: https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
"""

from __future__ import annotations

import re

_ACTION = re.compile(r"perform action '([^']+)'")
_ROLES = (  # beginning of an action, in small letters; the role that has it, and where to give it
    ("microsoft.machinelearningservices/workspaces/datastores/listsecrets", "AzureML Data Scientist", "the workspace"),
    ("microsoft.machinelearningservices/locations/", "Reader", "the subscription"),
    ("microsoft.machinelearningservices/", "AzureML Data Scientist", "the workspace"),
    ("microsoft.insights/metrics", "Monitoring Reader", "the workspace"),
    ("microsoft.insights/autoscalesettings", "Contributor", "the resource group"),
    ("microsoft.containerregistry/registries/read", "Reader", "the workspace's registry"),
    ("microsoft.containerregistry/", "AcrPush", "the workspace's registry"),
    ("microsoft.storage/", "Storage Blob Data Contributor", "the workspace's storage account"),
)
_BY_OPERATION = {  # for refusals that name no action
    "sign in to the registry": "give your identity the role AcrPush on the workspace's registry; if the registry uses "
    "RBAC with repository permissions (ABAC), Container Registry Repository Writer instead",
    "delete image": "give your identity the role AcrDelete on the workspace's registry",
    "read registry": "give your identity the role Reader on the workspace's registry",
    "read metrics": "give your identity the role Monitoring Reader on the workspace",
    **dict.fromkeys(
        ("read lease", "write lease", "delete lease", "list blobs", "download"),
        "give your identity the role Storage Blob Data Contributor on the workspace's storage account",
    ),
    **dict.fromkeys(
        ("list autoscale settings", "read autoscale", "create autoscale", "delete autoscale"),
        "give your identity Microsoft.Insights/autoscaleSettings/* on the resource group; the role Contributor has it",
    ),
}


def hint_of(operation: str, message: str) -> str | None:
    """What to ask an administrator for after a refusal: the right of that very call; ``None`` if it is not known.

    Example:
        >>> hint_of("read metrics", "… to perform action 'Microsoft.Insights/metrics/read' over scope …")
        'give your identity Microsoft.Insights/metrics/read on the workspace; the role Monitoring Reader has it'
    """
    found = _ACTION.search(message)
    if found is None:
        return _BY_OPERATION.get(operation)
    action = found[1]
    for prefix, role, place in _ROLES:
        if action.lower().startswith(prefix):
            return f"give your identity {action} on {place}; the role {role} has it"
    return f"give your identity {action}"
