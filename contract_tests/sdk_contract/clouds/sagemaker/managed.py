"""The managed policy AmazonSageMakerFullAccess, as far as it limits what mlport does beside SageMaker itself.

Objects and images are writable only where the name of the bucket or repository has ``sagemaker`` in it. Some calls are
not allowed at all: tags of buckets and repositories, lists of uploads in parts, filtered logs, quotas.
Source: https://docs.aws.amazon.com/aws-managed-policy/latest/reference/AmazonSageMakerFullAccess.html (version 26)
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from .errors import AwsError

if TYPE_CHECKING:
    from ..app import Request

#: Operations by the names that the mini cloud gives them.
_ANYWHERE = {
    "s3": ("CreateBucket", "HeadBucket", "ListObjects", "ListBuckets", "GetBucketLocation"),
    "ecr": (
        "BatchCheckLayerAvailability", "BatchGetImage", "CreateRepository", "Describe*", "GetAuthorizationToken",
        "GetDownloadUrlForLayer",
    ),
    "logs": ("CreateLogGroup", "CreateLogStream", "Describe*", "GetLogEvents", "PutLogEvents"),
    "iam": ("ListRoles",),
    "secretsmanager": ("ListSecrets",),
}  # fmt: skip
_BY_NAME = {
    "s3": ("GetObject", "HeadObject", "PutObject", "DeleteObject", "DeleteObjects", "PostObjectUploads", "PostObject"),
    "ecr": ("BatchDeleteImage", "DeleteRepository", "PutImage"),
}


class ManagedPolicy:
    """Whether the caller holds nothing but this policy.

    Attributes:
        enforced: If so, what it does not allow is refused.
    """

    def __init__(self) -> None:
        self.enforced = False

    def before(self, service: str, operation: str, request: Request) -> None:
        """Refuse a call that the policy does not allow.

        Raises:
            AwsError: As AWS answers.
        """
        if not self.enforced or service not in _ANYWHERE:
            return
        name = _name(service, request)
        if service == "ecr" and operation == "CreateRepository" and request.json().get("tags"):
            operation = "TagResource"
        if _matches(operation, _ANYWHERE[service]):
            return
        if _matches(operation, _BY_NAME.get(service, ())) and self.may_write(name):
            return
        if service == "s3":
            raise AwsError("AccessDenied", "Access Denied", 403)
        raise AwsError("AccessDeniedException", f"User is not authorized to perform: {service}:{operation}", 400)

    def may_write(self, name: str) -> bool:
        """Whether objects of a bucket, or images of a repository, may be written."""
        return not self.enforced or "sagemaker" in name.lower()


def _name(service: str, request: Request) -> str:
    if service == "s3":
        return request.path.strip("/").partition("/")[0]
    return str(request.json().get("repositoryName", "")) if service == "ecr" else ""


def _matches(operation: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(operation, pattern) for pattern in patterns)
