"""Leases and what jobs leave go to the workspace's own storage account and registry, and to no other."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from sdk.adapter import AdapterContext
from sdk.adapter.types import EndpointState, EndpointStatus
from sdk.errors import SecurityError
from sdk.util.redact import Redactor
from sdk.util.waiting import SystemClock
from sdk_azureml import AzureMLAdapter, AzureMLOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = 10.0


def redirect(cloud: Any, account: str) -> None:
    """Somebody who may write to the workspace points its datastore at another account."""
    for site in cloud.sites.all():
        site.workspace.account = account


@pytest.mark.parametrize(
    "attempt",
    [
        lambda one, _: one.lease_write("locks/x", "{}", None, timeout=T),
        lambda one, _: one.lease_read("locks/x", timeout=T),
        lambda one, _: one.lease_delete("locks/x", '"1"', timeout=T),
        lambda one, folder: one._storage.download("azureml/x/", folder, T),
        lambda one, _: one._storage.verify(T),
    ],
)
def test_a_redirected_datastore_gets_nothing(
    cloud: Any, make_adapter: Callable[..., Any], tmp_path: Path, attempt: Callable[[Any, Path], Any]
) -> None:
    redirect(cloud, "attackeraccount")
    with cloud.calls.since() as calls, pytest.raises(SecurityError, match="'attackeraccount', that of the") as caught:
        attempt(make_adapter(cloud), tmp_path)
    assert 'storage_account = "…"' in str(caught.value.hint)
    assert not [call for call in calls if call.service in {"blob", "blobs", "storage"}]


def test_an_account_that_is_meant_is_named(cloud: Any, make_adapter: Callable[..., Any]) -> None:
    """By its name, which no other account in the world has."""
    redirect(cloud, "sharedaccount")
    store = {"accountName": "sharedaccount", "containerName": "c"}
    make_adapter(cloud, storage_account="sharedaccount")._storage._owners.check_store(store)
    with pytest.raises(SecurityError):
        make_adapter(cloud, storage_account="otheraccount")._storage._owners.check_store(store)


def test_a_store_or_registry_that_changes_is_noticed(cloud: Any, make_adapter: Callable[..., Any]) -> None:
    """Also by another process, where the workspace itself names the new one."""
    one = make_adapter(cloud)
    assert one._storage.read("locks/x", T) is None
    own = one._arm.workspace["properties"]["storageAccount"].rpartition("/")[2]
    owners = make_adapter(cloud)._storage._owners
    with pytest.raises(SecurityError, match="its container was"):
        owners.check_store({"accountName": own, "containerName": "another"})
    known = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerRegistry/registries/r"
    owners.check_registry(known, {"id": known.upper()}, "127.0.0.1:5000")
    with pytest.raises(SecurityError, match="its id was"):
        make_adapter(cloud)._storage._owners.check_registry(known + "2", {"id": known + "2"}, "127.0.0.1:5002")
    with pytest.raises(SecurityError, match="not /elsewhere"):
        owners.check_registry(known, {"id": "/elsewhere"}, "127.0.0.1:5000")


def test_a_store_that_changes_between_two_uses_gets_nothing(
    cloud: Any, make_adapter: Callable[..., Any], tmp_path: Path
) -> None:
    """While its address is known, what is sent goes to the first account; then it is looked up, and refused."""
    one = make_adapter(cloud)
    lease = one.lease_write("locks/x", "{}", None, timeout=T)
    first = one._storage._door
    redirect(cloud, "attackeraccount")
    lease = one.lease_write("locks/x", "{}", lease.etag, timeout=T)
    assert first == one._storage._door
    one._storage._door = replace(first, until=0.0)
    with cloud.calls.since() as calls, pytest.raises(SecurityError, match="'attackeraccount', that of the"):
        one.lease_write("locks/x", '{"secret": 1}', lease.etag, timeout=T)
    assert not [call for call in calls if call.service in {"blob", "blobs", "storage"}]
    with pytest.raises(SecurityError, match="its storage account was"):  # named on purpose, but it was another one
        make_adapter(cloud, storage_account="attackeraccount").lease_read("locks/x", timeout=T)


class Tampered(httpx.BaseTransport):
    """An Azure whose answers name addresses of somebody else; remembers where requests go."""

    url = "http://127.0.0.1:9"
    registry = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerRegistry/registries/reg"

    def __init__(self, **tampered: str) -> None:
        usual = {"account": "127.0.0.1:9/acct#", "registry": self.registry, "login": "127.0.0.1:9"}
        self.names = {**usual, "discovery": f"{self.url}/discovery", "api": self.url, **tampered}
        self.hosts: set[str] = set()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.hosts.add(request.url.host)
        return httpx.Response(200, json=self._answer(request.url.path), headers={"etag": '"1"'})

    def _answer(self, path: str) -> dict[str, Any]:
        if path.endswith("/workspaces/wsp"):
            named = {"discoveryUrl": self.names["discovery"], "containerRegistry": self.names["registry"]}
            return {"name": "wsp", "id": path, "properties": {**named, "storageAccount": "/x/acct"}}
        if path.endswith("/workspaceblobstore"):
            return {"properties": {"accountName": self.names["account"], "containerName": "c"}}
        if path.endswith("/registries/reg"):
            return {"id": path, "properties": {"loginServer": self.names["login"]}}
        if path.endswith("/details"):
            return {"logFiles": {"user_logs/std_log.txt": self.names.get("log", f"{self.url}/log")}}
        answers: dict[str, dict[str, Any]] = {
            "/msi/token": {"access_token": "ours", "expires_on": 1 << 40},
            "/discovery": {"api": self.names["api"]},
            "/oauth2/exchange": {"refresh_token": "ours"},
        }
        return answers.get(path, {"properties": {}, "sasToken": "sig=ours"})


def _predict(one: AzureMLAdapter, url: str) -> None:
    with httpx.Client(transport=one.context.transport) as client:
        invoker = one.invoker(EndpointStatus("churn", "t", "azureml", EndpointState.READY, "", url))
        client.post(invoker.url, auth=invoker.auth or httpx.Auth())


EVIL = ("https://evil.example", "http://127.0.0.1@evil.example", "https://evil.example:443/127.0.0.1", "//evil.example")
ATTACKS: dict[str, Any] = {
    "account": lambda one, _: one.lease_read("locks/x", timeout=T),
    "registry": lambda one, _: one._images.login(one._images.host),
    "login": lambda one, _: one._images.login(one._images.host),
    "discovery": lambda one, _: one._jobs._lines("job"),
    "api": lambda one, _: one._jobs._lines("job"),
    "log": lambda one, _: one._jobs._lines("job"),
    "scoring": _predict,
}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((field, f"{url}/x") for field in ("discovery", "api", "log", "scoring") for url in EVIL),
        *(("account", text) for text in ("evil.example/acct", "u@evil.example/acct#", "evil.example?/acct", "/acct")),
        *(("registry", f"{text}/registries/reg") for text in ("@evil.example", ".evil.example", "//evil.example/x")),
        *(("login", text) for text in ("evil.example", "a@evil.example", "evil.example#127.0.0.1", "evil.example?")),
    ],
)
def test_no_answer_sends_what_is_ours_to_another_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: str, value: str
) -> None:
    """Tokens, keys, leases: addresses in answers are looked at before anything is sent there."""
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{Tampered.url}/msi/token")
    network = Tampered(**{field: value})
    options = AzureMLOptions(subscription="s", resource_group="g", workspace="wsp", endpoint=Tampered.url)
    context = AdapterContext("t", "me", tmp_path, SystemClock(), Redactor(), network)
    with closing(AzureMLAdapter(options, context)) as one, pytest.raises(SecurityError):
        ATTACKS[field](one, value)
    assert network.hosts <= {"127.0.0.1"}
