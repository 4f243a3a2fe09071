"""Rights of the `sagemaker` target: the policy it gives is enough for every verb, and no larger than it must be."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any, ClassVar

from sdk.adapter import Kind
from sdk_contract.clouds.sagemaker.rig import SagemakerRig
from sdk_contract.rig import rig_fixture
from sdk_contract.suite_rights import RightsSuite, lived
from sdk_sagemaker import SagemakerAdapter, _plan

__all__ = ["lived"]

_REPOSITORIES = "arn:aws:ecr:us-east-1:123456789012:repository"
_OBJECTS = "arn:aws:s3:::sagemaker-mlport-123456789012-us-east-1/mlport/*"


class Quick(SagemakerAdapter):
    """The mini cloud has no requests that arrive late, so nothing is waited for."""

    kinds: ClassVar[Mapping[str, Kind]] = _plan.kinds(settle_s=0.0)


class Mini(SagemakerRig):
    """Every test on one account."""

    adapter = Quick

    def settings(self) -> Mapping[str, Any]:
        return {**super().settings(), "delete_logs": True}


rig = rig_fixture(Mini)


class TestRights(RightsSuite):
    """See the suite."""

    rare: ClassVar[Mapping[str, str]] = {
        "registry:GetBlob": "the registry of the base mounts its layers",
        "registry:GetManifest": "the base may have been read before",
        "registry:HeadManifest": "for other bases",
        "registry:UploadChunk": "layers go in one piece",
        "s3:AbortMultipartUpload": "for uploads that died a day ago",
        "sagemaker:DeleteTrainingJob": "records of jobs are kept",
        "servicequotas:ListAWSDefaultServiceQuotas": "the account has a value of its own for each quota",
        "secretsmanager:GetSecretValue": "the target has no secrets",
        "logs:DescribeLogGroups": "for endpoints that are gone",
    }
    untested = frozenset(
        {
            "servicequotas:ListAWSDefaultServiceQuotas on *",
            f"ecr:BatchGetImage on ['{_REPOSITORIES}/sagemaker-mlport', '{_REPOSITORIES}/base']",
            f"s3:AbortMultipartUpload on {_OBJECTS}",
            "sagemaker:DeleteTrainingJob on arn:aws:sagemaker:us-east-1:123456789012:training-job/*",
            "logs:DescribeLogGroups on arn:aws:logs:us-east-1:123456789012:*",
        }
    )
    sampled = ("sagemaker:CreateModel on arn:aws:sagemaker:us-east-1:123456789012:model/*",)

    untested_of_containers: ClassVar[Mapping[str, str]] = {
        "cloudwatch:PutMetricData": "AWS's documents ask for it; SageMaker writes its metrics by itself",
    }
    sampled_of_containers = "s3:PutObject"

    def without(self, policy: Any) -> Iterator[tuple[str, Any]]:
        for at, statement in enumerate(policy["Statement"]):
            for action in statement["Action"]:
                rest = deepcopy(policy)
                rest["Statement"][at]["Action"].remove(action)
                yield f"{action} on {statement['Resource']}", rest
