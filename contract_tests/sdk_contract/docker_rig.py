"""The Docker Engine of this machine as a target, shared by several rigs that each own what they create."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from sdk.errors import PlatformError, SdkError
from sdk.packaging.image.engine import Engine

from .rig import Rig, ShortLived

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from sdk.client import Client

    from .kill import Kill


def require_engine() -> Engine:
    """Return the local Docker Engine; without one skip the test, or fail it when ``MLPORT_REQUIRE_DOCKER`` is set."""
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
    """A target whose endpoints are containers of the local engine; a subclass names the adapter.

    Each rig on the engine has a number of its own, held by a file lock, and derives its owners and names from it, so
    that rigs of several processes work side by side. A later rig reuses the number of a killed run, and first removes
    what that run left.
    """

    price = 0.0
    executor = ShortLived

    def start(self) -> None:
        """Take a free number, and remove what a killed run with the same number has left."""
        self.engine = require_engine()
        self._number, self._lock = _free_number()
        self.owner, self.stranger = f"contract-{self._number}", f"stranger-{self._number}"
        self.sweep()

    def stop(self) -> None:
        """Release the number for a later rig."""
        os.close(self._lock)
        self.engine.close()

    def name(self, word: str = "contract") -> str:
        """Return a name that no other rig on this engine uses."""
        return super().name(f"{word[:9]}-{self._number}")

    def settings(self) -> Mapping[str, Any]:
        """Return a small base that needs no registry."""
        return {"base": "debian-packages"}

    def unpriced(self) -> Mapping[str, Any]:
        """Return settings for which no price is known."""
        return {**self.settings(), "usd_per_hour": None}

    def left(self) -> list[str]:
        """List the containers, networks and volumes that carry our label, according to the engine."""
        filters = {"filters": json.dumps({"label": ["mlport=1"]})}
        containers = self.engine.call("GET", "/containers/json", params={"all": "1", **filters})
        networks = self.engine.call("GET", "/networks", params=filters)
        volumes = self.engine.call("GET", "/volumes", params=filters)["Volumes"] or ()
        return sorted(
            [
                *(_container(one) for one in containers if self._is_ours(one["Labels"])),
                *(f"network {one['Name']}" for one in networks if self._is_ours(one["Labels"])),
                *(f"volume {one['Name']}" for one in volumes if self._is_ours(one["Labels"])),
            ]
        )

    def sweep(self) -> None:
        """Delete what is left of the suites, and nothing else: others may use this engine."""
        client = self.client()
        for left in client.list():
            if left.owner in {self.owner, self.stranger}:
                with suppress(SdkError):
                    self.client(owner=left.owner).delete(left.name)
        filters = {"filters": json.dumps({"label": ["mlport=1"]})}
        for one in self.engine.call("GET", "/containers/json", params={"all": "1", **filters}):
            if self._is_ours(one["Labels"]):
                with suppress(PlatformError):
                    self.engine.call("DELETE", f"/containers/{one['Id']}", params={"force": "1", "v": "1"})
        for one in self.engine.call("GET", "/networks", params=filters):
            if self._is_ours(one["Labels"]):
                with suppress(PlatformError):
                    self.engine.call("DELETE", f"/networks/{one['Id']}")
        for one in self.engine.call("GET", "/volumes", params=filters)["Volumes"] or ():
            if self._is_ours(one["Labels"]):
                with suppress(PlatformError):
                    self.engine.call("DELETE", f"/volumes/{one['Name']}")

    def _is_ours(self, labels: Mapping[str, str] | None) -> bool:
        """Return whether this rig made a resource; a lease names its holder in its body."""
        given = labels or {}
        body = json.loads(given.get("mlport-lease-body", "{}"))
        return bool({given.get("mlport-owner"), body.get("owner")} & {self.owner, self.stranger})

    def mortal(self, kill: Kill) -> Client:
        """Return a client that can also die before and after every call of the engine that may change something."""
        client = super().mortal(kill)
        adapter: Any = client.session().adapter
        engine: Engine = adapter.host.engine

        def reach(when: str, what: str) -> None:
            kill.reach(f"{when} {what}")

        engine.watch = reach
        return client

    @contextmanager
    def provoke(self, failure: str) -> Generator[None]:
        """Point ``DOCKER_HOST`` to a socket on which nothing listens."""
        if failure != "refused":
            pytest.skip(f"an engine does not answer {failure!r}")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DOCKER_HOST", f"unix://{self.folder}/nobody.sock")
            yield

    def plant_foreign(self) -> Callable[[], bool] | None:
        """Create a network that is not ours, and return a check that it is untouched."""
        name = f"foreign-{os.getpid()}"
        made = self.engine.call("POST", "/networks/create", json={"Name": name})

        def untouched() -> bool:
            found = self.engine.call("GET", f"/networks/{made['Id']}")
            self.engine.call("DELETE", f"/networks/{made['Id']}")
            return bool(found["Name"] == name)

        return untouched


class ContainedRig(Rig):
    """Base of rigs of a mini cloud whose models and jobs run as containers of the local engine."""

    runner: ClassVar[str] = "docker"

    def start(self) -> None:
        """Skip without an engine, which has to run the containers."""
        require_engine().close()
        super().start()

    def settings(self) -> Mapping[str, Any]:
        """Return the settings with a small base that needs no registry."""
        return {**super().settings(), "base": "debian-packages"}


def _free_number() -> tuple[int, int]:
    """Return the lowest number that no living rig holds, and the descriptor of its lock."""
    for number in itertools.count():
        path = Path(tempfile.gettempdir(), f"mlport-engine-{os.getuid()}-{number}.lock")
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
        else:
            return number, lock
    raise AssertionError  # pragma: no cover - the loop has no end


def _container(one: Mapping[str, Any]) -> str:
    """Describe a container; a stopped one costs nothing, but is still listed."""
    word = "process" if one["State"] in {"running", "restarting", "paused"} else "container"
    return f"{word} {one['Names'][0].lstrip('/')}"
