"""Which name a neutral id has on Azure, and back: pure functions of the target's settings.

The name of an endpoint is part of a DNS name and is shared with every customer of the region, so it gets a suffix that
is the same in every process and on every machine, and different in every workspace.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .options import AzureMLOptions

ENVIRONMENT_VERSION = "1"
REPOSITORY = "mlport"  # of all images: one repository lends its blobs to itself
_ENVIRONMENT = "mlport-"
_SUFFIX = 8  # with the longest neutral name (23) and a hyphen: 32, the most that Azure takes


def workspace_path(options: AzureMLOptions) -> str:
    """The resource id of the workspace."""
    return f"{group_path(options)}/providers/Microsoft.MachineLearningServices/workspaces/{options.workspace}"


def group_path(options: AzureMLOptions) -> str:
    """The resource id of the workspace's resource group."""
    return f"/subscriptions/{options.subscription}/resourceGroups/{options.resource_group}"


def suffix(options: AzureMLOptions) -> str:
    """What makes the names of this workspace its own: eight hex characters."""
    return hashlib.sha256(workspace_path(options).lower().encode()).hexdigest()[:_SUFFIX]


def endpoint_name(name: str, options: AzureMLOptions) -> str:
    """The name of an endpoint on Azure."""
    return f"{name}-{suffix(options)}"


def deployment_id(endpoint: str, deployment: str) -> str:
    """The neutral id of a deployment as a resource."""
    return f"{endpoint}.{deployment}"


def split_deployment_id(text: str) -> tuple[str, str]:
    """Endpoint and deployment of such an id."""
    endpoint, _, deployment = text.partition(".")
    return endpoint, deployment


def environment_name(image: str) -> str:
    """The name of the environment of an image."""
    return f"{_ENVIRONMENT}{image}"


def image_of_environment(name: str) -> str | None:
    """The image of an environment by its name; ``None`` when it is not one of ours."""
    ours = name.lower()
    image = ours.removeprefix(_ENVIRONMENT)
    return image if ours.startswith(_ENVIRONMENT) and len(image) == 32 and image.isalnum() else None


def autoscale_name(endpoint: str, deployment: str) -> str:
    """The name of the autoscale setting of a deployment; both names are those on Azure."""
    return f"mlport-{endpoint}-{deployment}"
