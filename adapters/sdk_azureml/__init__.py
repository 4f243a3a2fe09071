"""The `azureml` target: managed online endpoints and command jobs of Azure Machine Learning."""

from .adapter import AzureMLAdapter
from .options import AzureMLOptions

__all__ = ["AzureMLAdapter", "AzureMLOptions"]
