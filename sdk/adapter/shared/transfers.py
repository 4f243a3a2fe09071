"""Parallel transfers of files to and from a platform's storage, with progress and cancellation.

The adapter sends or fetches the bytes. It passes one task per file, and counts the bytes of each piece.
"""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PARALLEL = 8  # files transferred at the same time
_STEPS = 20  # number of progress reports per transfer


class Stopped(Exception):
    """The task was cancelled: another file failed, or the user gave up. This exception is never shown."""


class Meter:
    """A counter of transferred bytes that reports progress at intervals.

    Args:
        report: Called with the name of the transfer, the bytes so far and the total bytes.
        what: The name of the transfer.
        total: The total bytes; ``None`` if unknown.

    Example:
        >>> seen = []
        >>> meter = Meter(lambda *report: seen.append(report), "upload", 10)
        >>> meter.add(5), meter.add(5)
        (None, None)
        >>> seen
        [('upload', 5, 10), ('upload', 10, 10)]
    """

    def __init__(self, report: Callable[[str, int, int | None], None] | None, what: str, total: int | None) -> None:
        self._report, self._what, self._total = report, what, total
        self._done, self._reported = 0, -1
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End all tasks at their next piece."""
        self._stopped.set()

    def add(self, size: int) -> None:
        """Count the bytes of a piece; a negative size takes back a piece that is repeated.

        Raises:
            Stopped: The transfer was cancelled.
        """
        if self._stopped.is_set():
            raise Stopped
        with self._lock:
            self._done += size
            step = _STEPS * self._done // max(1, self._total or self._done)
            if self._report is not None and step > self._reported:
                self._reported = step
                self._report(self._what, self._done, self._total)


def run(tasks: Iterable[Callable[[], None]], meter: Meter, *, parallel: int = PARALLEL) -> None:
    """Run tasks in parallel; the first failure stops the others at their next piece and is raised.

    Tasks are taken one by one, so that a list of millions of files does not fill the memory.
    """
    running: set[Future[None]] = set()
    with ThreadPoolExecutor(parallel, thread_name_prefix="transfer") as pool:
        try:
            for task in tasks:
                running.add(pool.submit(task))
                if len(running) >= parallel:
                    running = _finished(running)
            while running:
                running = _finished(running)
        except BaseException:
            meter.stop()
            for one in running:
                one.cancel()
            raise


def _finished(running: set[Future[None]]) -> set[Future[None]]:
    """Wait until a task has ended, raise its failure if any, and return the tasks that still run."""
    done, rest = wait(running, return_when=FIRST_COMPLETED)
    failures = [error for one in done if (error := one.exception()) is not None]
    for error in failures:
        with contextlib.suppress(Stopped):
            raise error
    return rest
