"""What all mini clouds have in common: a server, a log of calls, planned trouble, a pace, and a runner."""

from __future__ import annotations

import random
import secrets
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from sdk.private import private_folder, write_private

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
        folder: For all that it keeps on disk.
        runner: How models and jobs run behind it: ``"process"``, ``"docker"``, or ``"fork"`` in tests.
        pace: Seconds it takes for one second of the real cloud; 0: as fast as it is asked.
        seed: Of everything that is left to chance.

    Attributes:
        calls: Every request that came.
        faults: What shall go wrong.
        secret: Random; every credential of this cloud is derived from it or made by it, and it takes no other.
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
        """Where it answers, such as ``http://127.0.0.1:40123``."""
        if self._server is None:
            raise RuntimeError(f"mini cloud {self.name!r} was not started")
        return self._server.url

    @property
    def env(self) -> dict[str, str]:
        """The variables that point clients here."""
        return dict(self._env)

    def start(self) -> Mapping[str, str]:
        """Begins to answer; the variables that point clients here."""
        private_folder(self.folder)
        write_private(self.folder / SECRET, self.secret)
        self._server = self.open().start()
        self._env = dict(self.variables())
        return self.env

    @abstractmethod
    def open(self) -> Server:
        """Makes the server, and everything behind it."""

    @abstractmethod
    def variables(self) -> Mapping[str, str]:
        """The variables that point clients here; the server has its address by now."""

    @abstractmethod
    def inventory(self) -> list[str]:
        """Everything that is there now, by the cloud's own account: one line each, sorted."""

    def release(self) -> None:  # noqa: B027  # a cloud without containers has nothing to end
        """Ends what runs behind it: containers, processes."""

    def close(self) -> None:
        """Ends everything that was started."""
        if self._server is not None:
            self._server.close()
        self.release()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
