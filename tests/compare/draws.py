"""A generator whose answers are drawn from distributions with known quantiles: a comparison takes milliseconds."""

from __future__ import annotations

import math
from array import array
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import numpy.typing as npt

from sdk.compare.load import Aim, Volley, WindowPlan
from sdk.compare.measure import Bench
from sdk.compare.subject import Subject
from sdk.compare.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Array = npt.NDArray[np.float64]
Draw = "Callable[[np.random.Generator, int], Array]"  # milliseconds of so many requests in a row


def mm1(draw: np.random.Generator, load: float, count: int) -> Array:
    """Times in system of ``count`` customers of an M/M/1 queue in its steady state; mean service time 1."""
    service, gaps = draw.exponential(1.0, count), draw.exponential(1.0 / load, count)
    waiting = draw.exponential(1.0 / (1.0 - load)) if draw.random() < load else 0.0
    walk = np.cumsum(np.concatenate([[waiting], service[:-1] - gaps[1:]]))
    found: Array = walk - np.minimum.accumulate(np.minimum(walk, 0.0)) + service
    return found


def mm1_truth(load: float, share: float) -> float:
    """The quantile of the time in system: it is exponential with rate 1 - load."""
    return -math.log(1.0 - share) / (1.0 - load)


def lognormal(draw: np.random.Generator, count: int, median: float = 20.0) -> Array:
    return draw.lognormal(math.log(median), 0.5, count)


def lognormal_truth(share: float, median: float = 20.0) -> float:
    return median * math.exp(0.5 * {0.5: 0.0, 0.95: 1.6449, 0.99: 2.3263}[share])


def bimodal(draw: np.random.Generator, count: int) -> Array:
    """Most answers in about 10 ms, one in eight in about 80."""
    fast = draw.random(count) < 7 / 8
    return np.where(fast, draw.normal(10.0, 1.0, count), draw.normal(80.0, 5.0, count))


def bimodal_truth(share: float) -> float:
    """An eighth is in the upper part: its upper 5 % of all are the upper two fifths of that part."""
    return {0.5: 10.0 + 0.1800, 0.95: 80.0 + 5.0 * 0.2533}[share]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Drawn:
    """Answers each window from the distribution of its subject, given the time."""

    def __init__(self, clock: Clock, targets: Mapping[str, Callable[[int], Array]]) -> None:
        self._clock = clock
        self._targets = targets

    def aim(self, aim: Aim) -> None:
        pass

    def touch(self, key: str, times: int = 5) -> float | None:
        return 0.001

    def fire(self, plan: WindowPlan) -> Volley:
        took = self._targets[plan.key](plan.count) / 1000
        rate = plan.arrivals.rate if plan.arrivals is not None else 1 / float(np.mean(took))
        self._clock.now += plan.count / rate
        return Volley(
            due=array("d", np.arange(plan.count) / rate).tobytes(),
            lag=bytes(8 * plan.count),
            took=array("d", took).tobytes(),
            status=array("H", [200] * plan.count).tobytes(),
            planned=plan.count, wall_s=plan.count / rate, cpu_s=0.0, loop_s=0.0, opened=0, backlog=1, grew=0.0,
        )  # fmt: skip


def compared(targets: Mapping[str, Callable[[int, float], Array]], rate: float, **workload: Any) -> Bench:
    """Compare drawn targets as a user's comparison does, with its time budget and its stopping rules."""
    clock = Clock()
    given = {key: (lambda count, draw=draw: draw(count, clock.now)) for key, draw in targets.items()}
    bench = Bench(
        [Drawn(clock, given)],
        Workload(scenarios=(), rate=rate, warm_s=0.0, **workload),
        [[1.0]],
        p95_ms=None,
        clock=clock,
        progress=lambda _key, _text: None,
        go_on=lambda: None,
    )
    bench.run([Subject(key, lambda rows: httpx.Request("POST", "http://t/", json=rows)) for key in targets])
    return bench
