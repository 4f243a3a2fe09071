"""Does the matrix notice anything? One executor for each rule that is left out: all of them must be caught."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from sdk.adapter import Live, Ref
from sdk.executor import Executor
from sdk_contract.fake import ConfigFake, TrafficFake
from sdk_contract.fake_cloud import Fault
from tests.executor import mutants
from tests.executor.case import Case
from tests.executor.test_kill import COMBINATIONS, OPERATIONS, TROUBLES, points
from tests.executor.world import NAME, Client, World, fresh, third, update
from tests.executor.writers import Race, inside

if TYPE_CHECKING:
    from collections import Counter
    from pathlib import Path

BUDGET = 400


def kills(folder: Path) -> list[Case]:
    return [Case(a, b, at) for a, b in COMBINATIONS for at in range(0, points(a, b, folder), 5)]


def lost_journals(folder: Path) -> list[Case]:
    return [Case(a, b, at, lost=True) for a, b in COMBINATIONS[:6] for at in range(0, points(a, b, folder), 9)]


def power_cuts(folder: Path) -> list[Case]:
    return [
        Case(a, b, at, cut=cut) for a, b in COMBINATIONS for at in range(0, points(a, b, folder), 5) for cut in range(3)
    ]


def troubles(folder: Path) -> list[Case]:
    return [
        Case(a, b, fault=f"{trouble}:{op}:{skip}", etags=etags)
        for a, b in COMBINATIONS
        for trouble in TROUBLES
        for op in OPERATIONS
        for skip in range(4)
        for etags in (True, False)
    ]


def long_refusals(folder: Path) -> list[Case]:
    return [
        Case(a, b, fault="refused:delete:0:100000") for a, b in COMBINATIONS if b in {"update", "third", "finalize"}
    ]


MATRIX: dict[str, tuple[type[Executor], Any]] = {
    "no intent before the call": (mutants.INTENT_AFTER, kills),
    "an unknown outcome means nothing happened": (mutants.NO_UNKNOWN, troubles),
    "no settle window": (mutants.NO_WINDOW, kills),
    "children deleted before their parents are gone": (mutants.CARELESS, troubles),
    "rolled back after the switch": (mutants.ALWAYS_BACK, kills),
    "the old retired before the new is ready": (mutants.OLD_FIRST, kills),
    "no reverse order": (mutants.FORWARD, kills),
    "gc without marking": (mutants.NO_MARK, lost_journals),
    "a row forgotten on an error": (mutants.Forgetful, long_refusals),
    "no folder sync": (mutants.NoFolderSync, power_cuts),
    "no file sync": (mutants.NoFileSync, power_cuts),
}


@pytest.mark.parametrize("rule", MATRIX)
def test_the_matrix_catches(rule: str, tmp_path: Path, tally: Counter[str]) -> None:
    """Some run of the matrix goes wrong when the rule is left out, and the very same run is fine with it."""
    mutant, suite = MATRIX[rule]
    cases: list[Case] = suite(tmp_path)
    random.Random(rule).shuffle(cases)
    for case in cases[:BUDGET]:
        if case.run(tmp_path, mutant).wrong:
            assert [] == case.run(tmp_path).wrong
            tally["mutants caught"] += 1
            return
    raise AssertionError(f"nothing in {BUDGET} runs notices the mutant {rule!r}")


# --- rules that need a second machine, or somebody else's hands --------------------------------------------------


def two_writers(folder: Path, executor: type[Executor], *, leases: bool, etags: bool) -> list[str]:
    """The second machine at some points of the first one; a lease admits one only."""
    wrong: list[str] = []
    for at in range(20, 150, 3):
        race = Race(ConfigFake, folder, leases, etags, executor)
        wrong += inside(race, at)
        if leases and 30 <= at < 130 and len(race.won) != 1:
            wrong.append(f"{len(race.won)} winners at point {at}")
        if wrong:
            break
    return wrong


def no_lease_check(folder: Path, executor: type[Executor]) -> list[str]:
    """With leases one of two machines is refused."""
    return two_writers(folder, executor, leases=True, etags=True)


def switched_back(folder: Path, executor: type[Executor]) -> list[str]:
    """Right after our switch somebody switches back to what we are about to delete."""
    world = World(ConfigFake, folder, executor=executor)
    world.prepare("third")
    item = world.cloud.items[Ref("Endpoint", NAME)]
    spec, parents = item.spec, item.parents
    client, disk = Client(world), world.disk_of("laptop")

    def hook(point: str) -> None:
        written = [data for path, data in disk.files.items() if "/open/" in path]
        if point == "disk after sync" and any(b'"event":"committed"' in data for data in written):
            disk.hook = lambda point: None
            world.cloud.edit(item.ref, spec)
            item.parents = parents

    disk.hook = hook
    _try(client, third)
    world.converge()
    return world.faults()


def same_name(folder: Path, executor: type[Executor]) -> list[str]:
    """Somebody else makes something under our id at the very moment when we would; then our deploy fails."""
    world = World(TrafficFake, folder, executor=executor)
    client, gateway = Client(world), Ref("Gateway", NAME)

    def hook(point: str) -> None:
        if point == "before create Gateway" and gateway not in world.cloud.items:
            world.cloud.plant(Live(gateway.kind, gateway.id, "ready", spec={"version": 1}), {"owner": "them"})
            world.cloud.faults.append(Fault("quota", "create", "Deployment"))

    client.adapter.hook = hook
    _try(client, fresh)
    return [] if gateway in world.cloud.items else ["a foreign gateway was deleted"]


def edited(folder: Path, executor: type[Executor]) -> list[str]:
    """Somebody edits the shares while our deploy is about to fail."""
    world = World(TrafficFake, folder, executor=executor)
    world.prepare("update")
    client = Client(world)
    theirs: dict[str, Any] = {}

    def hook(point: str) -> None:
        if point == "after update Traffic" and not theirs:
            ref = Ref("Traffic", NAME)
            theirs.update(weights={**world.cloud.items[ref].spec["weights"], "theirs": 0})
            world.cloud.edit(ref, theirs)

    client.adapter.hook = hook
    _try(client, update)
    client.adapter.hook = lambda point: None
    world.converge()
    spec = world.cloud.items[Ref("Traffic", NAME)].spec
    return [] if spec == theirs else [f"somebody's edit {theirs} was overwritten with {spec}"]


def wrong_clock(folder: Path, executor: type[Executor]) -> list[str]:
    """A machine whose clock is ten days ahead runs gc while another one deploys."""
    world = World(ConfigFake, folder, leases=False, executor=executor)
    first = Client(world, machine="laptop")

    def hook(point: str) -> None:
        if point == "before create Endpoint":
            world.clock.sleep(60)
            world.clock.wrong_by = 864_000.0
            Client(world, machine="desktop").executor.gc(apply=True)
            world.clock.wrong_by = 0.0

    first.adapter.hook = hook
    return [f"the deploy failed: {error}" for error in _try(first, fresh)]


def used_meanwhile(folder: Path, executor: type[Executor]) -> list[str]:
    """Between looking and deleting somebody begins to use what gc found."""
    world = World(TrafficFake, folder, executor=executor)
    world.prepare("rollback")
    table = world.cloud.items[Ref("Traffic", NAME)]
    spec, parents = table.spec, table.parents
    kept = next(ref for ref in parents if ref.kind == "Deployment")
    world.cloud.must_serve.clear()
    table.spec = {"weights": {key: 100 for key, share in spec["weights"].items() if share}}
    table.parents = tuple(ref for ref in parents if ref != kept)
    world.clock.sleep(8000)
    client = Client(world)

    def progress(event: Any) -> None:
        table.spec, table.parents = spec, parents

    client.executor._progress = progress
    client.executor.gc(apply=True)
    return [] if kept in world.cloud.items else [f"{kept} is in use and was deleted"]


SPECIAL: dict[str, tuple[type[Executor], Any]] = {
    "no lease check": (mutants.NO_LEASE, no_lease_check),
    "no second look after the switch": (mutants.BLIND, switched_back),
    "adopted by name": (mutants.ADOPT_BY_NAME, same_name),
    "undone over somebody's edit": (mutants.OVERWRITES, edited),
    "age by the local clock": (mutants.LOCAL_AGE, wrong_clock),
    "gc without a second look": (mutants.NO_SECOND_LOOK, used_meanwhile),
}


@pytest.mark.parametrize("rule", SPECIAL)
def test_it_is_caught(rule: str, tmp_path: Path, tally: Counter[str]) -> None:
    """The scenario goes wrong when the rule is left out, and is fine with it."""
    mutant, scenario = SPECIAL[rule]
    assert [] == scenario(tmp_path, Executor)
    assert [] != scenario(tmp_path, mutant)
    tally["mutants caught"] += 1


def _try(client: Client, verb: Any) -> list[Exception]:
    from sdk.errors import SdkError

    try:
        client.run(verb)
    except SdkError as error:
        return [error]
    return []
