"""Who may ask the mini cloud: Azure's own identity by the variables of this cloud, and nothing else on any plane."""

from __future__ import annotations

import base64
import ssl
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from sdk.errors import AuthError
from sdk_contract.clouds import mini_cloud
from tests.azureml.conftest import Arm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sdk_azureml import AzureMLAdapter
    from sdk_contract.clouds.azureml import AzureMLCloud
from sdk_contract.clouds.azureml.acr import AUDIENCE

pytestmark = pytest.mark.filterwarnings("ignore::Warning")  # of the libraries of Azure's own client
SUBSCRIPTION = "/subscriptions/00000000-0000-0000-0000-000000000001"
GROUP = f"{SUBSCRIPTION}/resourceGroups/mini-rg"
WORKSPACE = f"{GROUP}/providers/Microsoft.MachineLearningServices/workspaces/mini-ws"
ELSEWHERE = WORKSPACE.replace("mini-ws", "any-other")
PLANES = {
    "the workspace": ("GET", WORKSPACE),
    "another workspace": ("GET", ELSEWHERE),
    "make a workspace": ("PUT", ELSEWHERE),
    "endpoints": ("GET", f"{WORKSPACE}/onlineEndpoints"),
    "make an endpoint": ("PUT", f"{WORKSPACE}/onlineEndpoints/e"),
    "delete an endpoint": ("DELETE", f"{WORKSPACE}/onlineEndpoints/e"),
    "its keys": ("POST", f"{WORKSPACE}/onlineEndpoints/e/listKeys"),
    "its token": ("POST", f"{WORKSPACE}/onlineEndpoints/e/token"),
    "deploy": ("PUT", f"{WORKSPACE}/onlineEndpoints/e/deployments/blue"),
    "its log": ("POST", f"{WORKSPACE}/onlineEndpoints/e/deployments/blue/getLogs"),
    "metrics": ("GET", f"{WORKSPACE}/onlineEndpoints/e/providers/Microsoft.Insights/metrics"),
    "autoscale": ("GET", f"{GROUP}/providers/Microsoft.Insights/autoscaleSettings"),
    "models": ("GET", f"{WORKSPACE}/models/m/versions/1"),
    "register a model": ("PUT", f"{WORKSPACE}/models/m/versions/1"),
    "a job": ("GET", f"{WORKSPACE}/jobs/j"),
    "run a job": ("PUT", f"{WORKSPACE}/jobs/j"),
    "run history": ("GET", f"/history/v1.0{WORKSPACE}/experiments/e/runs/j/details"),
    "storage secrets": ("POST", f"{WORKSPACE}/datastores/workspaceblobstore/listSecrets"),
    "quota": ("GET", f"{SUBSCRIPTION}/providers/Microsoft.MachineLearningServices/locations/westeurope/usages"),
}


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureMLCloud]:
    with mini_cloud("azureml", folder=tmp_path_factory.mktemp("mine")) as made:
        yield made  # type: ignore[misc]  # it is this cloud
        assert [] == made.errors  # type: ignore[attr-defined]  # as above


@pytest.fixture(scope="module")
def another(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureMLCloud]:
    with mini_cloud("azureml", folder=tmp_path_factory.mktemp("another")) as made:
        yield made  # type: ignore[misc]  # it is this cloud


@pytest.fixture
def http(mine: AzureMLCloud) -> Iterator[httpx.Client]:
    context = ssl.create_default_context(cafile=mine.tls.ca_file)
    with httpx.Client(verify=context, trust_env=False, base_url=mine.url) as client:
        yield client


def forged(token: str) -> str:
    """A token with the claims of a good one, and a signature that somebody made up."""
    head, body, _ = token.split(".")
    return f"{head}.{body}.{base64.urlsafe_b64encode(b'forged' * 4).decode().rstrip('=')}"


WRONG: dict[str, Callable[[AzureMLCloud, AzureMLCloud], str]] = {
    "none": lambda mine, another: "",
    "a guess": lambda mine, another: "Bearer guessed",
    "the identity's header": lambda mine, another: f"Bearer {mine.identity.header}",
    "another cloud's token": lambda mine, another: f"Bearer {another.identity.issue('arm')}",
    "a forged signature": lambda mine, another: f"Bearer {forged(mine.identity.issue('arm'))}",
    "not a bearer": lambda mine, another: f"Basic {mine.identity.issue('arm')}",
    "no token": lambda mine, another: "Bearer",
}


@pytest.mark.parametrize("wrong", WRONG)
def test_no_plane_takes_wrong_credentials(
    mine: AzureMLCloud, another: AzureMLCloud, http: httpx.Client, wrong: str
) -> None:
    """Each is refused with 401 AuthenticationFailed, and nothing is made for it."""
    given = WRONG[wrong](mine, another)
    headers = {"authorization": given} if given else {}
    before = (mine.inventory(), len(mine.sites.all()))
    found: dict[str, tuple[int, str]] = {}
    for plane, (method, path) in PLANES.items():
        answer = http.request(method, path, params={"api-version": "2024-10-01"}, headers=headers)
        found[plane] = (answer.status_code, answer.json()["error"]["code"])
    assert dict.fromkeys(PLANES, (401, "AuthenticationFailed")) == found
    assert before == (mine.inventory(), len(mine.sites.all()))


@pytest.mark.parametrize("header", [None, "mini", "other"])
def test_the_identity_wants_its_header(
    mine: AzureMLCloud, another: AzureMLCloud, http: httpx.Client, header: str | None
) -> None:
    """Neither without one, nor with the constant of old, nor with another cloud's there is a token."""
    shown = {} if header is None else {"X-IDENTITY-HEADER": another.identity.header if header == "other" else header}
    answer = http.get("/msi/token", params={"resource": "arm"}, headers=shown)
    assert (401, 401) == (answer.status_code, answer.json()["statusCode"])
    good = http.get("/msi/token", params={"resource": "arm"}, headers={"X-IDENTITY-HEADER": mine.identity.header})
    assert (200, True) == (good.status_code, mine.identity.valid(good.json()["access_token"]))


def test_a_token_that_was_taken_back_is_refused(another: AzureMLCloud) -> None:
    """As one is whose time is over."""
    arm = Arm(another)
    token = another.identity.issue("arm")
    another.identity.revoke()
    with httpx.Client(verify=ssl.create_default_context(cafile=another.tls.ca_file), trust_env=False) as client:
        answer = client.get(
            f"{another.url}{WORKSPACE}",
            params={"api-version": "2024-10-01"},
            headers={"authorization": f"Bearer {token}"},
        )
    assert (401, "AuthenticationFailed") == (answer.status_code, answer.json()["error"]["code"])
    assert 200 == arm("GET", "").status_code, "a new one is good"


def test_azures_identity_signs_in_by_default(mine: AzureMLCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """`DefaultAzureCredential` with the variables of this cloud; with another header it gets nothing."""
    from azure.core.exceptions import ClientAuthenticationError
    from azure.identity import DefaultAzureCredential, ManagedIdentityCredential

    for name, value in mine.env.items():
        monkeypatch.setenv(name, value)
    assert mine.identity.valid(DefaultAzureCredential().get_token(f"{mine.url}/.default").token)
    monkeypatch.setenv("IDENTITY_HEADER", "another")
    with pytest.raises(ClientAuthenticationError):
        ManagedIdentityCredential().get_token(f"{mine.url}/.default")


def test_blobs_want_a_signature_of_their_own(mine: AzureMLCloud, another: AzureMLCloud, http: httpx.Client) -> None:
    """None, a guess, another cloud's, another container's and a bearer token are refused as storage refuses them."""
    good, other = mine.blobs.signature("azureml-blobstore"), another.blobs.signature("azureml-blobstore")
    blob = "/miniaccount/azureml-blobstore/model.pkl"
    put = {"x-ms-blob-type": "BlockBlob"}
    tries = {
        "none": blob,
        "a guess": f"{blob}?sv=2023-11-03&sr=c&sp=racwdl&se=9999999999&sig=guessed",
        "another cloud's": f"{blob}?{other}",
        "another container's": f"{blob}?{mine.blobs.signature('private')}",
    }
    for url in tries.values():
        for method in ("GET", "PUT", "DELETE", "HEAD"):
            answer = http.request(method, url, headers=put)
            assert (403, "AuthenticationFailed") == (answer.status_code, answer.headers["x-ms-error-code"])
    bearer = {**put, "authorization": f"Bearer {mine.identity.issue('https://storage.azure.com')}"}
    assert 403 == http.put(blob, headers=bearer, content=b"x").status_code
    assert 201 == http.put(f"{blob}?{good}", headers=put, content=b"x").status_code
    assert ["racwdl"] == parse_qs(good)["sp"]


def test_the_registry_wants_its_own_tokens(mine: AzureMLCloud, another: AzureMLCloud) -> None:
    """Exchanged for a token of this cloud; a token of the directory alone, or of another registry, opens nothing."""
    host = mine.registry_host
    with httpx.Client(base_url=f"http://{host}", trust_env=False) as http:

        def exchange(token: str) -> httpx.Response:
            form = {"grant_type": "access_token", "service": host, "access_token": token}
            return http.post("/oauth2/exchange", data=form)

        for wrong in ("", "guessed", another.identity.issue(AUDIENCE), mine.identity.issue("arm")):
            assert 401 == exchange(wrong).status_code
        refresh = exchange(mine.identity.issue(AUDIENCE)).json()["refresh_token"]
        form = {"grant_type": "refresh_token", "service": host, "scope": "repository:m:pull", "refresh_token": refresh}
        assert 401 == http.post("/oauth2/token", data={**form, "refresh_token": "guessed"}).status_code
        access = http.post("/oauth2/token", data=form).json()["access_token"]
        tries = {"x": 401, mine.identity.issue(AUDIENCE): 401, refresh: 401, access: 404}
        for given, status in tries.items():
            answer = http.get("/v2/m/manifests/latest", headers={"authorization": f"Bearer {given}"})
            assert status == answer.status_code
        assert 401 == http.get("/v2/", auth=("admin", "admin")).status_code


@pytest.mark.parametrize("mode", ["Key", "AMLToken", "AADToken"])
def test_an_endpoint_wants_what_its_mode_says(mine: AzureMLCloud, another: AzureMLCloud, mode: str) -> None:
    """Keys, its own tokens or those of the directory; none of the other kinds."""
    arm, name = Arm(mine), f"auth-{mode.lower()}"
    arm("PUT", f"/onlineEndpoints/{name}", {"location": "westeurope", "properties": {"authMode": mode}})
    arm("GET", f"/onlineEndpoints/{name}")
    url = urlsplit(arm("GET", f"/onlineEndpoints/{name}").json()["properties"]["scoringUri"]).path
    right: dict[str, Callable[[], str]] = {
        "Key": lambda: arm("POST", f"/onlineEndpoints/{name}/listKeys").json()["primaryKey"],
        "AMLToken": lambda: arm("POST", f"/onlineEndpoints/{name}/token").json()["accessToken"],
        "AADToken": lambda: mine.identity.issue("https://ml.azure.com"),
    }
    context = ssl.create_default_context(cafile=mine.tls.ca_file)
    with httpx.Client(verify=context, trust_env=False, base_url=mine.url) as http:

        def ask(token: str) -> tuple[int, str]:
            answer = http.post(url, headers={"authorization": f"Bearer {token}"} if token else {}, json={})
            return answer.status_code, answer.json()["error"]["code"]

        wrong = ["", "guessed", another.identity.issue("https://ml.azure.com")]
        wrong += [mine.identity.issue("https://ml.azure.com")] if mode != "AADToken" else []
        assert [(401, "Unauthorized")] * len(wrong) == [ask(token) for token in wrong]
        assert (404, "NoValidDeployments") == ask(right[mode]())


def test_a_target_says_how_to_sign_in(
    mine: AzureMLCloud, make_adapter: Callable[..., AzureMLAdapter], tmp_path: Path
) -> None:
    """One that names the address and the authority alone finds no credential, and is told where one is printed."""
    ca = tmp_path / "ca.pem"
    ca.write_bytes(mine.tls.ca_file.read_bytes())
    adapter = make_adapter(mine, ca=str(ca))
    with pytest.raises(AuthError, match="mlport mock env azureml"):
        adapter.price_region()


def test_credentials_are_for_their_owner_only(mine: AzureMLCloud) -> None:
    """The files that open the cloud, and the folder that they are in."""
    kept = [mine.folder / name for name in ("identity-header", "server.pem", "secret")]
    assert [0o600] * 3 == [path.stat().st_mode & 0o777 for path in kept]
    assert 0o700 == mine.folder.stat().st_mode & 0o777
