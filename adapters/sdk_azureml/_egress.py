"""The outbound network of containers: what the workspace allows for a deployment, checked before an image is built.

A workspace has either a managed virtual network, whose outbound rules hold for all its deployments, or no public
address, in which case a deployment may be given private outbound connections of its own.
Source: https://learn.microsoft.com/azure/machine-learning/concept-secure-online-endpoint (likely)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdk.errors import ConfigError

from ._json import table

if TYPE_CHECKING:
    from ._arm import Arm
    from .options import AzureMLOptions


def check_egress(arm: Arm, options: AzureMLOptions) -> str:
    """Refuse private outbound connections of deployments where the workspace does not allow them.

    Returns:
        The outbound network, for `doctor`.

    Raises:
        ConfigError: The workspace has a managed virtual network, or a public address.
    """
    told = table(arm.workspace.get("properties"))
    mode = str(table(told.get("managedNetwork")).get("isolationMode") or "Disabled")
    if mode != "Disabled" and options.public_egress:
        return f"the workspace's managed network, {mode}"
    if options.public_egress:
        return "public"
    where = f"--name {options.workspace} --resource-group {options.resource_group}"
    if mode != "Disabled":
        raise ConfigError(
            f"public_egress = false: the workspace has a managed network ({mode}), whose rules hold for its containers",
            hint=f"leave public_egress out; see the rules with: az ml workspace show {where} --query managed_network",
        )
    if told.get("publicNetworkAccess") != "Disabled":
        raise ConfigError(
            "public_egress = false: the workspace has a public address; only one without may have deployments without "
            "access to the internet",
            hint=f"az ml workspace update {where} --public-network-access Disabled",
        )
    return "private connections of each deployment"
