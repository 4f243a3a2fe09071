"""Two machines, one name: nothing is left over, nothing stops, and who loses is told by whom."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from sdk.adapter import Materials
from sdk.errors import ConflictError, PlanStale, SdkError
from sdk_contract.fake import ConfigFake, FakeAdapter, TrafficFake
from sdk_contract.fake_cloud import HOSTILE, Fault
from tests.executor.world import NAME, SHAPES, Client, Kill, Switch, World, delete, fresh, promote, update
from tests.executor.writers import Race, inside, interleaved, points_of

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable
    from pathlib import Path

    from sdk.executor.change import Change

shapes = pytest.mark.parametrize("shape", SHAPES)
belts = pytest.mark.parametrize(("leases", "etags"), [(True, True), (True, False), (False, True), (False, False)])
steps = pytest.mark.parametrize("step", [pytest.param(17), pytest.param(1, marks=pytest.mark.full)])


@steps
@belts
@shapes
def test_one_inside_the_other(
    shape: type[FakeAdapter], *, leases: bool, etags: bool, step: int, tmp_path: Path, tally: Counter[str]
) -> None:
    """At whatever point of one deploy another machine runs a whole one, there is a winner and nothing is left."""
    number = points_of(Race(shape, tmp_path, leases, etags))
    for at in range(0, number, step):
        wrong = inside(Race(shape, tmp_path, leases, etags), at)
        tally["two writers, one inside the other"] += 1
        assert [] == wrong, f"point {at} of {number}"


@belts
@shapes
@pytest.mark.parametrize("seeds", [pytest.param(range(6)), pytest.param(range(6, 140), marks=pytest.mark.full)])
def test_interleaved(
    shape: type[FakeAdapter], *, leases: bool, etags: bool, seeds: range, tmp_path: Path, tally: Counter[str]
) -> None:
    """In any order of their calls two deploys leave one endpoint, whole."""
    for seed in seeds:
        wrong = interleaved(Race(shape, tmp_path, leases, etags), seed)
        tally["two writers, interleaved"] += 1
        assert [] == wrong, f"seed {seed}"


def test_the_loser_learns_who_is_at_it(tmp_path: Path) -> None:
    """A second deploy during the first is refused before it makes any call, and the error names the holder."""
    race = Race(ConfigFake, tmp_path)
    seen: list[int] = []

    def hook(point: str) -> None:
        if point == "before create Model":
            before = len(race.world.cloud.calls)
            race.run(race.second, update)
            seen.append(len(race.world.cloud.calls) - before)

    race.first.adapter.hook = hook
    race.run(race.first, update)
    assert [0] == seen
    assert ["me"] == [error.holder for error in race.lost if isinstance(error, ConflictError)]
    assert [] == race.judge()


def test_two_verbs_on_one_machine(tmp_path: Path) -> None:
    """On one machine the lock file refuses the second verb, and says who holds it."""
    world = World(ConfigFake, tmp_path, leases=False)
    first, second = Client(world), Client(world)
    errors: list[ConflictError] = []

    def hook(point: str) -> None:
        if point == "before create Model":
            with pytest.raises(ConflictError, match="is being changed by me") as refused:
                second.run(fresh)
            errors.append(refused.value)

    first.adapter.hook = hook
    first.run(fresh)
    assert [True] == [error.retryable for error in errors]
    assert [] == world.faults()


def test_a_stale_plan_changes_nothing(tmp_path: Path) -> None:
    """A plan is refused when the world has moved since it was made."""
    world = World(ConfigFake, tmp_path)
    Client(world).run(fresh)
    slow = Client(world)
    plan = slow.executor.plan(update(slow))
    Client(world).run(update)
    before = len(world.cloud.calls)
    with pytest.raises(PlanStale) as refused:
        slow.executor.apply(plan, Materials())
    assert refused.value.retryable
    assert before == len(world.cloud.calls)
    assert [] == world.faults()


def test_another_owner_is_left_alone(tmp_path: Path) -> None:
    """The name of another owner is refused by name, unless it is taken over on purpose."""
    world = World(ConfigFake, tmp_path)
    Client(world, owner="ann").run(fresh)
    with pytest.raises(ConflictError, match="belongs to 'ann'") as refused:
        Client(world, owner="bob", machine="bobs").run(update)
    assert "ann" == refused.value.holder
    assert [] == world.faults()


def test_a_lost_lease_ends_the_verb_before_the_switch(tmp_path: Path) -> None:
    """Whoever finds another name on its lease undoes everything and names the new holder."""
    world = World(ConfigFake, tmp_path)
    verb = world.prepare("update")
    before = world.table()
    client = Client(world)

    def hook(point: str) -> None:
        if point == "before create Model":
            held = world.cloud.leases[f"locks/{NAME}"]
            body = f'{{"owner": "ann", "txn": "other", "expires": {world.cloud.now() + 500}}}'
            world.cloud.lease_write(f"locks/{NAME}", body, held.etag)

    client.adapter.hook = hook
    with pytest.raises(ConflictError) as lost:
        client.run(verb)
    assert "ann" == lost.value.holder
    assert before == world.table()
    assert [] == world.faults()


def test_a_lease_is_renewed_and_given_back(tmp_path: Path) -> None:
    """During a slow deploy the lease is renewed before it expires, and afterwards it is gone."""
    world = World(ConfigFake, tmp_path, temper=replace(HOSTILE, create_s=400))
    client, expires = Client(world), set[str]()

    def hook(point: str) -> None:
        held = world.cloud.leases.get(f"locks/{NAME}")
        expires.update([held.body] if held else [])

    client.adapter.hook = hook
    client.run(fresh)
    assert len(expires) >= 400 // 60
    assert {} == world.cloud.leases


def test_unlock_needs_the_right_transaction(tmp_path: Path) -> None:
    """A lease of a machine that is gone is removed by its transaction's id only."""
    world = World(ConfigFake, tmp_path)
    body = f'{{"owner": "ann", "txn": "other", "expires": {world.cloud.now() + 500}}}'
    world.cloud.lease_write(f"locks/{NAME}", body, None)
    client = Client(world)
    with pytest.raises(ConflictError, match="mlport unlock churn --id other"):
        client.run(fresh)
    assert not client.executor.unlock(NAME, "wrong")
    assert client.executor.unlock(NAME, "other")
    client.run(fresh)
    assert [] == world.faults()


def test_what_another_machine_came_to_use_is_not_rolled_back(tmp_path: Path) -> None:
    """A dead deploy's canary was promoted by another machine: its recovery leaves alone what now serves."""
    world = World(ConfigFake, tmp_path)
    world.prepare("update")
    switch = Switch()

    def die(point: str) -> None:
        configs = [ref for ref in world.cloud.items if ref.kind == "Config"]
        switch.at = len(switch.points) if len(configs) == 3 and switch.at is None else switch.at
        switch(point)

    laptop = Client(world)
    laptop.adapter.hook = die
    with pytest.raises(Kill):
        laptop.run(update)
    world.clock.sleep(200)
    Client(world, machine="desktop").run(promote)
    world.clock.sleep(8000)  # what the dead deploy would have retired is nobody's now, and old enough
    world.converge()
    assert [0, 100] == sorted((world.table() or {}).values())
    assert [] == world.faults()


def test_what_cannot_be_taken_back_stays(tmp_path: Path) -> None:
    """Another machine's gc swept what a dead deploy would go back to: its recovery ends, and the endpoint serves."""
    world = World(ConfigFake, tmp_path)
    world.prepare("update")
    desktop, seen = Client(world, machine="desktop"), list[str]()

    def die(point: str) -> None:
        seen.append(point)
        if seen.count("after update Endpoint"):
            raise Kill(point)

    desktop.adapter.hook = die
    with pytest.raises(Kill):
        desktop.run(update)
    world.clock.sleep(8000)
    Client(world, machine="laptop").executor.gc(apply=True)
    world.converge(Client(world, machine="desktop"))
    assert [] == world.faults()


@shapes
def test_a_dead_delete_leaves_alone_what_was_deployed_since(shape: type[FakeAdapter], tmp_path: Path) -> None:
    """Wherever a delete died, and somebody deploys over what it left: its recovery ends, and the new one serves."""
    number = len(_dies_while_deleting(World(shape, tmp_path / "whole"), None).points)
    for at in range(number):
        world = World(shape, tmp_path / str(at))
        _dies_while_deleting(world, at)
        world.clock.sleep(2200)
        Client(world, machine="laptop").run(update)
        world.cloud.must_serve.add(NAME)
        world.converge(Client(world, machine="desktop"))
        assert [] == world.faults(), f"killed at {at} of {number}"
        assert [100] == [share for share in (world.table() or {}).values() if share]


def _dies_while_deleting(world: World, at: int | None) -> Switch:
    switch = Switch(at)
    Client(world, machine="desktop").run(fresh)
    world.clock.sleep(100)
    with contextlib.suppress(Kill):
        Client(world, machine="desktop").mortal(switch).run(delete)
    world.disk_of("desktop").hook = lambda point: None
    return switch


class Careless(TrafficFake):
    """A platform that deletes whatever it is told to, in use or not."""

    guarded = frozenset()


def _cut_off(client: Client, verb: Callable[[Client], Change], at: int | None) -> None:
    """Runs a verb in a process that dies at a point, while the platform makes nothing new."""
    client.world.cloud.faults.append(Fault("unavailable", "create"))
    with contextlib.suppress(Kill, SdkError):
        client.mortal(Switch(at)).run(verb)
    client.world.cloud.faults.clear()
    client.world.disk_of(client.machine).hook = lambda _point: None


@pytest.mark.parametrize("step", [13, pytest.param(2, marks=pytest.mark.full)])
@pytest.mark.parametrize("shape", [*SHAPES, Careless])
def test_a_delete_that_died_spares_what_was_made_since(
    shape: type[FakeAdapter], step: int, tmp_path: Path, tally: Counter[str]
) -> None:
    """Another machine deployed under the name anew, whole or half: both clean up, it goes on, and nothing is open."""
    for first in range(0, 60, step):
        for second in (None, *range(60, 140, step)):
            folder = tmp_path / f"{first}-{second}"
            folder.mkdir()
            world = World(shape, folder)
            Client(world, machine="desktop").run(fresh)
            _cut_off(Client(world, machine="desktop"), delete, first)
            world.clock.sleep(4000)
            if second is None:
                Client(world).run(update)
                world.cloud.must_serve.add(NAME)
            else:
                _cut_off(Client(world), update, second)
            for machine in ("laptop", "desktop"):
                world.clock.sleep(4000)
                world.converge(Client(world, machine=machine))
            tally["a delete that died, then a deploy elsewhere"] += 1
            assert [] == world.faults(), f"died at {first}, then at {second}"
            assert second is not None or world.serving()


@pytest.mark.parametrize("later_s", [0, 4000])
@pytest.mark.parametrize("shape", [*SHAPES, Careless])
def test_a_delete_that_died_spares_what_serves(
    shape: type[FakeAdapter], later_s: int, tmp_path: Path, tally: Counter[str]
) -> None:
    """Another machine deploys the very same, finds it there and changes nothing: what it was told stays true."""
    for first in range(0, 60, 3):
        folder = tmp_path / str(first)
        folder.mkdir()
        world = World(shape, folder)
        Client(world, machine="desktop").run(fresh)
        _cut_off(Client(world, machine="desktop"), delete, first)
        world.clock.sleep(later_s)
        with contextlib.suppress(ConflictError):  # while the dead client's lease holds it may also be refused
            Client(world).run(fresh)
            world.cloud.must_serve.add(NAME)
        for machine in ("laptop", "desktop"):
            world.clock.sleep(4000)
            world.converge(Client(world, machine=machine))
        tally["a delete that died, then the same deploy elsewhere"] += 1
        assert [] == world.faults(), f"died at {first}"


def test_a_lease_whose_renewal_got_no_reply_is_given_back_too(tmp_path: Path) -> None:
    """The stored lease is not the one that the client last saw, but still its own."""
    world = World(ConfigFake, tmp_path)
    client, key = Client(world), f"locks/{NAME}"

    def hook(point: str) -> None:
        if point == "after create Endpoint":
            held = world.cloud.leases[key]
            world.cloud.lease_write(key, held.body, held.etag)

    client.adapter.hook = hook
    client.run(fresh)
    assert {} == world.cloud.leases
