"""Options of SageMaker on the mini cloud: what is sent for them, and what becomes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3
import pytest

from sdk.adapter import Ref
from sdk.adapter.types import Replicas
from sdk.errors import InvalidRequestError, UnavailableError
from sdk_contract.samples import ANSWER, ENV, ENV_NAME, GOOD_SCRIPT, SAY, write_script

if TYPE_CHECKING:
    from pathlib import Path

KEY = "arn:aws:kms:us-east-1:123456789012:key/mine"
NETWORK = {"subnets": ["subnet-1", "subnet-2"], "security_groups": ["sg-1"], "network_isolation": True}
VPC = {"Subnets": ["subnet-1", "subnet-2"], "SecurityGroupIds": ["sg-1"]}


def running(place: Any) -> list[str]:
    """What an endpoint and a job consist of, as far as it is there."""
    kinds = ("alarm", "endpoint", "model", "process", "scal", "training-job")
    return [item for item in place.cloud.inventory() if item.startswith(kinds)]


def test_a_shadow(place: Any) -> None:
    """A shadow gets copies and answers nobody; promoted, it answers everybody."""
    client = place.client(instance="ml.m5.large", shadow=100)
    client.deploy(place.samples.model(1), name="shadow")
    endpoint = client.deploy(place.samples.model(2), name="shadow", traffic=0)
    assert {1.0} == {float(endpoint.predict([[ANSWER, 0.0]]).values[0]) for _ in range(5)}
    about = boto3.client("sagemaker").describe_endpoint(EndpointName="shadow")
    assert 1 == len(about["ShadowProductionVariants"])
    client.promote("shadow")
    assert {2.0} == {float(endpoint.predict([[ANSWER, 0.0]]).values[0]) for _ in range(5)}
    client.delete("shadow")


def test_autoscaling(place: Any) -> None:
    """Replicas from 1 to 3 are registered, follow their deployment, and go with all that AWS made for them."""
    client = place.client(instance="ml.m5.large", scale_at=90)
    client.deploy(place.samples.model(1), name="scaled", replicas=Replicas(1, 3))
    assert [Replicas(1, 3)] == [one.replicas for one in client.status("scaled").deployments]
    scaling, watch = boto3.client("application-autoscaling"), boto3.client("cloudwatch")
    (target,) = scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    assert (1, 3) == (target["MinCapacity"], target["MaxCapacity"])
    alarms = watch.describe_alarms(AlarmNamePrefix=f"TargetTracking-{target['ResourceId']}")["MetricAlarms"]
    assert [90.0, 81.0] == sorted((one["Threshold"] for one in alarms), reverse=True)
    client.deploy(place.samples.model(2), name="scaled", replicas=Replicas(1, 2))
    client.finalize("scaled")
    (target,) = scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    assert 2 == target["MaxCapacity"]
    assert [] == client.gc().orphans
    client.delete("scaled")
    assert [] == running(place)


def test_networks_keys_and_isolation(place: Any) -> None:
    """A model in a network of the user's, and disks under a key of the user's, as SageMaker is told them."""
    client, sagemaker = place.client(instance="ml.m5.large", kms_key=KEY, **NETWORK), boto3.client("sagemaker")
    client.deploy(place.samples.model(1), name="private")
    (variant,) = sagemaker.describe_endpoint(EndpointName="private")["ProductionVariants"]
    model = sagemaker.describe_model(ModelName=f"private-{variant['VariantName']}")
    assert (VPC, True) == (model["VpcConfig"], model["EnableNetworkIsolation"])
    config = sagemaker.describe_endpoint(EndpointName="private")["EndpointConfigName"]
    assert KEY == sagemaker.describe_endpoint_config(EndpointConfigName=config)["KmsKeyId"]
    client.delete("private")


def test_what_sagemaker_refuses_is_said(place: Any) -> None:
    """A type that cannot be is an error of ours with SageMaker's text, and leaves nothing."""
    client = place.client(instance="ml.none.large", any_instance=True)
    with pytest.raises(InvalidRequestError, match=r"instanceType' failed to satisfy constraint"):
        client.deploy(place.samples.model(1), name="refused")
    assert [] == running(place)


def test_spare_capacity_for_a_job(place: Any, tmp_path: Path) -> None:
    """A job on spot instances may wait, has a place for checkpoints, and has the network and the key of the target."""
    settings = {"spot": True, "spot_wait_s": 60, "volume_gb": 7, "kms_key": KEY, **NETWORK}
    client = place.client(instance="ml.m5.large", **settings)
    (tmp_path / "rows.csv").write_text("1,2\n")
    data = {"train": str(tmp_path / "rows.csv")}
    job = client.train(write_script(tmp_path, GOOD_SCRIPT), name="spare", data=data, params={"C": 1.0}, timeout=600)
    assert "succeeded" == job.refresh().state
    told = boto3.client("sagemaker").describe_training_job(TrainingJobName="spare")
    assert (True, True, VPC) == (
        told["EnableManagedSpotTraining"], told["EnableNetworkIsolation"], told["VpcConfig"]
    )  # fmt: skip
    limits = told["StoppingCondition"]
    assert 60 == limits["MaxWaitTimeInSeconds"] - limits["MaxRuntimeInSeconds"]
    assert told["CheckpointConfig"]["S3Uri"].endswith("/jobs/spare/checkpoints")
    assert (7, KEY) == (told["ResourceConfig"]["VolumeSizeInGB"], told["ResourceConfig"]["VolumeKmsKeyId"])
    assert KEY == told["OutputDataConfig"]["KmsKeyId"]
    brought = [item for item in place.cloud.inventory() if "/mlport/data/" in item and "rows.csv" in item]
    assert 1 == len(brought)
    sweep = client.session().executor.gc
    assert "Data" in [one.kind for one in sweep(apply=True, shared=True, min_age_s=0).removed], "the job is over"
    assert [] == [item for item in place.cloud.inventory() if item in brought]
    adapter = client.session().adapter
    live = adapter.read(Ref("TrainingJob", "spare"), timeout=30.0)
    assert live is not None
    adapter.delete(live, timeout=30.0)
    assert [] == running(place)


def test_logs_go_with_the_endpoint_on_request(place: Any) -> None:
    """The log group is deleted when nothing writes to it any more: after the endpoint, and not with an update."""
    client = place.client(instance="ml.m5.large", delete_logs=True)
    endpoint = client.deploy(place.samples.model(1), name="forgotten")
    client.deploy(place.samples.model(2), name="forgotten")
    endpoint.predict([[SAY, 1.0]])
    assert [line.text for line in endpoint.logs() if "told to say 1" in line.text]
    group = "log-group /aws/sagemaker/Endpoints/forgotten"
    assert group in place.cloud.inventory()
    client.delete("forgotten")
    assert group not in place.cloud.inventory()
    assert [] == running(place)


def test_logs_are_followed(place: Any) -> None:
    """Lines that come while somebody follows are seen, each once."""
    client = place.client(instance="ml.m5.large")
    endpoint = client.deploy(place.samples.model(1), name="followed")
    endpoint.predict([[SAY, 1.0]])
    seen: list[str] = []
    for line in endpoint.logs(follow=True):
        if "contract: told to say" in line.text:
            seen.append(line.text[-1])
            if len(seen) == 3:
                break
            endpoint.predict([[SAY, len(seen) + 1.0]])
    assert ["1", "2", "3"] == seen
    client.delete("followed")


@pytest.mark.parametrize(
    ("instance", "ok", "text"),
    [("ml.m5.large", True, "ml.m5.large for endpoint usage: 20"), ("ml.g5.xlarge", False, "endpoint usage: 0")],
)
def test_the_doctor_reads_quotas(place: Any, instance: str, ok: bool, text: str) -> None:
    """How many instances the account may have, with a hint where that is none."""
    checks = {one.name: one for one in place.client(instance=instance).doctor()["aws"]}
    assert ok is checks["quota"].ok
    assert text in checks["quota"].detail
    assert ok or "Service Quotas" in str(checks["quota"].hint)
    assert all(one.ok for name, one in checks.items() if name != "quota")


def quotas(place: Any, **settings: Any) -> dict[str, tuple[bool, str]]:
    found = place.client(**settings).doctor()["aws"]
    return {one.name: (one.ok, one.detail) for one in found if "quota" in one.name}


def test_the_doctor_reads_quotas_of_jobs(place: Any) -> None:
    """None is a fault only where the settings show that somebody trains; spot capacity has its own quota."""
    assert {
        "quota": (False, "ml.g5.xlarge for endpoint usage: 0"),
        "training quota": (
            True,
            "ml.g5.xlarge for training job usage: 0; to train, ask for more in Service Quotas, Amazon SageMaker",
        ),
    } == quotas(place, instance="ml.g5.xlarge")
    assert {
        "quota": (True, "ml.m5.large for endpoint usage: 20"),
        "training quota": (True, "ml.m5.large for training job usage: 20"),
        "spot quota": (True, "ml.m5.large for spot training job usage: 20"),
    } == quotas(place, instance="ml.m5.large", spot=True)
    assert [False] * 3 == [ok for ok, _ in quotas(place, instance="ml.g5.xlarge", spot=True).values()]


def test_quotas_without_a_value_of_the_account(place: Any) -> None:
    """AWS lists them as defaults; what is not listed anywhere is unknown, which is no fault."""
    listed = place.cloud.quotas
    listed.without_value = {"ml.m5.large for endpoint usage"}
    listed.unknown = {"ml.m5.large for training job usage"}
    assert {
        "quota": (True, "ml.m5.large for endpoint usage: 20"),
        "training quota": (
            True, "ml.m5.large for training job usage: unknown, since Service Quotas does not list it",
        ),
    } == quotas(place, instance="ml.m5.large")  # fmt: skip
    listed.without_value, listed.unknown = set(), set()


def test_quotas_that_may_not_be_read_are_no_trouble(place: Any) -> None:
    """Who has no right to look is told so, and nothing else is wrong."""
    place.cloud.faults.add("ListServiceQuotas", "denied", times=99)
    checks = place.client(instance="ml.m5.large").doctor()["aws"]
    place.cloud.faults.clear()
    assert all(one.ok for one in checks)
    assert "not readable" in next(one.detail for one in checks if one.name == "quota")


def test_a_call_waits_no_longer_than_its_verb(place: Any) -> None:
    """An answer that comes after the time-out of an operation is not waited for."""
    adapter = place.client(instance="ml.m5.large").session().adapter
    place.cloud.faults.add("DescribeEndpoint", "slow", seconds=8.0)
    with pytest.raises(UnavailableError, match="DescribeEndpoint"):
        adapter.observe("nobody", timeout=1.0)
    assert [] == adapter.observe("nobody", timeout=30.0)


def test_secrets_of_secrets_manager(place: Any) -> None:
    """`cloud:NAME` is read from the account, and reaches the model."""
    boto3.client("secretsmanager").create_secret(Name="prod/value", SecretString="41")
    client = place.client(instance="ml.m5.large")
    endpoint = client.deploy(place.samples.model(1), name="secret", secrets={ENV_NAME: "cloud:prod/value"})
    assert [42.0] == list(endpoint.predict([[ENV, 0.0]]).values)
    client.delete("secret")
