"""Two machines change one endpoint at the same time."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from sdk.errors import ConflictError, PlanStale, SdkError
from sdk.executor import Applied, Executor
from sdk_contract.fake_cloud import HOSTILE
from tests.executor.world import Client, Switch, World, third, update

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sdk_contract.fake import FakeAdapter


@dataclass
class Race:
    """A world in which one endpoint serves, and two machines that each deploy another model to it."""

    shape: type[FakeAdapter]
    folder: Path
    leases: bool = True
    etags: bool = True
    executor: type[Executor] = Executor
    won: list[str] = field(default_factory=list[str])
    lost: list[SdkError] = field(default_factory=list[SdkError])
    wrong: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        temper = replace(HOSTILE, etags=self.etags)
        self.world = World(self.shape, self.folder, temper=temper, leases=self.leases, executor=self.executor)
        self.world.prepare("update")
        self.first = Client(self.world, machine="laptop")
        self.second = Client(self.world, machine="desktop")
        self.first.executor.target, self.second.executor.target = "t", "t"

    def run(self, client: Client, verb: Any) -> None:
        """One machine's verb; what it came to."""
        try:
            applied: Applied = client.run(verb)
        except SdkError as error:
            self.lost.append(error)
        else:
            self.won += [item.id for item in applied.status.deployments if item.traffic] if applied.status else []  # type: ignore[union-attr]

    def judge(self) -> list[str]:
        """What is wrong after both have ended and each machine has cleaned up."""
        for machine in ("laptop", "desktop"):
            self.world.clock.sleep(4000)  # what neither journal knows is old enough now
            self.world.disk_of(machine).hook = lambda point: None
            self.world.converge(Client(self.world, machine=machine))
        wrong = self.world.faults()
        serving = self.world.serving() or {}
        if not self.won:
            wrong.append(f"nobody won: {self.lost}")
        elif not set(serving) & set(self.won):
            wrong.append(f"{serving} serves, and not one of {self.won}")
        bad = [error for error in self.lost if not isinstance(error, ConflictError | PlanStale)]
        return wrong + [f"the loser got {error!r}" for error in bad]


def inside(race: Race, at: int) -> list[str]:
    """The second machine runs whole at one point of the first one."""
    switch = Switch()

    def hook(point: str) -> None:
        switch(point)
        if len(switch.points) == at + 1:
            race.run(race.second, third)

    race.first.adapter.hook = hook
    race.run(race.first, update)
    return race.judge()


def points_of(race: Race) -> int:
    """How many points the first machine has."""
    switch = Switch()
    race.first.adapter.hook = switch
    race.run(race.first, update)
    return len(switch.points)


class Baton:
    """Lets exactly one of several threads run, and hands over at every call, by a seeded choice."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._turns: dict[str, threading.Semaphore] = {}
        self._me = threading.local()

    def run(self, **bodies: Callable[[], None]) -> None:
        """Runs all bodies to their end, interleaved."""
        self._turns = {name: threading.Semaphore(0) for name in bodies}
        threads = [threading.Thread(target=self._body, args=item) for item in bodies.items()]
        for thread in threads:
            thread.start()
        self._pass_on()
        for thread in threads:
            thread.join()

    def hook(self, point: str) -> None:
        """A point at which another thread may go on."""
        name = self._me.name
        self._pass_on()
        self._turns[name].acquire()

    def _body(self, name: str, body: Callable[[], None]) -> None:
        self._me.name = name
        self._turns[name].acquire()
        try:
            body()
        finally:
            del self._turns[name]
            self._pass_on()

    def _pass_on(self) -> None:
        if self._turns:
            self._turns[self._random.choice(sorted(self._turns))].release()


def interleaved(race: Race, seed: int) -> list[str]:
    """Both machines run at once, in a random order of calls."""
    baton = Baton(seed)
    race.first.adapter.hook = race.second.adapter.hook = baton.hook
    baton.run(first=lambda: race.run(race.first, update), second=lambda: race.run(race.second, third))
    race.first.adapter.hook = race.second.adapter.hook = lambda point: None
    return race.judge()
