"""One look brings back everything of an endpoint that somebody killed, and says what is true meanwhile."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from sdk.adapter.types import EndpointState
from sdk.errors import NotFoundError
from sdk_docker._revive import how_found
from tests.waits import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sdk.client.endpoint import Endpoint
    from tests.docker.conftest import Box

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def pair(box: Box) -> Iterator[Endpoint]:
    """An endpoint with two replicas that the tests of this module break, and that each of them leaves whole."""
    made = box.client().deploy(box.model, name=box.name("revive"), replicas=2)
    yield made
    made.delete()


def kill(box: Box, container: str) -> None:
    box.engine.call("POST", f"/containers/{container}/kill")


def stop(box: Box, container: str) -> None:
    box.engine.call("POST", f"/containers/{container}/stop", params={"t": "1"})


def pause(box: Box, container: str) -> None:
    box.engine.call("POST", f"/containers/{container}/pause")


def remove(box: Box, container: str) -> None:
    box.engine.call("DELETE", f"/containers/{container}", params={"force": "1"})


def parts(box: Box, name: str) -> list[str]:
    """The replicas of an endpoint, then its gateway."""
    return sorted(box.inspect(name))


CASES = [
    pytest.param(kill, slice(0, 3), id="kill-all"),
    pytest.param(kill, slice(2, 3), id="kill-gateway"),
    pytest.param(remove, slice(0, 1), id="remove-replica"),
    pytest.param(pause, slice(0, 3), id="pause-all"),
    pytest.param(kill, slice(0, 1), id="kill-replica", marks=pytest.mark.full),
    pytest.param(kill, slice(0, 2), id="kill-replicas", marks=pytest.mark.full),
    pytest.param(stop, slice(0, 3), id="stop-all", marks=pytest.mark.full),
    pytest.param(pause, slice(0, 1), id="pause-replica", marks=pytest.mark.full),
]


@pytest.mark.parametrize(("harm", "chosen"), CASES)
def test_one_look_brings_everything_back(
    box: Box, pair: Endpoint, harm: Callable[[Box, str], None], chosen: slice
) -> None:
    """After one `status` all containers run; it shows the real share and what it found, and `predict` answers."""
    client = box.client()
    harmed, seen = parts(box, pair.name)[chosen], pair.status
    for _ in range(5):
        for part in harmed:
            harm(box, f"mlport-{pair.name}_{part}")
        seen = client.status(pair.name)
        if seen.state != EndpointState.READY:
            break  # otherwise a test beside this one listed the endpoints of the engine, and so looked first
    after = box.inspect(pair.name)
    assert (EndpointState.UPDATING, [100]) == (seen.state, [one.traffic for one in seen.deployments])
    assert all(one["State"]["Running"] and not one["State"]["Paused"] for one in after.values()), after
    assert 3 == len(after)
    assert any(f"{part} " in str(seen.reason) for part in harmed), seen.reason
    assert [2.0] == client.predict(pair.name, [[0.0, 1.0]]).values
    until(lambda: client.status(pair.name).state == EndpointState.READY)


def test_the_first_predict_waits_for_the_replicas(box: Box, pair: Endpoint) -> None:
    """A client that has called before, and one that looks for the first time, get an answer and no error."""
    assert [2.0] == pair.predict([[0.0, 1.0]]).values
    for one in (pair, box.client().endpoint(pair.name)):
        for part in parts(box, pair.name):
            kill(box, f"mlport-{pair.name}_{part}")
        assert [2.0] == one.predict([[0.0, 1.0]]).values
    until(lambda: pair.status.state == EndpointState.READY)


@pytest.mark.full
def test_a_deployment_without_any_container_is_failed(box: Box) -> None:
    """Nothing can bring it back but a deploy, as `status` says; the deploy then works."""
    client, name = box.client(), box.name("lost")
    client.deploy(box.model, name=name)
    remove(box, f"mlport-{name}_{parts(box, name)[0]}")
    seen = client.status(name)
    assert EndpointState.FAILED == seen.state
    assert "deploy the endpoint again" in str(seen.reason)
    assert [2.0] == client.deploy(box.model, name=name).predict([[0.0, 1.0]]).values
    client.delete(name)


def test_an_endpoint_whose_gateway_was_removed_says_what_to_do(box: Box) -> None:
    """It is failed, each verb names the way out, and the way out leaves nothing behind, not even the token's volume."""
    client, name = box.client(), box.name("bare")
    client.deploy(box.model, name=name)
    remove(box, f"mlport-{name}_gateway")
    assert f"mlport delete {name}" in str(client.status(name).reason)
    for verb in (lambda: client.predict(name, [[0.0, 1.0]]), lambda: client.deploy(box.model, name=name)):
        with pytest.raises(NotFoundError, match=f"mlport delete {name}"):
            verb()
    client.delete(name)
    filters = {"filters": json.dumps({"label": [f"mlport-endpoint={name}"]})}
    left = box.engine.call("GET", "/volumes", params=filters)["Volumes"]
    assert ({}, []) == (box.inspect(name), left or [])


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"Status": "exited", "ExitCode": 137, "OOMKilled": False}, "was killed by SIGKILL"),
        (
            {"Status": "exited", "ExitCode": 137, "OOMKilled": True},
            "was killed for using more than its memory; set resources.memory_gib higher",
        ),
        ({"Status": "paused", "ExitCode": 0, "OOMKilled": False}, "was paused"),
    ],
)
def test_how_a_container_was_found_is_said(state: dict[str, Any], words: str) -> None:
    assert words == how_found({"State": state})
