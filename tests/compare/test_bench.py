"""The bench drives a generator through all scenarios: here one in virtual time, against queues that are known."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest

from sdk.adapter.metrics import Latency, MetricsReport
from sdk.compare.load import Aim, Arrivals, Volley, WindowPlan
from sdk.compare.load.arrivals import offsets
from sdk.compare.load.engine import Meters, WindowRun
from sdk.compare.measure import Bench, Stop
from sdk.compare.rows import fill, pairs
from sdk.compare.stats import HIDDEN, IntervalRules
from sdk.compare.subject import Subject
from sdk.compare.windows import connections, shot
from sdk.compare.workload import Workload
from sdk.errors import ConfigError, SdkError
from tests.compare.draws import Clock
from tests.compare.rows import row
from tests.compare.virtual import Simulated, late, run

if TYPE_CHECKING:
    from collections.abc import Callable

QUICK = Workload(
    runs=5,
    requests=400,
    warm_requests=100,
    warm_s=0.0,
    probe_requests=300,
    probe_s=0.5,
    single_requests=100,
    top_rate=300.0,
)


class VirtualGenerator:
    """Runs each window in virtual time; remembers them."""

    def __init__(self, clock: Clock, targets: dict[str, Callable[[], Simulated]]) -> None:
        self.clock = clock
        self._targets = targets
        self.plans: list[WindowPlan] = []
        self.volleys: list[Volley] = []
        self.late_s: Callable[[WindowPlan], float] = lambda _plan: 0.0

    def aim(self, aim: Aim) -> None:
        pass

    def touch(self, key: str, times: int = 5) -> float | None:
        return 0.001

    def fire(self, plan: WindowPlan) -> Volley:
        self.plans.append(plan)

        async def go() -> Volley:
            now = asyncio.get_running_loop().time
            meters = Meters(now=now, cpu=lambda: 0.0, loop=lambda: 0.0, spin_s=0.0)
            return await WindowRun(self._targets[plan.key](), plan, meters).run()

        found: Volley = run(go())
        self.clock.now += found.wall_s
        self.volleys.append(late(found, self.late_s(plan)))
        return self.volleys[-1]


def _steady(seconds: float, *, workers: int | None = None, seed: int = 1) -> Callable[[], Simulated]:
    draw = random.Random(seed)
    return lambda: Simulated(lambda _place: draw.expovariate(1 / seconds), workers=workers)


def _subject(key: str, **more: Any) -> Subject:
    return Subject(key, lambda rows: httpx.Request("POST", "http://t/invocations", json=rows), **more)


def _bench(
    targets: dict[str, Callable[[], Simulated]], workload: Workload = QUICK, **more: Any
) -> tuple[Bench, VirtualGenerator]:
    clock = Clock()
    generator = VirtualGenerator(clock, targets)
    given: dict[str, Any] = {"p95_ms": 100.0, "progress": lambda _key, _text: None, "go_on": lambda: None, **more}
    return Bench([generator], workload, [[n] for n in range(7)], clock=clock, **given), generator


def test_finds_the_highest_rate_of_a_queue() -> None:
    """M/M/1 with 10 ms a piece keeps a p95 of 100 ms up to 70/s: the time in system is exponential with 100 - rate.

    What is quoted is borne nine times in ten, and never a tenth too high; each search keeps to its share of the time.
    """
    workload = Workload(scenarios=("server",), runs=1, requests=10, time_budget=75.0)
    quoted: list[float] = []
    for seed in range(6):
        bench, generator = _bench(
            {"one": _steady(0.010, workers=1, seed=seed)}, msgspec.structs.replace(workload, seed=1_000 * seed)
        )
        highest = bench.run([_subject("one")])["one"].highest
        assert highest is not None
        quoted.append(highest.rate or 0.0)
        assert 45 <= (highest.at_least or 0) <= 85
        assert generator.clock.now < 0.6 * 75
    assert 5 <= sum(rate <= 70 for rate in quoted), quoted
    assert max(quoted) <= 77


def test_a_target_that_is_too_slow_alone_is_not_searched() -> None:
    """More load makes no target faster."""
    bench, generator = _bench(
        {"one": lambda: Simulated(lambda _place: 0.2)}, Workload(scenarios=("server",), runs=1, requests=1)
    )
    highest = bench.run([_subject("one")])["one"].highest
    assert highest is not None
    assert (None, None, ()) == (highest.rate, highest.at_least, highest.probes)
    assert "one request at a time takes 200.0 ms, 100 ms are allowed" == highest.reason
    assert [plan.key for plan in generator.plans if plan.trial is not None] == []


def test_a_missed_rate_ends_its_window_early() -> None:
    """Fifteen slow answers in a row are enough to know, and no window that was borne ends before it can show."""
    bench, generator = _bench({"one": _steady(0.010, workers=1)}, Workload(scenarios=("server",), runs=1, requests=1))
    bench.run([_subject("one")])
    tried = [(one.planned, one.count, one.outcome, one.seconds("due")[-1]) for one in generator.volleys if one.outcome]
    assert {"passed", "missed"} == {outcome for _, _, outcome, _ in tried}
    assert all(count < planned for planned, count, outcome, _ in tried if outcome == "missed")
    assert all(seconds >= 0.95 for _, _, outcome, seconds in tried if outcome == "passed")


def test_runs_are_taken_in_turns_with_the_same_requests() -> None:
    """A, B, B, A: at the same moments, with the same payloads, at 30 % of what the slower one bears.

    The order changes so that a target that is always the later one of a pair does not look slower when both drift.
    """
    bench, generator = _bench({"a": _steady(0.005), "b": _steady(0.020, workers=2)})
    found = bench.run([_subject("a"), _subject("b")])
    turns = generator.plans[-10:]
    assert ["a", "b", "b", "a", "a", "b", "b", "a", "a", "b"] == [plan.key for plan in turns]
    for mine, theirs in zip(turns[::2], turns[1::2], strict=True):
        assert mine.arrivals == theirs.arrivals
        assert [one.body for one in mine.shots] == [one.body for one in theirs.shots]
    slower = found["b"].highest
    assert slower is not None
    assert found["a"].rate == found["b"].rate == pytest.approx(0.3 * (slower.rate or slower.at_least or 0))
    assert 5 == len({plan.arrivals for plan in turns})


def test_a_row_with_everything() -> None:
    """The figures of all scenarios end up in the row."""
    workload = msgspec.structs.replace(
        QUICK, scenarios=("single", "server", "offline"), requests=2_000, top_rate=60.0, time_budget=None
    )
    report = MetricsReport(60.0, 0.0, {"2xx": 10}, (Latency("container", "exact", 10, p50=4.0, p95=9.0),))
    bench, _ = _bench({"a": _steady(0.005), "b": _steady(0.010)}, workload)
    found = bench.run([_subject("a", served=lambda _s: report), _subject("b")])
    filled = fill(row("a"), found["a"], IntervalRules())
    assert {"p50", "p90", "p95", "p99"} == set(filled.latency)
    assert "runs" == filled.latency["p95"].basis
    assert 12 < (filled.ms("p95") or 0) < 18  # exponential with 5 ms: 15 ms
    assert 10_000 == filled.requests
    assert {} == filled.errors
    assert filled.single["p95"].count == 100
    assert (filled.offline_rate or 0) > 3_000  # 32 lanes of 5 ms
    assert filled.served is not None
    assert ("container", 9.0) == (filled.served.scope, filled.served.p95)
    assert 1.0 == filled.floor_ms
    shares = [share for _, share in filled.tail]
    assert shares == sorted(shares, reverse=True)
    (_, p95) = pairs(found, IntervalRules())
    assert ("a", "b", "p95") == (p95.one, p95.other, p95.quantile)
    assert p95.difference.excludes_zero
    assert (p95.difference.value or 0) < 0


def test_a_late_generator_widens_the_interval() -> None:
    """What left 3 ms late is measured all the same: the interval holds the time from due and the time from sent."""
    workload = msgspec.structs.replace(QUICK, scenarios=("single",), rate=50.0)
    bench, generator = _bench({"one": _steady(0.005)}, workload)
    generator.late_s = lambda plan: 0.003 if plan.arrivals is not None else 0.0
    filled = fill(row("one"), bench.run([_subject("one")])["one"], IntervalRules())
    found = filled.latency["p95"]
    assert filled.usable
    assert 5 == found.runs
    assert 3.0 == pytest.approx((found.value or 0) - (found.sent or 0))
    assert (found.low or 0) < (found.sent or 0) < 16.0 < (found.high or 0)


def test_a_late_generator_shows_no_difference_that_is_its_own() -> None:
    """Two equal targets, 3 ms late at one of them: as good as always a false verdict, if lag counted as latency."""
    workload = msgspec.structs.replace(QUICK, scenarios=(), rate=50.0)
    bench, generator = _bench({"a": _steady(0.005), "b": _steady(0.005)}, workload)
    generator.late_s = lambda plan: 0.010 if plan.key == "b" else 0.0
    p50, _ = pairs(bench.run([_subject("a"), _subject("b")]), IntervalRules())
    assert not p50.difference.excludes_zero
    assert HIDDEN == p50.difference.note


def test_what_cannot_be_sent_in_time_bounds_the_highest_rate_from_below() -> None:
    """A rate at which the generator is too late decides nothing; the highest that was borne is known all the same."""
    bench, generator = _bench({"one": _steady(0.005)}, msgspec.structs.replace(QUICK, scenarios=("server",)))
    generator.late_s = lambda plan: 0.2 if plan.arrivals is not None and plan.arrivals.rate > 50 else 0.0
    filled = fill(row("one"), bench.run([_subject("one")])["one"], IntervalRules())
    assert filled.highest is not None
    assert (None, "generator") == (filled.highest.rate, filled.highest.limited_by)
    assert 33 < (filled.highest.at_least or 0) <= 50
    assert filled.usable


def test_a_rate_that_was_borne_in_the_runs_is_known() -> None:
    """Without a search, the runs show what the target bears at least; one request after another shows nothing of it."""
    bench, _ = _bench({"one": _steady(0.005)}, msgspec.structs.replace(QUICK, scenarios=("single",), rate=50.0))
    filled = fill(row("one"), bench.run([_subject("one")])["one"], IntervalRules())
    assert filled.highest is not None
    assert (None, 50.0) == (filled.highest.rate, filled.highest.at_least)


class Failing(Simulated):
    def __init__(self, status: int) -> None:
        super().__init__(lambda _place: 0.005)
        self._bad = status

    async def send(self, shot: Any) -> int:
        place = self.sent
        await super().send(shot)
        return self._bad if place % 10 == 5 else 200


def test_errors_are_counted_by_status_and_take_the_quantile() -> None:
    """Every tenth request fails: p90 stands, p95 does not."""
    workload = msgspec.structs.replace(QUICK, scenarios=(), rate=50.0)
    bench, _ = _bench({"one": lambda: Failing(503)}, workload)
    filled = fill(row("one"), bench.run([_subject("one")])["one"], IntervalRules())
    assert {"503": 200} == filled.errors
    assert 0.1 == filled.error_share
    assert float("inf") == filled.ms("p95")


def test_a_subject_that_fails_does_not_stop_the_others() -> None:
    """Its reason is kept, its rows are empty."""

    def refuse(_rows: Any) -> httpx.Request:
        raise SdkError("the token is refused")

    bench, _ = _bench({"a": _steady(0.005), "b": _steady(0.005)}, msgspec.structs.replace(QUICK, scenarios=()))
    found = bench.run([Subject("a", refuse), _subject("b")])
    assert "the token is refused" == found["a"].failed
    assert 5 == len(found["b"].runs)
    assert [] == list(pairs(found, IntervalRules()))


def test_a_first_answer_that_fails_is_a_failure() -> None:
    """A target that answers 500 is not measured."""

    class Broken(Simulated):
        async def send(self, shot: Any) -> int:
            return 500

    bench, _ = _bench({"one": lambda: Broken(lambda _place: 0.0)})
    assert "the first request failed with status 500" == bench.run([_subject("one")])["one"].failed


@pytest.mark.parametrize("seconds", [0.002, 0.050, 0.400])
def test_it_keeps_to_its_time(seconds: float) -> None:
    """Four targets on one machine, however slow: five minutes by the clock of the windows."""
    workload = Workload(scenarios=("single", "server"), top_rate=200.0)
    targets = {key: _steady(seconds, workers=2, seed=seed) for seed, key in enumerate("abcd")}
    bench, generator = _bench(targets, workload, p95_ms=500.0)
    found = bench.run([_subject(key) for key in targets])
    assert generator.clock.now <= 310
    assert all(5 <= len(one.runs) <= 10 for one in found.values())
    filled = fill(row("a"), found["a"], bench.rules)
    assert {"p50", "p95"} <= set(filled.latency)
    assert (filled.latency["p50"].low or 0) < (filled.latency["p50"].high or 0)


def test_one_that_keeps_no_rate_is_not_overloaded_by_the_others() -> None:
    """80 ms for one at a time leaves no room for waiting within 100: no rate is borne, and the common one is low."""
    targets = {"fast": _steady(0.002, workers=8), "slow": lambda: Simulated(lambda _place: 0.08, workers=1)}
    workload = msgspec.structs.replace(Workload(), top_rate=200.0)
    bench, _ = _bench(targets, workload)
    found = bench.run([_subject(key) for key in targets])
    slow = found["slow"].highest
    assert slow is not None
    assert (None, None) == (slow.rate, slow.at_least)
    assert 0 < (found["fast"].rate or 0) <= 0.45 * 12.5


def test_what_shares_no_machine_is_measured_side_by_side() -> None:
    """One generator for each machine: its subjects take turns there, and nobody waits for those of another."""
    clock = Clock()
    targets = {key: _steady(0.005) for key in "abc"}
    generators = [VirtualGenerator(clock, targets) for _ in range(2)]
    workload = msgspec.structs.replace(QUICK, scenarios=(), rate=50.0)
    bench = Bench(
        generators, workload, [[1.0]], p95_ms=100.0, clock=clock, progress=lambda *_: None, go_on=lambda: None
    )
    found = bench.run([_subject("a"), _subject("b", machine="cloud"), _subject("c")])
    seen = [{plan.key for plan in one.plans} for one in generators]
    assert [{"a", "c"}, {"b"}] == seen
    assert [5, 5, 5] == [len(one.runs) for one in found.values()]
    mine, theirs = ([plan.arrivals for plan in one.plans if plan.arrivals] for one in generators)
    assert theirs == mine[::2]


def test_one_that_must_stop_stops_all() -> None:
    """The money is spent: those on other machines end after the window that they are in."""
    clock, targets = Clock(), {key: _steady(0.005) for key in "ab"}
    generators = [VirtualGenerator(clock, targets) for _ in range(2)]

    def go_on() -> None:
        if sum(len(one.plans) for one in generators) > 8:
            raise Stop("spent")

    bench = Bench(generators, QUICK, [[1.0]], p95_ms=100.0, clock=clock, progress=lambda *_: None, go_on=go_on)
    with pytest.raises(Stop):
        bench.run([_subject("a"), _subject("b", machine="cloud")])
    assert sum(len(one.plans) for one in generators) <= 11


def test_stops_when_the_money_is_spent() -> None:
    """What was found until then stays."""
    windows = 0

    def go_on() -> None:
        nonlocal windows
        windows += 1
        if windows > 8:
            raise Stop("spent")

    bench, generator = _bench({"one": _steady(0.005)}, go_on=go_on)
    with pytest.raises(Stop):
        bench.run([_subject("one")])
    assert 8 == len(generator.plans)
    assert bench.found["one"].first_ms is not None


def test_requests_are_handed_over_as_they_were_signed() -> None:
    """Everything but what the client writes itself."""
    request = httpx.Request("POST", "http://h/x", headers={"Authorization": "AWS4 x", "X-Amz-Date": "now"}, json=[1])
    handed = shot(request)
    assert {"authorization": "AWS4 x", "x-amz-date": "now", "content-type": "application/json"} == handed.headers
    assert b"[1]" == handed.body


def test_workloads() -> None:
    """By name, by fields, and refused by name."""
    assert Workload() == Workload.of(None) == Workload.of("standard")
    assert Workload.quick() == Workload.of("quick")
    assert Workload.thorough() == Workload.of("thorough")
    assert 3 == Workload.of({"preset": "quick", "runs": 3}).runs
    for given, message in (
        ("quik", "did you mean 'quick'"),
        ({"run": 3}, "did you mean 'runs'"),
        ({"runs": "many"}, r"runs"),
        ({"runs": 0}, "workload.runs = 0 is not a number above 0"),
        ({"rate": -1.0}, "workload.rate"),
        ({"time_budget": 0}, "workload.time_budget = 0"),
        ({"scenarios": ["burst"]}, "burst|scenarios"),
    ):
        with pytest.raises(ConfigError, match=message):
            Workload.of(given)


@pytest.mark.parametrize(("rate", "took_ms"), [(5.0, 20.0), (20.0, 20.0), (20.0, 80.0), (300.0, 30.0), (900.0, 100.0)])
def test_hardly_any_connection_is_opened_inside_a_window(rate: float, took_ms: float) -> None:
    """However the arrivals bunch, what is open before a window is enough, or one or two are missing."""
    for seed in range(50):
        due = list(offsets(Arrivals(rate, "poisson", seed), 300))
        flying = [sum(when - took_ms / 1000 < other <= when for other in due) for when in due]
        assert max(flying) - connections(rate, took_ms) <= 2
