"""Ctrl-C once, twice, and SIGTERM, at every point; and SIGKILL of a real process."""

from __future__ import annotations

import os
import pickle
import signal
from typing import TYPE_CHECKING

import pytest

from sdk.errors import Interrupted
from sdk.util.terminated import Terminated
from sdk_contract.fake import ConfigFake
from tests.executor.case import Case
from tests.executor.test_kill import COMBINATIONS, points
from tests.executor.world import NAME, SCENARIOS, SHAPES, Client, Switch, World, fresh, update

if TYPE_CHECKING:
    from collections import Counter
    from pathlib import Path

steps = pytest.mark.parametrize("step", [pytest.param(23), pytest.param(1, marks=pytest.mark.full)])
everywhere = pytest.mark.parametrize(("shape", "scenario"), COMBINATIONS)


def interrupt(shape: str, scenario: str, folder: Path, at: int, *errors: type[BaseException]) -> tuple[World, object]:
    """A verb that is interrupted at a point, and again five points later if there are two errors."""
    world = Case(shape, scenario).world(folder)
    verb = world.prepare(scenario)
    client = Client(world)
    first = Switch(at, error=errors[0], repeat=False)
    second = Switch(at + 5, error=errors[-1], repeat=False) if len(errors) > 1 else first

    def hook(point: str) -> None:
        second.points.append(point) if second is not first and len(second.points) < at else None
        first(point)
        if second is not first and len(first.points) > at + 1:
            second(point)

    client.adapter.hook = hook
    caught: object = None
    try:
        client.run(verb)
    except (Interrupted, KeyboardInterrupt) as error:
        caught = error
    client.adapter.hook = lambda point: None
    world.clock.sleep(130)  # a lease that was left behind is over
    world.cloud.settle()
    return world, caught


@steps
@everywhere
@pytest.mark.parametrize("error", [KeyboardInterrupt, Terminated])
def test_one_interrupt(
    shape: str, scenario: str, *, step: int, error: type[BaseException], tmp_path: Path, tally: Counter[str]
) -> None:
    """The first one undoes everything, or finishes after the switch; what it could not do is listed with a price."""
    for at in range(0, points(shape, scenario, tmp_path), step):
        world, caught = interrupt(shape, scenario, tmp_path, at, error)
        tally["interrupted once"] += 1
        left = caught.leftovers if isinstance(caught, Interrupted) else ()
        if isinstance(caught, Interrupted) and not left:
            assert [] == world.faults(), f"point {at}"
        assert all(item.command.startswith("mlport gc") for item in left)
        world.converge()
        assert [] == world.faults(), f"point {at}"


@steps
@everywhere
def test_two_interrupts(shape: str, scenario: str, step: int, tmp_path: Path, tally: Counter[str]) -> None:
    """The second one ends the verb at once; gc finds everything later."""
    for at in range(0, points(shape, scenario, tmp_path), step):
        world, _ = interrupt(shape, scenario, tmp_path, at, KeyboardInterrupt, KeyboardInterrupt)
        tally["interrupted twice"] += 1
        world.converge()
        assert [] == world.faults(), f"point {at}"


def test_what_is_alive_is_listed(tmp_path: Path) -> None:
    """After the second Ctrl-C the error lists what is alive, what it costs and the command that removes it."""
    world = World(ConfigFake, tmp_path)
    client = Client(world)

    def hook(point: str) -> None:
        if point == "after create Endpoint" or point.startswith("before delete"):
            raise KeyboardInterrupt

    client.adapter.hook = hook
    with pytest.raises(Interrupted) as stopped:
        client.run(fresh)
    assert ["Model", "Config", "Endpoint"] == [item.kind for item in stopped.value.leftovers]
    assert [0.0, 0.0, 0.25] == [item.usd_per_hour for item in stopped.value.leftovers]
    assert {"mlport gc --apply --target t"} == {item.command for item in stopped.value.leftovers}
    assert "interrupted" in client.events


def test_an_interrupt_after_the_switch_goes_forward(tmp_path: Path) -> None:
    """Once the switch is made Ctrl-C finishes the deploy, and says so."""
    world = World(ConfigFake, tmp_path)
    world.prepare("update")
    client = Client(world)
    switches: list[str] = []

    def hook(point: str) -> None:
        if point == "after update Endpoint":
            switches.append(point)
            if len(switches) == 2:
                raise KeyboardInterrupt

    client.adapter.hook = hook
    with pytest.raises(Interrupted, match="it was finished"):
        client.run(update)
    assert [0, 100] == sorted((world.table() or {}).values())
    assert [] == world.faults()


@pytest.mark.parametrize("step", [pytest.param(29), pytest.param(1, marks=pytest.mark.full)])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_sigkill(shape: type, scenario: str, step: int, tmp_path: Path, tally: Counter[str]) -> None:
    """A real process with a real journal dies of SIGKILL; another one cleans up after it."""
    for at in range(1, points(shape.__name__, scenario, tmp_path), step):
        world = Case(shape.__name__, scenario).world(tmp_path)
        verb = world.prepare(scenario)
        cloud = tmp_path / "cloud"
        folder = tmp_path / f"real-{at}"
        child = os.fork()
        if child == 0:
            _live_and_die(world, verb, at, cloud, folder)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            break
        assert signal.SIGKILL == os.WTERMSIG(status)
        tally["real SIGKILL"] += 1
        _restore(world, cloud)
        world.clock.sleep(130)
        real = _real_client(world, folder)
        world.converge(real)
        assert [] == [item for item in world.faults() if not item.startswith("unfinished")], f"point {at}"
        assert [] == real.executor.journals.unfinished()


def _live_and_die(world: World, verb: object, at: int, cloud: Path, folder: Path) -> None:
    seen: list[str] = []

    def hook(point: str) -> None:
        seen.append(point)
        if len(seen) == at:
            state = (world.cloud.items, world.cloud.leases, world.cloud.clock.monotonic())
            cloud.write_bytes(pickle.dumps(state))
            os.kill(os.getpid(), signal.SIGKILL)

    client = _real_client(world, folder)
    client.adapter.hook = hook
    try:
        client.run(verb)  # type: ignore[arg-type]  # a verb of SCENARIOS
    finally:
        os._exit(0)


def _restore(world: World, cloud: Path) -> None:
    items, leases, now = pickle.loads(cloud.read_bytes())
    world.cloud.items.clear()
    world.cloud.items.update(items)
    world.cloud.leases.clear()
    world.cloud.leases.update(leases)
    world.clock.sleep(now - world.clock.monotonic())


def _real_client(world: World, folder: Path) -> Client:
    from sdk.executor import Executor

    client = Client(world)
    client.executor = Executor(
        client.adapter, owner="me", state_dir=folder, clock=world.clock, target="t", random=client.random,
        longest_deadline_s=1800.0,
    )  # fmt: skip
    return client


__all__ = ["NAME"]
