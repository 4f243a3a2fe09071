"""Who may ask the mini cloud: Google's own clients by their default credentials, and nothing else on any plane."""

from __future__ import annotations

import base64
import json
import os
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from sdk_contract.clouds import mini_cloud
from sdk_contract.clouds.vertex import VertexCloud
from tests.vertex.conftest import PARENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OTHER = "projects/acme-prod-42/locations/us-east1"
AIM = "https://europe-west4-aiplatform.googleapis.com/"
PLANES = {
    "list endpoints": ("GET", f"/v1/{PARENT}/endpoints"),
    "another project": ("GET", f"/v1/{OTHER}/endpoints"),
    "upload a model": ("POST", f"/v1/{PARENT}/models:upload"),
    "deploy": ("POST", f"/v1/{PARENT}/endpoints/e:deployModel"),
    "run a job": ("POST", f"/v1/{PARENT}/customJobs"),
    "an operation": ("GET", f"/ui/{PARENT}/endpoints/e/operations/1"),
    "predict": ("POST", f"/v1/{PARENT}/endpoints/e:predict"),
    "rawPredict": ("POST", f"/v1/{PARENT}/endpoints/e:rawPredict"),
    "stream": ("POST", f"/v1/{PARENT}/endpoints/e:streamRawPredict"),
    "invoke": ("POST", f"/v1/{PARENT}/endpoints/e/invoke/any/route"),
    "repositories": ("GET", f"/v1/{PARENT}/repositories"),
    "logs": ("POST", "/v2/entries:list"),
    "metrics": ("GET", "/v3/projects/mini-project/timeSeries"),
    "a secret": ("GET", "/v1/projects/mini-project/secrets/s/versions/latest:access"),
    "services": ("GET", "/v1/projects/mini-project/services/storage.googleapis.com"),
    "buckets": ("GET", "/storage/v1/b"),
    "make a bucket": ("POST", "/storage/v1/b"),
    "an object": ("GET", "/storage/v1/b/data/o/rows.csv"),
    "download": ("GET", "/download/storage/v1/b/data/o/rows.csv"),
    "upload": ("POST", "/upload/storage/v1/b/data/o"),
    "resume an upload": ("PUT", "/upload/storage/v1/b/data/o"),
    "delete an object": ("DELETE", "/storage/v1/b/data/o/rows.csv"),
}


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VertexCloud]:
    with mini_cloud("vertex", folder=tmp_path_factory.mktemp("mine")) as made:
        assert isinstance(made, VertexCloud)
        yield made
        assert [] == made.app.errors


@pytest.fixture(scope="module")
def another(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VertexCloud]:
    with mini_cloud("vertex", folder=tmp_path_factory.mktemp("another")) as made:
        assert isinstance(made, VertexCloud)
        yield made


@pytest.fixture
def signed_in(mine: VertexCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("GOOGLE_", "STORAGE_")):
            monkeypatch.delenv(name)
    for name, value in mine.env.items():
        monkeypatch.setenv(name, value)


def assertion(cloud: VertexCloud, seconds: int = 600, **claims: Any) -> str:
    """What Google's own library signs with the key file of a cloud."""
    from google.auth import crypt, jwt

    told = json.loads((cloud.folder / "service-account.json").read_text())
    now, sign = int(time.time()), crypt.RSASigner.from_service_account_info(told)  # type: ignore[no-untyped-call]
    email = told["client_email"]
    payload = {"iss": email, "sub": email, "iat": now, "exp": now + seconds, "aud": AIM, **claims}
    return str(jwt.encode(sign, payload).decode())  # type: ignore[no-untyped-call]


def unsigned(cloud: VertexCloud) -> str:
    """The same claims without a signature."""
    body = assertion(cloud).split(".")[1]
    head = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
    return f"{head}.{body}."


WRONG: dict[str, Callable[[VertexCloud, VertexCloud], str]] = {
    "none": lambda mine, another: "",
    "a guess": lambda mine, another: "Bearer guessed",
    "the constant of old": lambda mine, another: "Bearer mini-token",
    "another cloud's token": lambda mine, another: f"Bearer {another.identity.token}",
    "another cloud's key": lambda mine, another: f"Bearer {assertion(another)}",
    "an expired one of the right key": lambda mine, another: f"Bearer {assertion(mine, -5)}",
    "the right key for another audience": lambda mine, another: f"Bearer {assertion(mine, aud='https://evil.example')}",
    "the right key for another account": lambda mine, another: f"Bearer {assertion(mine, iss='x@y', sub='x@y')}",
    "no signature": lambda mine, another: f"Bearer {unsigned(mine)}",
    "half a token": lambda mine, another: f"Bearer {mine.identity.token[:-1]}",
    "no token": lambda mine, another: "Bearer",
    "not a bearer": lambda mine, another: f"Basic {mine.identity.token}",
    "no text": lambda mine, another: "Bearer a.\xff.c",
}


@pytest.mark.parametrize("wrong", WRONG)
def test_no_plane_takes_wrong_credentials(mine: VertexCloud, another: VertexCloud, wrong: str) -> None:
    """Each is refused with 401 UNAUTHENTICATED, and nothing is made for it."""
    given = WRONG[wrong](mine, another)
    headers = {b"authorization": given.encode("latin-1")} if given else {}
    before = (mine.inventory(), len(mine.spots.all()))
    with httpx.Client(base_url=mine.url, headers=headers, trust_env=False) as http:
        answers = {plane: http.request(method, path) for plane, (method, path) in PLANES.items()}
    found = {plane: (answer.status_code, answer.json()["error"]["status"]) for plane, answer in answers.items()}
    assert dict.fromkeys(PLANES, (401, "UNAUTHENTICATED")) == found
    assert before == (mine.inventory(), len(mine.spots.all()))


def test_the_right_credentials_get_through(mine: VertexCloud) -> None:
    """No plane refuses the token, nor what the key file signs: what is said then is another matter."""
    for token in (mine.identity.token, assertion(mine), assertion(mine, aud=None, scope="cloud-platform")):
        with httpx.Client(base_url=mine.url, headers={"authorization": f"Bearer {token}"}, trust_env=False) as http:
            assert 401 not in {http.request(method, path).status_code for method, path in PLANES.values()}


def test_the_image_registry(mine: VertexCloud, another: VertexCloud) -> None:
    """A registry token is had for an access token of this cloud only, and only it pulls or pushes."""
    with httpx.Client(base_url=mine.url, trust_env=False) as http:
        wrong = [("oauth2accesstoken", "guessed"), ("oauth2accesstoken", another.identity.token), ("me", "x")]
        for login in wrong:
            assert 401 == http.get("/v2/token", auth=login).status_code
        assert 401 == http.get("/v2/token").status_code
        token = http.get("/v2/token", auth=("oauth2accesstoken", mine.identity.token)).json()["token"]
        tries = {"x": 401, "guessed": 401, mine.identity.token: 401, token: 200}
        for given, status in tries.items():
            assert status == http.get("/v2/", headers={"authorization": f"Bearer {given}"}).status_code
        for path in ("/v2/_catalog", "/v2/mini-project/r/m/manifests/latest"):
            assert (401, "DENIED") == (http.get(path).status_code, http.get(path).json()["errors"][0]["code"])


@pytest.mark.parametrize("kind", ["none", "another cloud's key", "expired", "another audience", "another grant"])
def test_the_token_endpoint_gives_nothing_away(mine: VertexCloud, another: VertexCloud, kind: str) -> None:
    """Without an assertion that the key has signed for this address."""
    grant, here = "urn:ietf:params:oauth:grant-type:jwt-bearer", f"{mine.url}/token"
    form = {
        "none": {"grant_type": grant},
        "another cloud's key": {"grant_type": grant, "assertion": assertion(another, aud=here)},
        "expired": {"grant_type": grant, "assertion": assertion(mine, -5, aud=here)},
        "another audience": {"grant_type": grant, "assertion": assertion(mine)},
        "another grant": {"grant_type": "client_credentials", "assertion": assertion(mine, aud=here)},
    }[kind]
    answer = httpx.post(here, data=form, trust_env=False)
    code = "unsupported_grant_type" if kind == "another grant" else "invalid_grant"
    assert (400, code) == (answer.status_code, answer.json()["error"])


@pytest.mark.usefixtures("signed_in")
def test_googles_clients_sign_in_by_default(mine: VertexCloud) -> None:
    """Without being given credentials: a generated client by a signed token, an exchange, and Cloud Storage."""
    import google.auth
    from google.auth.transport.requests import Request
    from google.cloud import aiplatform_v1

    library: Any = google.auth
    credentials, project = library.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    assert "mini-project" == project
    credentials.refresh(Request())
    assert mine.identity.admits(credentials.token)
    options: Any = {"api_endpoint": mine.url}
    client: Any = aiplatform_v1.EndpointServiceClient(transport="rest", client_options=options)
    assert [] == list(client.list_endpoints({"parent": PARENT}))
    buckets = import_module("google.cloud.storage").Client()
    made = buckets.bucket("by-default")
    buckets.create_bucket(made, location="europe-west4")
    made.blob("a/b").upload_from_string(b"content")
    assert b"content" == made.blob("a/b").download_as_bytes()
    assert ["by-default"] == [one.name for one in buckets.list_buckets()]
    made.delete(force=True)


def test_the_key_file_is_for_its_owner_only(mine: VertexCloud) -> None:
    """And so is the folder with all that the cloud keeps."""
    path = mine.folder / "service-account.json"
    assert [0o600, 0o700] == [one.stat().st_mode & 0o777 for one in (path, mine.folder)]
    assert str(path) == mine.env["GOOGLE_APPLICATION_CREDENTIALS"]
