"""What an ordinary account of Azure has and lacks: rights, registries, marks of folders, places that are not there."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from sdk.adapter import AdapterContext
from sdk.adapter.types import Replicas
from sdk.errors import AuthError, ConfigError, DeployFailed, NotFoundError, PlatformError, UnavailableError
from sdk.util.redact import Redactor
from sdk.util.waiting import SystemClock
from sdk_azureml import AzureMLAdapter, AzureMLOptions, _where
from sdk_azureml._where import _from_azure
from sdk_contract.clouds import mini_cloud
from sdk_contract.clouds.azureml.world import principal_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sdk.client import Client
    from sdk_contract.clouds.azureml import AzureMLCloud
    from sdk_contract.samples import Samples

PLACE = {"subscription": "s-1", "resource_group": "rg", "workspace": "ws1", "instance": "Standard_DS2_v2"}
OUTSIDE = "https://127.0.0.1:9"
TRAIN = "import os, pathlib\nfolder = pathlib.Path(os.environ['MLPORT_OUTPUT_DIR'], 'sub')\n"


@pytest.fixture(autouse=True)
def signed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """The identity that `answering` is asked for."""
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{OUTSIDE}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "h")


def answering(
    tmp_path: Path, answer: Callable[[httpx.Request], httpx.Response], *, arm: str = OUTSIDE
) -> AzureMLAdapter:
    """An adapter whose network answers so, to all but the question for a token."""

    def respond(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/msi/token":
            return httpx.Response(200, json={"access_token": "t", "expires_on": "9999999999"})
        return answer(request)

    options = AzureMLOptions.model_validate({**PLACE, "endpoint": arm})
    context = AdapterContext("t", "me", tmp_path, SystemClock(), Redactor(), httpx.MockTransport(respond))
    return AzureMLAdapter(options, context)


@pytest.mark.parametrize(
    "message",
    [
        "Resource group 'rg' could not be found.",
        "The subscription 's-1' could not be found.",
        "The Resource 'Microsoft.MachineLearningServices/workspaces/ws1' under resource group 'rg' was not found.",
    ],
)
def test_a_wrong_place_is_an_error(tmp_path: Path, message: str) -> None:
    """It is not a workspace without endpoints: neither a list nor a look says so."""
    told = {"error": {"code": "ResourceNotFound", "message": message}}
    adapter = answering(tmp_path, lambda _: httpx.Response(404, json=told))
    with pytest.raises(NotFoundError, match=r"not found|could not be found"):
        list(adapter.list(timeout=5))
    with pytest.raises(NotFoundError, match=r"not found|could not be found"):
        adapter.observe("churn", timeout=5)


def test_an_endpoint_that_is_not_there_is_none(tmp_path: Path) -> None:
    resource = "Microsoft.MachineLearningServices/workspaces/ws1/onlineEndpoints/churn-1"
    told = {"error": {"code": "ResourceNotFound", "message": f"The Resource '{resource}' was not found."}}
    adapter = answering(tmp_path, lambda _: httpx.Response(404, json=told))
    assert [] == list(adapter.observe("churn", timeout=5))


@pytest.mark.parametrize(
    ("arm", "link", "taken"),
    [
        (OUTSIDE, f"{OUTSIDE}/next", True),
        (OUTSIDE, "https://127.0.0.1/next", False),
        (OUTSIDE, "http://127.0.0.1:9/next", False),
        (OUTSIDE, "https://127.0.0.1:9@elsewhere.example/next", False),
        ("https://localhost", "https://localhost:443/next", True),
        ("https://localhost:443", "https://localhost/next", True),
        ("https://localhost", "https://localhost:444/next", False),
        ("https://localhost", "/next", False),
    ],
)
def test_the_next_page_is_on_the_same_host_and_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arm: str, link: str, taken: bool
) -> None:
    """The default port need not be named; the case of a host does not count; no token goes elsewhere."""
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{arm}/msi/token")
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        more = {} if request.url.path == "/next" else {"nextLink": link}
        return httpx.Response(200, json={"value": [{"page": len(asked)}], **more})

    values = answering(tmp_path, answer, arm=arm)._arm.values("/x", "list", timeout=5)
    if taken:
        assert [{"page": 1}, {"page": 2}] == list(values)
    else:
        with pytest.raises(PlatformError, match="another host"):
            list(values)
    assert taken == ("/next" in asked)


def test_the_case_of_a_host_does_not_count() -> None:
    from sdk_azureml._arm import _host

    assert _host("https://management.azure.com/a") == _host("https://Management.azure.com:443/b")


def test_a_directory_that_is_not_reached_is_unavailable() -> None:
    """No error of Azure's own library crosses our border, and nothing was sent."""
    from azure.core.exceptions import ServiceRequestError

    class Unreached:
        def get_token(self, *scopes: str, **kwargs: Any) -> Any:
            raise ServiceRequestError("no route to host")

        def close(self) -> None: ...

    with pytest.raises(UnavailableError, match="no route") as failed:
        _from_azure(Unreached(), "scope")
    assert not failed.value.sent


def test_a_credential_is_closed_with_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connections to the directory are closed; the next token is that of another credential."""
    events: list[str] = []

    class Own:
        def get_token(self, *scopes: str, **kwargs: Any) -> Any:
            events.append("token")
            return SimpleNamespace(token="t", expires_on=0)

        def close(self) -> None:
            events.append("close")

    monkeypatch.setattr(_where, "_own_credential", Own)
    with httpx.Client() as http:
        tokens = _where.Tokens(_where.Place("https://management.azure.com"), http, SystemClock())
        tokens.close()
        for _ in range(2):
            assert "t" == tokens.arm
            tokens.close()
    assert ["token", "close"] * 2 == events


def test_list_and_gc_need_no_right_to_autoscale(cloud: AzureMLCloud, client: Client, samples: Samples) -> None:
    """Who may not see autoscale settings sees endpoints all the same; making one names the very right."""
    client.deploy(samples.model(1), name="churn", replicas=Replicas(1, 2))
    for operation in ("ListAutoscale", "GetAutoscale", "PutAutoscale"):
        cloud.faults.add(operation, "denied", times=99)
    assert ["churn"] == [one.name for one in client.list()]
    assert [] == client.gc().orphans
    with pytest.raises(AuthError, match=r"Microsoft\.Insights/autoscaleSettings/read"):
        client.deploy(samples.model(1), name="other", replicas=Replicas(1, 2))
    assert ["churn"] == [one.name for one in client.list()]


def test_the_right_to_see_the_registry_is_named(cloud: AzureMLCloud, client: Client, samples: Samples) -> None:
    cloud.faults.add("GetRegistry", "denied", times=99)
    with pytest.raises(AuthError, match=r"Microsoft\.ContainerRegistry/registries/read on the workspace's registry"):
        client.deploy(samples.model(1), name="churn")


def test_a_registry_gets_a_token_of_its_own_audience(
    cloud: AzureMLCloud, make_adapter: Callable[..., AzureMLAdapter]
) -> None:
    """Many registries refuse tokens for the resource manager; the mini cloud's does."""
    images = make_adapter(cloud)._images
    assert images.login(images.host) is not None
    form = {"grant_type": "access_token", "service": cloud.registry_host, "access_token": cloud.identity.issue("arm")}
    assert 401 == httpx.post(f"http://{cloud.registry_host}/oauth2/exchange", data=form).status_code


def test_the_hint_for_a_missing_registry_works_as_printed(tmp_path: Path, make_client: Callable[..., Client]) -> None:
    with mini_cloud("azureml", folder=tmp_path / "c", registry=False) as cloud:
        (checks,) = [found for name, found in make_client(cloud).doctor().items() if name == "t"]
        (hint,) = [str(check.hint) for check in checks if check.name == "registry"]
    assert "az acr create --name miniwsacr --resource-group mini-rg --sku Basic --admin-enabled true" in hint
    assert "--update-dependent-resources" in hint


def test_marks_of_folders_are_no_files(cloud: AzureMLCloud, client: Client, tmp_path: Path) -> None:
    """Storage that is mounted leaves an empty blob for each folder, with the folder's own name."""
    script = tmp_path / "train.py"
    script.write_text(f"{TRAIN}folder.mkdir()\n(folder / 'x').write_text('1')\n")
    job = client.train(script, name="marked", requirements=[])
    cloud.blobs.mark_folder(cloud.world.container, "azureml/marked/output/sub")
    assert "1" == (job.output(tmp_path / "out") / "sub" / "x").read_text()
    assert "paths/azureml/marked/output/" in cloud.jobs.all["marked"].told["outputs"]["output"]["uri"]
    told = str(cloud.jobs.all["marked"].body)
    assert "git" not in told.lower(), "the repository that this test runs in is nobody's business"


def test_a_job_that_left_nothing(client: Client, tmp_path: Path) -> None:
    """An empty folder would look as if its files had been copied."""
    script = tmp_path / "train.py"
    script.write_text("print(1)\n")
    job = client.train(script, name="empty", requirements=[], wait=False)
    with pytest.raises(NotFoundError, match="there is nothing under azureml/empty/output/"):
        job.output(tmp_path / "out")


def test_an_archived_environment_is_in_no_list(
    cloud: AzureMLCloud, make_adapter: Callable[..., AzureMLAdapter], client: Client, samples: Samples
) -> None:
    """Azure lists names, not versions: both are archived, and shown again when the same is deployed again."""
    client.deploy(samples.model(1), name="churn")
    adapter = make_adapter(cloud)
    (environment,) = [one for one in adapter.list(timeout=9) if one.kind == "Environment"]
    client.delete("churn")
    adapter.delete(environment, timeout=9)
    assert [] == [one for one in adapter.list(timeout=9) if one.kind == "Environment"]
    client.deploy(samples.model(1), name="churn")
    assert [environment.ref] == [one.ref for one in adapter.list(timeout=9) if one.kind == "Environment"]


@pytest.mark.parametrize("identity", ["user", "/subscriptions/s/resourceGroups/g/x/userAssignedIdentities/me"])
def test_a_job_acts_as_somebody(
    cloud: AzureMLCloud, make_client: Callable[..., Client], tmp_path: Path, identity: str
) -> None:
    """Data that needs an identity is reached as who submits the job, or as an identity of the cluster."""
    script = tmp_path / "train.py"
    script.write_text("print(1)\n")
    make_client(cloud, job_identity=identity).train(script, name="job", requirements=[], wait=False)
    told = cloud.jobs.all["job"].told["identity"]
    assert {"user": "UserIdentity"}.get(identity, "Managed") == told["identityType"]
    assert told.get("resourceId") == (None if identity == "user" else identity)


IDENTITY = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/me"


def test_an_identity_that_may_not_pull_is_refused_before_the_build(
    cloud: AzureMLCloud, make_client: Callable[..., Client], samples: Samples
) -> None:
    """Nothing is pushed and nothing made; doctor says the same; with the role it works."""
    client = make_client(cloud, identity=IDENTITY)
    cloud.world.no_pull.add(principal_of(IDENTITY))
    with cloud.calls.since() as calls, pytest.raises(ConfigError, match="has no role on the workspace's registry"):
        client.deploy(samples.model(1), name="churn")
    assert [] == [one for one in calls.changing.operations if "Lease" not in one and "Blob" not in one]
    checks = client.doctor()["t"]
    (failed,) = [one for one in checks if not one.ok]
    assert "endpoint identity" == failed.name
    assert "az role assignment create --role AcrPull" in str(failed.hint)
    cloud.world.no_pull.clear()
    assert "ready" == client.deploy(samples.model(1), name="churn").status.state


def test_a_deployment_that_may_not_pull_says_so(
    cloud: AzureMLCloud, make_client: Callable[..., Client], samples: Samples
) -> None:
    """Who may not read role assignments is told by the deployment: the right is named, and all is undone."""
    cloud.world.no_pull.add(principal_of(IDENTITY))
    cloud.faults.add("ListRoleAssignments", "denied", times=99)
    with pytest.raises((AuthError, DeployFailed), match="does not have pull permission"):
        make_client(cloud, identity=IDENTITY).deploy(samples.model(1), name="churn")
    assert {} == cloud.endpoints.all


def test_doctor_tries_what_it_says(cloud: AzureMLCloud, make_client: Callable[..., Client]) -> None:
    """A registry gives a token with fewer rights and says nothing; what can be read cannot always be written."""
    client = make_client(cloud, replicas={"min": 1, "max": 2})
    assert all(check.ok for check in client.doctor()["t"])
    cloud.acr.actions.discard("push")
    cloud.faults.add("PutBlob", "denied", times=99)
    cloud.faults.add("ListAutoscale", "denied", times=99)
    checks = client.doctor()["t"]
    assert ["registry", "storage", "autoscale"] == [check.name for check in checks if not check.ok]
    hints = " ".join(str(check.hint) for check in checks if not check.ok)
    assert all(word in hints for word in ("AcrPush", "network rules", "Microsoft.Insights/autoscaleSettings/read"))


@pytest.mark.parametrize(
    "tags", [{f"t{number}": "x" for number in range(36)}, {"a/b": "x"}, {"a": "x" * 257}, {"n" * 513: "x"}]
)
def test_tags_that_azure_refuses_are_refused_first(
    cloud: AzureMLCloud, client: Client, samples: Samples, tags: dict[str, str]
) -> None:
    with cloud.calls.since() as calls, pytest.raises(ConfigError, match="tags"):
        client.deploy(samples.model(1), name="churn", tags=tags)
    assert [] == calls.changing.operations
