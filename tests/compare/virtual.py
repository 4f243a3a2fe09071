"""An event loop whose time is a number: a minute of load takes as long as its arithmetic."""

from __future__ import annotations

import asyncio
import selectors
from array import array
from typing import TYPE_CHECKING, Any

import msgspec

from sdk.compare.load.engine import Meters, WindowRun
from sdk.compare.load.messages import Shot, Volley, WindowPlan

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


class _Leap(selectors.SelectSelector):
    """Never waits: leaps to when something is due."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        self.now += timeout or 0.0
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._leap = _Leap()
        super().__init__(self._leap)

    def time(self) -> float:
        return self._leap.now


def run(work: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


class Simulated:
    """A target that takes so long for each request, with ``workers`` that serve one at a time (``None``: no queue)."""

    def __init__(self, seconds: Callable[[int], float], *, workers: int | None = None) -> None:
        self._seconds = seconds
        self._desk = None if workers is None else asyncio.Semaphore(workers)
        self.sent = 0

    async def send(self, shot: Shot) -> int:
        place, self.sent = self.sent, self.sent + 1
        if self._desk is None:
            await asyncio.sleep(self._seconds(place))
            return 200
        async with self._desk:
            await asyncio.sleep(self._seconds(place))
        return 200


class Frozen(Simulated):
    """The same, standing still from ``begin`` for ``seconds``."""

    def __init__(self, usual: float, begin: float, seconds: float) -> None:
        super().__init__(lambda _place: usual)
        self._from, self._until = begin, begin + seconds

    async def send(self, shot: Shot) -> int:
        now = asyncio.get_running_loop().time()
        if self._from <= now < self._until:
            await asyncio.sleep(self._until - now)
        return await super().send(shot)


SHOT = Shot({}, b"")


def window(target: Callable[[], Simulated], plan: WindowPlan) -> Volley:
    """One window against a simulated target."""

    async def go() -> Volley:
        now = asyncio.get_running_loop().time
        meters = Meters(now=now, cpu=lambda: 0.0, loop=lambda: 0.0, spin_s=0.0)
        return await WindowRun(target(), plan, meters).run()

    found: Volley = run(go())
    return found


def late(found: Volley, seconds: float) -> Volley:
    """The same window by a generator that sent each request so much later."""
    took, lag = (array("d", (one + seconds for one in found.seconds(name))) for name in ("took", "lag"))
    return msgspec.structs.replace(found, took=took.tobytes(), lag=lag.tobytes())
