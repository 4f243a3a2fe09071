"""A live run that is killed leaves what `gc` on this machine finds and deletes."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from sdk.client import Client
from sdk_contract.live.life import STAGES, Stage
from sdk_contract.live.run import LiveRun
from tests.live.imaginary import SAMPLES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def _die(_life: Any) -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with Client({"default": "local", "state_dir": str(tmp_path / "state")}, env={}) as made:
        yield made


def test_gc_deletes_what_a_killed_run_left(client: Client, tmp_path: Path) -> None:
    """The endpoint serves on after the kill; `gc` names it, and with `apply` it is gone."""
    SAMPLES.model(1)  # packed here, not in the child
    child = os.fork()
    if child == 0:
        stages = [STAGES[0], Stage("killed", _die)]
        own = Client(client.settings, env={})
        LiveRun(lambda _clock, _progress: own, 1.0, tmp_path, say=len, samples=SAMPLES, stages=stages).run()  # type: ignore[arg-type]  # says nothing
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert signal.SIGKILL == os.WTERMSIG(status)
    (left,) = client.list()
    assert left.name.startswith("live-")
    assert [left.name] == [one.id for one in client.gc().orphans if one.kind == "endpoint"]
    client.gc(apply=True)
    assert [] == client.list()
