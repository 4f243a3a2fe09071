"""Every member of every operation of SageMaker that is served is played as the table says, or refused by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from sdk_contract.clouds.members import Played, steps
from sdk_contract.clouds.sagemaker.members import CONTROL, QUOTAS, RUNTIME
from sdk_contract.clouds.sagemaker.shapes import pattern_of
from tests.clouds.sagemaker.account import BUCKET, Account
from tests.fidelity.botocore_models import (
    answer_of,
    header_members,
    invalid_values,
    members_of,
    minimal,
    put,
    shape_at,
    shape_of,
)
from tests.fidelity.models import Member, told, value_at, without
from tests.fidelity.sagemaker_site import IdleCloud, Site

if TYPE_CHECKING:
    from collections.abc import Iterator

VALUES = {
    "NextToken": "0",
    "ModelDataUrl": f"s3://{BUCKET}/model.tar.gz",
    "ProvisionedConcurrency": 1,
    "MemorySizeInMB": 2048,
}
"""Values of members that have to fit to something else than their model."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with IdleCloud(tmp_path_factory.mktemp("cloud")) as cloud:
        account = Account(cloud, tmp_path_factory.mktemp("account"))
        account.prepare()
        account.s3.put_object(Bucket=BUCKET, Key="model.tar.gz", Body=b"x")
        yield Site(account)
        for client in account.clients.values():
            client.close()
    assert [] == cloud.app.errors


@pytest.mark.parametrize("operation", sorted(CONTROL))
def test_members_are_played_or_refused_by_name(site: Site, operation: str) -> None:
    """Each member of the official model in turn, at every depth."""
    wrong: list[str] = []
    for member in members_of("sagemaker", operation):
        how = CONTROL[operation].find(member.path)
        if how is None:
            wrong += not_refused(site, operation, member)
        elif not member.inner:  # else its members follow
            wrong += not_played(site, operation, member, how)
    assert [] == wrong, "\n".join(wrong)
    site.reset()


def not_refused(site: Site, operation: str, member: Member) -> Iterator[str]:
    """What is wrong with the refusal of a member that is not played."""
    shape = shape_of("sagemaker", operation)
    value = minimal(shape_at(shape, member.path))
    status, answer = site.ask(operation, put(shape, site.base(operation, member.path), steps(member.path), value))
    if status != 400 or answer["__type"] != "ValidationException" or told(member.path) not in answer["message"]:
        yield f"{member.path}: {status} {answer}"


def not_played(site: Site, operation: str, member: Member, how: Played) -> Iterator[str]:
    """What is wrong with a member that is played: a value that is refused or not shown, another that is not refused."""
    shape, base = shape_of("sagemaker", operation), site.base(operation, member.path)
    at = shape_at(shape, member.path)
    for value in values_of(base, member, how, at):
        status, answer = site.ask(operation, put(shape, base, steps(member.path), value))
        if status != 200:
            yield f"{member.path}={value}: {status} {answer}"
        else:
            yield from not_shown(site, operation, member.path, how, value)
        site.reset()
    for choice in set(member.choices) - set(how.values) if how.values else ():
        value = [choice] if at.type_name == "list" else choice
        status, answer = site.ask(operation, put(shape, base, steps(member.path), value))
        if status != 400 or f"{told(member.path)} with the value {choice}" not in answer["message"]:
            yield f"{member.path}={choice}: {status} {answer}"


def values_of(base: dict[str, Any], member: Member, how: Played, shape: Any) -> list[Any]:
    """The values that are tried for a member that is played."""
    name, given = steps(member.path)[-1], value_at(base, member.path)
    if how.values:
        return [[value] if shape.type_name == "list" else value for value in how.values]
    return [given if given is not None else VALUES[name] if name in VALUES else minimal(shape)]


def not_shown(site: Site, operation: str, path: str, how: Played, value: Any) -> Iterator[str]:
    """What is wrong with the answer that shows what a request has made; the official model says what it shows."""
    noun, shows = operation.removeprefix("Create"), operation.startswith("Create")
    if operation == "UpdateEndpoint" and path.startswith("DeploymentConfig."):
        noun, shows, path = "Endpoint", True, f"Last{path}"
    known = shows and shape_at(answer_of("sagemaker", f"Describe{noun}"), path) is not None
    if known:
        name = f"{noun}Name"
        seen = value_at(site.ask(f"Describe{noun}", {name: site.base(operation, path)[name]})[1], path)
        if seen != value:
            yield f"{path}={value}: then shown as {seen}"
    elif not how.acts and not path.startswith("Containers[]"):
        yield f"{path}: the official answer of Describe{noun} does not show it"


@pytest.mark.parametrize("operation", sorted(CONTROL))
def test_the_model_is_enforced(site: Site, operation: str) -> None:
    """Without each required member, and with each value that is too small, too large, too long or of no choice."""
    shape, wrong = shape_of("sagemaker", operation), list[str]()
    for member in members_of("sagemaker", operation):
        if CONTROL[operation].find(member.path) is None:
            continue
        base, name = site.base(operation, member.path), in_small(member.path)
        for value in invalid_values(shape_at(shape, member.path)):
            status, answer = site.ask(operation, put(shape, base, steps(member.path), value))
            if status != 400 or name not in answer["message"]:
                wrong.append(f"{member.path}={str(value)[:40]}: {status} {answer}"[:300])
        if value_at(base, member.path) is not None and is_required(shape, member.path):
            status, answer = site.ask(operation, without(base, member.path))
            if status != 400 or f"null at '{name}'" not in answer["message"]:
                wrong.append(f"without {member.path}: {status} {answer}")
    assert [] == wrong, "\n".join(wrong)
    site.reset()


def is_required(shape: Any, path: str) -> bool:
    """Whether the model requires a member."""
    holder, _, name = path.rpartition(".")
    return name in shape_at(shape, holder).required_members


def in_small(path: str) -> str:
    """A path as AWS's validation names it: lists by number from one, members with a small first letter."""
    return ".".join({"[]": "1.member", "{}": "k"}.get(step, step[:1].lower() + step[1:]) for step in steps(path))


def test_a_member_that_no_model_has_is_refused(site: Site) -> None:
    """At every depth: a client that is newer than the model learns what is not played."""
    body = site.base("CreateModel", "")
    body = {**body, "Newer": 1, "PrimaryContainer": {**body["PrimaryContainer"], "Latest": {"X": 1}}}
    status, answer = site.ask("CreateModel", body)
    named = "This mini cloud does not play these members of CreateModel: PrimaryContainer.Latest, "
    assert (400, f"{named}PrimaryContainer.Latest.X, Newer.") == (status, answer["message"])


def test_lists_are_chosen_from_and_sorted(site: Site) -> None:
    """By the time of the last change and by state, as by the other members."""
    late, early = {"LastModifiedTimeAfter": 4_000_000_000}, {"LastModifiedTimeBefore": 4_000_000_000}
    for operation, key in (("ListEndpoints", "Endpoints"), ("ListTrainingJobs", "TrainingJobSummaries")):
        site.base("DeleteTrainingJob", "")
        assert [] == site.ask(operation, late)[1][key]
        assert 1 == len(site.ask(operation, early)[1][key])
    site.ask("CreateEndpoint", {"EndpointName": "a", "EndpointConfigName": "base"})
    for order, states in (("Ascending", ["Creating", "InService"]), ("Descending", ["InService", "Creating"])):
        site.ask("CreateEndpoint", {"EndpointName": "a", "EndpointConfigName": "base"})
        found = site.ask("ListEndpoints", {"SortBy": "Status", "SortOrder": order})[1]["Endpoints"]
        assert states == [one["EndpointStatus"] for one in found]
        site.reset()


def test_tags_come_in_pages(site: Site) -> None:
    """As many as were asked for, and where the next ones begin."""
    tags = [{"Key": f"k{number}", "Value": "v"} for number in range(3)]
    site.ask("AddTags", {"ResourceArn": site.arn, "Tags": tags})
    first = site.ask("ListTags", {"ResourceArn": site.arn, "MaxResults": 50})[1]["Tags"]
    page = site.ask("ListTags", {"ResourceArn": site.arn, "MaxResults": 50, "NextToken": "1"})[1]
    assert {"Tags": first[1:]} == page


def test_checkpoints_are_copied(site: Site) -> None:
    """From S3 before a job begins, and back when it has ended."""
    s3, idle = site.account.s3, site.account.cloud.idle  # type: ignore[attr-defined]
    s3.put_object(Bucket=BUCKET, Key="ck/old/1", Body=b"one")
    idle.leaves = {"checkpoints/2": b"two"}
    body = {**site.base("CreateTrainingJob", ""), "CheckpointConfig": {"S3Uri": f"s3://{BUCKET}/ck"}}
    assert 200 == site.ask("CreateTrainingJob", body)[0]
    site.reset()
    idle.leaves = {}
    assert b"one" == idle.found["checkpoints/old/1"]
    assert b"two" == s3.get_object(Bucket=BUCKET, Key="ck/2")["Body"].read()


HEADERS = [
    pytest.param(operation, member, header, value, id=f"{operation}-{member}")
    for operation in RUNTIME
    for member, header, value in header_members("sagemaker-runtime", operation)
]


@pytest.mark.parametrize(("operation", "member", "header", "value"), HEADERS)
def test_headers_of_the_runtime(site: Site, operation: str, member: str, header: str, value: str) -> None:
    """Each reaches the container or chooses the variant, or is refused by its member's name."""
    path = f"/endpoints/base/invocations{'-response-stream' if operation.endswith('Stream') else ''}"
    headers = site.signed(path, b"x", {"Content-Type": "text/csv", header: value})
    answer = httpx.post(f"{site.account.cloud.url}{path}", content=b"x", headers=headers)
    if RUNTIME[operation].find(member) is None:
        assert (400, True) == (answer.status_code, f"of {operation}: {member}." in answer.text)
    else:
        assert 200 == answer.status_code, answer.text
        sent = header.lower().removeprefix("x-amzn-sagemaker-") if member == "Accept" else header.lower()
        assert f'"{sent}": "{value}"' in answer.text


@pytest.mark.parametrize("operation", sorted(QUOTAS))
def test_members_of_service_quotas(site: Site, operation: str) -> None:
    """Each member is played or refused by name."""
    shape = shape_of("service-quotas", operation)
    values = {"ServiceCode": "sagemaker", "NextToken": "1", "MaxResults": 2}
    for member in members_of("service-quotas", operation):
        value = values.get(member.path, minimal(shape_at(shape, member.path)))
        body = {"ServiceCode": "sagemaker", member.path: value}
        status, answer = site.ask(operation, body, "servicequotas")
        if QUOTAS[operation].find(member.path):
            assert 200 == status, answer
        else:
            assert (400, True) == (status, member.path in answer["message"])


@pytest.mark.parametrize(
    ("pattern", "fits", "other"),
    [
        (r"[\p{L}\p{M}\p{Z}\p{S}\p{N}\p{P}]*", "Größe, 3 + 4 €!", "\x01"),
        (r"\p{ASCII}*", "plain", "größe"),
        (r"\A\S[\p{Print}]*\z", "an id", " id"),
        (r"arn:[\p{Alnum}\-]+:x", "arn:aws-cn:x", "arn::x"),
        (r"[\w-_]*", "a-b_c", "a b"),
    ],
)
def test_patterns_of_java(pattern: str, fits: str, other: str) -> None:
    """The models have patterns that Python does not know; each is enforced all the same."""
    assert (True, False) == tuple(pattern_of(pattern).fullmatch(text) is not None for text in (fits, other))
