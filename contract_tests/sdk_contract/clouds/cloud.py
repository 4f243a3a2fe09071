"""The base of all mini clouds: a server, a log of calls, planned faults, a pace, and a runner."""

from __future__ import annotations

import random
import secrets
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from sdk.util.private import private_folder, write_private

from .calls import CallLog
from .faults import Faults
from .timing import Pace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .server import Server


SECRET = "secret"  # file in the folder of a cloud


class Cloud(ABC):
    """A mini cloud; the class behind an entry point of the group ``mlport.clouds``.

    Args:
        folder: Where it stores its files.
        runner: How models and jobs run: ``"process"``, ``"docker"``, or ``"fork"`` in tests.
        pace: Seconds that it takes for one second of the real cloud; 0: no delays.
        seed: Seed of everything that is random.

    Attributes:
        calls: The log of all requests.
        faults: The planned faults.
        secret: Random; every credential of this cloud is derived from it or issued by the cloud; no other is accepted.
    """

    name: ClassVar[str]

    def __init__(self, folder: Path, runner: str = "process", *, pace: float = 0.0, seed: int = 0) -> None:
        self.folder = Path(folder)
        self.runner_name = runner
        self.pace = Pace(pace)
        self.random = random.Random(seed)
        self.calls = CallLog()
        self.faults = Faults()
        self.secret = secrets.token_bytes(32)
        self._server: Server | None = None
        self._env: dict[str, str] = {}

    @property
    def url(self) -> str:
        """The address of its server, such as ``http://127.0.0.1:40123``."""
        if self._server is None:
            raise RuntimeError(f"mini cloud {self.name!r} was not started")
        return self._server.url

    @property
    def env(self) -> dict[str, str]:
        """The environment variables that point clients to this cloud."""
        return dict(self._env)

    def start(self) -> Mapping[str, str]:
        """Start the server and return the environment variables that point clients to it."""
        private_folder(self.folder)
        write_private(self.folder / SECRET, self.secret)
        self._server = self.open().start()
        self._env = dict(self.variables())
        return self.env

    @abstractmethod
    def open(self) -> Server:
        """Create the server, and everything behind it."""

    @abstractmethod
    def variables(self) -> Mapping[str, str]:
        """Return the environment variables that point clients to this cloud; the server has its address by now."""

    @abstractmethod
    def inventory(self) -> list[str]:
        """List all resources that exist now, according to the cloud itself: one line each, sorted."""

    def release(self) -> None:  # noqa: B027  # a cloud without containers has nothing to stop
        """Stop what runs behind the cloud: containers, processes."""

    def close(self) -> None:
        """Stop everything that was started."""
        if self._server is not None:
            self._server.close()
        self.release()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
