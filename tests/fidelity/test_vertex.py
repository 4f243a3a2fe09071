"""Every member of every operation of Vertex AI that is served is played as the table says, or refused by name."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from sdk_contract.clouds.members import Played, steps
from sdk_contract.clouds.vertex.members import MEMBERS
from tests.fidelity.models import told, value_at
from tests.fidelity.proto_models import fields_of, in_snake, members_of, put, value_of
from tests.fidelity.vertex_site import IdleVertex, Site
from tests.vertex.conftest import PARENT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fidelity.models import Member

MADE = {
    "UploadModel": ("model", "models"),
    "CreateEndpoint": ("endpoint", "endpoints"),
    "DeployModel": ("deployedModel", "endpoints"),
    "CreateCustomJob": ("customJob", "customJobs"),
}
"""What operations make: the member that describes it, and where it is afterwards."""
SENT = {
    *MADE,
    "UpdateModel",
    "UpdateEndpoint",
    "UpdateEndpointLongRunning",
    "MutateDeployedModel",
    "MergeVersionAliases",
}
"""Operations whose played members are all sent; those of the others name a resource, or choose from a list."""
NUMBERS = count(1000)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with IdleVertex(tmp_path_factory.mktemp("cloud"), cpu_quota=10**6) as cloud:
        yield Site(cloud, tmp_path_factory.mktemp("store"))
        assert [] == cloud.app.errors


@pytest.mark.parametrize("operation", sorted(MEMBERS))
def test_members_are_played_or_refused_by_name(site: Site, operation: str) -> None:
    """Each member of the official proto types in turn, at every depth."""
    wrong: list[str] = []
    fields = fields_of(operation)
    for member in members_of(operation):
        how = MEMBERS[operation].find(member.path)
        if how is None:
            body = put(site.base(operation), steps(member.path), value_of(fields[member.path]))
            status, answer = site.ask(operation, body)
            if status != 400 or told(member.path) not in answer["error"]["message"]:
                wrong.append(f"{member.path}: {status} {answer}")
        elif operation in SENT and not member.inner and member.path not in {"name", "parent", "endpoint"}:
            wrong += not_played(site, operation, member, how, fields[member.path])
    assert [] == wrong, "\n".join(wrong)


def not_played(site: Site, operation: str, member: Member, how: Played, field: Any) -> Iterator[str]:
    """What is wrong with a member that is played: a value that is refused or not shown, another that is not refused."""
    for value in how.values or [sent_value(site, operation, member.path, field)]:
        body = put(fresh(site, operation), steps(member.path), as_sent(field, value))
        if member.path.endswith("acceleratorType"):
            body = put(body, steps(member.path.replace("Type", "Count")), 1)
        elif member.path.endswith("env[].value"):
            body = put(body, steps(member.path.replace("value", "name")), "NAME")
        elif member.path.endswith("acceleratorCount"):
            body = put(body, steps(member.path.replace("Count", "Type")), "NVIDIA_TESLA_T4")
        status, answer = site.ask(operation, body)
        if status != 200:
            yield f"{member.path}={value}: {status} {answer}"
        elif operation in MADE and "." in member.path:
            seen = value_at(shown(site, operation, answer), member.path)
            if how.output == (value in (seen, str(seen).replace(site.cloud.world.number, "mini-project"))):
                yield f"{member.path}={value}: then shown as {seen}"
    for choice in set(member.choices) - set(how.values) if how.values else ():
        status, answer = site.ask(operation, put(fresh(site, operation), steps(member.path), choice))
        if status != 400 or f"{told(member.path)} with the value {choice}" not in answer["error"]["message"]:
            yield f"{member.path}={choice}: {status} {answer}"


def as_sent(field: Any, value: Any) -> Any:
    """The value as Google's REST clients send it: that of an enumeration is a number."""
    return field.enum_type.values_by_name[value].number if field.enum_type and isinstance(value, str) else value


def fresh(site: Site, operation: str) -> dict[str, Any]:
    """A valid request that makes something new."""
    body = site.base(operation)
    return put(body, ["deployedModel", "id"], str(next(NUMBERS))) if operation == "DeployModel" else body


def sent_value(site: Site, operation: str, path: str, field: Any) -> Any:
    """A valid value of a member that is played."""
    values = {
        "parentModel": f"{PARENT}/models/base",
        "modelId": f"m{next(NUMBERS)}",
        "versionAliases": [f"v{next(NUMBERS)}", "default"],
        "endpointId": f"e{next(NUMBERS)}",
        "id": "1" if operation == "MutateDeployedModel" else str(next(NUMBERS)),
        "imageUri": site.image,
        "machineType": "n1-standard-4",
        "acceleratorType": "NVIDIA_TESLA_T4",
        "updateMask": "dedicatedResources.minReplicaCount" if operation == "MutateDeployedModel" else "displayName",
        "trafficSplit": {"0": 100} if operation == "DeployModel" else {"1": 100},
        "outputUriPrefix": "gs://mini/out",
        "kmsKeyName": f"{PARENT}/keyRings/ring/cryptoKeys/key",
        "network": "projects/1/global/networks/closed",
        "etag": value_at(shown_endpoint(site), "etag"),
    }
    name = steps(path)[-1]
    if name == "model" and path != "model":
        return f"{PARENT}/models/base"
    return values.get(name, value_of(field)) if path != "model.etag" else "other"


def shown_endpoint(site: Site) -> dict[str, Any]:
    """The endpoint that is there."""
    return site.ask("GetEndpoint", {})[1]


def shown(site: Site, operation: str, answer: dict[str, Any]) -> dict[str, Any]:
    """What was made, under the member that described it."""
    field, _ = MADE[operation]
    if operation == "CreateCustomJob":
        return {field: site.get(answer["name"])}
    made = site.wait((200, answer))["response"]
    if operation == "DeployModel":
        found = next(one for one in shown_endpoint(site)["deployedModels"] if one["id"] == made["deployedModel"]["id"])
        return {field: found}
    name = made["model"] if operation == "UploadModel" else made["name"]
    version = f"@{made['modelVersionId']}" if operation == "UploadModel" else ""
    return {field: site.get(f"{name}{version}")}


@pytest.mark.parametrize("operation", sorted(MADE))
def test_names_may_be_those_of_the_proto_files(site: Site, operation: str) -> None:
    """With underscores a request means the same, and what is not played is refused as well."""
    body = fresh(site, operation)
    status, answer = site.ask_in_snake(operation, in_snake(body))
    assert 200 == status, answer
    field = MADE[operation][0]
    seen = shown(site, operation, answer)[field]
    differing = {name for name in body[field] if body[field][name] != seen[name]}
    assert differing <= {"model"}, "which is shown with the number of its project"
    status, answer = site.ask_in_snake(
        operation, in_snake(put(fresh(site, operation), [field, "explanationSpec", "a"], 1))
    )
    assert (400, True) == (status, f"{field}.explanation" in answer["error"]["message"])


@pytest.mark.parametrize(
    ("machine", "kind", "number", "good"),
    [
        ("n1-standard-4", "NVIDIA_TESLA_T4", 1, True),
        ("n1-standard-4", "NVIDIA_TESLA_T4", 3, False),
        ("n1-standard-4", "NVIDIA_L4", 1, False),
        ("n1-standard-4", "NO_SUCH_KIND", 1, False),
        ("n1-standard-4", "NVIDIA_TESLA_T4", 0, False),
        ("e2-standard-4", "NVIDIA_TESLA_T4", 1, False),
        ("g2-standard-24", "NVIDIA_L4", 2, True),
        ("g2-standard-24", "NVIDIA_L4", 1, False),
        ("a2-highgpu-2g", "NVIDIA_TESLA_A100", 2, True),
        ("a2-highgpu-2g", "NVIDIA_A100_80GB", 2, False),
    ],
)
def test_accelerators_fit_to_machines(
    site: Site, machine: str, kind: str, number: int, good: bool
) -> None:  # a column of the table
    """As the platform's table says; for serving and for training."""
    spec = {"machineType": machine, "acceleratorType": kind, "acceleratorCount": number}
    deploy = put(fresh(site, "DeployModel"), ["deployedModel", "dedicatedResources", "machineSpec"], spec)
    train = put(site.base("CreateCustomJob"), steps("customJob.jobSpec.workerPoolSpecs[].machineSpec"), spec)
    answers = [site.ask("DeployModel", deploy), site.ask("CreateCustomJob", train)]
    assert [200 if good else 400] * 2 == [status for status, _ in answers], answers


def test_a_second_worker_pool_is_refused(site: Site) -> None:
    """One container runs for a job."""
    body = site.base("CreateCustomJob")
    pools = body["customJob"]["jobSpec"]["workerPoolSpecs"]
    status, answer = site.ask("CreateCustomJob", put(body, ["customJob", "jobSpec", "workerPoolSpecs"], pools * 2))
    assert (400, True) == (status, "worker_pool_specs[1]" in answer["error"]["message"])


def test_a_mask_says_what_changes(site: Site) -> None:
    """Of the replicas of a deployed model only what the mask names; another member is refused."""
    resources = {"minReplicaCount": 2, "maxReplicaCount": 3}
    body = {"deployedModel": {"id": "1", "dedicatedResources": resources}}
    site.wait(site.ask("MutateDeployedModel", {**body, "updateMask": "dedicated_resources.max_replica_count"}))
    found = next(one for one in shown_endpoint(site)["deployedModels"] if one["id"] == "1")["dedicatedResources"]
    assert (1, 3) == (found["minReplicaCount"], found["maxReplicaCount"])
    status, answer = site.ask("MutateDeployedModel", {**body, "updateMask": "serviceAccount"})
    assert (400, "Field serviceAccount cannot be updated.") == (status, answer["error"]["message"])


@pytest.mark.parametrize(("operation", "field"), [("UpdateModel", "model"), ("UpdateEndpoint", "endpoint")])
def test_a_mask_names_what_can_be_changed(site: Site, operation: str, field: str) -> None:
    """All other members are refused when the mask names them."""
    found = [member.path.partition(".")[2] for member in members_of(operation) if member.path.count(".") == 1]
    ignored = [name for name in found if (how := MEMBERS[operation].find(f"{field}.{name}")) and how.output]
    assert len(ignored) > 10
    for name in ignored:
        status, answer = site.ask(operation, {field: {"displayName": "n"}, "updateMask": name})
        assert (400, f"Field {name} cannot be updated.") == (status, answer["error"]["message"])
