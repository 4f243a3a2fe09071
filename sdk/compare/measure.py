"""The measurement of subjects under one workload: warm-up, single, server, offline, and runs at a common rate.

Subjects on different machines are measured in parallel, those on the same machine in turns. With a time budget, each
phase gets a share of it, and the runs end early when more of them cannot change the verdict.
"""

from __future__ import annotations

import math
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from ..errors import SdkError
from .load import Aim, Arrivals, Trial, WindowPlan
from .measured import Measured, rate_of
from .rows import settled
from .search import Enough, Highest, RateTrial, highest_rate
from .stats import quantile
from .subject import side_by_side
from .windows import Times, connections, judged, likely_rate, shot

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..adapter import Clock
    from .load import Shot, Volley
    from .subject import Subject
    from .workload import Workload

_DISTINCT = 500  # maximum number of payloads that are signed for one window
_WARM_WINDOW, _WARM_WINDOWS, _SETTLED = 50, 40, 0.05
# Shares of the slowest subject's highest rate: the preferred common rate, and the maximum when time is short.
_COMMON, _HURRIED = 0.3, 0.45
# Shares of a subject's time; the rest of it is for the runs.
_WARMING, _SINGLE, _SEARCHING = 0.08, 0.07, 0.4
_PROBE_OBJECTIVES = (10, 20, 40)  # shortest window of each stage of the search, as a multiple of the objective …
_PROBE_SHARES = (0.5, 0.75, 1.0)  # … and longest, as a share of ``probe_s``
_PROBING = 0.1  # maximum share of a subject's time for the first rate of the search
_LOOKED_INTO, _LOOK = 8, 0.6  # minimum number of runs for an interim check, and the share of runs after which it comes
_EARLY = 0.2  # share of the allowed error that is spent on the interim check
_WINDOW_S = 0.3  # overhead of a window beside its requests: signing, connecting, waiting for the last answer


class Stop(Exception):
    """The signal that measuring must stop, as when the budget is spent."""


class Fires(Protocol):
    """The interface of :class:`~sdk.compare.load.Generator`."""

    def aim(self, aim: Aim) -> None:
        """Set where the requests of a subject are sent."""
        ...

    def touch(self, key: str, times: int = 5) -> float | None:
        """Return the shortest time of several TCP connects, in seconds; ``None`` if all failed."""
        ...

    def fire(self, plan: WindowPlan) -> Volley:
        """Run one window of requests."""
        ...


class Bench:
    """The measurement of several subjects.

    Args:
        generators: The load generators: one for each group of subjects that share a machine.
        workload: The parameters of the measurement.
        payloads: The user's own inputs, one per request, in this order for every subject.
        p95_ms: The latency objective in milliseconds.
        clock: The source of time.
        progress: Called with (subject, event).
        go_on: Called before each window; raises :class:`Stop` when measuring must stop, as when the budget is spent.
    """

    def __init__(
        self,
        generators: Sequence[Fires],
        workload: Workload,
        payloads: Sequence[Any],
        *,
        p95_ms: float | None,
        clock: Clock,
        progress: Callable[[str, str], None],
        go_on: Callable[[], None],
    ) -> None:
        self._generators = generators
        self._workload = workload
        self._payloads = payloads
        self._p95_ms = p95_ms
        self._clock = clock
        self._progress = progress
        self._go_on = go_on
        self._groups: list[list[Subject]] = []
        self._of: dict[str, Fires] = {}
        self._over = threading.Event()
        self._share = self._end = math.inf
        self.rules = workload.rules
        self.found: dict[str, Measured] = {}

    def run(self, subjects: Sequence[Subject]) -> dict[str, Measured]:
        """Measure all subjects; a subject that fails is skipped from then on.

        Raises:
            Stop: Measuring had to stop; the results until then are in ``found``.
        """
        self.found = {one.key: Measured() for one in subjects}
        self._groups = side_by_side(subjects)
        self._of = {
            one.key: generator
            for group, generator in zip(self._groups, self._generators, strict=False)
            for one in group
        }
        begin, wanted = self._clock.monotonic(), self._workload.scenarios
        if (budget := self._workload.time_budget) is not None:
            self._end, self._share = begin + budget, budget / self._longest
        self._each(self._ready)
        if "single" in wanted:
            self._each(self._single)
        if "server" in wanted:
            self._each(self._server)
        if "offline" in wanted:
            self._each(self._offline)
        try:
            self._turns()
        finally:
            for found in self.found.values():
                found.settle(self._p95_ms, self._workload.most_errors)
        self._each(lambda one, found: self._ask(one, found, self._clock.monotonic() - begin))
        return self.found

    @property
    def _longest(self) -> int:
        """The number of subjects in the largest group."""
        return max(map(len, self._groups), default=1)

    def _each(self, step: Callable[[Subject, Measured], None]) -> None:
        """Execute a step for all subjects: those on one machine in turns, the groups in parallel."""
        if len(self._groups) <= 1:
            self._in_turn(self._groups[0] if self._groups else [], step)
            return
        with ThreadPoolExecutor(max_workers=len(self._groups)) as pool:
            try:
                for done in [pool.submit(self._in_turn, group, step) for group in self._groups]:
                    done.result()
            except BaseException:
                self._over.set()  # the other groups stop after their current window
                raise

    def _in_turn(self, group: Sequence[Subject], step: Callable[[Subject, Measured], None]) -> None:
        for one in group:
            found = self.found[one.key]
            if found.failed:
                continue
            try:
                step(one, found)
            except SdkError as error:
                found.failed = error.message
                self._progress(one.key, f"failed: {error.message}")

    def _say(self, one: Subject, text: str) -> None:
        left = self._end - self._clock.monotonic()
        ahead = "" if math.isinf(left) else f"; at most {max(0.0, left):.0f} s of measuring left"
        self._progress(one.key, text + ahead)

    # --- scenarios ----------------------------------------------------------------------------------------------

    def _ready(self, one: Subject, found: Measured) -> None:
        """Measure the first request and the network floor, then warm up the subject."""
        self._say(one, "warming up")
        url = str(one.sign(self._payloads[0]).url)
        generator = self._of[one.key]
        generator.aim(Aim(one.key, url, one.verify, self._workload.timeout_s, one.direct))
        first = self._shoot(one, 1, lanes=0)
        found.first_ms = float(Times.of(first).due[0])
        if not math.isfinite(found.first_ms):
            raise SdkError(f"the first request failed with status {first.statuses()[0] or 'none: no answer'}")
        floor = generator.touch(one.key)
        found.floor_ms = None if floor is None else floor * 1000
        self._warm(one, found)

    def _warm(self, one: Subject, found: Measured) -> None:
        work, begin, before, sent = self._workload, self._clock.monotonic(), math.inf, 0
        most_s = self._share * _WARMING
        for _ in range(_WARM_WINDOWS):
            volley = self._shoot(one, _WARM_WINDOW, first=sent, seconds=most_s / 3)
            times = Times.of(volley).due
            sent += len(times)
            found.serial = rate_of(volley)
            found.usual_ms = max(0.1, quantile(times, 0.9))
            middle, took = quantile(times, 0.5), self._clock.monotonic() - begin
            still = abs(middle - before) <= _SETTLED * before
            if still and sent >= work.warm_requests and took >= work.warm_s:
                return
            if took >= most_s:
                break
            before = middle
        found.flags.append("the latency was still moving after the warm-up")

    def _single(self, one: Subject, found: Measured) -> None:
        self._say(one, "one request at a time")
        volley = self._shoot(one, self._workload.single_requests, seconds=self._share * _SINGLE)
        found.single.append(Times.of(volley))
        found.serial = rate_of(volley)

    def _server(self, one: Subject, found: Measured) -> None:
        """Search the highest rate; each window has another seed, so that a lucky schedule is not repeated."""
        work, seeds = self._workload, iter(range(self._workload.seed + 1_000, 1_000_000))
        until = self._clock.monotonic() + self._share * _SEARCHING

        def probe(rate: float, stage: int) -> RateTrial:
            self._say(one, f"trying {rate:.4g} requests/s")
            return self._probe(one, Arrivals(rate, work.arrivals, next(seeds)), stage, until)

        if self._p95_ms is not None and found.usual_ms > self._p95_ms:
            reason = f"one request at a time takes {found.usual_ms:.1f} ms, {self._p95_ms:g} ms are allowed"
            found.highest = Highest(None, None, "objective", reason)
            return
        likely = likely_rate(found.serial, found.usual_ms, self._p95_ms)
        quick = work.probe_requests / (_PROBING * self._share)  # a rate that is too high shows at once
        first = work.first_rate or max(likely, quick)
        found.highest = highest_rate(probe, first=first, top=work.top_rate)

    def _probe(self, one: Subject, arrivals: Arrivals, stage: int, until: float) -> RateTrial:
        work, rate = self._workload, arrivals.rate
        objective_s = None if self._p95_ms is None else self._p95_ms / 1000
        count = max(work.probe_requests, math.ceil(rate * work.probe_s * _PROBE_SHARES[stage]))
        least_s = min(work.probe_s, max(1.0, _PROBE_OBJECTIVES[stage] * (objective_s or 0.0)))
        least_s = max(least_s, work.probe_requests / rate)
        if self._clock.monotonic() + least_s > until:
            raise Enough
        patience_s = min(work.timeout_s, 4 * objective_s if objective_s else 2.0)
        plan = WindowPlan(
            one.key,
            [],
            count,
            arrivals,
            connections(rate, self.found[one.key].usual_ms),
            most_in_flight=32 + math.ceil(rate * patience_s),
            trial=None if objective_s is None else Trial(objective_s, least_s),
        )
        return judged(self._fire(one, plan), rate, self._p95_ms, work.most_errors)

    def _offline(self, one: Subject, found: Measured) -> None:
        self._say(one, "as much as goes through")
        volley = self._shoot(one, self._workload.requests, lanes=self._workload.lanes, seconds=self._share * _SINGLE)
        found.offline_rate = rate_of(volley)

    # --- runs ---------------------------------------------------------------------------------------------------

    def _turns(self) -> None:
        """Run all subjects at a common rate in rounds; each round has the reverse order of the one before."""
        work = self._workload
        runs, count, rate = self._planned()
        look = math.ceil(_LOOK * runs) if self._end < math.inf and runs >= _LOOKED_INTO else runs
        error = 1 - work.rules.confidence
        for run in range(runs):
            if run == look and self._settled(1 - _EARLY * error):
                return
            if run >= work.rules.runs and self._clock.monotonic() + self._longest * count / rate > self._end:
                break
            self._round(Arrivals(rate, work.arrivals, work.seed + run), count, f"run {run + 1} of {runs}", run * count)
            self._groups = [group[::-1] for group in self._groups]
        if look < runs:
            self.rules = msgspec.structs.replace(work.rules, confidence=1 - (1 - _EARLY) * error)

    def _settled(self, confidence: float) -> bool:
        """Return whether more runs cannot change the verdict; the interim and final check share the allowed error."""
        rules = msgspec.structs.replace(self._workload.rules, confidence=confidence)
        if not settled(self.found, rules, self._p95_ms):
            return False
        self.rules = rules
        return True

    def _round(self, arrivals: Arrivals, count: int, text: str, first: int) -> None:
        def once(one: Subject, found: Measured) -> None:
            self._say(one, f"{text} at {arrivals.rate:.4g} requests/s")
            found.rate = arrivals.rate
            lanes = connections(arrivals.rate, found.usual_ms)
            volley = self._shoot(one, count, arrivals, lanes=lanes, first=first)
            found.add(volley)

        self._each(once)

    def _planned(self) -> tuple[int, int, float]:
        """Return the number of runs, the requests per run and the rate that fit into the remaining time."""
        work = self._workload
        left = (self._end - self._clock.monotonic()) / self._longest
        whole = min(work.rules.least(0.95), work.requests)
        rate = self._common_rate(whole, left / work.runs - _WINDOW_S)
        if math.isinf(left):
            return work.runs, work.requests, rate
        runs = min(work.runs, max(work.rules.runs, math.floor(left / (whole / rate + _WINDOW_S))))
        count = math.floor(rate * (left / runs - _WINDOW_S))
        return runs, max(1, min(work.requests, count)), rate

    def _common_rate(self, whole: int, run_s: float) -> float:
        """Return the rate of the runs: higher than preferred if they would otherwise be too short."""
        if self._workload.rate is not None:
            return self._workload.rate
        measured = [found for found in self.found.values() if not found.failed]
        slowest = min((one.known_rate for one in measured), default=1.0)
        return min(max(_COMMON * slowest, whole / max(run_s, 1e-3)), _HURRIED * slowest)

    def _ask(self, one: Subject, found: Measured, seconds: float) -> None:
        """Read the latency that the target itself reports; a failure is only recorded as a flag."""
        try:
            found.served = one.served(seconds)
        except SdkError as error:
            found.flags.append(f"the target's own latency is not known: {error.message}")

    # --- windows ------------------------------------------------------------------------------------------------

    def _shoot(
        self,
        one: Subject,
        count: int,
        arrivals: Arrivals | None = None,
        *,
        lanes: int = 1,
        first: int = 0,
        seconds: float = math.inf,
    ) -> Volley:
        return self._fire(one, WindowPlan(one.key, [], count, arrivals, lanes, seconds=min(seconds, 3600.0)), first)

    def _fire(self, one: Subject, plan: WindowPlan, first: int = 0) -> Volley:
        """Send a window, with newly signed requests."""
        self._go_on()
        if self._over.is_set():
            raise Stop("another subject had to stop")
        plan = msgspec.structs.replace(plan, shots=self._shots(one, plan.count, first))
        return self._of[one.key].fire(plan)

    def _shots(self, one: Subject, count: int, first: int) -> list[Shot]:
        total = len(self._payloads)
        places = [(first + place) % total for place in range(min(count, total, _DISTINCT))]
        return [shot(one.sign(self._payloads[place])) for place in places]
