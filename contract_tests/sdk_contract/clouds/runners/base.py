"""Launches, running images and runners: what processes and containers have in common."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ..registry import Registry


class StartFailed(Exception):
    """The image cannot be run at all: it is missing, or does not fit the runner. The text is for the user."""


@dataclass(frozen=True)
class Launch:
    """What to run, and how.

    Attributes:
        name: For people, logs and the engine; two launches may share it.
        registry: The registry that holds the image.
        reference: ``REPOSITORY@sha256:…`` or ``REPOSITORY:TAG``, without a host.
        command: Replaces the image's own arguments; ``None`` keeps them.
        entrypoint: Replaces the image's own program; ``None`` keeps it.
        env: Added to the image's own variables, or replacing them.
        mounts: Container path to a folder of this machine, writable.
        port: Port on which the image listens, if it does.
        user: User id to run as; the image's own, usually root, when left out.
        shell: ``command`` is one line for ``bash -c``; the image's entrypoint is not used.
        memory_gib: Limit, if the runner can set one.
        cpu: Number of cores, if the runner can set a limit.
    """

    name: str
    registry: Registry
    reference: str
    command: Sequence[str] | None = None
    entrypoint: Sequence[str] | None = None
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    mounts: Mapping[str, Path] = field(default_factory=dict[str, "Path"])
    port: int | None = None
    user: int | None = None
    shell: bool = False
    memory_gib: float | None = None
    cpu: float | None = None

    @property
    def place(self) -> tuple[str, str]:
        """Repository, and tag or digest."""
        for sign in ("@", ":"):
            repository, found, name = self.reference.rpartition(sign)
            if found and (sign == "@" or "/" not in name):
                return (repository.partition(":")[0] if sign == "@" else repository), name
        return self.reference, "latest"


class Running(ABC):
    """A process or container that was started.

    Attributes:
        name: The name of its launch.
        address: Where it answers, such as ``http://127.0.0.1:40123``; empty when it does not listen.
    """

    name: str
    address: str = ""

    @abstractmethod
    def logs(self) -> list[tuple[float, str]]:
        """Return its output so far: Unix time and text of each line."""

    @property
    @abstractmethod
    def exit_code(self) -> int | None:
        """The exit code; ``None`` while it runs, 128 + N when signal N ended it."""

    @abstractmethod
    def stop(self, grace_s: float = 30.0) -> None:
        """Send SIGTERM, then SIGKILL after ``grace_s`` seconds; return when none of its processes is left."""

    @abstractmethod
    def usage(self) -> tuple[float, int]:
        """Return the CPU seconds since its start and the bytes of memory now, its children included."""

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait until it ends and return its exit code; ``None`` when the time was up first."""
        end = None if timeout is None else time.monotonic() + timeout
        while (code := self.exit_code) is None:
            if end is not None and time.monotonic() >= end:
                return None
            time.sleep(0.01)
        return code


class Runner(ABC):
    """The base of runners: starts what mini clouds run, and ends it when the runner is closed."""

    name: str

    @abstractmethod
    def start(self, launch: Launch) -> Running:
        """Run an image; return when it was started, before it answers.

        Raises:
            StartFailed: It cannot be run.
        """

    @abstractmethod
    def close(self) -> None:
        """End everything that was started and still runs."""

    @abstractmethod
    def alive(self) -> list[str]:
        """Return the names of everything that runs."""
