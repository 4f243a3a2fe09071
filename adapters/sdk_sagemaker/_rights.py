"""The permissions that each call needs and the verbs that make it: one table for policies, doctor, hints and docs.

Source: https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sdk.adapter.rights import FIRST_DEPLOY, LISTS_OWN, READS_ENDPOINTS, TAKES_LEASES, neutral, row

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdk.adapter.rights import CallRights, RightsRow


class Right(NamedTuple):
    """An IAM action on resources.

    Args:
        action: Name of the action.
        resource: ARN with facts of a target in braces; if a target lacks a fact, the permission is not needed.
        only: Setting of a target without which the permission is not needed.
    """

    action: str
    resource: str = "*"
    only: str = ""


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
_OLD_BUCKET, _OLD_REPOSITORY = "{old_bucket}", "{old_repository}"  # of earlier versions: checked for existence
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
_OF_SOME = frozenset({"{kms_key}", "{base}", "{old_bucket}", "{old_repository}"})  # facts that only some targets have
_PASS = Right("iam:PassRole", _ROLE)
VAULT = "arn:{partition}:secretsmanager:{region}:{account}:secret:{name}-??????"


def _own(action: str, resource: str = "*") -> tuple[Right, ...]:
    return (Right(action, resource),)


CALLS: Mapping[str, RightsRow[Right]] = {
    "sagemaker:DescribeEndpoint": row(f"{READS_ENDPOINTS} train", *_own("sagemaker:DescribeEndpoint", _ENDPOINT)),
    "sagemaker:DescribeEndpointConfig": row(READS_ENDPOINTS, *_own("sagemaker:DescribeEndpointConfig", _CONFIG)),
    "sagemaker:DescribeModel": row(READS_ENDPOINTS, *_own("sagemaker:DescribeModel", _MODEL)),
    "sagemaker:ListTags": row(f"{READS_ENDPOINTS} train", *(Right("sagemaker:ListTags", one) for one in _MADE)),
    "sagemaker:ListEndpoints": row(f"{LISTS_OWN} deploy finalize doctor", Right("sagemaker:ListEndpoints")),
    "sagemaker:ListEndpointConfigs": row(LISTS_OWN, Right("sagemaker:ListEndpointConfigs")),
    "sagemaker:ListModels": row(LISTS_OWN, Right("sagemaker:ListModels")),
    "sagemaker:ListTrainingJobs": row(LISTS_OWN, Right("sagemaker:ListTrainingJobs")),
    "sagemaker:CreateModel": row(
        "deploy", Right("sagemaker:CreateModel", _MODEL), Right("sagemaker:AddTags", _MODEL), _PASS
    ),
    "sagemaker:CreateEndpointConfig": row(
        "deploy finalize", Right("sagemaker:CreateEndpointConfig", _CONFIG), Right("sagemaker:AddTags", _CONFIG), *_KEY
    ),
    "sagemaker:CreateEndpoint": row(
        "deploy",
        Right("sagemaker:CreateEndpoint", _ENDPOINT),
        Right("sagemaker:CreateEndpoint", _CONFIG),
        Right("sagemaker:AddTags", _ENDPOINT),
    ),
    "sagemaker:UpdateEndpoint": row(
        "deploy finalize gc", Right("sagemaker:UpdateEndpoint", _ENDPOINT), Right("sagemaker:UpdateEndpoint", _CONFIG)
    ),
    "sagemaker:UpdateEndpointWeightsAndCapacities": row(
        "deploy traffic gc", *_own("sagemaker:UpdateEndpointWeightsAndCapacities", _ENDPOINT)
    ),
    "sagemaker:AddTags": row("deploy traffic finalize gc", *_own("sagemaker:AddTags", _ENDPOINT)),
    "sagemaker:DeleteEndpoint": row("deploy delete gc", *_own("sagemaker:DeleteEndpoint", _ENDPOINT)),
    "sagemaker:DeleteEndpointConfig": row(
        "deploy finalize delete gc", *_own("sagemaker:DeleteEndpointConfig", _CONFIG)
    ),
    "sagemaker:DeleteModel": row("deploy finalize delete gc", *_own("sagemaker:DeleteModel", _MODEL)),
    "sagemaker:CreateTrainingJob": row(
        "train", Right("sagemaker:CreateTrainingJob", _JOB), Right("sagemaker:AddTags", _JOB), _PASS, *_KEY
    ),
    "sagemaker:DescribeTrainingJob": row("train stop gc", *_own("sagemaker:DescribeTrainingJob", _JOB)),
    "sagemaker:StopTrainingJob": row("train stop", *_own("sagemaker:StopTrainingJob", _JOB)),
    "sagemaker:DeleteTrainingJob": row("train", *_own("sagemaker:DeleteTrainingJob", _JOB), also="gc --shared"),
    "sagemaker-runtime:InvokeEndpoint": row("predict deploy", *_own("sagemaker:InvokeEndpoint", _ENDPOINT)),
    "sagemaker-runtime:InvokeEndpointWithResponseStream": row(
        "stream", *_own("sagemaker:InvokeEndpointWithResponseStream", _ENDPOINT)
    ),
    "tagging:GetResources": row(LISTS_OWN, Right("tag:GetResources")),
    "application-autoscaling:DescribeScalableTargets": row(
        READS_ENDPOINTS, Right("application-autoscaling:DescribeScalableTargets")
    ),
    "application-autoscaling:DescribeScalingPolicies": row(
        READS_ENDPOINTS, Right("application-autoscaling:DescribeScalingPolicies"), Right("cloudwatch:DescribeAlarms")
    ),
    "application-autoscaling:RegisterScalableTarget": row(
        "deploy finalize gc",
        Right("application-autoscaling:RegisterScalableTarget", _SCALING),
        Right("iam:CreateServiceLinkedRole", _LINKED),
    ),
    "application-autoscaling:PutScalingPolicy": row(
        "deploy finalize gc",
        Right("application-autoscaling:PutScalingPolicy", _SCALING),
        Right("cloudwatch:PutMetricAlarm", _ALARMS),
    ),
    "application-autoscaling:DeleteScalingPolicy": row(
        "deploy finalize delete gc",
        Right("application-autoscaling:DeleteScalingPolicy", _SCALING),
        Right("cloudwatch:DeleteAlarms", _ALARMS),
    ),
    "application-autoscaling:DeregisterScalableTarget": row(
        "deploy finalize delete gc", *_own("application-autoscaling:DeregisterScalableTarget", _SCALING)
    ),
    "ecr:GetAuthorizationToken": row("deploy train doctor", Right("ecr:GetAuthorizationToken")),
    "ecr:DescribeRepositories": row(
        f"{READS_ENDPOINTS} train doctor",
        *(Right("ecr:DescribeRepositories", one) for one in (_REPOSITORY, _OLD_REPOSITORY)),
    ),
    "ecr:DescribeImages": row(f"{READS_ENDPOINTS} train", *_own("ecr:DescribeImages", _REPOSITORY)),
    "ecr:CreateRepository": row(
        "", Right("ecr:CreateRepository", _REPOSITORY), Right("ecr:TagResource", _REPOSITORY), also=FIRST_DEPLOY
    ),
    "ecr:BatchDeleteImage": row("", *_own("ecr:BatchDeleteImage", _REPOSITORY), also="gc --shared"),
    "registry:HeadBlob": row(
        "deploy train",
        Right("ecr:BatchCheckLayerAvailability", _REPOSITORY),
        Right("ecr:GetDownloadUrlForLayer", _REPOSITORY),
    ),
    "registry:GetBlob": row("deploy train", *_own("ecr:GetDownloadUrlForLayer", _REPOSITORY)),
    "registry:GetManifest": row("deploy train", Right("ecr:BatchGetImage", _REPOSITORY), *_PULLS),
    "registry:HeadManifest": row("deploy train", *_own("ecr:BatchGetImage", _REPOSITORY)),
    "registry:StartUpload": row("deploy train", *_own("ecr:InitiateLayerUpload", _REPOSITORY)),
    "registry:UploadChunk": row("deploy train", *_own("ecr:UploadLayerPart", _REPOSITORY)),
    "registry:FinishUpload": row(
        "deploy train",
        Right("ecr:UploadLayerPart", _REPOSITORY),
        Right("ecr:CompleteLayerUpload", _REPOSITORY),
    ),
    "registry:PutManifest": row("deploy train", *_own("ecr:PutImage", _REPOSITORY)),
    "s3:HeadBucket": row(
        f"{TAKES_LEASES} list doctor", *(Right("s3:ListBucket", one) for one in (_BUCKET, _OLD_BUCKET))
    ),
    "s3:CreateBucket": row("", *_own("s3:CreateBucket", _BUCKET), also=FIRST_DEPLOY),
    "s3:PutBucketTagging": row("", *_own("s3:PutBucketTagging", _BUCKET), also=FIRST_DEPLOY),
    "s3:ListObjects": row(f"{LISTS_OWN} train", *_own("s3:ListBucket", _BUCKET)),
    "s3:GetBucketUploads": row("train", *_own("s3:ListBucketMultipartUploads", _BUCKET), also="gc --shared"),
    "s3:GetObject": row(TAKES_LEASES, *_own("s3:GetObject", _OBJECTS)),
    "s3:HeadObject": row("train", *_own("s3:GetObject", _OBJECTS)),
    "s3:PutObject": row(TAKES_LEASES, *_own("s3:PutObject", _OBJECTS)),
    "s3:PostObjectUploads": row("train", *_own("s3:PutObject", _OBJECTS)),
    "s3:PostObject": row("train", *_own("s3:PutObject", _OBJECTS)),
    "s3:DeleteObject": row(TAKES_LEASES, *_own("s3:DeleteObject", _OBJECTS)),
    "s3:DeleteObjects": row("train", *_own("s3:DeleteObject", _OBJECTS), also="gc --shared"),
    "s3:AbortMultipartUpload": row("train", *_own("s3:AbortMultipartUpload", _OBJECTS), also="gc --shared"),
    "logs:DescribeLogGroups": row("logs", *_own("logs:DescribeLogGroups", "arn:{partition}:logs:{region}:{account}:*")),
    "logs:DescribeLogStreams": row("logs monitor train", *_own("logs:DescribeLogStreams", _LOGS)),
    "logs:GetLogEvents": row("logs monitor train", *_own("logs:GetLogEvents", _LOGS)),
    "logs:FilterLogEvents": row("logs monitor train", *_own("logs:FilterLogEvents", _LOGS)),
    "logs:DeleteLogGroup": row("delete gc", Right("logs:DeleteLogGroup", _LOGS, "delete_logs")),
    "cloudwatch:GetMetricData": row("monitor", Right("cloudwatch:GetMetricData")),
    "secretsmanager:GetSecretValue": row("deploy train", *_own("secretsmanager:GetSecretValue", "{secret}")),
    "sts:GetCallerIdentity": row("doctor"),
    "iam:GetRole": row("doctor", *_own("iam:GetRole", _ROLE)),
    "iam:SimulatePrincipalPolicy": row("doctor", *_own("iam:SimulatePrincipalPolicy", _PRINCIPALS)),
    "servicequotas:ListAWSDefaultServiceQuotas": row("doctor", Right("servicequotas:ListAWSDefaultServiceQuotas")),
    "servicequotas:ListServiceQuotas": row("doctor", Right("servicequotas:ListServiceQuotas")),
}
"""Permissions by call; calls are named as in the logs of mini clouds: service and operation."""

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
"""The permissions that SageMaker needs with a target's role. Source: https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-roles.html"""


def actions_of(operation: str) -> tuple[str, ...]:
    """Return the actions that a call needs, given its operation as errors name it.

    Example:
        >>> actions_of("CreateModel"), actions_of("ListObjectsV2")
        (('sagemaker:CreateModel', 'sagemaker:AddTags', 'iam:PassRole'), ('s3:ListBucket',))
    """
    name = operation.removesuffix("V2")
    rows = (one for call, one in CALLS.items() if call.partition(":")[2] == name)
    rights = (right for one in rows for right in one.rights if not right.only and right.resource not in _OF_SOME)
    return tuple(dict.fromkeys(right.action for right in rights))


def call_rights() -> list[CallRights]:
    """Return the table in provider-neutral form."""
    return neutral(CALLS, lambda right: right.action)
