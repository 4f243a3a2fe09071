"""The generator's process: reads orders from standard input and writes answers to standard output until it closes."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import queue
import resource
import sys
import threading
import time
from typing import IO
from urllib.parse import urlsplit

import psutil
import uvloop

from .engine import Meters, WindowRun
from .http import HttpWire
from .messages import (
    MOST_BYTES,
    Aim,
    Answer,
    Failed,
    Order,
    Ready,
    Shot,
    Touch,
    Touched,
    Volley,
    WindowPlan,
    read_order,
    write,
)

_CONNECT_S = 10.0


def main() -> None:
    """Serve one owner and exit when the owner does."""
    hurry()
    limit_memory()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # other output must not get between the messages
    orders: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, orders), daemon=True).start()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        desk = Desk()
        while (order := orders.get()) is not None:
            answer = runner.run(desk.answer(order))
            try:
                write(answers, answer)
            except BrokenPipeError:  # an owner that was interrupted does not wait for the answer
                os._exit(0)
        runner.run(desk.close())


def hurry() -> None:
    """Raise the priority of this process where allowed, so that it keeps its schedule on a busy machine.

    The process sleeps most of the time. Threads started later inherit its priority.
    """
    with contextlib.suppress(OSError, AttributeError):  # not permitted, or not available on this system
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(os.sched_get_priority_min(os.SCHED_RR)))
        return
    with contextlib.suppress(OSError, AttributeError):
        os.nice(-10)


def limit_memory(most: int = MOST_BYTES) -> None:
    """Limit the memory of this process to more than any window needs, since an answer may be endless."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = most if hard == resource.RLIM_INFINITY else min(most, hard)
    with contextlib.suppress(OSError, ValueError):  # not permitted, or not available on this system
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def _listen(stream: IO[bytes], orders: queue.SimpleQueue[Order | None]) -> None:
    """Put the owner's orders into a queue; when the owner is gone, end the process even during an order."""
    while (order := read_order(stream)) is not None:
        orders.put(order)
    orders.put(None)
    time.sleep(1.0)
    os._exit(0)


class Desk:
    """The handler of orders, which holds the subjects' clients."""

    def __init__(self) -> None:
        self._aims: dict[str, Aim] = {}
        self._wires: dict[str, HttpWire] = {}

    async def answer(self, order: Order) -> Answer:
        """Execute an order and return the answer; an error becomes an answer, too."""
        try:
            match order:
                case Aim():
                    await self._aim(order)
                    return Ready()
                case Touch():
                    return Touched(await _floor(self._aims[order.key].url, order.times))
                case WindowPlan():
                    return await self._window(order)
        except Exception as error:  # noqa: BLE001  # the owner decides what the error means
            return Failed(f"{type(error).__name__}: {error}")

    async def close(self) -> None:
        """Close all connections."""
        for wire in self._wires.values():
            await wire.close()

    async def _aim(self, aim: Aim) -> None:
        old = self._wires.pop(aim.key, None)
        if old is not None:
            await old.close()
        self._aims[aim.key] = aim
        self._wires[aim.key] = HttpWire(aim)

    async def _window(self, plan: WindowPlan) -> Volley:
        wire = self._wires[plan.key]
        await _open_connections(wire, plan.shots[0], plan.lanes)
        gc.collect()
        gc.freeze()
        gc.disable()  # a garbage collection in the window would look like a slow answer
        try:
            return await WindowRun(wire, plan, Meters(ports=_ports)).run()
        finally:
            gc.enable()
            gc.unfreeze()


async def _open_connections(wire: HttpWire, shot: Shot, lanes: int) -> None:
    """Open as many connections as lanes by sending that many unmeasured requests at once."""
    await asyncio.gather(*(wire.send(shot) for _ in range(lanes)))


def _ports() -> set[int]:
    return {one.laddr.port for one in psutil.Process().net_connections("tcp") if one.laddr}


async def _floor(url: str, times: int) -> float | None:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    best: float | None = None
    for _ in range(times):
        begin = time.perf_counter()
        try:
            async with asyncio.timeout(_CONNECT_S):
                _, writer = await asyncio.open_connection(parts.hostname, port)
        except OSError:
            continue
        took = time.perf_counter() - begin
        writer.close()
        best = took if best is None else min(best, took)
    return best
