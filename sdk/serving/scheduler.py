"""Runs the model: worker threads, a bounded queue, deadlines, and the notice that a call hangs.

The event loop only queues and answers, so health checks never wait for a model. One worker is the rule: most models
hold the processor anyway, and models that are not thread-safe stay correct. This is the place where batching will
come: a worker would then take several waiting jobs at once in `_take`.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from .codecs import Input
from .failures import RequestError
from .outputs import Outputs

if TYPE_CHECKING:
    import asyncio

    from .settings import Limits

Predict = Callable[[Input], Outputs]


class _Job:
    __slots__ = ("deadline", "future", "given", "gone")

    def __init__(
        self, given: Input, deadline: float, gone: Callable[[], bool], future: asyncio.Future[Outputs]
    ) -> None:
        self.given = given
        self.deadline = deadline
        self.gone = gone
        self.future = future


class Scheduler:
    """Executes predictions on worker threads.

    Args:
        limits: queue length, concurrency, and when a call counts as stuck.
        loop: the event loop that `predict` is awaited on.
        clock: monotonic seconds; injected in tests.
    """

    def __init__(
        self, limits: Limits, loop: asyncio.AbstractEventLoop, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits = limits
        self._loop = loop
        self._clock = clock
        self._predict: Predict | None = None
        self._waiting: deque[_Job] = deque()
        self._has_work = threading.Condition()
        self._running: dict[int, tuple[float, _Job]] = {}
        self._seconds = 0.0  # smoothed duration of a call

    def start(self, load: Callable[[], Predict], done: Callable[[BaseException | None], None]) -> None:
        """Load the model on the first worker, then let all workers take jobs; `done` is called on the loop."""

        def first() -> None:
            try:
                self._predict = load()
            except BaseException as error:  # noqa: BLE001 - handed to the loop, which ends the process
                self._loop.call_soon_threadsafe(done, error)
                return
            self._loop.call_soon_threadsafe(done, None)
            for number in range(1, self._limits.concurrency):
                self._spawn(number, partial(self._work, number))
            self._work(0)

        self._spawn(0, first)

    @staticmethod
    def _spawn(number: int, run: Callable[[], None]) -> None:
        # Daemon threads: a hung model must not keep the process from exiting.
        threading.Thread(target=run, name=f"mlport-model-{number}", daemon=True).start()

    @property
    def queued(self) -> int:
        """Requests that wait for a worker."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Requests a worker is busy with."""
        return len(self._running)

    def stuck_for(self) -> float:
        """Seconds for which every worker has been busy with one and the same call beyond the limit, else 0."""
        if len(self._running) < self._limits.concurrency:
            return 0.0
        busy = self._clock() - max((began for began, _ in self._running.values()), default=self._clock())
        return busy if busy > self._limits.stuck_s else 0.0

    async def predict(self, given: Input, deadline: float, gone: Callable[[], bool]) -> Outputs:
        """Queue one input and return the model's outputs.

        Args:
            given: the checked input.
            deadline: clock time after which nobody waits for the answer.
            gone: says whether the client has left; asked right before the model is called.

        Raises:
            RequestError: 503 when the queue is full or too long for the deadline, 504 when the deadline passed.
        """
        self._admit(deadline)
        future: asyncio.Future[Outputs] = self._loop.create_future()
        job = _Job(given, deadline, gone, future)
        timer = self._loop.call_later(deadline - self._clock(), self._expire, job)
        with self._has_work:
            self._waiting.append(job)
            self._has_work.notify()
        try:
            return await future
        finally:
            timer.cancel()

    def reject_all(self) -> int:
        """Answer 503 to everything that waits or runs; returns how many that were."""
        with self._has_work:
            jobs, self._waiting = list(self._waiting), deque()
        jobs = [job for job in (*(job for _, job in self._running.values()), *jobs) if not job.future.done()]
        for job in jobs:
            self._settle(job, None, _overloaded("the server is stopping", 1))
        return len(jobs)

    def _admit(self, deadline: float) -> None:
        queued = len(self._waiting)
        wait = queued * self._seconds / self._limits.concurrency
        if queued > self._limits.max_queue or (queued == self._limits.max_queue and self._full()):
            raise _overloaded(f"{queued} requests are waiting already", wait)
        if queued and self._clock() + wait > deadline:
            raise _overloaded(f"{queued} requests are waiting, too many for this deadline", wait)

    def _full(self) -> bool:
        return len(self._running) >= self._limits.concurrency

    def _expire(self, job: _Job) -> None:
        if not job.future.done():
            message = "no answer within the deadline (header x-mlport-deadline-ms, or MLPORT_DEADLINE_S)"
            job.future.set_exception(RequestError(504, "deadline_exceeded", message))

    def _work(self, number: int) -> None:
        while True:
            job = self._take()
            began = self._clock()
            self._running[number] = (began, job)
            outputs: Outputs | None = None
            error: BaseException | None = None
            try:
                outputs = self._call(job.given)
            except BaseException as raised:  # noqa: BLE001 - SystemExit of a model must not end its worker
                error = raised
            finally:
                self._running.pop(number, None)
            self._seconds += 0.1 * (self._clock() - began - self._seconds)
            self._loop.call_soon_threadsafe(self._settle, job, outputs, error)

    def _call(self, given: Input) -> Outputs:
        if self._predict is None:
            raise RequestError(503, "loading", "the model is still loading")
        return self._predict(given)

    def _take(self) -> _Job:
        with self._has_work:
            while True:
                while not self._waiting:
                    self._has_work.wait()
                job = self._waiting.popleft()
                if job.future.done() or self._clock() > job.deadline or job.gone():
                    self._loop.call_soon_threadsafe(self._abandon, job)
                    continue
                return job

    def _abandon(self, job: _Job) -> None:
        if not job.future.done():
            self._expire(job)

    @staticmethod
    def _settle(job: _Job, outputs: Outputs | None, error: BaseException | None) -> None:
        if job.future.done():
            return
        if isinstance(error, RequestError):
            job.future.set_exception(error)
        elif error is not None:
            job.future.set_exception(ModelRaised(error))
        elif outputs is not None:
            job.future.set_result(outputs)


class ModelRaised(Exception):
    """What the model's own code raised; kept apart so that a StopIteration or SystemExit can travel."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        self.error = error


def _overloaded(message: str, wait: float) -> RequestError:
    seconds = str(min(60, max(1, math.ceil(wait)))).encode()
    return RequestError(503, "overloaded", message, headers=((b"retry-after", seconds),))
