"""Runs the model: worker threads, a bounded queue, deadlines, and the detection of calls that hang.

The event loop only queues and answers, so health checks never wait for a model. The default is one worker: most models
use the whole processor anyway, and models that are not thread-safe stay correct. A worker takes all waiting requests
that can share a call, see `batches`.

Calls of a library's model that take less than a millisecond run on the event loop, which saves two thread switches per
call; once they take longer, they run on the worker again. A model that yields its answer keeps its worker until the
last item, see `streams`.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

from . import tracing
from .awaited import iterated
from .codecs import Input
from .failures import RequestError
from .jsontext import encode_json
from .metrics import ROWS, Histogram
from .outputs import Outputs
from .streams import ItemStream, late
from .tracing import TracedRequest

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Iterator, Sequence

    from .batches import Batches, DurationModel
    from .settings import ServerLimits

Predict = Callable[[Input], Outputs]
_SHORT_S = 0.001
_UNTRACED = TracedRequest("")


class _Job:
    __slots__ = ("deadline", "future", "given", "gone", "traced")

    def __init__(
        self,
        given: Input,
        deadline: float,
        gone: Callable[[], bool],
        future: asyncio.Future[Outputs],
        traced: TracedRequest,
    ) -> None:
        self.traced = traced
        self.given = given
        self.deadline = deadline
        self.gone = gone
        self.future = future


Settled = tuple[_Job, "Outputs | None", "BaseException | None"]


class Scheduler:
    """The scheduler of predictions, which run on worker threads, and short ones on the event loop.

    Args:
        limits: queue length, concurrency, and when a call counts as stuck.
        loop: the event loop that `predict` is awaited on.
        batches: decides which requests may share a call; None disables joining.
        on_loop: whether calls that take less than a millisecond may run on the event loop.
        clock: monotonic seconds; injected in tests.
    """

    def __init__(
        self,
        limits: ServerLimits,
        loop: asyncio.AbstractEventLoop,
        batches: Batches | None = None,
        *,
        on_loop: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits
        self._loop = loop
        self._batches = batches
        self._on_loop = on_loop and batches is not None and limits.concurrency == 1
        self._clock = clock
        self._predict: Predict | None = None
        self._waiting: deque[_Job] = deque()
        self._has_work = threading.Condition()
        self._running: dict[int, tuple[float, list[_Job]]] = {}
        self._seconds = 0.0  # smoothed duration of a call, divided by its requests
        self._turn_is_set = False
        self._short_rows = 0  # maximum number of rows of a call on the loop
        self._streams: set[ItemStream] = set()
        self.joined = Histogram(ROWS)
        """The number of requests per joined call."""

    def start(self, load: Callable[[], Predict], done: Callable[[BaseException | None], None]) -> None:
        """Load the model on the first worker, then start all workers; `done` is called on the loop with any error."""

        def first() -> None:
            try:
                self._predict = load()
            except BaseException as error:  # noqa: BLE001 - passed to the loop, which ends the process
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
        """The number of requests that wait for a worker."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """The number of requests that are being processed."""
        return sum(len(jobs) for _, jobs in list(self._running.values()))

    def stuck_for(self) -> float:
        """Return for how many seconds all workers have been busy with the same calls, if beyond the limit, else 0."""
        if len(self._running) < self._limits.concurrency:
            return 0.0
        busy = self._clock() - max((began for began, _ in list(self._running.values())), default=self._clock())
        return busy if busy > self._limits.stuck_s else 0.0

    async def predict(
        self, given: Input, deadline: float, gone: Callable[[], bool], traced: TracedRequest | None = None
    ) -> Outputs:
        """Queue one input and return the model's outputs.

        Args:
            given: the checked input.
            deadline: clock time after which the answer is no longer wanted.
            gone: returns whether the client has disconnected; called right before the model is.
            traced: the identity of the request in logs and traces.

        Raises:
            RequestError: 503 if the queue is full or too long for the deadline, 504 if the deadline has passed.
        """
        self._admit(deadline)
        future: asyncio.Future[Outputs] = self._loop.create_future()
        job = _Job(given, deadline, gone, future, traced or _UNTRACED)
        timer = self._loop.call_later(deadline - self._clock(), self._expire, job)
        with self._has_work:
            self._waiting.append(job)
            self._wake()
        try:
            return await future
        finally:
            timer.cancel()

    def reject_all(self) -> int:
        """Answer 503 to all requests that wait or run, and end all streams; return their number."""
        with self._has_work:
            jobs, self._waiting = list(self._waiting), deque()
        running = [job for _, some in list(self._running.values()) for job in some]
        jobs = [job for job in (*running, *jobs) if not job.future.done()]
        self._settle([(job, None, _overloaded("the server is stopping", 1)) for job in jobs])
        streams = list(self._streams)
        for stream in streams:
            stream.cancel(_overloaded("the server is stopping", 1))
        return len(jobs) + len(streams)

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
            job.future.set_exception(late())

    # Choice of the next caller: a worker or the event loop

    def _wake(self) -> None:
        """Have the loop or a worker take the oldest job; the caller holds the lock."""
        if self._turn_is_set or self._full():
            return  # a busy worker checks the queue after its call
        if self._is_short(self._waiting[0].given.rows):
            self._turn_is_set = True
            self._loop.call_soon(self._turn)
        else:
            self._has_work.notify()

    def _is_short(self, rows: int) -> bool:
        return rows <= self._short_rows

    def _turn(self) -> None:
        """Make one call on the loop with the jobs that wait now, if it is still a short one."""
        with self._has_work:
            jobs = self._next(self._is_short)
            if jobs:
                self._running[0] = (self._clock(), jobs)
        if jobs:
            self._settle(self._answers(jobs, 0))
        with self._has_work:
            self._running.pop(0, None)
            self._turn_is_set = False
            if self._waiting:
                self._wake()

    def _work(self, number: int) -> None:
        while True:
            with self._has_work:
                while self._turn_is_set or not (jobs := self._next(_any_size)):
                    self._has_work.wait()
                self._running[number] = (self._clock(), jobs)
            try:
                settled = self._answers(jobs, number)
            finally:
                self._running.pop(number, None)
            self._loop.call_soon_threadsafe(self._settle, settled)

    def _next(self, fits: Callable[[int], bool]) -> list[_Job]:
        """Take the oldest job and those that may share its call; return an empty list if it does not fit."""
        while self._waiting:
            first = self._waiting[0]
            if self._is_over(first):
                self._waiting.popleft()
                continue
            if not fits(first.given.rows):
                return []
            self._waiting.popleft()
            return [first, *self._company(first, fits)]
        return []

    def _company(self, first: _Job, fits: Callable[[int], bool]) -> list[_Job]:
        """Take the other jobs that may share a call with this one, oldest first; keep the order of the rest."""
        batches = self._batches
        if batches is None or not batches.joins or not self._waiting or (key := batches.key(first.given)) is None:
            return []
        rows, most = first.given.rows, batches.cost.most()
        found: list[_Job] = []
        left: deque[_Job] = deque()
        while self._waiting and rows < most:
            job = self._waiting.popleft()
            together = rows + job.given.rows
            if together > most or not fits(together) or batches.key(job.given) != key:
                left.append(job)
            elif not self._is_over(job):
                found.append(job)
                rows = together
        left.extend(self._waiting)
        self._waiting = left
        return found

    def _is_over(self, job: _Job) -> bool:
        """Check whether the answer of a job is no longer wanted; if so, have the loop expire the job."""
        if job.future.done() or self._clock() > job.deadline or job.gone():
            self._loop.call_soon_threadsafe(self._expire, job)
            return True
        return False

    # Calls

    def _answers(self, jobs: list[_Job], number: int) -> list[Settled]:
        """Call the model once for all jobs, or once per job if that fails or its outputs cannot be split."""
        began = self._clock()
        found = self._together(jobs) if len(jobs) > 1 else None
        if found is None:
            found = [self._alone(job, number) for job in jobs]
        took = self._clock() - began
        self._seconds += 0.1 * (took / len(jobs) - self._seconds)
        return found

    def _alone(self, job: _Job, number: int) -> Settled:
        entered = tracing.enter((job.traced,))
        try:
            outputs = self._call(job.given)
            return job, outputs if outputs.items is None else self._streamed(job, outputs.items, number), None
        except BaseException as raised:  # noqa: BLE001 - a model's SystemExit must not end its worker
            return job, None, raised
        finally:
            tracing.leave(entered)

    def _streamed(self, job: _Job, answer: Iterator[Any] | AsyncIterator[Any], number: int) -> Outputs:
        """Pass on the items of an answer until the last one, or until no more are wanted.

        The request gets its stream with the first item, so a failure before that is an ordinary error.
        """
        stream = ItemStream(self._loop)
        outputs = Outputs(items=stream)
        error: BaseException | None = None
        begun = False

        def wanted() -> bool:
            self._running[number] = (self._clock(), [job])  # the model is not stuck
            return not job.gone()

        self._streams.add(stream)
        try:
            with closing(iterated(answer)) as items:
                for item in items:
                    more = stream.put(encode_json(item), wanted) and wanted()
                    if not begun:
                        begun = True
                        self._loop.call_soon_threadsafe(self._settle, [(job, outputs, None)])
                    if not more:
                        stream.left = job.gone()
                        break
        except BaseException as raised:
            if not begun:
                raise
            error = raised if isinstance(raised, RequestError) else ModelRaised(raised)
        finally:
            self._streams.discard(stream)
            stream.end(error)
        return outputs

    def _together(self, jobs: list[_Job]) -> list[Settled] | None:
        """Return the results of one joined call; None if it failed or its outputs cannot be split.

        The jobs are then called one by one, so that only the faulty request fails.
        """
        batches = self._batches
        if batches is None:
            return None
        entered = tracing.enter(tuple([job.traced for job in jobs]))
        try:
            outputs = self._call(batches.join([job.given for job in jobs]))
        except BaseException:  # noqa: BLE001 - the separate calls raise it again
            return None
        finally:
            tracing.leave(entered)
        each = batches.cut(outputs, [job.given.rows for job in jobs])
        if each is None:
            batches.joins = False
            return None
        self.joined.observe(len(jobs))
        return [(job, one, None) for job, one in zip(jobs, each, strict=True)]

    def _call(self, given: Input) -> Outputs:
        if self._predict is None:
            raise RequestError(503, "loading", "the model is still loading")
        began = self._clock()
        outputs = self._predict(given)
        if self._batches is not None:
            self._note(self._batches.cost, given.rows, self._clock() - began)
        return outputs

    def _note(self, cost: DurationModel, rows: int, seconds: float) -> None:
        with self._has_work:
            cost.note(rows, seconds)
            if self._on_loop:
                self._short_rows = cost.most_within(_SHORT_S)

    @staticmethod
    def _settle(settled: Sequence[Settled]) -> None:
        for job, outputs, error in settled:
            if job.future.done():
                if outputs is not None and outputs.items is not None and not _has_result(job.future):
                    outputs.items.cancel()
                continue
            if isinstance(error, RequestError):
                job.future.set_exception(error)
            elif error is not None:
                job.future.set_exception(ModelRaised(error))
            elif outputs is not None:
                job.future.set_result(outputs)


def _has_result(future: asyncio.Future[Outputs]) -> bool:
    return not future.cancelled() and future.exception() is None


def _any_size(_rows: int) -> bool:
    return True


class ModelRaised(Exception):
    """An exception of the model's own code, wrapped so that a StopIteration or SystemExit can be passed on."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        self.error = error


def _overloaded(message: str, wait: float) -> RequestError:
    seconds = str(min(60, max(1, math.ceil(wait)))).encode()
    return RequestError(503, "overloaded", message, headers=((b"retry-after", seconds),))
