"""The kill matrix: a client dies at every counted point, alone and with other trouble, and nothing is left."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from sdk.adapter.types import EndpointStatus
from tests.executor.case import Case
from tests.executor.world import SCENARIOS, SHAPES, Client, delete, fresh

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable
    from pathlib import Path

COMBINATIONS = [(shape.__name__, scenario) for shape in SHAPES for scenario in SCENARIOS]
TROUBLES = (
    "unsent", "lost", "dropped", "late", "throttled", "unavailable", "refused", "quota", "fails", "reverts",
)  # fmt: skip
OPERATIONS = ("create", "update", "delete")

everywhere = pytest.mark.parametrize(("shape", "scenario"), COMBINATIONS)
sizes = pytest.mark.parametrize("share", [pytest.param(0.04), pytest.param(1.0, marks=pytest.mark.full)])


def points(shape: str, scenario: str, folder: Path) -> int:
    """How many kill points a verb has: they are counted, never listed."""
    return len(Case(shape, scenario).run(folder).points)


def sample(cases: Iterable[Case], share: float, at_least: int = 2) -> list[Case]:
    """A part of the cases, the same in every run."""
    everything = list(cases)
    number = min(len(everything), max(at_least, round(share * len(everything))))
    return random.Random(str(everything[0])).sample(everything, number)


def check(cases: Iterable[Case], folder: Path, tally: Counter[str], sort: str) -> None:
    """Runs the cases; each failure names the command that repeats it."""
    failed: list[str] = []
    for case in cases:
        outcome = case.run(folder)
        tally[sort] += 1
        if outcome.wrong:
            failed.append(f"{outcome.wrong[:3]}\n  {case}")
    assert [] == failed, f"{len(failed)} runs went wrong; the first ones:\n" + "\n".join(failed[:5])


@sizes
@everywhere
def test_kill(shape: str, scenario: str, share: float, tmp_path: Path, tally: Counter[str]) -> None:
    """A client killed at any point leaves nothing once gc ran, and the endpoint is as before or as wanted."""
    number = points(shape, scenario, tmp_path)
    check(sample((Case(shape, scenario, at) for at in range(number)), share), tmp_path, tally, "kill")


@sizes
@everywhere
def test_kill_and_lose_the_journal(
    shape: str, scenario: str, share: float, tmp_path: Path, tally: Counter[str]
) -> None:
    """The same when the machine is gone too: labels alone bring it to nothing."""
    number = points(shape, scenario, tmp_path)
    cases = (Case(shape, scenario, at, lost=True) for at in range(number))
    check(sample(cases, share), tmp_path, tally, "kill, journal lost")


@sizes
@everywhere
def test_kill_inside_recovery(shape: str, scenario: str, share: float, tmp_path: Path, tally: Counter[str]) -> None:
    """Recovery can be killed and repeated too."""
    number = points(shape, scenario, tmp_path)
    cases: list[Case] = []
    for at in range(0, number, 1 if share == 1 else 20):
        inner = len(Case(shape, scenario, at, again=10_000).run(tmp_path).recovery_points)
        cases += [Case(shape, scenario, at, again=again) for again in range(0, inner, 5)]
    if cases:
        check(sample(cases, share * 0.4), tmp_path, tally, "kill, then kill inside recovery")


@sizes
@everywhere
def test_trouble(shape: str, scenario: str, share: float, tmp_path: Path, tally: Counter[str]) -> None:
    """Without any kill: whatever the platform does, the verb succeeds or undoes everything before it returns."""
    cases = [
        Case(shape, scenario, fault=f"{trouble}:{op}:{skip}", etags=etags)
        for trouble in TROUBLES
        for op in OPERATIONS
        for skip in range(6)
        for etags in (True, False)
    ]
    check(sample(cases, share * 0.5), tmp_path, tally, "trouble alone")


@sizes
@everywhere
def test_kill_and_trouble(shape: str, scenario: str, share: float, tmp_path: Path, tally: Counter[str]) -> None:
    """Every kill point with every trouble on every call around it."""
    number = points(shape, scenario, tmp_path)
    cases = [
        Case(shape, scenario, at, fault=f"{trouble}:{op}:{skip}", etags=etags)
        for at in range(0, number, 2)
        for trouble in TROUBLES
        for op in OPERATIONS
        for skip in (0, 1, 2)
        for etags in (True, False)
    ]
    check(sample(cases, share * 0.13 if share == 1 else 0.0003, 4), tmp_path, tally, "kill and trouble")


@sizes
@everywhere
def test_power_cut(shape: str, scenario: str, share: float, tmp_path: Path, tally: Counter[str]) -> None:
    """Whichever unsynced writes and renames a power cut drops, nothing is left."""
    number = points(shape, scenario, tmp_path)
    cases: list[Case] = []
    for at in range(0, number, 1 if share == 1 else 12):
        states = Case(shape, scenario, at, count_states=True).run(tmp_path).states
        cases += [Case(shape, scenario, at, cut=cut) for cut in range(states)]
    check(sample(cases, share * 3 if share < 1 else 1.0), tmp_path, tally, "power cut, one disk state each")


@pytest.mark.parametrize(("shape", "scenario"), [pair for pair in COMBINATIONS if pair[1] != "train"])
def test_names_are_free_after_a_kill(shape: str, scenario: str, tmp_path: Path) -> None:
    """After a kill and a clean-up the name can be deleted and deployed again; a second deploy makes no call."""
    number = points(shape, scenario, tmp_path)
    world = Case(shape, scenario, number // 2).run(tmp_path).world
    world.cloud.must_serve.clear()
    again = Client(world)
    again.run(delete)
    applied = again.run(fresh)
    assert isinstance(applied.status, EndpointStatus)
    assert [100] == list(applied.status.traffic.values())
    calls = len(world.cloud.calls)
    assert () == again.run(fresh).calls
    assert calls == len(world.cloud.calls)
    assert [] == world.faults()
