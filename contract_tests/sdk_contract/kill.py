"""A client that dies at a chosen point: before or after a changing call, or a file operation of the journal."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from sdk.executor.disk import RealDisk

if TYPE_CHECKING:
    from collections.abc import Callable

    from .spy import Call

_DISK = frozenset({"create", "write", "truncate", "sync", "sync_folder", "rename", "remove"})


class Killed(BaseException):
    """Raised to stop a client in the same process as its platform."""


@dataclass
class Kill:
    """Counts the points at which a client can die, and kills it at one of them.

    Args:
        at: The number of the point; ``None`` only counts.
        die: Kills the client.
    """

    at: int | None
    die: Callable[[], None]
    points: list[str] = field(default_factory=list[str])
    dead: bool = False

    def reach(self, point: str) -> None:
        """Pass a point between two effects, and die if it is the chosen one."""
        self.points.append(point)
        if self.dead or self.at == len(self.points) - 1:
            self.dead = True
            self.die()

    def around_call(self, when: str, call: Call) -> None:
        """Pass a point before or after a changing call, as the hook of a spy."""
        if call.changes or self.dead:
            self.reach(f"{when} {call.operation} {call.subject.split(' ')[0]}")


class MortalDisk(RealDisk):
    """A disk whose user can die before and after each operation that changes it."""

    def __init__(self, kill: Kill) -> None:
        self._kill = kill

    def __getattribute__(self, name: str) -> Any:
        inner = super().__getattribute__(name)
        if name not in _DISK:
            return inner
        kill: Kill = super().__getattribute__("_kill")

        def outer(*args: Any) -> Any:
            kill.reach(f"before {name}")
            result = inner(*args)
            kill.reach(f"after {name}")
            return result

        return outer


def die_by_signal() -> None:
    """Kill this process with SIGKILL, which no handler can catch."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_by_exception() -> NoReturn:
    """Raise for a platform in this process: the client cannot even clean up, since every later effect raises too."""
    raise Killed
