"""Policies of a `sagemaker` target, and what `mlport doctor` and hints say of missing rights."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from sdk.errors import ConfigError, SdkError, UnsupportedError
from sdk_contract.clouds.sagemaker.rig import ROLE
from sdk_sagemaker._errors import Answer, from_answer
from sdk_sagemaker._rights import CALLS, actions_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ACCOUNT = "123456789012"
_LARGEST = 6144  # characters of a managed policy without white space


@pytest.fixture
def client(place: Any) -> Any:
    return place.client(instance="ml.m5.large")


@pytest.fixture
def iam() -> Iterator[Any]:
    """IAM, as a user sees it."""
    found: Any = boto3.client("iam")
    yield found
    found.close()


def policy(client: Any, role: str, **more: Any) -> Mapping[str, Any]:
    found: dict[str, Any] = json.loads(client.policy(role, **more))
    return found


def allowed(document: Mapping[str, Any]) -> dict[str, list[str]]:
    """The resources of each action."""
    found: dict[str, list[str]] = {}
    for one in document["Statement"]:
        for action in one["Action"]:
            found.setdefault(action, []).extend(
                [one["Resource"]] if isinstance(one["Resource"], str) else one["Resource"]
            )
    return found


def without(document: Mapping[str, Any], *actions: str) -> dict[str, Any]:
    """The same policy without some actions."""
    kept = [{**one, "Action": [name for name in one["Action"] if name not in actions]} for one in document["Statement"]]
    return {**document, "Statement": [one for one in kept if one["Action"]]}


def test_a_policy_names_what_the_target_has(place: Any) -> None:
    """Bucket, prefix, repository, role and key of the settings; what is not set is not in it."""
    client = place.client(
        instance="ml.m5.large", bucket="data-1", prefix="team", repository="models", kms_key="k-1", delete_logs=True
    )
    found = allowed(policy(client, "deployer", secrets=["db"]))
    assert ["arn:aws:s3:::data-1/team/*"] == found["s3:PutObject"]
    assert ["arn:aws:s3:::data-1"] == found["s3:ListBucket"]
    assert [f"arn:aws:ecr:us-east-1:{ACCOUNT}:repository/models"] == found["ecr:PutImage"]
    assert [ROLE] == found["iam:PassRole"]
    assert [f"arn:aws:kms:us-east-1:{ACCOUNT}:key/k-1"] == found["kms:CreateGrant"]
    assert [f"arn:aws:secretsmanager:us-east-1:{ACCOUNT}:secret:db-??????"] == found["secretsmanager:GetSecretValue"]
    assert "logs:DeleteLogGroup" in found
    plain = allowed(policy(place.client(instance="ml.m5.large"), "deployer"))
    assert set() == {"kms:CreateGrant", "secretsmanager:GetSecretValue", "logs:DeleteLogGroup"} & set(plain)


def test_no_action_of_more_than_one(client: Any) -> None:
    """A policy has no wildcard in an action, and ``*`` as a resource only where AWS knows no other."""
    found = allowed(policy(client, "deployer"))
    assert [] == [action for action in found if "*" in action]
    everywhere = {action for action, resources in found.items() if "*" in resources}
    assert {
        "application-autoscaling:DescribeScalableTargets", "application-autoscaling:DescribeScalingPolicies",
        "cloudwatch:DescribeAlarms", "cloudwatch:GetMetricData", "ecr:GetAuthorizationToken",
        "sagemaker:ListEndpointConfigs", "sagemaker:ListEndpoints", "sagemaker:ListModels",
        "sagemaker:ListTrainingJobs", "servicequotas:ListAWSDefaultServiceQuotas",
        "servicequotas:ListServiceQuotas", "tag:GetResources",
    } == everywhere  # fmt: skip


@pytest.mark.parametrize("role", ["deployer", "ci", "caller", "runtime"])
def test_a_policy_fits_into_a_managed_policy(client: Any, role: str) -> None:
    assert len(json.dumps(policy(client, role), separators=(",", ":"))) <= _LARGEST


def test_roles_are_passed_to_sagemaker_only(client: Any) -> None:
    """The right to pass the role has a condition, and nothing else shares its statement."""
    found = [one for one in policy(client, "ci")["Statement"] if "iam:PassRole" in one["Action"]]
    assert [["iam:PassRole"]] == [one["Action"] for one in found]
    assert {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}} == found[0]["Condition"]


def test_each_role_has_less_than_the_one_before(client: Any) -> None:
    deployer, ci, caller = (set(allowed(policy(client, role))) for role in ("deployer", "ci", "caller"))
    assert caller < ci < deployer
    assert {"s3:CreateBucket", "ecr:CreateRepository", "sagemaker:CreateTrainingJob"} <= deployer - ci


def test_terraform_has_the_same_policy(client: Any) -> None:
    """One resource, whose document is the JSON form."""
    text = client.policy("ci", form="tf")
    assert text.startswith('resource "aws_iam_policy" "mlport_aws_ci" {\n  name = "mlport-aws-ci"\n')
    begin = text.index("jsonencode(") + len("jsonencode(")
    assert policy(client, "ci") == json.loads(text[begin : text.rindex(")")])


def test_other_forms_and_roles_are_refused(client: Any) -> None:
    with pytest.raises(UnsupportedError, match="Bicep"):
        client.policy("ci", form="bicep")
    with pytest.raises(ConfigError, match="form = 'yaml'"):
        client.policy("ci", form="yaml")
    with pytest.raises(ConfigError, match="role = 'deploier'") as refused:
        client.policy("deploier")
    assert "did you mean 'deployer'?" == refused.value.hint


def checks(client: Any) -> dict[str, Any]:
    return {check.name: check for check in client.doctor(target="aws")["aws"]}


def test_doctor_finds_nothing_missing(place: Any, client: Any) -> None:
    with place.cloud.rights.enforced(policy(client, "deployer")):
        found = checks(client)
    assert [True] * 3 == [found[f"rights {role}"].ok for role in ("caller", "ci", "deployer")]
    assert found["rights deployer"].hint is None


def test_doctor_names_what_is_missing(place: Any, client: Any) -> None:
    """What a pipeline needs is missed, what only a deployer needs is a warning."""
    given = without(policy(client, "deployer"), "sagemaker:UpdateEndpoint", "ecr:CreateRepository", "iam:PassRole")
    with place.cloud.rights.enforced(given):
        found = checks(client)
    ci, deployer = found["rights ci"], found["rights deployer"]
    assert (True, False, True) == (found["rights caller"].ok, ci.ok, deployer.ok)
    assert f"sagemaker:UpdateEndpoint on arn:aws:sagemaker:us-east-1:{ACCOUNT}:endpoint/*" in ci.detail
    assert f"iam:PassRole on {ROLE}" in ci.detail
    assert "ecr:CreateRepository" in deployer.detail
    assert "mlport policy --for ci --target aws" in str(ci.hint)


def test_doctor_looks_at_the_containers_role_apart(place: Any, client: Any) -> None:
    """What the caller may do says nothing about the role, and the other way round."""
    mine, theirs = policy(client, "deployer"), policy(client, "runtime")
    with place.cloud.rights.enforced(mine, runtime=theirs):
        assert checks(client)["rights runtime"].ok
    with place.cloud.rights.enforced(mine, runtime=without(theirs, "cloudwatch:PutMetricData")):
        found = checks(client)
    assert (True, False) == (found["rights deployer"].ok, found["rights runtime"].ok)
    assert "cloudwatch:PutMetricData" in found["rights runtime"].detail


def test_doctor_says_unknown_without_the_right_to_ask(place: Any, client: Any) -> None:
    given = without(policy(client, "deployer"), "iam:SimulatePrincipalPolicy")
    with place.cloud.rights.enforced(given):
        found = checks(client)["rights"]
    assert found.ok
    assert found.detail.startswith("unknown: ")
    assert "iam:SimulatePrincipalPolicy" in str(found.hint)


def test_the_official_client_reads_the_simulation(place: Any, client: Any, iam: Any) -> None:
    """Each action with each resource, and the condition on the service that a role is passed to."""
    with place.cloud.rights.enforced(policy(client, "deployer")):
        told = iam.simulate_principal_policy(
            PolicySourceArn=f"arn:aws:iam::{ACCOUNT}:user/me",
            ActionNames=["iam:PassRole", "sagemaker:CreateEndpoint"],
            ResourceArns=[ROLE, f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:endpoint/churn"],
        )["EvaluationResults"]
    decisions = [(one["EvalActionName"], one["EvalDecision"]) for one in told]
    assert [
        ("iam:PassRole", "implicitDeny"), ("iam:PassRole", "implicitDeny"),
        ("sagemaker:CreateEndpoint", "implicitDeny"), ("sagemaker:CreateEndpoint", "allowed"),
    ] == decisions  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
def test_a_refusal_without_words_names_the_rights_of_its_call(call: str) -> None:
    """Where AWS says only that access is denied, the hint names the actions of that very call."""
    operation = call.partition(":")[2]
    error = from_answer(Answer("AccessDenied", "Access Denied", 403), operation, "x")
    for action in actions_of(operation):
        assert action in str(error.hint)


def test_a_refusal_names_the_right_that_aws_names(place: Any, client: Any) -> None:
    """The hint names the action of the refusal."""
    given = without(policy(client, "deployer"), "sagemaker:ListEndpoints")
    with place.cloud.rights.enforced(given), pytest.raises(SdkError) as refused:
        client.session().adapter.aws.call("sagemaker", "list_endpoints", "list")
    assert "sagemaker:ListEndpoints" in str(refused.value.hint)
