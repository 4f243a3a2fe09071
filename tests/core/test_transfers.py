"""Files on their way: several at a time, few in memory, and an end to all of them after a failure."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING

import pytest

from sdk.adapter.shared import transfers
from sdk.adapter.shared.transfers import Meter, Stopped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def silent() -> Meter:
    return Meter(None, "files", None)


def test_several_run_at_a_time() -> None:
    """As many as are allowed: each waits for all others."""
    meeting = threading.Barrier(4, timeout=30)

    def task() -> None:
        meeting.wait()

    transfers.run([task] * 8, silent(), parallel=4)
    assert 0 == meeting.n_waiting


def test_tasks_are_taken_as_they_are_needed() -> None:
    """A list without end does not fill the memory."""
    taken: list[int] = []
    lock = threading.Lock()
    done: list[int] = []

    def task(number: int) -> None:
        with lock:
            assert len(taken) - len(done) <= 3
            done.append(number)

    def tasks() -> Iterator[Callable[[], None]]:
        for number in range(100):
            taken.append(number)
            yield functools.partial(task, number)

    transfers.run(tasks(), silent(), parallel=2)
    assert list(range(100)) == sorted(done)


def test_the_first_failure_ends_the_others_at_their_next_piece() -> None:
    """And is the one that is raised; no further task begins."""
    meter, began, ended = silent(), threading.Event(), threading.Event()

    def endless() -> None:
        began.set()
        try:
            while True:
                meter.add(1)
        except Stopped:
            ended.set()
            raise

    def broken() -> None:
        assert began.wait(30)
        raise OSError("the disk is full")

    later: list[Callable[[], None]] = [lambda: pytest.fail("it began")]
    with pytest.raises(OSError, match="the disk is full"):
        transfers.run([endless, broken, *later], meter, parallel=2)
    assert ended.is_set()


def test_a_failure_of_the_list_ends_everything() -> None:
    def tasks() -> Iterator[Callable[[], None]]:
        yield lambda: None
        raise OSError("the list ends here")

    with pytest.raises(OSError, match="the list ends"):
        transfers.run(tasks(), silent())


def test_progress_is_reported_in_steps() -> None:
    """Not for each piece; the last report is the whole."""
    seen: list[tuple[str, int, int | None]] = []
    meter = Meter(lambda *report: seen.append(report), "files", 1000)
    for _ in range(1000):
        meter.add(1)
    assert len(seen) <= 21
    assert ("files", 1000, 1000) == seen[-1]
