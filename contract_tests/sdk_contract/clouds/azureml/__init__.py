"""A mini Azure ML: resource manager, workspace, storage, registry, monitor and scoring, as official clients know them."""

from .cloud import AzureMLCloud

__all__ = ["AzureMLCloud"]
