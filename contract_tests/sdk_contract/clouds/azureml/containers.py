"""The containers behind a deployment, one for each instance, with readiness probes as in Azure."""

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
        deadline: When, in monotonic seconds, Azure stops waiting for them.
    """

    name: str
    image: str
    env: Mapping[str, str]
    routes: Mapping[str, Any]
    deadline: float
    mounts: Mapping[str, Path] = field(default_factory=dict[str, "Path"])
    running: list[Running] = field(default_factory=list["Running"])
    error: dict[str, Any] | None = None
    open: int = 0
    """The number of requests that wait for an answer."""
    _next: int = 0
    _ready: bool = False
    _wanted: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _work: threading.Thread | None = None

    @property
    def stopped(self) -> bool:
        """Whether it was asked to stop."""
        return self._wanted == 0

    @property
    def port(self) -> int:
        """The port on which the containers listen."""
        return int(self.routes["scoringRoute"]["port"])

    def start(self, runner: Runner, registry: Registry, count: int) -> None:
        """Start changing the number of instances to ``count``, in the background."""
        self._wanted, self._ready = count, False
        self._work = threading.Thread(target=self._bring, args=(runner, registry, count), name=self.name, daemon=True)
        self._work.start()

    def _bring(self, runner: Runner, registry: Registry, count: int) -> None:
        while len(self.running) > count:
            self.running.pop().stop()
        while len(self.running) < count and self._wanted == count:
            try:
                one = runner.start(
                    Launch(self.name, registry, self.image, env=self.env, port=self.port, mounts=self.mounts)
                )
            except StartFailed as error:
                self.error = _problem("BadArgument", str(error))
                return
            self.running.append(one)

    def settled(self) -> bool:
        """Return whether all instances are ready, or certain to fail; this calls their readiness route."""
        if self.error or self._ready or (self._work is not None and self.stopped):
            return True
        if self._work is not None and self._work.is_alive():
            return False
        ended = next((one for one in self.running if one.exit_code is not None), None)
        if ended is not None:
            self.error = _problem(
                "ResourceNotReady", f"User container has crashed or terminated: exit code {ended.exit_code}."
            )
            return True
        self._ready = all(self._answers(one) for one in self.running)
        if not self._ready and time.monotonic() > self.deadline:
            self.error = _problem(
                "ResourceNotReady", "Readiness probe failed: the container did not become ready in time."
            )
        return self._ready or self.error is not None

    def _answers(self, one: Running) -> bool:
        try:
            url = one.address + self.routes["readinessRoute"]["path"]
            with urlopen(UrlRequest(url), timeout=_PROBE_S) as response:  # the container's own address
                return int(response.status) == 200
        except OSError:
            return False

    def pick(self) -> tuple[str, int] | None:
        """Return host and port of the next running instance, in turns."""
        with self._lock:
            alive = [one for one in self.running if one.exit_code is None]
            if not alive:
                return None
            self._next += 1
            parts = urlsplit(alive[self._next % len(alive)].address)
            return str(parts.hostname), int(parts.port or 80)

    def lines(self) -> list[str]:
        """Return the output of all instances, in order of time."""
        return [text for _, text in sorted(line for one in self.running for line in one.logs())]

    def usage(self) -> tuple[float, int]:
        """Return CPU seconds and bytes of memory of all instances together."""
        found = [one.usage() for one in self.running if one.exit_code is None]
        return sum(cpu for cpu, _ in found), sum(memory for _, memory in found)

    def stop(self, grace_s: float) -> None:
        """Start stopping all instances, in the background, each killed after so many seconds."""
        before, self._wanted = self._work, 0
        self._work = threading.Thread(target=self._end, args=(before, grace_s), name=self.name, daemon=True)
        self._work.start()

    def _end(self, before: threading.Thread | None, grace_s: float) -> None:
        if before is not None:
            before.join()
        for one in self.running:
            one.stop(grace_s)

    def ended(self) -> bool:
        """Return whether no instance is left."""
        return self._work is None or not self._work.is_alive()


def _problem(code: str, message: str) -> dict[str, Any]:
    return {"code": code, "message": message, "details": []}
