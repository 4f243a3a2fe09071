"""Who we are at a registry: Docker's own logins, Basic, and tokens per scope."""

import base64
import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from sdk.errors import AuthError, PlatformError
from sdk.packaging.image import BlobStore, Registries, pull_image
from sdk.packaging.image.auth import IDENTITY_TOKEN, Credentials, RegistryAuth
from sdk.packaging.image.logins import docker_login

URL = "https://registry.example/v2/team/churn/blobs/uploads/"


class _Registry:
    """Refuses without the right header, and hands out tokens to who knows the password."""

    def __init__(self, challenge: str, wanted: str) -> None:
        self.challenge, self.wanted = challenge, wanted
        self.tokens: list[httpx.Request] = []
        self.bodies: list[bytes] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.host == "auth.example":
            self.tokens.append(request)
            return httpx.Response(200, json={"access_token": "T"})
        if request.headers.get("authorization") != self.wanted:
            return httpx.Response(401, headers={"www-authenticate": self.challenge})
        self.bodies.append(request.read())
        return httpx.Response(202)


def _client(registry: _Registry, credentials: Callable[[], Credentials | None], *scopes: str) -> httpx.Client:
    transport = httpx.MockTransport(registry)
    auth = RegistryAuth(credentials, scopes, httpx.Client(transport=transport))
    return httpx.Client(transport=transport, auth=auth)


def test_basic_is_asked_once() -> None:
    """After the first challenge the header is sent at once."""
    asked: list[int] = []
    wanted = "Basic " + base64.b64encode(b"AWS:secret").decode()
    registry = _Registry('Basic realm="x"', wanted)

    def credentials() -> Credentials:
        asked.append(1)
        return "AWS", "secret"

    with _client(registry, credentials) as client:
        assert [202, 202] == [client.post(URL, content=b"body").status_code for _ in range(2)]
    assert [b"body", b"body"] == registry.bodies
    assert [1] == asked


def test_token_holds_every_scope() -> None:
    """A mount needs the right to the source too, so both scopes are asked for in one token."""
    registry = _Registry('Bearer realm="https://auth.example/token",service="r"', "Bearer T")
    scopes = ("repository:team/churn:pull,push", "repository:team/base:pull")
    with _client(registry, lambda: ("me", "pw"), *scopes) as client:
        assert 202 == client.post(URL).status_code
    query = registry.tokens[0].url.params
    assert (["r"], list(scopes)) == (query.get_list("service"), query.get_list("scope"))
    assert "Basic " + base64.b64encode(b"me:pw").decode() == registry.tokens[0].headers["authorization"]


def test_refresh_token_is_exchanged() -> None:
    """What Docker's helpers keep under the name of a token goes into a form, not into Basic."""
    registry = _Registry('Bearer realm="https://auth.example/oauth2/token",service="r"', "Bearer T")
    with _client(registry, lambda: (IDENTITY_TOKEN, "refresh"), "repository:a:pull") as client:
        assert 202 == client.post(URL).status_code
    form = httpx.QueryParams(registry.tokens[0].content.decode())
    assert ("refresh_token", "refresh") == (form["grant_type"], form["refresh_token"])
    assert "authorization" not in registry.tokens[0].headers


def test_password_is_not_sent_in_the_clear() -> None:
    """A token service without https gets nothing."""
    registry = _Registry('Bearer realm="http://auth.example/token",service="r"', "Bearer T")
    with _client(registry, lambda: ("me", "pw")) as client, pytest.raises(AuthError, match="not reached by https"):
        client.post(URL)
    assert [] == registry.tokens


def test_registry_that_wants_a_login_says_so() -> None:
    """Without credentials the error says to log in."""
    registry = _Registry('Basic realm="x"', "Basic x")
    with _client(registry, lambda: None) as client, pytest.raises(AuthError, match="log in to it first"):
        client.post(URL)


def test_password_does_not_follow_a_redirect(tmp_path: Path) -> None:
    """Blobs may lie on another host; that host is not told who we are."""
    from sdk.packaging.image.manifests import digest_of

    seen: list[tuple[str, bool]] = []
    wanted = digest_of(b"{}")

    def answer(request: httpx.Request) -> httpx.Response:
        known = "authorization" in request.headers
        seen.append((request.url.host, known))
        if request.url.host == "storage.example":
            return httpx.Response(200, content=b"{}")
        if not known:
            return httpx.Response(401, headers={"www-authenticate": 'Basic realm="x"'})
        return httpx.Response(307, headers={"location": "https://storage.example/blob"})

    registries = Registries(lambda _: ("me", "pw"), transport=httpx.MockTransport(answer))
    with pytest.raises((PlatformError, KeyError)):
        pull_image(f"registry.example/a@{wanted}", store=BlobStore(tmp_path), registries=registries)
    assert {("storage.example", False)} == {item for item in seen if item[0] == "storage.example"}


@pytest.mark.parametrize("step", ["redirect", "upload"])
def test_a_host_that_the_registry_names_is_not_told_who_we_are(step: str) -> None:
    """Neither when it asks for a password itself, nor with what worked at the registry."""
    asked: list[tuple[str, bool]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        known = "authorization" in request.headers
        asked.append((request.url.host, known))
        if request.url.host != "registry.example":
            return httpx.Response(401, headers={"www-authenticate": 'Bearer realm="https://evil.example/token"'})
        if not known and step == "upload":
            return httpx.Response(401, headers={"www-authenticate": 'Basic realm="x"'})
        return httpx.Response(307, headers={"location": "https://evil.example/up"})

    transport = httpx.MockTransport(answer)
    auth = RegistryAuth(lambda: ("me", "pw"), (), httpx.Client(transport=transport))
    with httpx.Client(transport=transport, auth=auth) as client:
        found = client.post(URL, follow_redirects=step == "redirect")
        if step == "upload":
            found = client.put(found.headers["location"])
    assert 401 == found.status_code
    assert [("evil.example", False)] == [item for item in asked if item[0] == "evil.example"]


def test_a_token_service_on_this_machine_is_for_registries_on_it() -> None:
    """Another user of this machine may listen there."""
    registry = _Registry('Bearer realm="http://127.0.0.1:9/token",service="r"', "Bearer T")
    with _client(registry, lambda: ("me", "pw")) as client, pytest.raises(AuthError, match="not reached by https"):
        client.post(URL)


# --- what `docker login` left -----------------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Write Docker's configuration."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def write(**values: object) -> None:
        (tmp_path / "config.json").write_text(json.dumps(values))

    return write


def test_stored_password_is_found(config: Callable[..., None]) -> None:
    """`auths` holds user and password; another registry has none."""
    config(auths={"registry.example": {"auth": base64.b64encode(b"me:p:w").decode()}})
    assert ("me", "p:w") == docker_login("registry.example")
    assert docker_login("other.example") is None


def test_helper_is_asked(config: Callable[..., None], tmp_path: Path) -> None:
    """A credential helper gets the registry's name on its standard input."""
    helper = tmp_path / "docker-credential-test"
    helper.write_text('#!/bin/sh\nread host\necho "{\\"Username\\": \\"$host\\", \\"Secret\\": \\"$1\\"}"\n')
    helper.chmod(0o755)
    config(credHelpers={"registry.example": "test"})
    assert ("registry.example", "get") == docker_login("registry.example")


@pytest.mark.parametrize("name", ["gone", "../../bin/sh"])
def test_helper_that_is_not_there_is_named(config: Callable[..., None], name: str) -> None:
    """A helper that is set up but cannot be run is an error, not an anonymous try."""
    config(credsStore=name)
    with pytest.raises(AuthError, match="is not installed"):
        docker_login("registry.example")
