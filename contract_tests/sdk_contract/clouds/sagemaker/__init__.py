"""The SageMaker mini cloud: our own SageMaker, its runtime and ECR's data plane over moto, behind one port."""

from .cloud import ACCESS_KEY, SECRET_KEY, SagemakerCloud

__all__ = ["ACCESS_KEY", "SECRET_KEY", "SagemakerCloud"]
