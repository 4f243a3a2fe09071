"""The engine that sends the requests of a window: an open loop on a schedule, or a closed one that awaits answers."""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from .arrivals import Arrivals, offsets
from .messages import Shot, Volley, WindowPlan
from .trial import Outcome, WindowWatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

HEAD_START_S = 0.02  # between the start of the window and the first due time
SPIN_S = 0.001  # busy-wait for this long before a due time, since the loop's timers are not more precise
MOST_SPINNING = 0.25  # maximum share of a core for busy waiting; higher rates use timers only


class LoadClient(Protocol):
    """A client that sends one request and reads its whole answer."""

    async def send(self, shot: Shot) -> int:
        """Send a request and return the HTTP status; 0 when there was no answer. Never raises."""
        ...


@dataclass(frozen=True, slots=True)
class Meters:
    """The clocks and counters of the process itself, which tests replace.

    Args:
        now: Returns monotonic seconds.
        cpu: Returns the CPU seconds of the process.
        loop: Returns the CPU seconds of this thread.
        ports: Returns the local ports of the open connections.
        spin_s: Seconds of busy waiting before a due time.
    """

    now: Callable[[], float] = time.perf_counter
    cpu: Callable[[], float] = time.process_time
    loop: Callable[[], float] = time.thread_time
    ports: Callable[[], set[int]] = field(default=set[int])
    spin_s: float = SPIN_S


class WindowRun:
    """The execution of one window on a wire.

    Args:
        wire: Sends the requests.
        plan: The window.
        meters: The clocks and counters.
    """

    def __init__(self, wire: LoadClient, plan: WindowPlan, meters: Meters) -> None:
        self._wire = wire
        self._plan = plan
        self._meters = meters
        self._due = array("d")
        self._lag = array("d", bytes(8 * plan.count))
        self._took = array("d", bytes(8 * plan.count))
        self._status = array("H", bytes(2 * plan.count))
        self._flying = 0
        self._backlog = 0
        self._heights: list[tuple[float, int]] = []
        self._watch = None if plan.trial is None else WindowWatch(plan.trial)
        self._outcome: Outcome = ""

    async def run(self) -> Volley:
        """Send the requests of the window and wait for the last answer."""
        meters = self._meters
        ports, cpu, loop = meters.ports(), meters.cpu(), meters.loop()
        begin = meters.now()
        if self._plan.arrivals is None:
            await self._closed(begin)
        else:
            begin += HEAD_START_S
            await self._open(begin, self._plan.arrivals)
        sent = len(self._due)
        return Volley(
            due=self._due[:sent].tobytes(),
            lag=self._lag[:sent].tobytes(),
            took=self._took[:sent].tobytes(),
            status=self._status[:sent].tobytes(),
            planned=self._plan.count,
            wall_s=meters.now() - begin,
            cpu_s=meters.cpu() - cpu,
            loop_s=meters.loop() - loop,
            opened=len(meters.ports() - ports),
            backlog=self._backlog,
            grew=slope(self._heights[len(self._heights) // 4 :]),  # without the first quarter: the queue fills up
            outcome=self._outcome,
        )

    async def _open(self, begin: float, arrivals: Arrivals) -> None:
        """Send each request when it is due, without waiting for earlier answers."""
        shots = self._plan.shots
        exact = arrivals.rate * SPIN_S <= MOST_SPINNING
        flying: set[asyncio.Task[None]] = set()
        for place, offset in enumerate(offsets(arrivals, self._plan.count)):
            if self._flying >= self._plan.most_in_flight or self._certain(begin):
                break
            await self._until(begin + offset, exact=exact)
            self._heights.append((offset, self._flying))
            self._due.append(offset)
            self._launched()
            task = asyncio.create_task(self._timed(place, shots[place % len(shots)], begin + offset))
            flying.add(task)
            task.add_done_callback(flying.discard)
        if flying:
            await asyncio.wait(flying)

    def _certain(self, begin: float) -> bool:
        """Return whether the trial has reached its verdict."""
        if self._watch is not None:
            self._outcome = self._watch.look(self._meters.now(), begin)
        return bool(self._outcome)

    async def _until(self, due: float, *, exact: bool) -> None:
        """Wait until a moment; an exact wait busy-waits near the end, during which answers are still read."""
        now, spin_s = self._meters.now, self._meters.spin_s
        begin, early = (spin_s, 0.0) if exact else (0.0, spin_s / 2)
        while (left := due - now()) > early:
            pause = max(0.0, left - begin)
            await asyncio.sleep(pause)

    async def _closed(self, begin: float) -> None:
        """Keep as many requests in flight as there are lanes."""
        places = itertools.count()
        until = begin + self._plan.seconds
        lanes = max(1, min(self._plan.lanes, self._plan.count))
        await asyncio.gather(*(self._lane(places, begin, until) for _ in range(lanes)))

    async def _lane(self, places: Iterable[int], begin: float, until: float) -> None:
        now, shots = self._meters.now, self._plan.shots
        for place in places:
            sent = now()
            if place >= self._plan.count or sent > until:
                return
            self._due.append(sent - begin)
            self._launched()
            await self._timed(place, shots[place % len(shots)], None)

    def _launched(self) -> None:
        self._flying += 1
        self._backlog = max(self._backlog, self._flying)

    async def _timed(self, place: int, shot: Shot, due: float | None) -> None:
        """Send a request now and record its times; ``due`` is the moment when it was due in an open loop."""
        sent = self._meters.now()
        since = sent if due is None else min(due, sent)  # a request that is sent early is timed from then on
        if self._watch is not None:
            self._watch.sent(place, due=since, at=sent)
        status = await self._wire.send(shot)
        answered = self._meters.now()
        if self._watch is not None:
            self._watch.answered(place, at=answered if 200 <= status < 300 else math.inf)
        self._flying -= 1
        self._took[place] = answered - since
        self._lag[place] = 0.0 if due is None else sent - due
        self._status[place] = status


def slope(points: list[tuple[float, int]]) -> float:
    """Return the slope of the least-squares line through some points; 0 for fewer than two.

    Example:
        >>> slope([(0.0, 1), (1.0, 3), (2.0, 5)])
        2.0
    """
    if len(points) < 2:
        return 0.0
    middle_x = sum(x for x, _ in points) / len(points)
    middle_y = sum(y for _, y in points) / len(points)
    spread = sum((x - middle_x) ** 2 for x, _ in points)
    together = sum((x - middle_x) * (y - middle_y) for x, y in points)
    return together / spread if spread else 0.0
