"""Measures some subjects under one workload: warm up, single, server, offline, and runs in turns at a common rate."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import SdkError
from .load import Aim, Arrivals, Plan
from .search import Highest, Probe, highest_rate
from .stats import quantile
from .windows import Times, connections, judged, shot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import numpy as np
    import numpy.typing as npt

    from ..adapter import Clock
    from ..metrics import MetricsReport
    from .load import Shot, Volley
    from .subject import Subject
    from .workload import Workload

    Array = npt.NDArray[np.float64]

_DISTINCT = 500  # payloads that are signed for one window
_WARM_WINDOW, _WARM_WINDOWS, _SETTLED = 50, 40, 0.05
_COMMON = 0.3  # of the slowest subject's highest rate: far enough from saturation for honest intervals


@dataclass
class Measured:
    """What was found of one subject. Times are in milliseconds."""

    first_ms: float | None = None
    floor_ms: float | None = None
    usual_ms: float = 10.0
    rate: float | None = None
    runs: list[Times] = field(default_factory=list["Times"])
    single: list[Times] = field(default_factory=list["Times"])
    highest: Highest | None = None
    borne: float = 0.0
    offline_rate: float | None = None
    served: MetricsReport | None = None
    statuses: dict[int, int] = field(default_factory=dict[int, int])
    flags: list[str] = field(default_factory=list[str])
    failed: str = ""

    def seen(self, rate: float, volley: Volley, p95_ms: float | None, most_errors: float) -> None:
        """Take note that a rate was borne, if it was: the highest rate is at least that."""
        if judged(volley, rate, p95_ms, most_errors).outcome == "passed":
            self.borne = max(self.borne, rate)

    @property
    def due(self) -> list[Array]:
        """The runs, each request timed from when it was due."""
        return [run.due for run in self.runs]

    @property
    def sent(self) -> list[Array]:
        """The runs, each request timed from when it was sent."""
        return [run.sent for run in self.runs]


def _rate_of(volley: Volley) -> float:
    """Requests per second that were answered in a window."""
    return volley.count / max(1e-9, volley.wall_s)


class Stop(Exception):
    """Nothing more may be measured: the money is spent."""


class Fires(Protocol):
    """What a :class:`~sdk.compare.load.Generator` does."""

    def aim(self, aim: Aim) -> None:
        """Tells where the requests of a subject go."""
        ...

    def touch(self, key: str, times: int = 5) -> float | None:
        """The shortest TCP connect, in seconds."""
        ...

    def fire(self, plan: Plan) -> Volley:
        """Runs one window."""
        ...


class Bench:
    """Measures.

    Args:
        generator: Sends the requests.
        workload: What to do.
        payloads: The user's own inputs, each one request, in this order for everybody.
        p95_ms: The objective.
        clock: The source of time.
        progress: Told (subject, what happens).
        go_on: Raises :class:`Stop` when it must stop, as when the money is spent; asked before each window.
    """

    def __init__(
        self,
        generator: Fires,
        workload: Workload,
        payloads: Sequence[Any],
        *,
        p95_ms: float | None,
        clock: Clock,
        progress: Callable[[str, str], None],
        go_on: Callable[[], None],
    ) -> None:
        self._generator = generator
        self._workload = workload
        self._payloads = payloads
        self._p95_ms = p95_ms
        self._clock = clock
        self._progress = progress
        self._go_on = go_on
        self.found: dict[str, Measured] = {}

    def run(self, subjects: Sequence[Subject]) -> dict[str, Measured]:
        """Measures all of them, one at a time; one that fails is left out from then on.

        Raises:
            Stop: It had to stop; what was found until then is in ``found``.
        """
        self.found = {one.key: Measured() for one in subjects}
        begin = self._clock.monotonic()
        wanted = self._workload.scenarios
        self._each(subjects, self._ready)
        if "single" in wanted:
            self._each(subjects, self._single)
        if "server" in wanted:
            self._each(subjects, self._server)
        if "offline" in wanted:
            self._each(subjects, self._offline)
        self._turns(subjects)
        self._each(subjects, lambda one, found: self._ask(one, found, self._clock.monotonic() - begin))
        return self.found

    def _each(self, subjects: Iterable[Subject], step: Callable[[Subject, Measured], None]) -> None:
        for one in subjects:
            found = self.found[one.key]
            if found.failed:
                continue
            try:
                step(one, found)
            except SdkError as error:
                found.failed = error.message
                self._progress(one.key, f"failed: {error.message}")

    # --- scenarios ----------------------------------------------------------------------------------------------

    def _ready(self, one: Subject, found: Measured) -> None:
        """The first request, the floor, and enough others that nothing is cold."""
        self._progress(one.key, "warming up")
        url = str(one.sign(self._payloads[0]).url)
        self._generator.aim(Aim(one.key, url, one.verify, self._workload.timeout_s, one.direct))
        first = self._shoot(one, 1, lanes=0)
        found.first_ms = float(Times.of(first).due[0])
        if not math.isfinite(found.first_ms):
            raise SdkError(f"the first request failed with status {first.statuses()[0] or 'none: no answer'}")
        floor = self._generator.touch(one.key)
        found.floor_ms = None if floor is None else floor * 1000
        self._warm(one, found)

    def _warm(self, one: Subject, found: Measured) -> None:
        work, begin, before, sent = self._workload, self._clock.monotonic(), math.inf, 0
        for _ in range(_WARM_WINDOWS):
            times = Times.of(self._shoot(one, _WARM_WINDOW, first=sent)).due
            sent += len(times)
            found.usual_ms = max(0.1, quantile(times, 0.9))
            middle = quantile(times, 0.5)
            settled = abs(middle - before) <= _SETTLED * before
            if settled and sent >= work.warm_requests and self._clock.monotonic() - begin >= work.warm_s:
                return
            before = middle
        found.flags.append("the latency was still moving after the warm-up")

    def _single(self, one: Subject, found: Measured) -> None:
        self._progress(one.key, "one request at a time")
        volley = self._shoot(one, self._workload.single_requests)
        found.single.append(Times.of(volley))
        found.seen(_rate_of(volley), volley, self._p95_ms, self._workload.most_errors)

    def _server(self, one: Subject, found: Measured) -> None:
        """Searches the highest rate; its windows differ in the seed, so that no luck is repeated."""
        seeds = iter(range(self._workload.seed + 1_000, 1_000_000))

        def probe(rate: float) -> Probe:
            self._progress(one.key, f"trying {rate:.4g} requests/s")
            return self._probe(one, rate, next(seeds))

        work = self._workload
        found.highest = highest_rate(probe, first=work.first_rate, top=work.top_rate)

    def _probe(self, one: Subject, rate: float, seed: int) -> Probe:
        work = self._workload
        count = max(work.probe_requests, math.ceil(rate * work.probe_s))
        patience_s = min(work.timeout_s, 4 * self._p95_ms / 1000 if self._p95_ms else 2.0)
        most = 32 + math.ceil(rate * patience_s)
        arrivals = Arrivals(rate, work.arrivals, seed)
        volley = self._shoot(one, count, arrivals, lanes=self._lanes(rate, one.key), most_in_flight=most)
        return judged(volley, rate, self._p95_ms, work.most_errors)

    def _offline(self, one: Subject, found: Measured) -> None:
        self._progress(one.key, "as much as goes through")
        volley = self._shoot(one, self._workload.requests, lanes=self._workload.lanes)
        found.offline_rate = _rate_of(volley) * sum(200 <= status < 300 for status in volley.statuses()) / volley.count

    def _turns(self, subjects: Sequence[Subject]) -> None:
        """Runs at one rate for all, taken in turns, so that the time of day is the same for everybody."""
        work, rate = self._workload, self._common_rate()
        for run in range(work.runs):

            def once(one: Subject, found: Measured, run: int = run) -> None:
                self._progress(one.key, f"run {run + 1} of {work.runs} at {rate:.4g} requests/s")
                found.rate = rate
                plan = Arrivals(rate, work.arrivals, work.seed + run)
                lanes = self._lanes(rate, one.key)
                volley = self._shoot(one, work.requests, plan, lanes=lanes, first=run * work.requests)
                found.runs.append(Times.of(volley))
                found.seen(rate, volley, self._p95_ms, work.most_errors)
                for status in volley.statuses():
                    if not 200 <= status < 300:
                        found.statuses[status] = found.statuses.get(status, 0) + 1

            self._each(subjects, once)

    def _common_rate(self) -> float:
        if self._workload.rate is not None:
            return self._workload.rate
        known = [
            found.highest.rate or found.highest.at_least
            for found in self.found.values()
            if found.highest is not None and not found.failed
        ]
        rates = [rate for rate in known if rate]
        return _COMMON * min(rates) if rates else self._workload.first_rate

    def _ask(self, one: Subject, found: Measured, seconds: float) -> None:
        """What the target says itself; that it says nothing is no failure."""
        try:
            found.served = one.served(seconds)
        except SdkError as error:
            found.flags.append(f"the target's own latency is not known: {error.message}")

    # --- windows ------------------------------------------------------------------------------------------------

    def _lanes(self, rate: float, key: str) -> int:
        return connections(rate, self.found[key].usual_ms)

    def _shoot(
        self,
        one: Subject,
        count: int,
        arrivals: Arrivals | None = None,
        *,
        lanes: int = 1,
        first: int = 0,
        most_in_flight: int = 10_000,
    ) -> Volley:
        self._go_on()
        shots = self._shots(one, count, first)
        return self._generator.fire(Plan(one.key, shots, count, arrivals, lanes, most_in_flight))

    def _shots(self, one: Subject, count: int, first: int) -> list[Shot]:
        total = len(self._payloads)
        places = [(first + place) % total for place in range(min(count, total, _DISTINCT))]
        return [shot(one.sign(self._payloads[place])) for place in places]
