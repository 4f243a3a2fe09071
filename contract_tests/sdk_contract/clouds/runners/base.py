"""What is run, what runs, and who runs it: the same for processes and containers."""

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
    """The image cannot be run at all: it is not there, or for something else. The text is for the user."""


@dataclass(frozen=True)
class Launch:
    """What is to be run.

    Attributes:
        name: For people, logs and the engine; two may share it.
        registry: Where the image is.
        reference: ``REPOSITORY@sha256:…`` or ``REPOSITORY:TAG``, without a host.
        command: Instead of the image's own arguments; ``None`` keeps them.
        entrypoint: Instead of the image's own program; ``None`` keeps it.
        env: Over the image's own variables.
        mounts: Container path to a folder of this machine, writable.
        port: Where the image listens, when it does.
        user: User id to run as; the image's own, usually root, when left out.
        shell: ``command`` is one line for ``bash -c``; the image's entrypoint is not used.
        memory_gib: Limit, where the runner can set one.
        cpu: Cores, where the runner can set a limit.
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
        """Repository and tag or digest."""
        for sign in ("@", ":"):
            repository, found, name = self.reference.rpartition(sign)
            if found and (sign == "@" or "/" not in name):
                return (repository.partition(":")[0] if sign == "@" else repository), name
        return self.reference, "latest"


class Running(ABC):
    """A process or container that was started.

    Attributes:
        name: As in its launch.
        address: Where it answers, such as ``http://127.0.0.1:40123``; empty when it does not listen.
    """

    name: str
    address: str = ""

    @abstractmethod
    def logs(self) -> list[tuple[float, str]]:
        """What it wrote so far: Unix time and line."""

    @property
    @abstractmethod
    def exit_code(self) -> int | None:
        """``None`` while it runs; 128 + N when signal N ended it."""

    @abstractmethod
    def stop(self, grace_s: float = 30.0) -> None:
        """SIGTERM, then SIGKILL after ``grace_s`` seconds; comes back when nothing of it is left."""

    @abstractmethod
    def usage(self) -> tuple[float, int]:
        """CPU seconds since its start and bytes of memory now, its children included."""

    def wait(self, timeout: float | None = None) -> int | None:
        """Waits for its end; its exit code, ``None`` when the time was up first."""
        end = None if timeout is None else time.monotonic() + timeout
        while (code := self.exit_code) is None:
            if end is not None and time.monotonic() >= end:
                return None
            time.sleep(0.01)
        return code


class Runner(ABC):
    """Starts what mini clouds run, and ends it with them."""

    name: str

    @abstractmethod
    def start(self, launch: Launch) -> Running:
        """Runs an image; comes back when it was started, before it answers.

        Raises:
            StartFailed: It cannot be run.
        """

    @abstractmethod
    def close(self) -> None:
        """Ends all that was started and still runs."""

    @abstractmethod
    def alive(self) -> list[str]:
        """The names of all that runs."""
