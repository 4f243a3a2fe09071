"""The SageMaker mini cloud: our own SageMaker, its runtime and ECR's data plane, the rest by moto, behind one port."""

from .cloud import SagemakerCloud

__all__ = ["SagemakerCloud"]
