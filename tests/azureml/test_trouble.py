"""A client killed at any call on the wire, and each kind of trouble at each operation: nothing is left behind."""

from __future__ import annotations

import os
import re
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from sdk.errors import ConflictError, SdkError
from sdk_contract.clouds import mini_cloud
from sdk_contract.clouds.azureml import AzureMLCloud
from sdk_contract.samples import ANSWER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sdk.client import Client
    from sdk_contract.samples import Samples

NAME = "churn"
_WIRE = ("drop_before", "slow")  # dies before the cloud has done anything, and after it, before the reply
_KINDS = ("throttle", "unavailable", "denied", "drop_before", "drop_after", "slow")
_OPERATIONS = (
    "GetToken", "GetWorkspace", "GetRegistry", "ExchangeToken", "GetDatastore", "ListSecrets", "GetBlob", "PutBlob",
    "DeleteBlob", "PutEnvironment", "GetEnvironment", "PutEndpoint", "GetEndpoint", "PutDeployment", "GetDeployment",
    "ListDeployments", "GetOperation", "ListKeys", "Score",
)  # fmt: skip
_MAKING = [(operation, kind) for operation in ("PutEndpoint", "PutDeployment") for kind in ("fail", "late", "stuck")]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureMLCloud]:
    """One cloud for all of it, so that images are pushed once."""
    with mini_cloud("azureml", runner="fork", folder=tmp_path_factory.mktemp("cloud")) as made:
        assert isinstance(made, AzureMLCloud)
        yield made
        assert [] == made.errors


def left(cloud: AzureMLCloud) -> list[str]:
    """What runs or is billed, by the cloud's own account."""
    return [item for item in cloud.inventory() if item.startswith(("autoscale", "deployment", "endpoint", "process"))]


def die_at(cloud: AzureMLCloud, verb: Callable[[], object], at: int, kind: Any) -> None:
    """Runs a verb in a child that is killed when its call number ``at`` reaches the cloud."""
    fault = cloud.faults.add("*", kind, after=at, seconds=30.0)
    child = os.fork()
    if child == 0:
        try:
            verb()
        finally:
            os._exit(0)
    ended = 0
    while not fault.struck and not ended:
        ended, _ = os.waitpid(child, os.WNOHANG)
        time.sleep(0.01)
    if not ended:
        time.sleep(0.2)  # what was begun is done; only its reply is not there yet
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    cloud.faults.clear()


def patiently(client: Client, verb: Callable[[], object]) -> None:
    """Does something after a crash; a lease whose holder is gone is given up as the error says."""
    try:
        verb()
    except ConflictError as held:
        txn = re.search(r"--id (\w+)", str(held.hint))
        if txn is None:
            raise
        assert client.session().executor.unlock(NAME, txn[1])
        verb()


def converge(cloud: AzureMLCloud, client: Client, model: Any, what: str) -> None:
    """After whatever happened gc leaves nothing half-done, a deploy works, and a delete leaves nothing."""
    client.gc(apply=True)
    assert [] == client.gc().orphans, what
    patiently(client, lambda: client.deploy(model, name=NAME))
    assert [3.0] == list(client.predict(NAME, [[ANSWER, 2.0]]).values), what
    client.delete(NAME)
    assert [] == left(cloud), what


def killed(cloud: AzureMLCloud, make_client: Callable[..., Client], samples: Samples, most: int | None) -> None:
    """Kills a deploy at every call on the wire, or at some of them."""
    model, client = samples.model(1), make_client(cloud)
    client.deploy(model, name=NAME)
    client.delete(NAME)
    with cloud.calls.since() as calls:
        client.deploy(model, name=NAME)
    client.delete(NAME)
    points = range(len(calls)) if most is None else [(2 * i + 1) * len(calls) // (2 * most) for i in range(most)]
    for at in points:
        for kind in _WIRE:
            die_at(cloud, lambda: make_client(cloud).deploy(model, name=NAME), at, kind)
            converge(cloud, client, model, f"killed at call {at} ({calls[at].operation}), {kind}")


@pytest.mark.full
def test_killed_at_some_calls(shared: AzureMLCloud, make_client: Callable[..., Client], samples: Samples) -> None:
    """At three calls that lie evenly."""
    killed(shared, make_client, samples, 3)


@pytest.mark.full
def test_killed_at_any_call(shared: AzureMLCloud, make_client: Callable[..., Client], samples: Samples) -> None:
    """At every one."""
    killed(shared, make_client, samples, None)


@pytest.mark.full
@pytest.mark.parametrize(("operation", "kind"), [*((op, kind) for op in _OPERATIONS for kind in _KINDS), *_MAKING])
def test_trouble(
    shared: AzureMLCloud, make_client: Callable[..., Client], samples: Samples, operation: str, kind: Any
) -> None:
    """The deploy succeeds in spite of it, or fails as one of our errors; the next one is as if nothing had been."""
    client, model = make_client(shared), samples.model(1)
    fault = shared.faults.add(operation, kind, seconds=0.5)
    with suppress(SdkError):
        client.deploy(model, name=NAME)
    shared.faults.clear()
    assert 1 == fault.struck, "the trouble never came"
    converge(shared, client, model, f"{operation} {kind}")
