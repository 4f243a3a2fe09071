"""Planned trouble reaches boto3 as what it is, and only what the kind says has happened."""

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

from sdk_contract.clouds.faults import Kind
from tests.clouds.sagemaker.account import BUCKET, Account


def names(account: Account) -> list[str]:
    return [one["ModelName"] for one in account.sm.list_models(NameContains="t-")["Models"]]


@pytest.mark.parametrize(
    ("kind", "code", "status"),
    [
        ("throttle", "ThrottlingException", 400),
        ("unavailable", "ServiceUnavailable", 503),
        ("denied", "AccessDeniedException", 400),
    ],
)
def test_refusals(account: Account, kind: Kind, code: str, status: int) -> None:
    """Code and status of AWS; nothing was made."""
    image = account.push()
    account.cloud.faults.add("CreateModel", kind)
    with pytest.raises(ClientError) as refused:
        account.model(f"t-{kind}", image)
    reply = refused.value.response
    assert (code, status) == (reply["Error"]["Code"], reply["ResponseMetadata"]["HTTPStatusCode"])
    assert (f"t-{kind}" in names(account), account.cloud.faults.pending) == (False, [])


@pytest.mark.parametrize(("kind", "done"), [("drop_before", False), ("drop_after", True)])
def test_lost_connections(account: Account, kind: Kind, done: bool) -> None:
    """Botocore sees a closed connection both times; only the log of the cloud knows which it was."""
    image = account.push()
    account.cloud.faults.add("sagemaker:CreateModel", kind)
    with pytest.raises(ConnectionClosedError):
        account.model(f"t-{done}", image)
    assert (done, 0) == (f"t-{done}" in names(account), account.cloud.calls.of("CreateModel")[-1].status)


def test_s3_and_ecr_have_their_own_shapes(account: Account) -> None:
    """What moto plays is hit as well."""
    account.cloud.faults.add("s3:PutObject", "throttle")
    with pytest.raises(ClientError, match="SlowDown"):
        account.s3.put_object(Bucket=BUCKET, Key="k", Body=b"")
    account.cloud.faults.add("ecr:*", "denied")
    with pytest.raises(ClientError, match="AccessDeniedException"):
        account.client("ecr").describe_repositories()


def test_slow_answers(account: Account) -> None:
    """A client that does not wait sees a time-out, and the request was carried out."""
    image, hasty = account.push(), account.client("sagemaker", read_timeout=0.2)
    account.cloud.faults.add("DeleteModel", "slow", seconds=1.0)
    account.model("t-slow", image)
    with pytest.raises(ReadTimeoutError):
        hasty.delete_model(ModelName="t-slow")
    assert "t-slow" not in names(account)


def test_late_resources(account: Account) -> None:
    """Reads and lists do not see it at first."""
    image = account.push()
    account.cloud.faults.add("CreateModel", "late")
    account.model("t-late", image)
    assert "t-late" not in names(account)
    with pytest.raises(ClientError, match="Could not find"):
        account.sm.describe_model(ModelName="t-late")
    assert "t-late" == account.sm.describe_model(ModelName="t-late")["ModelName"]


def test_endpoints_that_fail_or_are_stuck(account: Account) -> None:
    """`fail` ends a creation as Failed; `stuck` holds an update, and then it goes on."""
    account.model("t-e", account.push())
    account.config("t-e", "t-e")
    account.cloud.faults.add("CreateEndpoint", "fail")
    account.sm.create_endpoint(EndpointName="t-e", EndpointConfigName="t-e")
    assert ("Failed", True) == (
        account.wait("t-e")["EndpointStatus"],
        "planned" in account.wait("t-e")["FailureReason"],
    )
    account.sm.delete_endpoint(EndpointName="t-e")
    account.wait_gone("t-e")
    account.sm.create_endpoint(EndpointName="t-e", EndpointConfigName="t-e")
    account.wait("t-e")
    account.cloud.faults.add("UpdateEndpointWeightsAndCapacities", "stuck", seconds=2.0)
    account.sm.update_endpoint_weights_and_capacities(
        EndpointName="t-e", DesiredWeightsAndCapacities=[{"VariantName": "t-e", "DesiredWeight": 2}]
    )
    account.wait("t-e")
    assert account.seen.count("Updating") > 1  # else each state is seen once
    account.sm.delete_endpoint(EndpointName="t-e")
    account.wait_gone("t-e")
    account.cloud.faults.add("CreateTrainingJob", "fail")
    account.job("t-job", account.push())
    assert "InternalServerError" in account.wait_job("t-job")["FailureReason"]
    assert [] == account.cloud.faults.pending
