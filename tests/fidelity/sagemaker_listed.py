"""What the SageMaker mini cloud serves, for the page and for the tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdk_contract.clouds.sagemaker.members import CONTROL, QUOTAS, RUNTIME
from tests.fidelity.botocore_models import members_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdk_contract.clouds.members import Members
    from tests.fidelity.models import Member

SOURCE = "botocore's `sagemaker`, `sagemaker-runtime` and `service-quotas`"
NOTES = """All other operations of these services are refused with `UnknownOperationException`. The figures leave out
what [moto](https://docs.getmoto.org) plays (S3, ECR's control plane, IAM, STS, CloudWatch, Logs, tagging, application
autoscaling, Secrets Manager, KMS): moto refuses operations that it does not have, but its members were not counted.
"""
TABLES = {"sagemaker": CONTROL, "sagemaker-runtime": RUNTIME, "service-quotas": QUOTAS}


def operations() -> Iterator[tuple[str, list[Member], Members]]:
    """Each operation with the members of its input and how they are played."""
    for service, tables in TABLES.items():
        for operation in sorted(tables):
            yield operation, members_of(service, operation), tables[operation]
