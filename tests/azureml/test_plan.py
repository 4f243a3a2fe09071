"""From specs to bodies and back, by value; no call is made."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import httpx
import pytest

from sdk.adapter import DeploymentSpec, EndpointSpec, JobSpec, Labels, Ref
from sdk.adapter.types import DeploymentStatus, Replicas
from sdk.errors import (
    AuthError,
    ConfigError,
    ConflictError,
    InvalidRequestError,
    QuotaError,
    UnavailableError,
    UnsupportedError,
)
from sdk_azureml import AzureMLOptions, _bodies, _errors, _names, _plan, _submission
from sdk_azureml._doctor import family_of
from sdk_azureml._monitor import Series, container_lines, counted, last_warning, overlap, points, status_class

PLACE = {"subscription": "s-1", "resource_group": "rg", "workspace": "ws1"}
OPTIONS = AzureMLOptions.model_validate({**PLACE, "instance": "Standard_DS2_v2"})
LONGEST = "a23456789-123456789-123"


def deployment(n: int = 1, **changed: Any) -> DeploymentSpec:
    """Deployment number n."""
    names = ("deadline_s", "start_s", "concurrency", "app_insights", "max_body")
    options = {key: OPTIONS.model_dump()[key] for key in names}
    made = DeploymentSpec(f"d{n:08x}", "m", f"{n:064x}", n, instance="Standard_DS2_v2", options=options)
    return replace(made, **changed)


def endpoint(*deployments: DeploymentSpec, **traffic: int) -> EndpointSpec:
    """An endpoint with these shares."""
    return EndpointSpec("churn", deployments, traffic, Labels("churn", "me", "t1", len(deployments)))


def kept(item: DeploymentSpec, **settings: Any) -> DeploymentSpec:
    """The same, as it runs already."""
    status = DeploymentStatus(item.id, 100, "ready", item.model, item.spec_hash, item.generation, settings=settings)
    return replace(item, kept=status)


def test_names_are_unique_in_the_region_and_fit() -> None:
    """The longest name fits Azure's 32 characters, is stable, and differs between workspaces."""
    name = _names.endpoint_name(LONGEST, OPTIONS)
    assert re.fullmatch(r"[a-z][a-z0-9-]{1,30}[a-z0-9]", name)
    assert 32 == len(name)
    assert name == _names.endpoint_name(LONGEST, AzureMLOptions.model_validate({**PLACE, "resource_group": "RG"}))
    assert name != _names.endpoint_name(LONGEST, AzureMLOptions.model_validate({**PLACE, "workspace": "ws2"}))


def test_parents_come_first_and_the_traffic_last() -> None:
    """Image, environment, endpoint, deployment, autoscale, traffic."""
    found = _plan.resources(endpoint(deployment(replicas=Replicas(1, 3)), d00000001=100), OPTIONS)
    assert ["Image", "Environment", "Endpoint", "Deployment", "Autoscale", "Traffic"] == [one.kind for one in found]
    assert (Ref("Deployment", "churn.d00000001"),) == found[-1].parents == found[-2].parents


def test_what_runs_already_is_neither_built_nor_made_again() -> None:
    """Of a kept deployment only its reference is planned."""
    both = (kept(deployment(1), image="i" * 32), deployment(2))
    found = _plan.resources(endpoint(*both, d00000001=100), OPTIONS)
    assert ["Image", "Environment", "Endpoint", "Deployment", "Deployment", "Traffic"] == [one.kind for one in found]
    assert None is found[3].spec
    assert Ref("Environment", "i" * 32) in found[3].parents


@pytest.mark.parametrize(
    ("share", "traffic", "expected"),
    [
        (10, {"d00000001": 100}, {"d00000002": 10}),
        (10, {"d00000001": 90, "d00000002": 10}, {}),
        (10, {"d00000002": 100}, {}),
        (0, {"d00000001": 100}, {}),
        (10, {}, {}),
    ],
)
def test_the_newest_gets_a_copy_as_long_as_it_gets_nothing_else(
    share: int, traffic: dict[str, int], expected: dict[str, int]
) -> None:
    assert expected == _plan.mirrored(endpoint(deployment(1), deployment(2), **traffic), share)


def test_an_instance_is_needed() -> None:
    with pytest.raises(ConfigError, match="instance"):
        _plan.resources(endpoint(deployment(instance=None), d00000001=100), OPTIONS)


def test_there_is_no_scale_to_zero() -> None:
    with pytest.raises(UnsupportedError, match="always runs one"):
        _plan.resources(endpoint(deployment(replicas=Replicas(0, 1)), d00000001=100), OPTIONS)


def test_a_deployment_as_it_is_sent() -> None:
    """Probes give the model its time to load, the request its time to be answered."""
    found = _plan.resources(endpoint(deployment(), d00000001=100), OPTIONS)
    environment, wanted = found[1], found[3]
    body = _bodies.deployment_body("westeurope", "/ws", wanted, {"A": "1"}, {**OPTIONS.model_dump(), "start_s": 600.0})
    told = body["properties"]
    assert {"name": "Default", "capacity": 1} == body["sku"]
    assert f"/ws/environments/mlport-{environment.id}/versions/1" == told["environmentId"]
    assert {"requestTimeout": "PT60S", "maxConcurrentRequestsPerInstance": 64} == told["requestSettings"]
    assert 600 <= int(told["readinessProbe"]["failureThreshold"]) * 5
    assert {"A": "1"} == told["environmentVariables"]
    assert ("1", "me") == (body["tags"]["mlport"], body["tags"]["mlport-owner"])


def test_traffic_is_read_back_with_those_that_get_none() -> None:
    """Azure forgets shares of 0; the tags remember who had them, and whose they are."""
    spec = endpoint(deployment(1), deployment(2), d00000001=100)
    wanted = _plan.resources(spec, OPTIONS)
    front, traffic = next(one for one in wanted if one.kind == "Endpoint"), wanted[-1]
    tags = _bodies.traffic_tags(traffic, _bodies.endpoint_tags(front, {"team": "x"}, {"cost": "a b"}))
    assert front.spec is not None
    assert traffic.spec is not None
    body = _bodies.endpoint_body("westeurope", tags, front.spec, traffic.spec)
    assert {"d00000001": 100} == body["properties"]["traffic"]
    raw = {**body, "name": "churn-x", "id": "/ws/onlineEndpoints/churn-x"}
    live = _bodies.traffic_live("churn", raw)
    assert live is not None
    assert traffic.spec == live.spec
    assert replace(traffic.labels, spec=traffic.hash[:32]) == live.labels
    assert front.spec == _bodies.endpoint_live("churn", raw).spec
    without = {**raw, "tags": _bodies.traffic_tags(None, tags)}
    assert None is _bodies.traffic_live("churn", without)
    assert ("x", "a b") == (without["tags"]["team"], without["tags"]["cost"])


def test_one_change_changes_the_etag() -> None:
    raw = {"tags": {"a": "1"}, "properties": {"traffic": {"d": 100}}}
    changed = {**raw, "tags": {"a": "2"}}
    assert _bodies.etag_of(raw) == _bodies.etag_of(dict(raw))
    assert _bodies.etag_of(raw) != _bodies.etag_of(changed)


def test_autoscale_adds_above_and_takes_away_below() -> None:
    found = _plan.resources(endpoint(deployment(replicas=Replicas(1, 3)), d00000001=100), OPTIONS)
    setting = next(one for one in found if one.kind == "Autoscale")
    (profile,) = _bodies.autoscale_body("westeurope", "/target", setting)["properties"]["profiles"]
    assert {"minimum": "1", "maximum": "3", "default": "1"} == profile["capacity"]
    rules = [(one["metricTrigger"]["operator"], one["scaleAction"]["direction"]) for one in profile["rules"]]
    assert [("GreaterThan", "Increase"), ("LessThan", "Decrease")] == rules


def test_inputs_that_azure_cannot_read_are_refused() -> None:
    job = JobSpec("job", Labels("job", "me", "t"), None, "a" * 64, instance="x")  # type: ignore[arg-type]  # never opened
    with pytest.raises(UnsupportedError, match="s3"):
        _plan.job_resources(replace(job, data={"train": "s3://bucket/x"}), OPTIONS, {})
    with pytest.raises(ConfigError, match="Train"):
        _plan.job_resources(replace(job, data={"Train": "/x"}), OPTIONS, {})
    with pytest.raises(ConfigError, match="instance"):
        _plan.job_resources(replace(job, instance=None), OPTIONS, {})


JOB = JobSpec("job", Labels("job", "me", "t"), None, "a" * 64, instance="x")  # type: ignore[arg-type]  # never opened


def test_a_job_has_the_tags_of_its_user() -> None:
    """Beside mlport's own; a job in an older journal has none."""
    made = _plan.job_resources(replace(JOB, tags={"team": "a b", "mlport-owner": "x"}), OPTIONS, {})[-1]
    told = _submission.order(made, {})["tags"]
    assert ("a b", "me", "1") == (told["team"], told["mlport-owner"], told["mlport"])
    older = replace(made, spec={name: value for name, value in (made.spec or {}).items() if name != "tags"})
    assert older.tags == _submission.order(older, {})["tags"]


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"a<b": ""}, "'a<b' is not a name of a tag on Azure"),
        ({"Microsoft-team": ""}, "is not a name of a tag"),
        ({"azure": ""}, "is not a name of a tag"),
        ({"windows_": ""}, "is not a name of a tag"),
        ({"x" * 513: ""}, "is not a name of a tag"),
        ({"team": "x" * 257}, "the value of 'team' has 257 characters"),
        ({f"t{number}": "" for number in range(36)}, "36 of them"),
        ({"Team": "a", "team": "b"}, "'team' in one spelling only"),
    ],
)
def test_tags_that_azure_does_not_take(tags: dict[str, str], message: str) -> None:
    """Of endpoints and of jobs; before an image is built."""
    with pytest.raises(ConfigError, match=message):
        _plan.resources(replace(endpoint(deployment(), d00000001=100), tags=tags), OPTIONS)
    with pytest.raises(ConfigError, match=message):
        _plan.job_resources(replace(JOB, tags=tags), OPTIONS, {})
    _plan.check_tags({"team-azure": "microsoft", "Ünï code": "<>"})


def test_parameters_that_are_too_long_for_a_variable() -> None:
    with pytest.raises(ConfigError, match=r"params have 131,[0-9]+ bytes together"):
        _plan.job_resources(replace(JOB, params={"p": "x" * (128 << 10)}), OPTIONS, {})


def test_the_storage_says_why_it_refuses() -> None:
    """Its body is XML; as documented, with lines about the request, which the error has in a field of its own."""
    text = "This request is not authorized to perform this operation using this permission."
    body = (
        '\ufeff<?xml version="1.0" encoding="utf-8"?><Error><Code>AuthorizationPermissionMismatch</Code>'
        f"<Message>{text}\nRequestId:d0b5\nTime:2026-12-01T00:00:00Z</Message></Error>"
    )
    headers = {"x-ms-error-code": "AuthorizationPermissionMismatch", "x-ms-request-id": "d0b5"}
    error = _errors.from_answer(httpx.Response(403, text=body, headers=headers), "upload", "data/x")
    assert (AuthError, f"upload was refused: {text}", "d0b5") == (type(error), error.message, error.request_id)
    plain = _errors.from_answer(httpx.Response(502, text="<html>Bad gateway</html>"), "upload")
    assert "<html>Bad gateway</html>" in plain.message


def test_the_shell_line_of_a_job() -> None:
    line = _submission.command({"train": {}, "test": {}})
    assert 'MLPORT_DATA_TRAIN="${{inputs.train}}"' in line
    assert 'MLPORT_OUTPUT_DIR="${{outputs.output}}"' in line
    assert line.endswith("exec python -P -m mlport_serving train")


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("OutOfQuota", 200, QuotaError),
        ("OutOfQuota", 400, QuotaError),
        ("BadArgument", 200, InvalidRequestError),
        ("InternalServerError", 200, UnavailableError),
        ("Whatever", 503, UnavailableError),
    ],
)
def test_errors_are_told_by_their_code(code: str, status: int, kind: type[Exception]) -> None:
    """An operation that failed is read with status 200, so that the code is all there is."""
    assert kind is type(_errors.made(code, "m", status=status))


def inside(message: str) -> dict[str, Any]:
    """A refusal whose cause is JSON in a message of its details, as users report it."""
    errors = {"errors": {"VmSize": [message]}, "title": "One or more validation errors occurred."}
    inner = {"error": {"code": "Validation", "message": json.dumps(errors)}}
    return {"code": "BadRequest", "message": "The request is invalid.", "details": [{"message": json.dumps(inner)}]}


@pytest.mark.parametrize(
    ("told", "status", "kind", "said"),
    [
        (inside("Not enough quota available for X. Current usage/limit: 0/6."), 400, QuotaError, "0/6"),
        ({"code": "InferencingClientCallFailed", "message": "Endpoint Quota reached. 300/300"}, 400, QuotaError, "300"),
        (
            {"code": "BadArgument", "message": "Endpoint identity does not have pull permission on the registry"},
            200,
            AuthError,
            "AcrPull",
        ),
        (
            {
                "code": "BadRequest",
                "message": "Cannot create, because it is in Updating provisioning state",
            },
            400,
            ConflictError,
            "Updating",
        ),
        (
            {"code": "X", "message": "no", "innererror": {"code": "OutOfCapacity", "message": "the region is full"}},
            400,
            QuotaError,
            "no (the region is full)",
        ),
        ({"code": "X", "message": '{"broken', "details": "no list"}, 400, InvalidRequestError, "broken"),
    ],
)
def test_the_cause_in_the_details_counts(told: Any, status: int, kind: type[Exception], said: str) -> None:
    """What an inner service refused decides the class of the error and is in its message."""
    answer = httpx.Response(status, json={"error": told}, request=httpx.Request("PUT", "https://x"))
    error = _errors.from_answer(answer, "create deployment") if status != 200 else _errors.of_operation(told, "od:1")
    assert kind is type(error)
    assert said in str(error)
    assert error.retryable == (kind is ConflictError)


def test_an_error_nested_without_end_is_cut() -> None:
    told: dict[str, Any] = {"code": "X", "message": "deep"}
    for _ in range(10_000):
        told = {"code": "X", "message": "m", "details": [told, told]}
    assert "m" == _errors.understood(told)[1]


@pytest.mark.parametrize(
    ("code", "operation", "hint"),
    [
        ("AuthorizationPermissionMismatch", "write lease", "Storage Blob Data Contributor"),
        ("KeyBasedAuthenticationNotPermitted", "write lease", "takes no keys"),
        ("AuthorizationFailure", "download", "network rules"),
        ("", "sign in to the registry", "AcrPush"),
        ("", "delete image", "AcrDelete"),
        ("", "read something else", "az login"),
    ],
)
def test_refusals_of_storage_and_registry_name_the_right(code: str, operation: str, hint: str) -> None:
    """The storage answers in XML and has its code in a header; each hint is about that very call."""
    answer = httpx.Response(403, text="<Error/>", headers={"x-ms-error-code": code})
    error = _errors.from_answer(answer, operation)
    assert AuthError is type(error)
    assert hint in str(error)


def test_the_reason_of_a_failed_operation_is_whole() -> None:
    told = {"code": "ResourceNotReady", "message": "no", "details": [{"message": "exit 3"}]}
    error = _errors.of_operation(told, "od:1")
    assert "ResourceNotReady: no (exit 3); the container did not become ready; its last lines say why" == str(error)


def test_requests_are_counted_by_what_the_container_answered() -> None:
    """Azure calls every failure of a model 424; the dimension behind it has the model's own."""
    rows = [
        Series({"deployment": "d1", "statuscode": "200", "modelstatuscode": "200"}, [(0, 5.0), (60, 2.0)]),
        Series({"deployment": "d1", "statuscode": "424", "modelstatuscode": "500"}, [(60, 1.0)]),
        Series({"deployment": "d2", "statuscode": "408", "modelstatuscode": ""}, [(60, 1.0)]),
    ]
    found = counted({"RequestsPerMinute": rows})
    assert {"2xx": 7, "5xx": 2} == found.classes
    assert {"d1": {"2xx": 7, "5xx": 1}, "d2": {"5xx": 1}} == found.deployments
    assert {0: 5.0, 60: 4.0} == dict(found.minutes)
    assert [(0, 5.0), (60, 1.0), (60, 1.0), (60, 2.0)] == points({"RequestsPerMinute": rows}, "RequestsPerMinute")


@pytest.mark.parametrize(
    ("azure", "own", "expected"),
    [
        ("424", "400", "4xx"), ("424", "500", "5xx"), ("424", "", "5xx"), ("429", "", "5xx"), ("408", "", "5xx"),
        ("401", "", "4xx"), ("502", "", "5xx"), ("200", "200", "2xx"), ("", "", ""),
    ],
)  # fmt: skip
def test_an_overloaded_or_failing_endpoint_is_no_mistake_of_the_caller(azure: str, own: str, expected: str) -> None:
    """Azure answers 408, 424 and 429 for what its deployment did not do; a model's own 4xx is the caller's."""
    assert expected == status_class({"statuscode": azure, "modelstatuscode": own})


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [([], ["a"], 0), (["a"], ["a", "b"], 1), (["a", "b", "c"], ["b", "c", "d"], 2), (["a"], ["b"], 0), (["a"], [], 0)],
)
def test_what_two_tails_have_in_common(before: list[str], now: list[str], expected: int) -> None:
    assert expected == overlap(before, now)


def test_families_of_machines() -> None:
    assert "standardFSv2Family" == family_of("Standard_F4s_v2")
    assert "" == family_of("nonsense")


HEADER = "Instance status:\nSystemSetup: Succeeded\nUserContainerStart: {}\n\nContainer events:\n{}\n"


def test_what_azure_puts_before_a_log_is_no_log() -> None:
    """States and events change while lines come: only the lines are compared, so none is shown twice."""
    starting = container_lines(HEADER.format("InProgress", "") + "\nContainer logs:\nloading\n")
    started = container_lines(
        HEADER.format("Succeeded", "Kind: Pod, Type: Normal") + "\nContainer logs:\nloading\nup\n"
    )
    assert (["loading"], ["up"]) == (starting, started[overlap(starting, started) :])
    assert [] == container_lines(HEADER.format("InProgress", ""))
    assert ["a line", "Container logs:"] == container_lines("a line\nContainer logs:\n")


def test_a_warning_of_the_platform_is_the_reason() -> None:
    event = "Kind: Pod, Name: BackOff, Type: Warning, Time: t, Message: Back-off pulling image"
    assert "Back-off pulling image" == last_warning(HEADER.format("Failed", event))
    assert last_warning(HEADER.format("Failed", "") + f"\nContainer logs:\n{event}\n") is None
    assert last_warning(event) is None


@pytest.mark.parametrize("region", ["evil.example/x", "west-europe", "", "westeurope\n"])
def test_a_region_that_is_none_is_refused(region: str) -> None:
    with pytest.raises(ValueError, match="region"):
        AzureMLOptions.model_validate({**PLACE, "region": region})
    assert "westeurope" == AzureMLOptions.model_validate({**PLACE, "region": "West Europe"}).region
