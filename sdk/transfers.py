"""Files on their way to and from a platform's storage: several at a time, with progress, and with an end.

What is sent or fetched is the adapter's matter. It passes one task for each file, and counts the bytes of each piece.
"""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PARALLEL = 8  # files at a time
_STEPS = 20  # reports of progress from begin to end


class Stopped(Exception):
    """A task is no longer wanted: another file has failed, or the user has given up; it is never shown."""


class Meter:
    """Adds up what has been transferred and reports it now and then.

    Args:
        tell: Called with what is transferred, the bytes so far and the bytes in all.
        what: What is transferred.
        total: Bytes in all; ``None`` if they are not known.

    Example:
        >>> seen = []
        >>> meter = Meter(lambda *report: seen.append(report), "upload", 10)
        >>> meter.add(5), meter.add(5)
        (None, None)
        >>> seen
        [('upload', 5, 10), ('upload', 10, 10)]
    """

    def __init__(self, tell: Callable[[str, int, int | None], None] | None, what: str, total: int | None) -> None:
        self._tell, self._what, self._total = tell, what, total
        self._done, self._reported = 0, -1
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End all tasks at their next piece."""
        self._stopped.set()

    def add(self, size: int) -> None:
        """Count the bytes of a piece; a repeated one takes back what it had counted.

        Raises:
            Stopped: The transfer is to end.
        """
        if self._stopped.is_set():
            raise Stopped
        with self._lock:
            self._done += size
            step = _STEPS * self._done // max(1, self._total or self._done)
            if self._tell is not None and step > self._reported:
                self._reported = step
                self._tell(self._what, self._done, self._total)


def run(tasks: Iterable[Callable[[], None]], meter: Meter, *, parallel: int = PARALLEL) -> None:
    """Run tasks, several at a time; the first failure ends the others at their next piece, and is raised.

    Tasks are taken one by one, so that a list of millions of files needs no memory.
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
    """What still runs after one more has ended."""
    done, rest = wait(running, return_when=FIRST_COMPLETED)
    failures = [error for one in done if (error := one.exception()) is not None]
    for error in failures:
        with contextlib.suppress(Stopped):
            raise error
    return rest
