"""One run of a verb in a world of trouble, and what became of it.

Run one that a test named: ``.venv/bin/python -m tests.executor.case "Case(...)"``.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdk.errors import SdkError
from sdk.executor import Executor
from sdk_contract.fake_cloud import HOSTILE, Fault
from tests.executor.power import MemoryDisk
from tests.executor.scaled import ScaledFake, unscaled
from tests.executor.world import NAME, SHAPES, Client, Kill, Switch, World

if TYPE_CHECKING:
    from sdk.executor import Applied


@dataclass(frozen=True)
class Case:
    """One run of one verb in one world: where the client dies, what goes wrong, what is lost.

    ``kill`` and ``again`` are numbers of kill points, the second one inside the recovery; ``fault`` is
    ``trouble:op:skip`` with ``:times`` at the end if it is more than once; ``lost`` throws the journal away after the
    kill; ``cut`` chooses one of the states that a power cut may leave on the disk.
    """

    shape: str
    scenario: str
    kill: int | None = None
    again: int | None = None
    fault: str = ""
    lost: bool = False
    etags: bool = True
    cut: int | None = None
    count_states: bool = field(default=False, compare=False, repr=False)

    def __str__(self) -> str:
        return f".venv/bin/python -m tests.executor.case '{self!r}'"

    def world(self, folder: Path, executor: type[Executor] = Executor) -> World:
        """The world before anything happened."""
        temper = HOSTILE if self.etags else replace(HOSTILE, etags=False)
        shape = next(shape for shape in (*SHAPES, ScaledFake) if shape.__name__ == self.shape)
        return World(shape, folder, temper=temper, executor=executor)

    def run(self, folder: Path, executor: type[Executor] = Executor) -> Outcome:
        """What became of it."""
        world = self.world(folder, executor)
        verb = world.prepare(self.scenario)
        outcome = Outcome(world, before=world.table())
        self._plan_trouble(world)
        switch = Switch(self.kill)
        client = Client(world).mortal(switch)
        try:
            outcome.applied = client.run(verb)
        except Kill:
            outcome.killed = True
        except SdkError as error:
            outcome.error = error
        outcome.points, outcome.events = switch.points, client.events
        outcome.wrong += outcome.at_once()
        outcome.states = len(world.disk_of("laptop").after_power_cut()) if self.count_states else 0
        self._disaster(world)
        if self.again is not None:
            outcome.recovery_points = self._die_again(world)
        world.converge()
        outcome.wrong += [*world.faults(), *outcome.in_the_end(lost=self.lost)]
        return outcome

    def _plan_trouble(self, world: World) -> None:
        if self.fault:
            trouble, op, skip, *times = self.fault.split(":")
            number = int(times[0]) if times else 1
            world.cloud.faults.append(Fault(trouble, op, skip=int(skip), times=number))  # type: ignore[arg-type]  # a word of Trouble

    def _disaster(self, world: World) -> None:
        disk = world.disk_of("laptop")
        if self.cut is not None:
            states = disk.after_power_cut()
            disk = MemoryDisk(states[self.cut % len(states)])
        if self.lost:
            disk = MemoryDisk()
            world.clock.sleep(4000)
        disk.hook = lambda point: None
        world.disks["laptop"] = disk

    def _die_again(self, world: World) -> list[str]:
        switch = Switch(self.again)
        with contextlib.suppress(Kill):
            Client(world).mortal(switch).executor.gc(apply=True)
        world.disk_of("laptop").hook = lambda point: None
        return switch.points


@dataclass
class Outcome:
    """What a case came to; ``wrong`` is empty if all is well."""

    world: World
    before: Any
    applied: Applied | None = None
    error: SdkError | None = None
    killed: bool = False
    points: list[str] = field(default_factory=list[str])
    recovery_points: list[str] = field(default_factory=list[str])
    events: list[str] = field(default_factory=list[str])
    wrong: list[str] = field(default_factory=list[str])
    states: int = 0

    def at_once(self) -> list[str]:
        """What is wrong right after a verb that was not killed, before anybody cleans up."""
        left = getattr(self.error, "leftovers", ()) or (self.applied.leftovers if self.applied else ())
        if self.killed or left:
            return []
        self.world.clock.sleep(60)  # what lands late has landed now
        self.world.cloud.settle()
        return [f"at once: {item}" for item in [*self.world.faults(), *self.unscaled()]]

    def unscaled(self) -> list[str]:
        """What is wrong with the scaling of deployments, on a platform that has some."""
        return unscaled(self.world.cloud, NAME) if self.world.shape is ScaledFake else []

    def in_the_end(self, *, lost: bool) -> list[str]:
        """Whether the endpoint is as it was, or as it should become; without a journal it must only serve so."""
        table, wanted = self.world.table(), self.expected()
        if lost:
            serving = {key: value for key, value in (table or {}).items() if value}
            wanted = [{key: value for key, value in (item or {}).items() if value} for item in wanted]
            table = serving
        shares = sorted((table or {}).values())
        if any(shares == sorted((item or {}).values()) for item in wanted):
            return [] if lost else self.unscaled()
        return [f"the shares are {table}, not one of {wanted}"]

    def expected(self) -> list[Any]:
        """The shares before the verb, and those after it in a world without trouble."""
        return [self.before, AFTER[self.world.scenario]]


# What the shares are after each verb, by the size only: ids are different in every run.
AFTER: dict[str, Any] = {
    "fresh": {"a": 100},
    "update": {"a": 0, "b": 100},
    "third": {"b": 0, "c": 100},
    "canary": {"a": 90, "b": 10},
    "promote": {"a": 0, "b": 100},
    "rollback": {"a": 100, "b": 0},
    "weights": {"a": 70, "b": 30},
    "finalize": {"b": 100},
    "delete": None,
    "train": None,
}


def main() -> None:
    """Runs one case that a test named, and tells what happened."""
    case: Case = eval(sys.argv[1], {"Case": Case})  # typed by a developer
    with tempfile.TemporaryDirectory() as folder:
        outcome = case.run(Path(folder))
    sys.stdout.write("\n".join([*outcome.events, f"error: {outcome.error!r}", f"wrong: {outcome.wrong}", ""]))


if __name__ == "__main__":
    main()
