"""The containers behind a deployment: as many as it has instances, each asked whether it is ready as Azure's probes do."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import Request as UrlRequest
from urllib.request import urlopen

from ..runners import Launch, StartFailed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ..registry import Registry
    from ..runners import Runner, Running

_PROBE_S = 1.0


@dataclass
class Fleet:
    """All instances of one deployment.

    Args:
        name: For people.
        image: ``REPOSITORY@sha256:…`` in the registry.
        env: Variables of the containers.
        routes: The inference configuration of the environment.
        deadline: When, in monotonic seconds, Azure gives up waiting for them.
    """

    name: str
    image: str
    env: Mapping[str, str]
    routes: Mapping[str, Any]
    deadline: float
    mounts: Mapping[str, Path] = field(default_factory=dict[str, "Path"])
    running: list[Running] = field(default_factory=list["Running"])
    error: dict[str, Any] | None = None
    _next: int = 0
    _ready: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def port(self) -> int:
        """Where the containers listen."""
        return int(self.routes["scoringRoute"]["port"])

    def start(self, runner: Runner, registry: Registry, count: int) -> None:
        """Starts instances until there are as many as asked for, or ends the newest."""
        while len(self.running) > count:
            self.running.pop().stop()
        for _ in range(count - len(self.running)):
            self._ready = False
            try:
                self.running.append(
                    runner.start(Launch(self.name, registry, self.image, env=self.env, port=self.port, mounts=self.mounts))
                )
            except StartFailed as error:
                self.error = _problem("ImagePullFailure" if "not" in str(error) else "BadArgument", str(error))
                return

    def settled(self) -> bool:
        """Whether all are ready, or it is certain that they will not be; asks their readiness route."""
        if self.error or self._ready:
            return True
        ended = next((one for one in self.running if one.exit_code is not None), None)
        if ended is not None:
            self.error = _problem("ResourceNotReady", f"User container has crashed or terminated: exit code {ended.exit_code}.")
            return True
        self._ready = all(self._answers(one) for one in self.running)
        if not self._ready and time.monotonic() > self.deadline:
            self.error = _problem("ResourceNotReady", "Readiness probe failed: the container did not become ready in time.")
        return self._ready or self.error is not None

    def _answers(self, one: Running) -> bool:
        try:
            url = one.address + self.routes["readinessRoute"]["path"]
            with urlopen(UrlRequest(url), timeout=_PROBE_S) as response:  # the container's own address
                return int(response.status) == 200
        except OSError:
            return False

    def pick(self) -> tuple[str, int] | None:
        """Host and port of the next instance that runs, in turns."""
        with self._lock:
            alive = [one for one in self.running if one.exit_code is None]
            if not alive:
                return None
            self._next += 1
            parts = urlsplit(alive[self._next % len(alive)].address)
            return str(parts.hostname), int(parts.port or 80)

    def lines(self) -> list[str]:
        """What they wrote, in order of time."""
        return [text for _, text in sorted(line for one in self.running for line in one.logs())]

    def usage(self) -> tuple[float, int]:
        """CPU seconds and bytes of memory of all together."""
        found = [one.usage() for one in self.running if one.exit_code is None]
        return sum(cpu for cpu, _ in found), sum(memory for _, memory in found)

    def stop(self, grace_s: float = 10.0) -> None:
        """Ends all of them."""
        for one in self.running:
            one.stop(grace_s)


def _problem(code: str, message: str) -> dict[str, Any]:
    return {"code": code, "message": message, "details": []}
