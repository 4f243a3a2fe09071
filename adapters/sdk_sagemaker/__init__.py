"""The `sagemaker` target: endpoints and training jobs on Amazon SageMaker AI."""

from .adapter import SagemakerAdapter
from .options import SagemakerOptions

__all__ = ["SagemakerAdapter", "SagemakerOptions"]
