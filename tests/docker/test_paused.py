"""Containers that were paused, or whose processes were stopped, while a client that knows them predicts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sdk.client.endpoint import Endpoint
    from tests.docker.conftest import Box

pytestmark = pytest.mark.docker

STOP = """
import os, pathlib, signal, time
def found():
    running = {p.name for p in pathlib.Path("/proc").glob("[0-9]*") if b"--dir" in (p / "cmdline").read_bytes()}
    return running - {"1", str(os.getpid())}
give_up = time.monotonic() + 30
while len(own := found()) < 2 and time.monotonic() < give_up: time.sleep(0.1)  # it may have started a moment ago
for pid in sorted(own, key=int): os.kill(int(pid), signal.SIGSTOP)
print(len(own))
"""


@pytest.fixture(scope="module")
def served(box: Box) -> Iterator[Endpoint]:
    made = box.client().deploy(box.model, name=box.name("paused"))
    yield made
    made.delete()


def pause_gateway(box: Box, name: str) -> None:
    box.engine.call("POST", f"/containers/mlport-{name}_gateway/pause")


def pause_replica(box: Box, name: str) -> None:
    (replica,) = box.inspect(name).keys() - {"gateway"}
    box.engine.call("POST", f"/containers/mlport-{name}_{replica}/pause")


def stop_gateway(box: Box, name: str) -> None:
    code, said = box.run(f"mlport-{name}_gateway", "python", "-c", STOP)
    assert (0, "2") == (code, said.strip())


@pytest.mark.parametrize("act", [pause_gateway, pause_replica, stop_gateway])
def test_a_predict_is_answered(box: Box, served: Endpoint, act: Callable[[Box, str], None]) -> None:
    """On the connection that the client has; by a look that it makes itself, as nobody else makes one."""
    assert [6.0] == served.predict([[0.0, 3.0]]).values
    act(box, served.name)
    assert [8.0] == served.predict([[0.0, 4.0]]).values
