"""Scaling that the platform wants gone before an update: deleted first, and made again when the update is not made."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from sdk.errors import QuotaError
from sdk_contract.fake_cloud import Fault
from tests.executor.case import Case
from tests.executor.scaled import ScaledFake, unscaled
from tests.executor.world import NAME, Client, World, finalize, fresh, third, update

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SCENARIOS = ("update", "third", "finalize", "delete")
TROUBLES = ("unsent", "lost", "dropped", "late", "throttled", "unavailable", "refused", "quota")

scenarios = pytest.mark.parametrize("scenario", SCENARIOS)
sizes = pytest.mark.parametrize("count", [pytest.param(8), pytest.param(None, marks=pytest.mark.full)])


def check(cases: Iterable[Case], count: int | None, folder: Path) -> None:
    """Run all of the cases, or some that are the same each time; each failure names the command that repeats it."""
    every = list(cases)
    chosen = every if count is None else random.Random(str(every[0])).sample(every, min(count, len(every)))
    failed = [f"{wrong}\n  {case}" for case in chosen if (wrong := case.run(folder).wrong)]
    assert [] == failed, "\n".join(failed[:5])


def points(scenario: str, folder: Path) -> list[str]:
    """Where a client can die."""
    return Case("ScaledFake", scenario).run(folder).points


def around(points: list[str]) -> set[int]:
    """The kill points at the deletes of scaling and the updates of the endpoint."""
    kinds = ("delete Target", "delete Rule", "update Endpoint")
    return {at + more for at, point in enumerate(points) if point.endswith(kinds) for more in (0, 1)}


@scenarios
def test_killed_around_each_call(scenario: str, tmp_path: Path) -> None:
    """Killed before or after the calls that take scaling away or need it gone: no deployment ends without scaling."""
    found = points(scenario, tmp_path)
    cases = (Case("ScaledFake", scenario, at) for at in sorted(around(found)) if at < len(found))
    check(cases, None, tmp_path)


@sizes
@scenarios
def test_killed_anywhere(scenario: str, count: int | None, tmp_path: Path) -> None:
    """The same at every point."""
    check((Case("ScaledFake", scenario, at) for at in range(len(points(scenario, tmp_path)))), count, tmp_path)


@sizes
@scenarios
def test_killed_inside_recovery(scenario: str, count: int | None, tmp_path: Path) -> None:
    """Making scaling again can be killed and repeated."""
    cases: list[Case] = []
    for at in sorted(around(points(scenario, tmp_path)))[:: 1 if count is None else 5]:
        inner = len(Case("ScaledFake", scenario, at, again=10_000).run(tmp_path).recovery_points)
        cases += [Case("ScaledFake", scenario, at, again=again) for again in range(0, inner, 2)]
    check(cases, count, tmp_path)


@sizes
@scenarios
def test_trouble(scenario: str, count: int | None, tmp_path: Path) -> None:
    """Whatever the platform answers to any call, scaling is as it was, or as it should become."""
    check(
        (
            Case("ScaledFake", scenario, fault=f"{trouble}:{op}:{skip}")
            for trouble in TROUBLES
            for op in ("create", "update", "delete")
            for skip in range(8)
        ),
        count,
        tmp_path,
    )


@sizes
@scenarios
def test_killed_and_the_journal_lost(scenario: str, count: int | None, tmp_path: Path) -> None:
    """Without the journal nothing is left over, and the endpoint serves."""
    cases = (Case("ScaledFake", scenario, at, lost=True) for at in range(len(points(scenario, tmp_path))))
    check(cases, count, tmp_path)


def test_any_number_of_changes(tmp_path: Path) -> None:
    """Deploy after deploy is taken; the plan says what is deleted before the switch and what after it."""
    world = World(ScaledFake, tmp_path)
    client = Client(world)
    for verb in (fresh, update, third, fresh):
        client.run(verb)
        assert [] == unscaled(world.cloud, NAME)
    plan = client.executor.plan(finalize(client))
    assert [
        "create Config", "delete Rule", "delete Target", "update Endpoint", "delete Config", "delete Model",
    ] == [f"{step.action} {step.ref.kind}" for step in plan.steps]  # fmt: skip
    assert [3] == [number for number, step in enumerate(plan.steps) if step.commit]
    client.run(finalize)
    assert [] == unscaled(world.cloud, NAME)


def test_a_refused_update_gives_the_scaling_back(tmp_path: Path) -> None:
    """The error is that of the update, and the scaling is registered again with the same limits and rule."""
    world = World(ScaledFake, tmp_path)
    client = Client(world)
    client.run(fresh)
    client.run(update)
    world.cloud.faults.append(Fault("quota", "update", "Endpoint"))
    with pytest.raises(QuotaError):
        client.run(finalize)
    assert [] == unscaled(world.cloud, NAME)
    assert ["undo delete Target churn", "undo delete Rule churn"] == [
        stage.rpartition("/")[0] for stage in client.events if stage.startswith("undo delete")
    ]
    client.run(finalize)
    assert [] == unscaled(world.cloud, NAME)
