"""Crash and recover: a client is killed before and after every changing call and every file operation of the journal."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from sdk.adapter import Capability
from sdk.executor.disk import RealDisk

from .samples import ANSWER
from .spy import Call, Calls

if TYPE_CHECKING:
    from .rig import Rig

SAMPLE = 5
_DISK = ("folder", "create", "open", "write", "truncate", "sync", "sync_folder", "rename", "remove")


class Killed(BaseException):
    """What stops a client that lives in the same process as its platform."""


@dataclass
class Kill:
    """Counts the points at which a client can die, and dies at one of them.

    Args:
        at: The number of the point; ``None`` only counts.
        die: Ends the client.
    """

    at: int | None
    die: Callable[[], None]
    points: list[str] = field(default_factory=list[str])
    dead: bool = False

    def reach(self, point: str) -> None:
        """A point between two effects on the world."""
        self.points.append(point)
        if self.dead or self.at == len(self.points) - 1:
            self.dead = True
            self.die()

    def around_call(self, when: str, call: Call) -> None:
        """The hook of a spy."""
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
    """The end that no handler sees."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_by_exception() -> NoReturn:
    """For platforms inside this process: the client may not even tidy up, since every later effect dies as well."""
    raise Killed


def run(rig: Rig, verb: Callable[[Rig, Kill], None], at: int | None) -> list[str]:
    """Runs a verb in a client that dies at point ``at``; gives the points that were passed."""
    if rig.crash == "raise":
        kill = Kill(at, die_by_exception)
        try:
            verb(rig, kill)
        except Killed:
            pass
        return kill.points
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        _in_child(rig, verb, Kill(at, die_by_signal), into)
    os.close(into)
    with os.fdopen(out) as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, text
    return text.splitlines()


def _in_child(rig: Rig, verb: Callable[[Rig, Kill], None], kill: Kill, into: int) -> NoReturn:
    try:
        verb(rig, kill)
        os.write(into, "\n".join(kill.points).encode())
        os._exit(0)
    except BaseException:  # noqa: BLE001 - whatever it is, the parent has to see it
        os.write(into, traceback.format_exc().encode())
        os._exit(1)


def deploy(n: int) -> Callable[[Rig, Kill], None]:
    """Deploys model ``n`` under the name of the scenario."""
    return lambda rig, kill: rig.mortal(kill).deploy(rig.model(n), name=NAME)


def delete(rig: Rig, kill: Kill) -> None:
    """Deletes it."""
    rig.mortal(kill).delete(NAME)


def promote(rig: Rig, kill: Kill) -> None:
    """Gives the canary everything."""
    rig.mortal(kill).promote(NAME)


class CrashSuite:
    """x."""
