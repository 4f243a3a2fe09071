"""A mini Azure ML: what official clients know of resource manager, workspace, storage, registry and scoring."""

from .cloud import AzureMLCloud

__all__ = ["AzureMLCloud"]
