"""What SageMaker refuses: names, duplicates, what is missing, what is busy, what is too much, who it does not know."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, WaiterError

from tests.aws import session
from tests.clouds.sagemaker.account import ROLE, Account


def refused(call: Callable[..., Any], **request: Any) -> tuple[str, str]:
    """Code and text of a refusal."""
    with pytest.raises(ClientError) as error:
        call(**request)
    assert error.value.response["ResponseMetadata"]["RequestId"]
    told = error.value.response["Error"]
    return told["Code"], told["Message"]


def test_names_and_values_are_checked_as_the_model_says(account: Account) -> None:
    """Patterns, lengths and required members, in AWS's words."""
    code, text = refused(account.sm.create_model, ModelName="bad_name!", ExecutionRoleArn=ROLE)
    assert ("ValidationException", True) == (code, "Value 'bad_name!' at 'modelName' failed to satisfy" in text)
    loose = account.client("sagemaker", parameter_validation=False)
    assert "Value null at 'endpointConfigName' failed" in refused(loose.create_endpoint, EndpointName="x")[1]
    variant = {"VariantName": "v", "ModelName": "m", "ServerlessConfig": {"MemorySizeInMB": 512, "MaxConcurrency": 1}}
    text = refused(loose.create_endpoint_config, EndpointConfigName="c", ProductionVariants=[variant])[1]
    assert "Member must have value greater than or equal to 1024" in text


def test_what_is_missing_and_what_is_taken(account: Account) -> None:
    """Each kind in the words by which clients tell the two apart."""
    image = account.push()
    account.model("once", image)
    account.config("once", "once")
    account.sm.create_endpoint(EndpointName="once", EndpointConfigName="once")
    taken = [
        refused(account.model, name="once", image=image),
        refused(lambda: account.config("once", "once")),
        refused(account.sm.create_endpoint, EndpointName="once", EndpointConfigName="once"),
    ]
    words = ("model", "endpoint configuration", "endpoint")
    for (code, text), word in zip(taken, words, strict=True):
        assert ("ValidationException", True) == (code, text.startswith(f'Cannot create already existing {word} "arn:'))
    missing = [
        refused(account.sm.describe_model, ModelName="none"),
        refused(account.sm.delete_endpoint_config, EndpointConfigName="none"),
        refused(account.sm.describe_endpoint, EndpointName="none"),
    ]
    for (code, text), word in zip(missing, words, strict=True):
        assert ("ValidationException", True) == (code, text.startswith(f'Could not find {word} "arn:'))
    assert "not found" in refused(account.sm.describe_training_job, TrainingJobName="none")[1]
    assert "Could not find model" in refused(lambda: account.config("other", "none"))[1]
    account.job("once", image)
    assert "ResourceInUse" == refused(lambda: account.job("once", image))[0]
    account.wait_job("once")
    account.wait("once")
    account.sm.delete_endpoint(EndpointName="once")
    account.wait_gone("once")


def test_what_is_busy_is_left_alone(account: Account) -> None:
    """No update and no delete while creating, updating or deleting; an update needs a configuration that is there."""
    account.model("busy", account.push())
    account.config("busy", "busy")
    account.config("busy-2", "busy")
    account.sm.create_endpoint(EndpointName="busy", EndpointConfigName="busy")
    wait = [
        refused(account.sm.delete_endpoint, EndpointName="busy")[1],
        refused(account.sm.update_endpoint, EndpointName="busy", EndpointConfigName="busy-2")[1],
    ]
    assert ["Cannot delete in-progress", "Cannot update in-progress"] == [
        text.partition(" endpoint")[0] for text in wait
    ]
    account.wait("busy")
    assert "Could not find" in refused(account.sm.update_endpoint, EndpointName="busy", EndpointConfigName="no")[1]
    account.sm.update_endpoint(EndpointName="busy", EndpointConfigName="busy-2")
    assert "in-progress" in refused(account.sm.delete_endpoint, EndpointName="busy")[1]
    account.wait("busy")
    account.sm.delete_endpoint(EndpointName="busy")
    account.wait_gone("busy")
    account.sm.create_endpoint(EndpointName="busy", EndpointConfigName="busy")  # the name is free again
    account.wait("busy")
    account.sm.delete_endpoint(EndpointName="busy")
    account.wait_gone("busy")


def test_quota(account: Account) -> None:
    """More instances than the account may have are refused with the numbers; GPUs begin at none."""
    account.model("much", account.push())
    variant = {"VariantName": "v", "ModelName": "much", "InitialInstanceCount": 2, "InstanceType": "ml.c5.large"}
    account.sm.create_endpoint_config(EndpointConfigName="much", ProductionVariants=[variant])
    code, text = refused(account.sm.create_endpoint, EndpointName="much", EndpointConfigName="much")
    assert "ResourceLimitExceeded" == code
    assert "'ml.c5.large for endpoint usage' is 1 Instances, with current utilization of 0 Instances" in text
    gpu = {"InstanceType": "ml.g5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 1}
    assert "ResourceLimitExceeded" == refused(lambda: account.job("gpu", account.push(), ResourceConfig=gpu))[0]


def test_serverless_limits(account: Account) -> None:
    """One variant, known sizes, no instances beside it; no way from one form to the other."""
    account.model("less-a", account.push())
    serverless = {"MemorySizeInMB": 1024, "MaxConcurrency": 1}
    one = {"VariantName": "a", "ModelName": "less-a", "ServerlessConfig": serverless}
    make = account.sm.create_endpoint_config
    two = refused(make, EndpointConfigName="less-2", ProductionVariants=[one, {**one, "VariantName": "b"}])[1]
    assert "single production variant" in two
    odd = {**one, "ServerlessConfig": {**serverless, "MemorySizeInMB": 1500}}
    assert "must be one of: 1024" in refused(make, EndpointConfigName="less-3", ProductionVariants=[odd])[1]
    mixed = {**one, "InstanceType": "ml.m5.large"}
    assert "must not be given" in refused(make, EndpointConfigName="less-4", ProductionVariants=[mixed])[1]
    account.config("more", "less-a")
    account.sm.create_endpoint(EndpointName="more", EndpointConfigName="more")
    account.wait("more")
    make(EndpointConfigName="less-5", ProductionVariants=[one])
    turn = refused(account.sm.update_endpoint, EndpointName="more", EndpointConfigName="less-5")[1]
    assert "between instances and serverless" in turn
    account.sm.delete_endpoint(EndpointName="more")
    account.wait_gone("more")


def test_serverless_takes_only_so_many_at_a_time(account: Account) -> None:
    """Beyond MaxConcurrency requests are refused as long as the others run, and never reach the container."""
    account.model("narrow", account.push())
    serverless = {"MemorySizeInMB": 1024, "MaxConcurrency": 1}
    variant = {"VariantName": "v", "ModelName": "narrow", "ServerlessConfig": serverless}
    account.sm.create_endpoint_config(EndpointConfigName="narrow", ProductionVariants=[variant])
    account.sm.create_endpoint(EndpointName="narrow", EndpointConfigName="narrow")
    account.wait("narrow")

    def ask(seconds: float) -> tuple[str, int]:
        try:
            wish = json.dumps({"do": "sleep", "seconds": seconds})
            about = account.runtime.invoke_endpoint(EndpointName="narrow", Body=wish)
        except ClientError as error:
            about = error.response
        return about.get("Error", {}).get("Code", ""), about["ResponseMetadata"]["HTTPStatusCode"]

    with ThreadPoolExecutor(2) as pool:
        assert [("", 200), ("ThrottlingException", 429)] == sorted(pool.map(ask, (3.0, 3.0)))
    assert ("", 200) == ask(0.0)
    account.sm.delete_endpoint(EndpointName="narrow")
    account.wait_gone("narrow")


def test_networks_and_keys(account: Account) -> None:
    """How many subnets and groups, and where a key for disks or a network has no place."""
    image = account.push()
    network = {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}
    groups = {**network, "SecurityGroupIds": [f"sg-{number}" for number in range(6)]}
    primary = {"ExecutionRoleArn": ROLE, "PrimaryContainer": {"Image": image}}
    make = account.sm.create_model
    assert "length less than or equal to 5" in refused(make, ModelName="net-1", VpcConfig=groups, **primary)[1]
    make(ModelName="net-2", VpcConfig=network, **primary)
    small = {"MemorySizeInMB": 1024, "MaxConcurrency": 1}
    config, variant = account.sm.create_endpoint_config, {"VariantName": "v", "ModelName": "net-2"}
    less = refused(config, EndpointConfigName="net-3", ProductionVariants=[{**variant, "ServerlessConfig": small}])
    assert "VpcConfig of model net-2 is not supported" in less[1]
    own = {**variant, "InstanceType": "ml.m5d.large", "InitialInstanceCount": 1}
    disk = refused(config, EndpointConfigName="net-4", ProductionVariants=[own], KmsKeyId="k")
    assert "which has local storage" in disk[1]
    instance = {"InstanceType": "ml.g4dn.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 1, "VolumeKmsKeyId": "k"}
    assert "which has local storage" in refused(lambda: account.job("net-5", image, ResourceConfig=instance))[1]


def test_spot_needs_patience(account: Account) -> None:
    """A spot job has to say how long it may wait, which is at least as long as it may run."""
    image = account.push()
    for limits in ({"MaxRuntimeInSeconds": 60}, {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 59}):
        settings = {"EnableManagedSpotTraining": True, "StoppingCondition": limits}
        text = refused(lambda settings=settings: account.job("spot", image, **settings))[1]
        assert "greater than or equal to MaxRuntimeInSeconds" in text


def test_scaling_knows_endpoints(account: Account) -> None:
    """What is scaled must be there, limits must be some, and policies go with their targets, alarms with policies."""
    scaling, watch = account.client("application-autoscaling"), account.client("cloudwatch")
    account.serve("scaled", "wide")
    name = "endpoint/scaled/variant/wide"
    where = {"ServiceNamespace": "sagemaker", "ScalableDimension": "sagemaker:variant:DesiredInstanceCount"}
    register = {**where, "MinCapacity": 1, "MaxCapacity": 2}
    nobody = refused(scaling.register_scalable_target, **register, ResourceId="endpoint/scaled/variant/none")
    assert "Could not find the endpoint variant" in nobody[1]
    wrong = refused(scaling.register_scalable_target, **{**register, "MinCapacity": 3}, ResourceId=name)
    assert "must not exceed" in wrong[1]
    policy = {
        **where, "ResourceId": name, "PolicyName": "p", "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": {"TargetValue": 10.0, "PredefinedMetricSpecification": {
            "PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"}},
    }  # fmt: skip
    assert "No scalable target registered" in refused(scaling.put_scaling_policy, **policy)[1]
    scaling.register_scalable_target(**register, ResourceId=name)
    for _ in range(2):  # the second replaces the first, with its alarms
        scaling.put_scaling_policy(**policy)
        assert 2 == len(watch.describe_alarms(AlarmNamePrefix=f"TargetTracking-{name}")["MetricAlarms"])
    scaling.deregister_scalable_target(**where, ResourceId=name)
    assert [] == scaling.describe_scaling_policies(ServiceNamespace="sagemaker")["ScalingPolicies"]
    assert [] == watch.describe_alarms()["MetricAlarms"]
    account.sm.delete_endpoint(EndpointName="scaled")
    account.wait_gone("scaled")


def test_quotas_are_told(account: Account) -> None:
    """Service Quotas lists what this account may have."""
    pages = account.client("service-quotas").get_paginator("list_service_quotas").paginate(ServiceCode="sagemaker")
    told = {one["QuotaName"]: one["Value"] for page in pages for one in page["Quotas"]}
    assert (1.0, 20.0, 0.0) == (
        told["ml.c5.large for endpoint usage"],
        told["ml.m5.large for training job usage"],
        told["ml.g5.xlarge for endpoint usage"],
    )
    assert (
        "NoSuchResourceException"
        == refused(account.client("service-quotas").list_service_quotas, ServiceCode="none")[0]
    )


def test_signatures_are_verified(account: Account) -> None:
    """A wrong secret, an unknown key and no signature are refused, each service in its own shape."""

    def client(service: str, key: str, secret: str) -> Any:
        config = Config(retries={"total_max_attempts": 1})
        return session(key, secret).client(service, endpoint_url=account.cloud.url, config=config)

    known, _ = account.cloud.keys.of("123456789012")
    wrong = client("sagemaker", known, "guessed")
    assert "InvalidSignatureException" == refused(wrong.list_models)[0]
    assert "UnrecognizedClientException" == refused(client("sagemaker", "AKIAIOSFODNN7EXAMPLE", "x").list_models)[0]
    assert "InvalidAccessKeyId" == refused(client("s3", "AKIAIOSFODNN7EXAMPLE", "x").list_buckets)[0]
    assert "InvalidClientTokenId" == refused(client("sts", "AKIAIOSFODNN7EXAMPLE", "x").get_caller_identity)[0]
    runtime = client("sagemaker-runtime", known, "guessed")
    assert "InvalidSignatureException" == refused(runtime.invoke_endpoint, EndpointName="e", Body=b"")[0]
    role = account.client("sts").assume_role(RoleArn=ROLE, RoleSessionName="mini")["Credentials"]
    assumed = session(role["AccessKeyId"], role["SecretAccessKey"], role["SessionToken"])
    assert "Models" in assumed.client("sagemaker", endpoint_url=account.cloud.url).list_models()


def test_lists_and_tags(account: Account) -> None:
    """Pages, filters and order; tags by SageMaker and by the tagging service, which knows all kinds."""
    image = account.push()
    for number in range(5):
        account.model(f"page-{number}", image)
    pages = account.sm.get_paginator("list_models").paginate(
        NameContains="page-", SortBy="Name", SortOrder="Ascending", PaginationConfig={"PageSize": 2}
    )
    shown = [[one["ModelName"] for one in page["Models"]] for page in pages]
    assert [["page-0", "page-1"], ["page-2", "page-3"], ["page-4"]] == shown
    arn = account.sm.describe_model(ModelName="page-3")["ModelArn"]
    account.sm.add_tags(ResourceArn=arn, Tags=[{"Key": "mlport", "Value": "x"}, {"Key": "own", "Value": "y"}])
    account.sm.delete_tags(ResourceArn=arn, TagKeys=["own"])
    assert [{"Key": "mlport", "Value": "x"}] == account.sm.list_tags(ResourceArn=arn)["Tags"]
    found = account.client("resourcegroupstaggingapi").get_resources(
        TagFilters=[{"Key": "mlport", "Values": ["x"]}], ResourceTypeFilters=["sagemaker:model"]
    )["ResourceTagMappingList"]
    assert [(arn, [{"Key": "mlport", "Value": "x"}])] == [(one["ResourceARN"], one["Tags"]) for one in found]


def test_waiters_end_on_failures(account: Account) -> None:
    """Botocore's own waiter sees a first deploy fail, and a deleted endpoint go."""
    account.model("wait", account.push(), Environment={"STUB_BROKEN": "1"})
    account.config("wait", "wait")
    account.sm.create_endpoint(EndpointName="wait", EndpointConfigName="wait")
    quick = {"Delay": 0.05, "MaxAttempts": 400}
    with pytest.raises(WaiterError, match="terminal failure state"):
        account.sm.get_waiter("endpoint_in_service").wait(EndpointName="wait", WaiterConfig=quick)
    account.sm.delete_endpoint(EndpointName="wait")
    account.sm.get_waiter("endpoint_deleted").wait(EndpointName="wait", WaiterConfig=quick)


def test_variables_are_counted_in_bytes(account: Account) -> None:
    """Each, and all of them together: the library's description has characters."""
    image = account.push()

    def make(environment: dict[str, str]) -> str:
        return refused(lambda: account.model("wordy", image, Environment=environment))[1]

    assert "longer than 1024 bytes" in make({"A": "ü" * 513})
    assert "combined are longer than 32768 bytes" in make({f"V{n}": "x" * 1000 for n in range(33)})


def test_burstable_types_do_not_scale(account: Account) -> None:
    """Application Auto Scaling refuses them."""
    account.model("bursts", account.push())
    variant = {"VariantName": "v", "ModelName": "bursts", "InitialInstanceCount": 1, "InstanceType": "ml.t2.medium"}
    account.sm.create_endpoint_config(EndpointConfigName="bursts", ProductionVariants=[variant])
    account.sm.create_endpoint(EndpointName="bursts", EndpointConfigName="bursts")
    account.wait("bursts")
    where = {"ServiceNamespace": "sagemaker", "ScalableDimension": "sagemaker:variant:DesiredInstanceCount"}
    scaling = account.client("application-autoscaling")
    limits = {"ResourceId": "endpoint/bursts/variant/v", "MinCapacity": 1, "MaxCapacity": 2}
    assert "burstable" in refused(scaling.register_scalable_target, **where, **limits)[1]
    account.sm.delete_endpoint(EndpointName="bursts")
    account.wait_gone("bursts")


def test_a_job_needs_its_input_in_its_own_region(account: Account) -> None:
    """An address without objects, and a bucket elsewhere, are refused alike and at once."""
    image, far = account.push(), {"LocationConstraint": "eu-west-1"}
    account.s3.create_bucket(Bucket="far-away", CreateBucketConfiguration=far)
    account.s3.put_object(Bucket="far-away", Key="x/rows.csv", Body=b"1\n")
    for uri in ("s3://mlport-data/nothing/", "s3://far-away/x/", "s3://never-made/x/"):
        source = {"S3DataType": "S3Prefix", "S3Uri": uri}
        channel = {"ChannelName": "train", "DataSource": {"S3DataSource": source}}
        code, text = refused(account.job, name="far", image=image, InputDataConfig=[channel])
        assert ("ValidationException", True) == (code, text.startswith(f'No S3 objects found under S3 URL "{uri}"'))
