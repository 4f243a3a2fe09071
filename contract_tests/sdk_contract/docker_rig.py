"""The Docker Engine of this machine as a target: one rig at a time has it, and sees what is left by its own account."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from sdk.errors import PlatformError, SdkError
from sdk.packaging.image.engine import Engine

from .rig import OWNER, STRANGER, Rig, ShortLived

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from sdk.client import Client

    from .kill import Kill

_OURS = {OWNER, STRANGER}


def require_engine() -> Engine:
    """The Docker Engine here; without one the test is skipped, or fails when ``MLPORT_REQUIRE_DOCKER`` is set."""
    engine: Engine | None = None
    try:
        engine = Engine()
        _ = engine.version
    except SdkError as error:
        if engine is not None:
            engine.close()
        if os.environ.get("MLPORT_REQUIRE_DOCKER"):
            pytest.fail(f"MLPORT_REQUIRE_DOCKER is set, but there is no Docker Engine: {error}")
        pytest.skip(f"no Docker Engine: {error}")
    return engine


class EngineRig(Rig):
    """A target whose endpoints are containers of the engine here; a subclass names the adapter.

    What the suites make belongs to owners of their own, and rigs wait for one another, also those of other processes:
    `gc` of one would take what another is making for waste.
    """

    price = 0.0
    executor = ShortLived

    def start(self) -> None:
        """Wait for the engine to be free, and remove what a killed run has left."""
        self.engine = require_engine()
        path = Path(tempfile.gettempdir(), f"mlport-engine-{os.getuid()}.lock")
        self._lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.sweep()

    def stop(self) -> None:
        """Let the next one have it."""
        os.close(self._lock)
        self.engine.close()

    def settings(self) -> Mapping[str, Any]:
        """A small base that needs no registry."""
        return {"base": "debian-packages"}

    def unpriced(self) -> Mapping[str, Any]:
        """Settings with which nobody knows a price."""
        return {**self.settings(), "usd_per_hour": None}

    def left(self) -> list[str]:
        """Containers, networks and volumes that carry our label, as the engine lists them."""
        filters = {"filters": json.dumps({"label": ["mlport=1"]})}
        containers = self.engine.call("GET", "/containers/json", params={"all": "1", **filters})
        networks = self.engine.call("GET", "/networks", params=filters)
        volumes = self.engine.call("GET", "/volumes", params=filters)["Volumes"] or ()
        return sorted(
            [
                *(_container(one) for one in containers if _is_ours(one["Labels"])),
                *(f"network {one['Name']}" for one in networks if _is_ours(one["Labels"])),
                *(f"volume {one['Name']}" for one in volumes if _is_ours(one["Labels"])),
            ]
        )

    def sweep(self) -> None:
        """Deletes what is left of the suites, and nothing else: others may use this engine."""
        client = self.client()
        for left in client.list():
            if left.owner in _OURS:
                with suppress(SdkError):
                    self.client(owner=left.owner or OWNER).delete(left.name)
        filters = {"filters": json.dumps({"label": ["mlport=1"]})}
        for one in self.engine.call("GET", "/containers/json", params={"all": "1", **filters}):
            if _is_ours(one["Labels"]):
                with suppress(PlatformError):
                    self.engine.call("DELETE", f"/containers/{one['Id']}", params={"force": "1", "v": "1"})
        for one in self.engine.call("GET", "/networks", params=filters):
            if _is_ours(one["Labels"]):
                with suppress(PlatformError):
                    self.engine.call("DELETE", f"/networks/{one['Id']}")
        for one in self.engine.call("GET", "/volumes", params=filters)["Volumes"] or ():
            if _is_ours(one["Labels"]):
                with suppress(PlatformError):
                    self.engine.call("DELETE", f"/volumes/{one['Name']}")

    def mortal(self, kill: Kill) -> Client:
        """A client that can also die before and after every single call of the engine that may change something."""
        client = super().mortal(kill)
        adapter: Any = client.session().adapter
        engine: Engine = adapter.host.engine

        def reach(when: str, what: str) -> None:
            kill.reach(f"{when} {what}")

        engine.watch = reach
        return client

    @contextmanager
    def provoke(self, failure: str) -> Generator[None]:
        """Nobody listens where the engine is looked for."""
        if failure != "refused":
            pytest.skip(f"an engine does not answer {failure!r}")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DOCKER_HOST", f"unix://{self.folder}/nobody.sock")
            yield

    def plant_foreign(self) -> Callable[[], bool] | None:
        """A network of somebody else."""
        name = f"foreign-{os.getpid()}"
        made = self.engine.call("POST", "/networks/create", json={"Name": name})

        def untouched() -> bool:
            found = self.engine.call("GET", f"/networks/{made['Id']}")
            self.engine.call("DELETE", f"/networks/{made['Id']}")
            return bool(found["Name"] == name)

        return untouched


class ContainedRig(Rig):
    """For rigs of a mini cloud: models and jobs run behind it as containers of the engine here."""

    runner: ClassVar[str] = "docker"

    def start(self) -> None:
        """Without an engine there is nothing to run them."""
        require_engine().close()
        super().start()

    def settings(self) -> Mapping[str, Any]:
        """A small base that needs no registry."""
        return {**super().settings(), "base": "debian-packages"}


def _is_ours(labels: Mapping[str, str] | None) -> bool:
    """Whether the suites made it; a lease says in its body who holds it."""
    given = labels or {}
    body = json.loads(given.get("mlport-lease-body", "{}"))
    return given.get("mlport-owner") in _OURS or body.get("owner") in _OURS


def _container(one: Mapping[str, Any]) -> str:
    """A container that does not run costs nothing, but is there."""
    word = "process" if one["State"] in {"running", "restarting", "paused"} else "container"
    return f"{word} {one['Names'][0].lstrip('/')}"
