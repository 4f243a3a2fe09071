"""Which rights each call needs, and which verbs make it: the one table of policies, `mlport doctor`, hints and docs.

Source: https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from sdk.rights import FIRST_DEPLOY, CallRights

if TYPE_CHECKING:
    from collections.abc import Mapping


class Right(NamedTuple):
    """An action of IAM on resources.

    Args:
        action: Name of the action.
        resource: ARN with names of facts of a target in braces; a right on a fact that a target lacks is not needed.
        only: Setting of a target without which the right is not needed.
    """

    action: str
    resource: str = "*"
    only: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One call: who makes it, and what it needs."""

    verbs: frozenset[str]
    rights: tuple[Right, ...]


_SAGEMAKER = "arn:{partition}:sagemaker:{region}:{account}"
_ENDPOINT, _CONFIG = f"{_SAGEMAKER}:endpoint/*", f"{_SAGEMAKER}:endpoint-config/*"
_MODEL, _JOB = f"{_SAGEMAKER}:model/*", f"{_SAGEMAKER}:training-job/*"
_MADE = (_ENDPOINT, _CONFIG, _MODEL, _JOB)
_REPOSITORY = "arn:{partition}:ecr:{region}:{account}:repository/{repository}"
_BASE = "{base}"
_PULLS = tuple(
    Right(f"ecr:{one}", _BASE) for one in ("BatchCheckLayerAvailability", "BatchGetImage", "GetDownloadUrlForLayer")
)
_BUCKET = "arn:{partition}:s3:::{bucket}"
_OLD_BUCKET, _OLD_REPOSITORY = "{old_bucket}", "{old_repository}"  # of earlier versions: asked whether they are there
_OBJECTS = f"{_BUCKET}/{{prefix}}/*"
_SCALING = "arn:{partition}:application-autoscaling:{region}:{account}:scalable-target/*"
_ALARMS = "arn:{partition}:cloudwatch:{region}:{account}:alarm:TargetTracking-endpoint/*"
_LOGS = "arn:{partition}:logs:{region}:{account}:log-group:/aws/sagemaker/*"
_PRINCIPALS = "arn:{partition}:iam::{account}:*"
_LINKED = (
    "arn:{partition}:iam::{account}:role/aws-service-role/sagemaker.application-autoscaling.amazonaws.com/"
    "AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint"
)
_ROLE = "{role}"
_KEY = (Right("kms:CreateGrant", "{kms_key}"), Right("kms:DescribeKey", "{kms_key}"))
_OF_SOME = frozenset({"{kms_key}", "{base}", "{old_bucket}", "{old_repository}"})  # facts that some targets lack
_PASS = Right("iam:PassRole", _ROLE)
VAULT = "arn:{partition}:secretsmanager:{region}:{account}:secret:{name}-??????"

_LOOKS = "predict status list logs monitor deploy traffic finalize delete gc"  # each of these reads whole endpoints
_LOCKED = "deploy traffic finalize delete gc train"  # each of these takes a lease in the bucket
_LISTS = "list delete gc"  # each of these lists what mlport made


def _row(verbs: str, *rights: Right, also: str = "") -> Row:
    return Row(frozenset((*verbs.split(), *([also] if also else []))), rights)


def _own(action: str, resource: str = "*") -> tuple[Right, ...]:
    return (Right(action, resource),)


CALLS: Mapping[str, Row] = {
    "sagemaker:DescribeEndpoint": _row(f"{_LOOKS} train", *_own("sagemaker:DescribeEndpoint", _ENDPOINT)),
    "sagemaker:DescribeEndpointConfig": _row(_LOOKS, *_own("sagemaker:DescribeEndpointConfig", _CONFIG)),
    "sagemaker:DescribeModel": _row(_LOOKS, *_own("sagemaker:DescribeModel", _MODEL)),
    "sagemaker:ListTags": _row(f"{_LOOKS} train", *(Right("sagemaker:ListTags", one) for one in _MADE)),
    "sagemaker:ListEndpoints": _row(f"{_LISTS} deploy finalize doctor", Right("sagemaker:ListEndpoints")),
    "sagemaker:ListEndpointConfigs": _row(_LISTS, Right("sagemaker:ListEndpointConfigs")),
    "sagemaker:ListModels": _row(_LISTS, Right("sagemaker:ListModels")),
    "sagemaker:ListTrainingJobs": _row(_LISTS, Right("sagemaker:ListTrainingJobs")),
    "sagemaker:CreateModel": _row(
        "deploy", Right("sagemaker:CreateModel", _MODEL), Right("sagemaker:AddTags", _MODEL), _PASS
    ),
    "sagemaker:CreateEndpointConfig": _row(
        "deploy finalize", Right("sagemaker:CreateEndpointConfig", _CONFIG), Right("sagemaker:AddTags", _CONFIG), *_KEY
    ),
    "sagemaker:CreateEndpoint": _row(
        "deploy",
        Right("sagemaker:CreateEndpoint", _ENDPOINT),
        Right("sagemaker:CreateEndpoint", _CONFIG),
        Right("sagemaker:AddTags", _ENDPOINT),
    ),
    "sagemaker:UpdateEndpoint": _row(
        "deploy finalize gc", Right("sagemaker:UpdateEndpoint", _ENDPOINT), Right("sagemaker:UpdateEndpoint", _CONFIG)
    ),
    "sagemaker:UpdateEndpointWeightsAndCapacities": _row(
        "deploy traffic gc", *_own("sagemaker:UpdateEndpointWeightsAndCapacities", _ENDPOINT)
    ),
    "sagemaker:AddTags": _row("deploy traffic finalize gc", *_own("sagemaker:AddTags", _ENDPOINT)),
    "sagemaker:DeleteEndpoint": _row("deploy delete gc", *_own("sagemaker:DeleteEndpoint", _ENDPOINT)),
    "sagemaker:DeleteEndpointConfig": _row(
        "deploy finalize delete gc", *_own("sagemaker:DeleteEndpointConfig", _CONFIG)
    ),
    "sagemaker:DeleteModel": _row("deploy finalize delete gc", *_own("sagemaker:DeleteModel", _MODEL)),
    "sagemaker:CreateTrainingJob": _row(
        "train", Right("sagemaker:CreateTrainingJob", _JOB), Right("sagemaker:AddTags", _JOB), _PASS, *_KEY
    ),
    "sagemaker:DescribeTrainingJob": _row("train stop gc", *_own("sagemaker:DescribeTrainingJob", _JOB)),
    "sagemaker:StopTrainingJob": _row("train stop", *_own("sagemaker:StopTrainingJob", _JOB)),
    "sagemaker:DeleteTrainingJob": _row("train", *_own("sagemaker:DeleteTrainingJob", _JOB), also="gc --shared"),
    "sagemaker-runtime:InvokeEndpoint": _row("predict deploy", *_own("sagemaker:InvokeEndpoint", _ENDPOINT)),
    "tagging:GetResources": _row(_LISTS, Right("tag:GetResources")),
    "application-autoscaling:DescribeScalableTargets": _row(
        _LOOKS, Right("application-autoscaling:DescribeScalableTargets")
    ),
    "application-autoscaling:DescribeScalingPolicies": _row(
        _LOOKS, Right("application-autoscaling:DescribeScalingPolicies"), Right("cloudwatch:DescribeAlarms")
    ),
    "application-autoscaling:RegisterScalableTarget": _row(
        "deploy finalize gc",
        Right("application-autoscaling:RegisterScalableTarget", _SCALING),
        Right("iam:CreateServiceLinkedRole", _LINKED),
    ),
    "application-autoscaling:PutScalingPolicy": _row(
        "deploy finalize gc",
        Right("application-autoscaling:PutScalingPolicy", _SCALING),
        Right("cloudwatch:PutMetricAlarm", _ALARMS),
    ),
    "application-autoscaling:DeleteScalingPolicy": _row(
        "deploy finalize delete gc",
        Right("application-autoscaling:DeleteScalingPolicy", _SCALING),
        Right("cloudwatch:DeleteAlarms", _ALARMS),
    ),
    "application-autoscaling:DeregisterScalableTarget": _row(
        "deploy finalize delete gc", *_own("application-autoscaling:DeregisterScalableTarget", _SCALING)
    ),
    "ecr:GetAuthorizationToken": _row("deploy train doctor", Right("ecr:GetAuthorizationToken")),
    "ecr:DescribeRepositories": _row(
        f"{_LOOKS} train doctor",
        *(Right("ecr:DescribeRepositories", one) for one in (_REPOSITORY, _OLD_REPOSITORY)),
    ),
    "ecr:DescribeImages": _row(f"{_LOOKS} train", *_own("ecr:DescribeImages", _REPOSITORY)),
    "ecr:CreateRepository": _row(
        "", Right("ecr:CreateRepository", _REPOSITORY), Right("ecr:TagResource", _REPOSITORY), also=FIRST_DEPLOY
    ),
    "ecr:BatchDeleteImage": _row("", *_own("ecr:BatchDeleteImage", _REPOSITORY), also="gc --shared"),
    "registry:HeadBlob": _row(
        "deploy train",
        Right("ecr:BatchCheckLayerAvailability", _REPOSITORY),
        Right("ecr:GetDownloadUrlForLayer", _REPOSITORY),
    ),
    "registry:GetBlob": _row("deploy train", *_own("ecr:GetDownloadUrlForLayer", _REPOSITORY)),
    "registry:GetManifest": _row("deploy train", Right("ecr:BatchGetImage", _REPOSITORY), *_PULLS),
    "registry:HeadManifest": _row("deploy train", *_own("ecr:BatchGetImage", _REPOSITORY)),
    "registry:StartUpload": _row("deploy train", *_own("ecr:InitiateLayerUpload", _REPOSITORY)),
    "registry:UploadChunk": _row("deploy train", *_own("ecr:UploadLayerPart", _REPOSITORY)),
    "registry:FinishUpload": _row(
        "deploy train",
        Right("ecr:UploadLayerPart", _REPOSITORY),
        Right("ecr:CompleteLayerUpload", _REPOSITORY),
    ),
    "registry:PutManifest": _row("deploy train", *_own("ecr:PutImage", _REPOSITORY)),
    "s3:HeadBucket": _row(f"{_LOCKED} list doctor", *(Right("s3:ListBucket", one) for one in (_BUCKET, _OLD_BUCKET))),
    "s3:CreateBucket": _row("", *_own("s3:CreateBucket", _BUCKET), also=FIRST_DEPLOY),
    "s3:PutBucketTagging": _row("", *_own("s3:PutBucketTagging", _BUCKET), also=FIRST_DEPLOY),
    "s3:ListObjects": _row(f"{_LISTS} train", *_own("s3:ListBucket", _BUCKET)),
    "s3:GetBucketUploads": _row("train", *_own("s3:ListBucketMultipartUploads", _BUCKET), also="gc --shared"),
    "s3:GetObject": _row(_LOCKED, *_own("s3:GetObject", _OBJECTS)),
    "s3:HeadObject": _row("train", *_own("s3:GetObject", _OBJECTS)),
    "s3:PutObject": _row(_LOCKED, *_own("s3:PutObject", _OBJECTS)),
    "s3:PostObjectUploads": _row("train", *_own("s3:PutObject", _OBJECTS)),
    "s3:PostObject": _row("train", *_own("s3:PutObject", _OBJECTS)),
    "s3:DeleteObject": _row(_LOCKED, *_own("s3:DeleteObject", _OBJECTS)),
    "s3:DeleteObjects": _row("train", *_own("s3:DeleteObject", _OBJECTS), also="gc --shared"),
    "s3:AbortMultipartUpload": _row("train", *_own("s3:AbortMultipartUpload", _OBJECTS), also="gc --shared"),
    "logs:DescribeLogGroups": _row(
        "logs", *_own("logs:DescribeLogGroups", "arn:{partition}:logs:{region}:{account}:*")
    ),
    "logs:DescribeLogStreams": _row("logs monitor train", *_own("logs:DescribeLogStreams", _LOGS)),
    "logs:GetLogEvents": _row("logs monitor train", *_own("logs:GetLogEvents", _LOGS)),
    "logs:FilterLogEvents": _row("logs monitor train", *_own("logs:FilterLogEvents", _LOGS)),
    "logs:DeleteLogGroup": _row("delete gc", Right("logs:DeleteLogGroup", _LOGS, "delete_logs")),
    "cloudwatch:GetMetricData": _row("monitor", Right("cloudwatch:GetMetricData")),
    "secretsmanager:GetSecretValue": _row("deploy train", *_own("secretsmanager:GetSecretValue", "{secret}")),
    "sts:GetCallerIdentity": _row("doctor"),
    "iam:GetRole": _row("doctor", *_own("iam:GetRole", _ROLE)),
    "iam:SimulatePrincipalPolicy": _row("doctor", *_own("iam:SimulatePrincipalPolicy", _PRINCIPALS)),
    "servicequotas:ListAWSDefaultServiceQuotas": _row("doctor", Right("servicequotas:ListAWSDefaultServiceQuotas")),
    "servicequotas:ListServiceQuotas": _row("doctor", Right("servicequotas:ListServiceQuotas")),
}
"""By call, as the call logs of mini clouds name it: service and operation."""

_NETWORK = (
    "CreateNetworkInterface", "CreateNetworkInterfacePermission", "DeleteNetworkInterface",
    "DeleteNetworkInterfacePermission", "DescribeNetworkInterfaces", "DescribeVpcs", "DescribeDhcpOptions",
    "DescribeSubnets", "DescribeSecurityGroups",
)  # fmt: skip
RUNTIME: tuple[Right, ...] = (
    Right("ecr:GetAuthorizationToken"),
    Right("ecr:BatchCheckLayerAvailability", _REPOSITORY),
    Right("ecr:BatchGetImage", _REPOSITORY),
    Right("ecr:GetDownloadUrlForLayer", _REPOSITORY),
    Right("s3:ListBucket", _BUCKET),
    Right("s3:GetObject", _OBJECTS),
    Right("s3:PutObject", _OBJECTS),
    Right("logs:CreateLogGroup", _LOGS),
    Right("logs:CreateLogStream", _LOGS),
    Right("logs:DescribeLogStreams", _LOGS),
    Right("logs:PutLogEvents", _LOGS),
    Right("cloudwatch:PutMetricData"),
    *(Right(f"ec2:{one}", "*", "subnets") for one in _NETWORK),
    Right("kms:CreateGrant", "{kms_key}"),
    Right("kms:Decrypt", "{kms_key}"),
    Right("kms:DescribeKey", "{kms_key}"),
    Right("kms:GenerateDataKey", "{kms_key}"),
)
"""What SageMaker does with the role of a target. Source: https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-roles.html"""


def actions_of(operation: str) -> tuple[str, ...]:
    """The actions that a call needs, by its operation alone, as errors name it.

    Example:
        >>> actions_of("CreateModel"), actions_of("ListObjectsV2")
        (('sagemaker:CreateModel', 'sagemaker:AddTags', 'iam:PassRole'), ('s3:ListBucket',))
    """
    name = operation.removesuffix("V2")
    rows = (row for call, row in CALLS.items() if call.partition(":")[2] == name)
    rights = (right for row in rows for right in row.rights if not right.only and right.resource not in _OF_SOME)
    return tuple(dict.fromkeys(right.action for right in rights))


def call_rights() -> list[CallRights]:
    """The table in neutral words."""
    return [
        CallRights(call, row.verbs, tuple(dict.fromkeys(right.action for right in row.rights)))
        for call, row in CALLS.items()
    ]
