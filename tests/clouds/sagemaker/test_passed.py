"""What moto plays behaves here as plain moto does, and ECR holds what is really there."""

import hashlib
import io
import itertools
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.config import Config
from moto import mock_aws

from sdk.errors import PlatformError
from tests.aws import session
from tests.clouds.sagemaker.account import Account

NUMBERS = itertools.count(1)
CHANGING = {"RequestId", "HostId", "HTTPHeaders", "ResponseMetadata", "CreationTime", "ScalableTargetARN"}


def plain(value: Any) -> Any:
    """A reply without what differs from call to call."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if key not in CHANGING}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value.read() if hasattr(value, "read") else value


def s3(client: Callable[..., Any]) -> list[Any]:
    aws = client("s3", s3={"addressing_style": "path"})
    data = hashlib.sha256(b"seed").digest() * 400_000
    aws.create_bucket(Bucket="same-bucket")
    aws.put_object(Bucket="same-bucket", Key="a/b c+d", Body=b"one", Metadata={"k": "v"}, Tagging="t=1")
    aws.upload_fileobj(io.BytesIO(data), "same-bucket", "large")
    body = aws.get_object(Bucket="same-bucket", Key="large")["Body"].read()
    listed = aws.list_objects_v2(Bucket="same-bucket", Prefix="a/")
    found = [(one["Key"], one["Size"], one["ETag"]) for one in listed["Contents"]]
    replies = [body == data, found, aws.get_object_tagging(Bucket="same-bucket", Key="a/b c+d")["TagSet"]]
    replies += [aws.head_object(Bucket="same-bucket", Key="a/b c+d")["Metadata"], refusal(aws.head_object, Key="none")]
    aws.put_object(Bucket="same-bucket", Key="once", Body=b"1", IfNoneMatch="*")
    replies.append(refusal(aws.put_object, Key="once", Body=b"2", IfNoneMatch="*"))
    aws.delete_objects(Bucket="same-bucket", Delete={"Objects": [{"Key": key} for key in ("a/b c+d", "large", "once")]})
    aws.delete_bucket(Bucket="same-bucket")
    return replies


def refusal(call: Callable[..., Any], **request: Any) -> Any:
    try:
        call(Bucket="same-bucket", **request)
    except Exception as error:  # noqa: BLE001  # whatever it is, both have to raise the same
        return type(error).__name__, str(error)
    return "none"


def iam_and_sts(client: Callable[..., Any]) -> list[Any]:
    aws = client("iam")
    policy = {"Statement": [{"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}}]}
    made = aws.create_role(RoleName="same", AssumeRolePolicyDocument=json.dumps(policy))["Role"]
    replies = [made["Arn"], aws.get_role(RoleName="same")["Role"]["AssumeRolePolicyDocument"]]
    aws.delete_role(RoleName="same")
    return [*replies, client("sts").get_caller_identity()["Account"]]


def scaling(client: Callable[..., Any]) -> list[Any]:
    aws = client("application-autoscaling")
    where = {"ServiceNamespace": "lambda", "ResourceId": "function:f:1",
             "ScalableDimension": "lambda:function:ProvisionedConcurrency"}  # fmt: skip
    aws.register_scalable_target(**where, MinCapacity=1, MaxCapacity=3)
    found = aws.describe_scalable_targets(ServiceNamespace="lambda", ResourceIds=["function:f:1"])
    aws.deregister_scalable_target(**where)
    return [plain(found["ScalableTargets"])]


def logs_and_metrics(client: Callable[..., Any]) -> list[Any]:
    aws, watch = client("logs"), client("cloudwatch")
    aws.create_log_group(logGroupName="same")
    aws.create_log_stream(logGroupName="same", logStreamName="s")
    aws.put_log_events(
        logGroupName="same",
        logStreamName="s",
        logEvents=[{"timestamp": int(time.time() * 1000), "message": "hello"}],
    )
    events = aws.filter_log_events(logGroupName="same", filterPattern="hello")["events"]
    aws.delete_log_group(logGroupName="same")
    space = f"Own/{next(NUMBERS)}"  # metrics cannot be deleted
    watch.put_metric_data(Namespace=space, MetricData=[{"MetricName": "m", "Value": 3.0, "Timestamp": 1_790_000_000}])
    query = {"Metric": {"Namespace": space, "MetricName": "m"}, "Period": 60, "Stat": "Sum"}
    data = watch.get_metric_data(
        MetricDataQueries=[{"Id": "q", "MetricStat": query}], StartTime=1_789_999_980, EndTime=1_790_000_100
    )["MetricDataResults"]
    return [[event["message"] for event in events], data[0]["Values"]]


@pytest.mark.parametrize("use", [s3, iam_and_sts, scaling, logs_and_metrics])
def test_the_same_as_plain_moto(account: Account, use: Callable[[Callable[..., Any]], list[Any]]) -> None:
    """The same calls, once through the wire and once by moto's own decorator, give the same."""
    ours = use(account.client)
    once = Config(retries={"total_max_attempts": 1})
    plain = session("testing", "testing")
    moto = mock_aws()
    moto.start(reset=False)
    try:
        theirs = use(lambda service, **_: plain.client(service, config=once))
    finally:
        moto.stop(remove_data=False)
    assert theirs == ours


def test_ecr_holds_what_was_pushed(account: Account) -> None:
    """Repositories are made first; images are described, deleted by tag, and then not there for SageMaker either."""
    ecr = account.client("ecr")
    address = account.push(tag="seen")
    about = ecr.describe_images(repositoryName="stub", imageIds=[{"imageTag": "seen"}])["imageDetails"][0]
    assert address.endswith(about["imageDigest"])
    assert about["imageSizeInBytes"] > 1000
    repository = ecr.describe_repositories(repositoryNames=["stub"])["repositories"][0]
    assert f"{account.cloud.ecr.host}/stub" == repository["repositoryUri"]
    own = address.replace(account.cloud.ecr.host, "123456789012.dkr.ecr.us-east-1.amazonaws.com")
    account.model("by-own-name", own)
    tags = [{"imageTag": tag} for tag in about["imageTags"]]
    ecr.batch_delete_image(repositoryName="stub", imageIds=tags)
    with pytest.raises(Exception, match=r"Requested image .* not found"):
        account.model("late", address)
    assert "by-own-name" == account.sm.describe_model(ModelName="by-own-name")["ModelName"]


def test_oci_manifests_are_refused(account: Account) -> None:
    """At the push; where ECR is told to take them as the real one does, SageMaker refuses the image."""
    with pytest.raises(PlatformError, match=r"media type application/vnd\.oci\.image"):
        account.push(tag="oci", format="oci")
    account.cloud.ecr.oci = True
    try:
        address = account.push(tag="oci", format="oci")
    finally:
        account.cloud.ecr.oci = False
    with pytest.raises(Exception, match=r"Unsupported manifest media type application/vnd\.oci\.image\.manifest"):
        account.model("oci", address)
