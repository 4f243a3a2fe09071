"""A mini Azure ML, as official clients see it: resource manager, workspace, storage, registry and scoring."""

from .cloud import AzureMLCloud

__all__ = ["AzureMLCloud"]
