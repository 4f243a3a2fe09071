"""Unmodified boto3 trains, deploys, invokes, streams, reweights, updates and deletes on the mini cloud."""

import gzip
import io
import json
import tarfile

import pytest
from botocore.exceptions import ClientError

from tests.clouds.sagemaker.account import BUCKET, Account


def invoke(account: Account, endpoint: str, body: object = "hi", **more: str) -> dict[str, object]:
    answer = account.runtime.invoke_endpoint(
        EndpointName=endpoint, Body=json.dumps(body), ContentType="application/json", **more
    )
    seen: dict[str, object] = json.loads(answer["Body"].read())
    return {**seen, "variant": answer["InvokedProductionVariant"], "told": answer.get("CustomAttributes")}


def test_train_deploy_invoke_stream_update_delete(account: Account) -> None:
    """The whole life of an endpoint made from a training job, and nothing of it left."""
    image = account.push()
    account.job("train-1", image, params={"C": "0.5"})
    job = account.wait_job("train-1")
    assert "Completed" == job["TrainingJobStatus"]
    assert ["Starting", "Downloading", "Training", "Uploading", "Completed"] == list(dict.fromkeys(account.seen))
    artifact = job["ModelArtifacts"]["S3ModelArtifacts"]
    assert f"s3://{BUCKET}/out/train-1/output/model.tar.gz" == artifact
    account.model("blue", image, ModelDataUrl=artifact, Environment={"STUB_NAME": "blue"})
    account.model("green", account.push("green"))
    account.config("one", "blue")
    account.sm.create_endpoint(EndpointName="life", EndpointConfigName="one")
    account.wait("life")
    assert ["Creating", "InService"] == list(dict.fromkeys(account.seen))
    answers(account)
    updates(account)
    reweights(account)
    deletes(account)


def answers(account: Account) -> None:
    """Requests and answers pass whole, headers included; streams come in parts."""
    seen = invoke(account, "life", CustomAttributes="a=1", InferenceId="i-7")
    assert ("blue", "blue", ["seen.json"]) == (seen["who"], seen["variant"], seen["model"])
    assert ('"hi"', "stub=1") == (seen["body"], seen["told"])
    headers = seen["headers"]
    assert isinstance(headers, dict)
    assert "i-7" == headers["x-amzn-sagemaker-inference-id"]
    assert not [name for name in headers if "authorization" in name or "x-amz-date" in name]

    parts = account.runtime.invoke_endpoint_with_response_stream(
        EndpointName="life", Body=json.dumps({"do": "stream", "parts": ["a", "bc", "d"]})
    )
    assert [b"a", b"bc", b"d"] == [event["PayloadPart"]["Bytes"] for event in parts["Body"]]


def updates(account: Account) -> None:
    """Two variants share the traffic afterwards; until then the old configuration is told."""
    account.config("two", "blue", "green", weights=(3, 1))
    account.sm.update_endpoint(EndpointName="life", EndpointConfigName="two")
    busy = account.sm.describe_endpoint(EndpointName="life")
    assert ("Updating", "one", "two") == (
        busy["EndpointStatus"],
        busy["EndpointConfigName"],
        busy["PendingDeploymentSummary"]["EndpointConfigName"],
    )
    assert "two" == account.wait("life")["EndpointConfigName"]
    who = [invoke(account, "life")["who"] for _ in range(80)]
    assert 45 <= who.count("blue") <= 75
    assert "green" == invoke(account, "life", TargetVariant="green")["who"]


def reweights(account: Account) -> None:
    """Weights move the traffic; what has none still answers when it is named."""
    account.sm.update_endpoint_weights_and_capacities(
        EndpointName="life",
        DesiredWeightsAndCapacities=[
            {"VariantName": "blue", "DesiredWeight": 0},
            {"VariantName": "green", "DesiredWeight": 1},
        ],
    )
    about = account.wait("life")
    assert ["Updating", "InService"] == list(dict.fromkeys(account.seen))
    assert {"blue": 0.0, "green": 1.0} == {
        one["VariantName"]: one["CurrentWeight"] for one in about["ProductionVariants"]
    }
    assert {"green"} == {invoke(account, "life")["who"] for _ in range(20)}
    assert "blue" == invoke(account, "life", TargetVariant="blue")["who"], "weight 0 is dark, not gone"


def deletes(account: Account) -> None:
    """Deleting, then gone, with everything beneath."""
    account.sm.delete_endpoint(EndpointName="life")
    assert "Deleting" == account.sm.describe_endpoint(EndpointName="life")["EndpointStatus"]
    account.wait_gone("life")
    for name in ("one", "two"):
        account.sm.delete_endpoint_config(EndpointConfigName=name)
    for name in ("blue", "green"):
        account.sm.delete_model(ModelName=name)
    account.sm.delete_training_job(TrainingJobName="train-1")
    left = [line for line in account.cloud.inventory() if line.startswith(("endpoint", "model", "process", "training"))]
    assert [] == left


def test_jobs_read_fail_stop_and_run_out_of_time(account: Account) -> None:
    """Channels, hyperparameters, logs, metrics, the reason of a failure, a stop, and the longest time."""
    image = account.push()
    account.job("good", image, params={"C": "0.5"}, Environment={"WORD": "yes"})
    done = account.wait_job("good")
    assert [("loss", 0.25)] == [(one["MetricName"], one["Value"]) for one in done["FinalMetricDataList"]]
    assert done["BillableTimeInSeconds"] >= 1
    packed = account.s3.get_object(Bucket=BUCKET, Key="out/good/output/model.tar.gz")["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        member = archive.extractfile("seen.json")
        assert member is not None
        seen = json.load(member)
    assert ({"C": "0.5"}, {"train/rows.csv": "1,2\n3,4\n"}) == (seen["parameters"], seen["files"])
    assert ("good", "yes") == (seen["env"]["TRAINING_JOB_NAME"], seen["env"]["WORD"])
    events = account.client("logs").filter_log_events(
        logGroupName="/aws/sagemaker/TrainingJobs", logStreamNamePrefix="good/"
    )["events"]
    assert "stub: trains on 1 files" in [event["message"] for event in events]

    account.job("bad", image, params={"fail": "no luck"})
    failed = account.wait_job("bad")
    assert ("Failed", "AlgorithmError: no luck, exit code: 5") == (failed["TrainingJobStatus"], failed["FailureReason"])

    account.job("long", image, params={"sleep": "500"})
    with pytest.raises(ClientError, match="is in status InProgress"):
        account.sm.delete_training_job(TrainingJobName="long")
    account.sm.stop_training_job(TrainingJobName="long")
    assert "Stopping" == account.sm.describe_training_job(TrainingJobName="long")["TrainingJobStatus"]
    assert "Stopped" == account.wait_job("long")["TrainingJobStatus"]

    account.job("late", image, params={"sleep": "500"}, StoppingCondition={"MaxRuntimeInSeconds": 1})
    late = account.wait_job("late")
    assert ("Stopped", "MaxRuntimeExceeded") == (late["TrainingJobStatus"], late["SecondaryStatus"])
    assert [] == [line for line in account.cloud.inventory() if line.startswith("process")]


def test_a_container_that_does_not_start(account: Account) -> None:
    """A first deploy ends Failed with the reason, an update goes back and says why; the logs tell the rest."""
    image = account.push()
    account.model("broken", image, Environment={"STUB_BROKEN": "1"})
    account.config("broken", "broken")
    account.sm.create_endpoint(EndpointName="never", EndpointConfigName="broken")
    about = account.wait("never")
    assert "Failed" == about["EndpointStatus"]
    assert "did not pass the ping health check" in about["FailureReason"]
    lines = account.client("logs").filter_log_events(logGroupName="/aws/sagemaker/Endpoints/never")["events"]
    assert ["stub: told to be broken"] == [line["message"] for line in lines]
    account.sm.delete_endpoint(EndpointName="never")

    account.serve("steady", "fine")
    account.sm.update_endpoint(EndpointName="steady", EndpointConfigName="broken")
    after = account.wait("steady")
    assert ["Updating", "RollingBack", "InService"] == list(dict.fromkeys(account.seen))
    assert ("steady-1", True) == (after["EndpointConfigName"], "ping health check" in after["FailureReason"])
    assert "fine" == invoke(account, "steady")["who"]
    account.sm.delete_endpoint(EndpointName="steady")
    account.wait_gone("steady")


def test_serverless_and_shadow(account: Account) -> None:
    """A serverless variant serves; a shadow gets copies whose answers nobody sees."""
    account.model("small", account.push("small"))
    serverless = {"MemorySizeInMB": 2048, "MaxConcurrency": 2}
    account.sm.create_endpoint_config(
        EndpointConfigName="less",
        ProductionVariants=[{"VariantName": "small", "ModelName": "small", "ServerlessConfig": serverless}],
    )
    account.sm.create_endpoint(EndpointName="less", EndpointConfigName="less")
    about = account.wait("less")
    assert 2 == about["ProductionVariants"][0]["CurrentServerlessConfig"]["MaxConcurrency"]
    assert "small" == invoke(account, "less")["who"]
    with pytest.raises(ClientError, match=str(4 * 2**20)):
        account.runtime.invoke_endpoint(EndpointName="less", Body=b"x" * (4 * 2**20 + 1))
    account.model("dark", account.push("dark"))
    account.config(
        "shade", "small",
        ShadowProductionVariants=[{
            "VariantName": "dark", "ModelName": "dark", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1,
            "InitialVariantWeight": 1.0,
        }],
    )  # fmt: skip
    account.sm.create_endpoint(EndpointName="shade", EndpointConfigName="shade")
    assert ["dark"] == [one["VariantName"] for one in account.wait("shade")["ShadowProductionVariants"]]
    assert "small" == invoke(account, "shade", {"do": "say", "line": "copied"})["who"]
    lines: list[str] = []
    for _ in range(200):
        events = account.client("logs").filter_log_events(
            logGroupName="/aws/sagemaker/Endpoints/shade", logStreamNamePrefix="dark/"
        )["events"]
        lines = [event["message"] for event in events]
        if "copied" in lines:
            break
    assert "copied" in lines
    for name in ("less", "shade"):
        account.sm.delete_endpoint(EndpointName=name)
    account.wait_gone("shade")


def test_bytes_come_as_the_container_sent_them(account: Account) -> None:
    """Nothing is decoded on the way; of the container's headers only those of InvokeEndpoint come back."""
    account.serve("coded", "coded")
    answer = account.runtime.invoke_endpoint(
        EndpointName="coded", Body=json.dumps({"do": "encode", "say": "as it is"}), ContentType="application/json"
    )
    assert "as it is" == gzip.decompress(answer["Body"].read()).decode()
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    assert "text/plain" == answer["ContentType"]
    assert not {"content-encoding", "x-stub", "x-hop"} & headers.keys()
    account.sm.delete_endpoint(EndpointName="coded")
    account.wait_gone("coded")


def test_the_models_own_errors(account: Account) -> None:
    """What the container says comes back in ModelError, with its own status and words."""
    account.serve("errs", "errs")
    for status, whose in ((400, "client"), (503, "server")):
        with pytest.raises(account.runtime.exceptions.ModelError) as failed:
            invoke(account, "errs", {"do": "fail", "status": status, "say": "the field x"})
        reply = failed.value.response
        assert (status, "the field x") == (reply["OriginalStatusCode"], reply["OriginalMessage"])
        assert f"Received {whose} error ({status}) from primary" in str(failed.value)
        assert 424 == reply["ResponseMetadata"]["HTTPStatusCode"]
    with pytest.raises(ClientError, match="Endpoint nobody of account 123456789012 not found"):
        invoke(account, "nobody")
    with pytest.raises(ClientError, match="not found in endpoint"):
        invoke(account, "errs", TargetVariant="other")
    account.sm.delete_endpoint(EndpointName="errs")
    account.wait_gone("errs")
