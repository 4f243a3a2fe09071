"""Refusals for lack of a right name the right of that call; `doctor` finds them before; a user's calls are billed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from google.oauth2.credentials import Credentials
from google.oauth2.service_account import Credentials as ServiceAccount

from sdk.adapter import AdapterContext, Labels, Materials, Resource
from sdk.errors import AuthError, ConfigError, UnsupportedError
from sdk.util.redact import Redactor
from sdk.util.waiting import SystemClock
from sdk_contract.clouds.vertex.errors import Refusal
from sdk_vertex import VertexAdapter, _access, _rights
from sdk_vertex._plan import ENDPOINT, REPOSITORY
from sdk_vertex._policy import rights_of
from sdk_vertex._rights import hint_of, role_of
from sdk_vertex.options import VertexOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sdk_contract.clouds.vertex.identity import Identity
    from tests.vertex.conftest import Place

LABELS = Labels("churn", "me", "t1")
ENDPOINT_ = Resource(ENDPOINT, "churn", {"dedicated": False, "tags": {}}, LABELS)
CALLS: dict[str, Callable[[Any], Any]] = {
    "aiplatform.endpoints.create": lambda adapter: adapter.create(ENDPOINT_, Materials(), timeout=10.0),
    "aiplatform.endpoints.get": lambda adapter: adapter.read(ENDPOINT_.ref, timeout=10.0),
    "aiplatform.customJobs.list": lambda adapter: adapter.job_status("job-1", timeout=10.0),
    "storage.objects.get": lambda adapter: adapter.lease_read("locks/churn", timeout=10.0),
    "artifactregistry.repositories.create": lambda adapter: adapter.create(
        Resource(REPOSITORY, "other", {}, LABELS), Materials(), timeout=10.0
    ),
    "monitoring.timeSeries.list": lambda adapter: adapter._metrics.report("churn", window_s=60, timeout=10.0),
    "logging.logEntries.list": lambda adapter: list(
        adapter._logs.lines("x=1", since=0.0, tail=None, follow=None),
    ),
}


@pytest.fixture
def identity(place: Place) -> Iterator[Identity]:
    """Of a user who is logged in with gcloud."""
    found = place.cloud.identity
    found.personal = True
    yield found
    found.personal = False
    found.missing.clear()


@pytest.fixture
def adapter(place: Place, tmp_path: Path) -> Iterator[Any]:
    options = VertexOptions(project="mini-project", region="europe-west4")
    made: Any = VertexAdapter(options, AdapterContext("gcp", "me", tmp_path, SystemClock(), Redactor()))
    made.lease_write("locks/churn", "{}", None, timeout=10.0)
    yield made
    made.lease_delete(
        "locks/churn", made._bucket.get("mlport/locks/churn", timeout=9.0).headers["x-goog-generation"], timeout=10.0
    )
    made.close()


@pytest.mark.parametrize("permission", CALLS)
def test_the_hint_names_the_right_of_the_call(adapter: Any, identity: Identity, permission: str) -> None:
    identity.missing.add(permission)
    with pytest.raises(AuthError) as refused:
        CALLS[permission](adapter)
    identity.missing.clear()
    assert permission in str(refused.value.hint)
    assert str(role_of(permission)) in str(refused.value.hint)


def test_every_permission_has_a_role() -> None:
    wanted = {right.permission for row in _rights.CALLS.values() for right in row.rights}
    assert [] == [one for one in wanted if role_of(one) is None]


@pytest.mark.parametrize(
    ("reason", "metadata", "message", "expected"),
    [
        ("SERVICE_DISABLED", {"service": "logging.googleapis.com", "consumer": "projects/acme-ml"}, "not enabled",
         "gcloud services enable logging.googleapis.com --project acme-ml"),
        ("USER_PROJECT_DENIED", {"consumer": "projects/acme-ml"}, "Caller does not have required permission",
         "serviceusage.services.use"),
        ("BILLING_DISABLED", {"consumer": "projects/acme-ml"}, "This API method requires billing", "acme-ml"),
        ("IAM_PERMISSION_DENIED", {"permission": "x.y.z"}, "denied", "x.y.z"),
        ("", {}, "You do not have permission to act as service_account: a@b.", "roles/iam.serviceAccountUser"),
        ("", {}, "Permission denied.", "aiplatform.endpoints.deploy"),
    ],
)  # fmt: skip
def test_other_refusals_name_their_own_remedy(
    reason: str, metadata: dict[str, str], message: str, expected: str
) -> None:
    body = Refusal("PERMISSION_DENIED", message, reason=reason, metadata=metadata).body()["error"]
    assert expected in hint_of("DeployModel", body)


@pytest.mark.usefixtures("identity")
def test_every_service_is_told_who_pays(place: Place, adapter: Any) -> None:
    """A user's calls name the target's project; without that the platform refuses them."""
    assert [] == [check for check in adapter.doctor() if not check.ok]
    assert {} == adapter._metrics.report("churn", window_s=60, timeout=10.0).requests
    assert [] == list(adapter._logs.lines("x=1", since=0.0, tail=None, follow=None))
    invoker = adapter._plane.invoker(adapter._plane.url(f"{place.cloud.world.parent}/endpoints/churn"), "")
    request = next(adapter._access.auth_flow(httpx.Request("POST", invoker.url)))
    assert "mini-project" == request.headers["x-goog-user-project"]


def test_only_users_have_their_calls_billed_to_the_target() -> None:
    """Not service accounts; and who named another project keeps it."""
    user: Any = Credentials(token="t")  # type: ignore[no-untyped-call]
    assert "acme-ml" == _access.with_quota_project(user, "acme-ml").quota_project_id
    other = user.with_quota_project("elsewhere")
    assert "elsewhere" == _access.with_quota_project(other, "acme-ml").quota_project_id
    account = ServiceAccount(None, "a@b", "https://example.com/token")  # type: ignore[no-untyped-call]
    assert _access.with_quota_project(account, "acme-ml").quota_project_id is None


def found_by(adapter: Any) -> dict[str, Any]:
    return {check.name: check for check in adapter.doctor()}


def test_doctor_names_what_is_missing(adapter: Any, identity: Identity) -> None:
    """What a pipeline needs is missed, what only a deployer needs is a warning; the hint gives a policy and a role."""
    identity.missing |= {"aiplatform.endpoints.deploy", "storage.buckets.create", "storage.objects.delete"}
    found = found_by(adapter)
    ci, deployer = found["rights ci"], found["rights deployer"]
    assert (True, False, True) == (found["rights caller"].ok, ci.ok, deployer.ok)
    assert "aiplatform.endpoints.deploy on the project" in ci.detail
    assert "storage.objects.delete on the bucket" in ci.detail
    assert "storage.buckets.create on the project" in deployer.detail
    assert "mlport policy --for ci --target gcp" in str(ci.hint)
    assert "roles/aiplatform.user" in str(ci.hint)


def test_doctor_asks_what_is_granted_on_the_bucket_alone(place: Place, adapter: Any, policy: Any) -> None:
    """Rights that a binding of the bucket gives are seen, and what does not exist yet is unknown."""
    with place.cloud.rights.enforced(policy("deployer")):
        found = found_by(adapter)
    names = ("caller", "ci", "deployer")
    assert [(True, None)] * 3 == [(found[f"rights {role}"].ok, found[f"rights {role}"].hint) for role in names]
    assert "unknown on what does not exist yet: repository" in found["rights ci"].detail


def test_the_official_client_reads_permissions_of_a_bucket(place: Place, adapter: Any, policy: Any) -> None:
    storage = pytest.importorskip("google.cloud.storage")
    assert adapter.options.bucket is None
    client = storage.Client(project="mini-project", client_options={"api_endpoint": place.cloud.url})
    with place.cloud.rights.enforced(policy("caller")):
        assert [] == client.bucket(adapter.options.staging).test_iam_permissions(["storage.objects.get"])
    with place.cloud.rights.enforced(policy("ci")):
        granted = client.bucket(adapter.options.staging).test_iam_permissions(["storage.objects.get", "storage.x"])
    assert ["storage.objects.get"] == granted


@pytest.fixture
def policy(adapter: Any) -> Callable[..., Any]:
    """The policy of a role in Google's own form."""

    def made(role: str, *, secrets: tuple[str, ...] = ()) -> Any:
        return json.loads(adapter.policy(role, "json", secrets))

    return made


def test_a_policy_reaches_only_what_is_the_targets(adapter: Any, policy: Any) -> None:
    """A bucket is named in a condition, secrets and repositories have bindings of their own."""
    found = policy("ci", secrets=("db",))
    scopes = {one["role"].rpartition("_")[2]: one for one in found["bindings"]}
    project = "//cloudresourcemanager.googleapis.com/projects/mini-project"
    repository = "projects/mini-project/locations/europe-west4/repositories/mlport"
    assert f"//artifactregistry.googleapis.com/{repository}" == scopes["repository"]["resource"]
    assert "//secretmanager.googleapis.com/projects/mini-project/secrets/db" == scopes["secret"]["resource"]
    bucket = f"projects/_/buckets/{adapter.options.staging}"
    expression = f'resource.name == "{bucket}" || resource.name.startsWith("{bucket}/objects/mlport/")'
    assert (project, expression) == (scopes["bucket"]["resource"], scopes["bucket"]["condition"]["expression"])
    assert "condition" not in scopes["project"]


def test_each_role_has_less_than_the_one_before() -> None:
    deployer, ci, caller = ({one.permission for one in rights_of(role)} for role in ("deployer", "ci", "caller"))
    assert caller < ci < deployer
    assert {"storage.buckets.create", "artifactregistry.repositories.create"} <= deployer - ci


def test_terraform_names_each_role_and_binding(adapter: Any, policy: Any) -> None:
    text, found = adapter.policy("deployer", "tf", ()), policy("deployer")
    for role in found["roles"]:
        assert f'role_id     = "{role["name"].rpartition("/")[2]}"' in text
        assert json.dumps(role["includedPermissions"]) in text
    assert len(found["bindings"]) == text.count("_iam_member")
    assert 'variable "member"' in text


def test_the_containers_account_and_other_forms(adapter: Any, tmp_path: Path) -> None:
    """Without an account of its own there is nothing to grant; Bicep is Azure's."""
    with pytest.raises(ConfigError, match="service agent"):
        adapter.policy("runtime", "json", ())
    with pytest.raises(UnsupportedError, match="Bicep"):
        adapter.policy("ci", "bicep", ())
    options = VertexOptions(project="mini-project", region="europe-west4", service_account="run@x.com", bucket="mine-1")
    other: Any = VertexAdapter(options, AdapterContext("gcp", "me", tmp_path, SystemClock(), Redactor()))
    found = json.loads(other.policy("runtime", "json", ()))
    assert {("serviceAccount:run@x.com",)} == {tuple(one["members"]) for one in found["bindings"]}
    assert "//storage.googleapis.com/projects/_/buckets/mine-1" in {one["resource"] for one in found["bindings"]}
    assert 'variable "member"' not in other.policy("runtime", "tf", ())
    other.close()


def test_doctor_sees_calls_that_nobody_is_billed_for(place: Place, tmp_path: Path, identity: Identity) -> None:
    """Where the interface for it says so, that is not taken for a mere lack of the right to look."""
    assert identity.personal
    options = VertexOptions(project="mini-project", region="europe-west4")
    adapter: Any = VertexAdapter(options, AdapterContext("gcp", "me", tmp_path, SystemClock(), Redactor()))
    adapter._access._credentials = Credentials(token=place.cloud.identity.token)  # type: ignore[no-untyped-call]
    found = {check.name: check for check in adapter.doctor()}
    assert not found["api aiplatform"].ok
    assert "set-quota-project" in str(found["api aiplatform"].hint)
    adapter.close()


def test_interfaces_of_some_verbs_are_a_remark(place: Place, adapter: Any) -> None:
    place.cloud.usage.disabled |= {"logging", "storage"}
    found = {check.name: check for check in adapter.doctor()}
    place.cloud.usage.disabled.clear()
    assert (True, "not enabled; only `mlport logs` needs it") == (found["api logging"].ok, found["api logging"].detail)
    assert not found["api storage"].ok
