"""The managed policy AmazonSageMakerFullAccess, as far as it covers what mlport does, for the guard to enforce.

Objects and images are writable only where the name of the bucket or repository contains ``sagemaker``. Some calls
are not allowed at all: tags of buckets and repositories, lists of uploads in parts, filtered logs, quotas.
Source: https://docs.aws.amazon.com/aws-managed-policy/latest/reference/AmazonSageMakerFullAccess.html (version 26)
"""

from __future__ import annotations

from typing import Any

_SERVICES = [
    "application-autoscaling:DeleteScalingPolicy", "application-autoscaling:DeregisterScalableTarget",
    "application-autoscaling:Describe*", "application-autoscaling:PutScalingPolicy",
    "application-autoscaling:RegisterScalableTarget", "cloudwatch:DeleteAlarms", "cloudwatch:DescribeAlarms",
    "cloudwatch:GetMetricData", "cloudwatch:GetMetricStatistics", "cloudwatch:ListMetrics",
    "cloudwatch:PutMetricAlarm", "cloudwatch:PutMetricData", "ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage",
    "ecr:CreateRepository", "ecr:Describe*", "ecr:GetAuthorizationToken", "ecr:GetDownloadUrlForLayer",
    "iam:ListRoles", "kms:DescribeKey", "logs:CreateLogGroup", "logs:CreateLogStream", "logs:Describe*",
    "logs:GetLogEvents", "logs:PutLogEvents", "secretsmanager:ListSecrets", "tag:GetResources",
]  # fmt: skip
_IMAGES = [
    "ecr:BatchDeleteImage", "ecr:CompleteLayerUpload", "ecr:DeleteRepository", "ecr:InitiateLayerUpload",
    "ecr:PutImage", "ecr:UploadLayerPart",
]  # fmt: skip
_OBJECTS = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
_BUCKETS = ["s3:CreateBucket", "s3:GetBucketLocation", "s3:ListBucket", "s3:ListAllMyBuckets"]
_SCALING = "arn:aws:iam::*:role/aws-service-role/sagemaker.application-autoscaling.amazonaws.com/*"


def _allow(actions: list[str], *resources: str, **condition: str) -> dict[str, Any]:
    conditions = {"Condition": {"StringEquals": {f"iam:{key}": value for key, value in condition.items()}}}
    found = {"Effect": "Allow", "Action": actions, "Resource": list(resources)}
    return {**found, **(conditions if condition else {})}


FULL_ACCESS: dict[str, Any] = {
    "Version": "2012-10-17",
    "Statement": [
        _allow(["sagemaker:*"], "*"),
        _allow(_SERVICES, "*"),
        _allow(_IMAGES, "arn:aws:ecr:*:*:repository/*sagemaker*"),
        _allow(_OBJECTS, *(f"arn:aws:s3:::*{name}*" for name in ("SageMaker", "Sagemaker", "sagemaker"))),
        _allow(_BUCKETS, "*"),
        _allow(["secretsmanager:GetSecretValue"], "arn:aws:secretsmanager:*:*:secret:AmazonSageMaker-*"),
        _allow(["iam:CreateServiceLinkedRole"], _SCALING),
        _allow(["iam:PassRole"], "arn:aws:iam::*:role/*", PassedToService="sagemaker.amazonaws.com"),
    ],
}
