"""Leases and what jobs leave go to the workspace's own storage account and registry, and to no other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sdk.errors import SecurityError

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
    owners.check_registry(known, {"id": known.upper()}, "r.azurecr.io")
    with pytest.raises(SecurityError, match="its id was"):
        make_adapter(cloud)._storage._owners.check_registry(known + "2", {"id": known + "2"}, "r2.azurecr.io")
    with pytest.raises(SecurityError, match="not /elsewhere"):
        owners.check_registry(known, {"id": "/elsewhere"}, "r.azurecr.io")
