"""The Docker Engine here, or a visible skip; clients of an owner of their own, so that nothing of others is touched."""

from __future__ import annotations

import json
import os
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

import sdk
from sdk.client import Client
from sdk.errors import PlatformError
from sdk_contract.docker_rig import require_engine

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sdk.client.endpoint import Endpoint
    from sdk.packaging.image.engine import Engine
    from sdk.packaging.model import Model

OWNER = f"tests-{os.getpid()}"


def behave(rows: Sequence[Sequence[float]]) -> list[float]:
    """Doubles the second value of each row; the first says how many MiB of memory to eat before."""
    eaten = bytearray(int(rows[0][0]) * 2**20)
    eaten[::4096] = b"x" * len(eaten[::4096])
    return [2 * row[1] for row in rows]


class Box:
    """A target on the engine here.

    Args:
        engine: The engine.
        folder: For the client's state.
    """

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine = engine
        self.folder = folder
        self.model: Model = sdk.model(behave, name="eater", example=[[0.0, 1.0]])
        self._clients: list[Client] = []

    def client(self, *, owner: str = OWNER, **settings: Any) -> Client:
        """A client with these settings of the target."""
        target = {"provider": "docker", "base": "debian-packages", **settings}
        config = {"target": {"box": target}, "owner": owner, "state_dir": str(self.folder / "state")}
        client = Client(config, target="box")
        self._clients.append(client)
        return client

    @staticmethod
    def name(word: str = "t") -> str:
        """A name that nobody uses."""
        return f"{word}-{uuid.uuid4().hex[:8]}"

    def inspect(self, endpoint: str) -> dict[str, dict[str, Any]]:
        """Everything that the engine says of the containers of an endpoint, by the last part of their names."""
        params = {"all": "1", "filters": json.dumps({"label": [f"mlport-endpoint={endpoint}"]})}
        items = self.engine.call("GET", "/containers/json", params=params)
        found = [self.engine.call("GET", f"/containers/{item['Id']}/json") for item in items]
        return {about["Name"].rpartition("_")[2]: about for about in found}

    def run(self, container: str, *argv: str) -> tuple[int, str]:
        """Exit code and output of a command inside a container, as the container's own user."""
        body = {"AttachStdout": True, "AttachStderr": True, "Tty": True, "Cmd": list(argv)}
        made = self.engine.call("POST", f"/containers/{container}/exec", json=body)
        start = json.dumps({"Detach": False, "Tty": True}).encode()
        headers = {"content-type": "application/json"}
        path = f"/exec/{made['Id']}/start"
        with self.engine.stream("POST", path, content=[start], headers=headers) as pieces:
            output = b"".join(pieces).decode("utf-8", "replace")
        return int(self.engine.call("GET", f"/exec/{made['Id']}/json")["ExitCode"]), output

    def close(self) -> None:
        """Remove what tests have left."""
        for client in self._clients:
            client.close()
        filters = {"filters": json.dumps({"label": [f"mlport-owner={OWNER}"]})}
        for one in self.engine.call("GET", "/containers/json", params={"all": "1", **filters}):
            with suppress(PlatformError):
                self.engine.call("DELETE", f"/containers/{one['Id']}", params={"force": "1", "v": "1"})
        for one in self.engine.call("GET", "/networks", params=filters):
            self.engine.call("DELETE", f"/networks/{one['Id']}")
        self.engine.close()


@pytest.fixture(scope="session")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """One target and one small model for all tests."""
    engine = require_engine()
    with pytest.MonkeyPatch.context() as patch:
        if "MLPORT_STATE_DIR" not in os.environ:  # images are built once, also for the contract's suites
            patch.setenv("MLPORT_STATE_DIR", str(tmp_path_factory.getbasetemp() / "state"))
        made = Box(engine, tmp_path_factory.mktemp("box"))
        yield made
        made.close()


@pytest.fixture(scope="session")
def endpoint(box: Box) -> Iterator[Endpoint]:
    """One endpoint that several tests look at and none changes."""
    limits = {"cpu": 0.5, "memory_gib": 0.5}
    made = box.client().deploy(box.model, name=box.name("shared"), replicas=2, resources=limits)
    yield made
    made.delete()
