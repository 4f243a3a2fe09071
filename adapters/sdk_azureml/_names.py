"""Conversion between neutral ids and names on Azure: pure functions of the target's settings.

The name of an endpoint is part of a DNS name, which is unique among all customers of the region. So it gets a suffix
that is the same in every process and on every machine, and different in every workspace.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .options import AzureMLOptions

ENVIRONMENT_VERSION = "1"
REPOSITORY = "mlport"  # one repository for all images, so that they share their blobs
_ENVIRONMENT = "mlport-"
_SUFFIX = 8  # with the longest neutral name (23) and a hyphen: 32, Azure's limit


def workspace_path(options: AzureMLOptions) -> str:
    """Return the resource id of the workspace."""
    return f"{group_path(options)}/providers/Microsoft.MachineLearningServices/workspaces/{options.workspace}"


def group_path(options: AzureMLOptions) -> str:
    """Return the resource id of the workspace's resource group."""
    return f"/subscriptions/{options.subscription}/resourceGroups/{options.resource_group}"


def suffix(options: AzureMLOptions) -> str:
    """Return the suffix that makes the names of this workspace unique: eight hex characters."""
    return hashlib.sha256(workspace_path(options).lower().encode()).hexdigest()[:_SUFFIX]


def endpoint_name(name: str, options: AzureMLOptions) -> str:
    """Return the name of an endpoint on Azure."""
    return f"{name}-{suffix(options)}"


def deployment_id(endpoint: str, deployment: str) -> str:
    """Return the neutral id of a deployment as a resource."""
    return f"{endpoint}.{deployment}"


def split_deployment_id(text: str) -> tuple[str, str]:
    """Split a deployment's neutral id into endpoint and deployment."""
    endpoint, _, deployment = text.partition(".")
    return endpoint, deployment


def environment_name(image: str) -> str:
    """Return the name of an image's environment."""
    return f"{_ENVIRONMENT}{image}"


def image_of_environment(name: str) -> str | None:
    """Return the image of an environment, given its name; ``None`` if the environment is not from this SDK."""
    ours = name.lower()
    image = ours.removeprefix(_ENVIRONMENT)
    return image if ours.startswith(_ENVIRONMENT) and len(image) == 32 and image.isalnum() else None


def autoscale_name(endpoint: str, deployment: str) -> str:
    """Return the name of a deployment's autoscale setting; both names are those on Azure."""
    return f"mlport-{endpoint}-{deployment}"
