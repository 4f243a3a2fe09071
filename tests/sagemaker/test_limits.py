"""What SageMaker refuses for its form is refused when a verb is planned, by the numbers of the API's description."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import httpx
import pytest
from botocore import session

from sdk.adapter import JobSpec, Labels, Resource
from sdk.adapter.types import Replicas
from sdk.errors import ConfigError, UnavailableError
from sdk_sagemaker import SagemakerOptions, _bodies, _limits, _plan, _predict
from tests.sagemaker.test_plan import World

if TYPE_CHECKING:
    from collections.abc import Callable

ROLE = "arn:aws:iam::123456789012:role/mlport"
LABELS = Labels("fit", "me", "t1", 1, "ab" * 16, expires_at=1)


def shape(name: str) -> dict[str, Any]:
    found: dict[str, Any] = session.get_session().get_service_model("sagemaker").shape_for(name).metadata
    return found


def test_the_numbers_are_those_of_the_library() -> None:
    """A newer description with other limits shows here."""
    assert shape("EnvironmentValue")["max"] == _limits.ENV_VALUE["inference"]
    assert shape("TrainingEnvironmentValue")["max"] == _limits.ENV_VALUE["training"]
    assert shape("EnvironmentMap")["max"] == shape("TrainingEnvironmentMap")["max"] > _limits.ENV_COUNT
    assert shape("HyperParameters")["max"] == _limits.PARAMS
    assert (shape("HyperParameterKey")["max"], shape("HyperParameterValue")["max"]) == (
        _limits.PARAM_NAME, _limits.PARAM_VALUE
    )  # fmt: skip
    assert (shape("InputDataConfig")["max"], shape("ChannelName")["max"]) == (_limits.CHANNELS, _limits.CHANNEL_NAME)
    assert (shape("TagKey")["max"], shape("TagValue")["max"]) == (_limits.TAG_KEY, _limits.TAG_VALUE)
    assert (shape("Subnets")["max"], shape("VpcSecurityGroupIds")["max"]) == (16, 5)


def test_our_own_tags_leave_room_for_the_users() -> None:
    """The model has the most: with all labels and as many tags as a user may have it is within the limit of 50."""
    world = World()
    user = {f"team-{number}": "x" for number in range(_limits.TAGS)}
    _limits.check_tags(user)
    world.deploy(1)
    model = next(one for one in world.live.values() if one.kind == _plan.MODEL)
    spec: Any = {**(model.spec or {}), "tags": user}
    made = Resource(_plan.MODEL, model.id, spec, LABELS)
    assert len(_bodies.model_body(made, "i", {}, ROLE, world.options)["Tags"]) <= shape("TagList")["max"]


TOO_MUCH: dict[str, tuple[Callable[[], None], str]] = {
    "bytes": (lambda: _limits.check_variables({"A": "ü" * 513}, "inference"), "value of A has 1026 bytes"),
    "a job": (lambda: _limits.check_variables({"A": "x" * 513}, "training"), "has 513 bytes, SageMaker takes 512"),
    "a surrogate": (lambda: _limits.check_variables({"A": "\ud800" * 400}, "inference"), "has 1200 bytes"),
    "a name": (lambda: _limits.check_variables({"A" * 1025: ""}, "inference"), "has 1025 characters"),
    "together": (lambda: _limits.check_variables({f"V{n}": "x" * 1000 for n in range(32)}, "inference"), "together"),
    "many": (lambda: _limits.check_variables({f"V{n}": "" for n in range(91)}, "training"), "more than 90"),
    "tags": (lambda: _limits.check_tags({f"k{n}": "" for n in range(39)}), "keep at most 38|too many"),
    "a tag's character": (lambda: _limits.check_tags({"team": "a,b"}), "'a,b' has a character"),
    "a tag's name": (lambda: _limits.check_tags({"te&am": "a"}), "has a character"),
    "scaling": (lambda: _limits.check_scaling("ml.t2.medium", Replicas(1, 2)), "ml.t2.medium is burstable"),
}


@pytest.mark.parametrize("what", TOO_MUCH)
def test_too_much(what: str) -> None:
    """The error names the setting and says what is taken."""
    call, text = TOO_MUCH[what]
    with pytest.raises(ConfigError, match=text) as caught:
        call()
    assert caught.value.hint


def test_what_is_just_allowed() -> None:
    """The largest that SageMaker takes, and letters of all languages."""
    _limits.check_variables({"A": "x" * 1024}, "inference")
    _limits.check_variables({f"V{n}": "x" * 500 for n in range(90)}, "training")
    _limits.check_tags({"Größe 1": "äöü _.:/=+-@ 漢字", "empty": ""})
    _limits.check_scaling("ml.t2.medium", Replicas(2, 2))
    _limits.check_scaling("ml.trn1.2xlarge", Replicas(2, 2))


def job(**changed: Any) -> list[Resource]:
    facts: dict[str, Any] = {
        "name": "fit", "labels": LABELS, "bundle": Path("/nowhere"), "digest": "cd" * 32, "instance": "ml.m5.large",
    }  # fmt: skip
    settings = changed.pop("settings", {})
    options = SagemakerOptions.model_validate({"role": ROLE, "region": "us-east-1", **settings})
    return _plan.job_resources(JobSpec(**{**facts, **changed}), options, {}, {})


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"params": {"words": "x" * 2499}}, "'words' = .* has 2501 characters as JSON"),
        ({"params": {f"p{n}": n for n in range(101)}}, "101 are more than the 100"),
        ({"data": {f"c{n}": "s3://b/" for n in range(21)}}, "21 inputs are more than the 20"),
        ({"data": {"c" * 65: "s3://b/"}}, "longer than 64"),
        ({"env": {"A": "ü" * 257}}, "has 514 bytes, SageMaker takes 512"),
        ({"env": {"A": "x\0y"}}, "A holds a null character"),
        ({"tags": {"team": "a|b"}}, "has a character that AWS does not take"),
        ({"tags": {"team": "a\tb"}}, "has a character that AWS does not take"),
        ({"tags": {f"k{n}": "" for n in range(39)}}, "too many"),
        ({"timeout_s": 28 * 86_400 + 1}, r"more than the 2419200 s \(28 days\)"),
    ],
)
def test_jobs(changed: dict[str, Any], text: str) -> None:
    """Parameters, inputs and variables, before a program is packed."""
    with pytest.raises(ConfigError, match=text):
        job(**changed)


def test_a_job_has_the_tags_of_its_user() -> None:
    """Beside mlport's own, which a user's tag never replaces."""
    user = {"team": "Ünïcode\u2003\uff11", "mlport-owner": "somebody"}
    options = SagemakerOptions.model_validate({"role": ROLE, "region": "us-east-1"})
    made = _bodies.job_body(job(tags=user)[-1], "image", {}, role=ROLE, place="s3://b/mlport", options=options)
    told = _bodies.from_tags(made["Tags"])
    assert (user["team"], "me") == (told["team"], told["mlport-owner"])
    older = replace(job()[-1], spec={k: v for k, v in (job()[-1].spec or {}).items() if k != "tags"})
    _bodies.job_body(older, "image", {}, role=ROLE, place="s3://b/mlport", options=options)  # as in an older journal


def body(instance: str) -> dict[str, Any]:
    options = SagemakerOptions.model_validate({"role": ROLE, "region": "us-east-1", "kms_key": "k"})
    made = job(instance=instance, settings={"kms_key": "k"})[-1]
    return _bodies.job_body(made, "image", {}, role=ROLE, place="s3://b/mlport", options=options)


@pytest.mark.parametrize(
    ("instance", "key"), [("ml.m5.large", "k"), ("ml.g4dn.xlarge", None), ("ml.p4d.24xlarge", None)]
)
def test_no_key_for_a_disk_that_has_its_own(instance: str, key: str | None) -> None:
    """CreateTrainingJob refuses one; the results are encrypted with it all the same, and the plan says so."""
    made = body(instance)
    assert (key, "k") == (made["ResourceConfig"].get("VolumeKmsKeyId"), made["OutputDataConfig"]["KmsKeyId"])
    said = "encrypted by its hardware" in job(instance=instance, settings={"kms_key": "k"})[-1].summary
    assert said is (key is None)


def test_endpoints_with_own_disks_and_one_subnet() -> None:
    """The plan says what a key does not encrypt, and that one subnet is one zone."""
    world = World(kms_key="k", subnets=["subnet-1"], security_groups=["sg-1"])
    text = str(world.deploy(1, instance="ml.g5.xlarge"))
    assert world.config()["kms_key"] is None
    assert "not with kms_key" in text
    assert "one subnet: no other zone" in text
    usual = World(kms_key="k", subnets=["subnet-1", "subnet-2"], security_groups=["sg-1"])
    text = str(usual.deploy(1))
    assert "k" == usual.config()["kms_key"]
    assert "kms_key" not in text
    assert "zone" not in text


@pytest.mark.parametrize("wrong", [{"deadline_s": 61}, {"subnets": ["subnet_1"], "security_groups": ["sg-1"]}])
def test_settings_that_sagemaker_would_not_keep(wrong: dict[str, Any]) -> None:
    """SageMaker ends a prediction after 60 s, whatever a client waits."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SagemakerOptions.model_validate({"role": ROLE, **wrong})


def test_secrets_are_refused_before_an_image_is_built(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each and together with env, by name and size; the value is in no message. Those of Secrets Manager as well."""
    client = place.client(instance="ml.m5.large")
    monkeypatch.setenv("TOO_LONG", "hunter2" * 200)
    boto3.client("secretsmanager").create_secret(Name="too/long", SecretString="hunter3" * 200)
    with (
        place.cloud.calls.since() as calls,
        pytest.raises(ConfigError, match="value of TOO_LONG has 1400 bytes") as one,
    ):
        client.deploy(place.samples.model(1), name="secretive", secrets=["TOO_LONG"])
    assert [] == [call.operation for call in calls if call.changing]
    with pytest.raises(ConfigError, match="value of STORED has 1400 bytes") as other:
        client.deploy(place.samples.model(1), name="secretive", secrets={"STORED": "cloud:too/long"})
    assert "hunter" not in f"{one.value} {one.value.hint} {other.value} {other.value.hint}"
    assert [] == [item for item in place.cloud.inventory() if "secretive" in item]


URL = "https://runtime.sagemaker.us-east-1.amazonaws.com/endpoints/churn/invocations"
SLOW = "Your invocation timed out while waiting for a response from container primary. Review the latency metrics"


@pytest.mark.parametrize(("said", "lost"), [(SLOW, False), ("the container broke the connection", True)])
def test_a_container_without_an_answer_is_no_error_of_the_model(said: str, lost: bool) -> None:
    """SageMaker says ModelError with status 0; it is not sent again."""
    told = {"OriginalStatusCode": 0, "OriginalMessage": said, "Message": f'Received server error (0) with "{said}"'}
    answer = httpx.Response(
        424, json=told, headers={"x-amzn-ErrorType": "ModelError"}, request=httpx.Request("POST", URL)
    )
    assert _predict.fault(answer) is None
    error = _predict.error(answer)
    assert isinstance(error, UnavailableError)
    assert (False, lost, 424, "churn") == (error.retryable, error.lost, error.status, error.resource)
    assert said in json.dumps(str(error))
    assert ("60 s" in str(error.hint)) is not lost
