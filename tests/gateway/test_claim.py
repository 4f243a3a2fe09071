"""A gateway whose lock or control socket is taken away while it serves puts them back, and serves on."""

from __future__ import annotations

import fcntl
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from sdk.serving.gateway import client
from sdk.serving.gateway.addresses import read_address
from tests.gateway.harness import COMMAND, Endpoint, lives, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LOCK, CONTROL = "gateway.lock", "control.sock"


def _nothing(path: Path) -> None:
    path.unlink()


def _another_file(path: Path) -> None:
    path.unlink()
    path.write_bytes(b"{}")


def _a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _a_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def _a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


REPLACED = [_nothing, _another_file, _a_folder, _a_link, _a_pipe]


@pytest.fixture(scope="module")
def serving() -> Iterator[Endpoint]:
    """One gateway for all of it; what it says about damage is read here, so that its end finds an empty log."""
    value = Endpoint()
    value.start()
    value.put(d1=value.deployment("d1"))
    yield value
    (value.folder / "logs" / "gateway.log").write_bytes(b"")
    value.close()


def _reached(value: Endpoint) -> dict[str, Any] | None:
    try:
        return value.status() if client.is_running(value.folder) else None
    except client.GatewayError:
        return None


@pytest.mark.parametrize("replace", REPLACED)
@pytest.mark.parametrize("names", [[LOCK], [CONTROL], [LOCK, CONTROL]], ids="+".join)
def test_it_is_put_back(serving: Endpoint, names: list[str], replace: Callable[[Path], None]) -> None:
    before = serving.status()
    for name in names:
        replace(serving.folder / name)
    assert "d1" == serving.post().json()["name"]
    after = until(lambda: _reached(serving))
    assert before["gateway"]["pid"] == after["gateway"]["pid"], "it was not started again"
    assert (
        before["deployments"]["d1"]["replicas"]["d1-0"]["pid"] == after["deployments"]["d1"]["replicas"]["d1-0"]["pid"]
    )
    assert "d1" == serving.post().json()["name"]
    assert serving.start()["gateway"]["pid"] == before["gateway"]["pid"], "nobody starts a second one"


@pytest.mark.parametrize("replace", REPLACED)
def test_who_finds_no_lock_asks_at_the_socket(serving: Endpoint, replace: Callable[[Path], None]) -> None:
    """A client that looks before the gateway has done so starts no other one beside it."""
    pid = serving.status()["gateway"]["pid"]
    replace(serving.folder / LOCK)
    assert pid == client.ensure_gateway(serving.folder, COMMAND)["gateway"]["pid"]


def test_it_is_put_back_after_a_crash_as_well() -> None:
    """The process that takes the place of a killed one looks at once."""
    value = Endpoint()
    state = value.start()
    value.put(d1=value.deployment("d1"))
    _another_file(value.folder / CONTROL)
    after = until(lambda: _reached(value))
    os.kill(after["gateway"]["pid"], 9)
    again = until(lambda: (found := _reached(value)) and found["gateway"]["pid"] != state["gateway"]["pid"] and found)
    assert 1 == again["gateway"]["restarts"]
    assert "d1" == until(lambda: value.post().json()["name"])
    (value.folder / "logs" / "gateway.log").write_bytes(b"")
    value.close()


def test_it_ends_when_another_gateway_has_the_folder() -> None:
    """Two of them would take each other's replicas for left over ones."""
    value = Endpoint()
    pid = value.start()["gateway"]["pid"]
    (value.folder / LOCK).unlink()
    other = os.open(value.folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(other, fcntl.LOCK_EX)
    until(lambda: not lives(pid))
    os.close(other)
    shutil.rmtree(value.folder)


def test_it_ends_without_its_folder() -> None:
    """No client finds it any more, and so none could stop it."""
    value = Endpoint()
    pid = value.start()["gateway"]["pid"]
    value.put(d1=value.deployment("d1"))
    replica = value.status()["deployments"]["d1"]["replicas"]["d1-0"]["pid"]
    shutil.rmtree(value.folder)
    until(lambda: not lives(pid) and not lives(replica))


@pytest.mark.parametrize("replace", [_a_folder, _a_link, _a_pipe])
def test_an_address_that_is_no_file_is_not_waited_for(replace: Callable[[Path], None]) -> None:
    value = Endpoint()
    value.start()
    client.stop(value.folder)
    replace(value.folder / "address.json")
    assert {} == read_address(value.folder)
    value.start()
    assert value.port == read_address(value.folder)["port"]
    value.close()
