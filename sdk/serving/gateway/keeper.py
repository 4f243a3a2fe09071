"""Keeps a gateway alive: a small parent process that restarts it when it is killed or crashes.

A gateway that was stopped (SIGSTOP) and does not continue, or whose event loop hangs, is killed and replaced as well.
The gateway sends heartbeats through a pipe, see `Heart`.

The parent holds the lock and both listening sockets. While the gateway restarts, connections therefore wait in the
queue instead of being refused, and no other process can take its port. The replicas continue to run, see `Lifeline`.
If the parent itself is killed, the gateway continues.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
import traceback
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from .child import activity
from .lifeline import Lifeline

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    Serve = Callable[[int, "Heart", Lifeline | None], None]

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 5.0
_STEADY_S = 30.0  # a gateway that lived this long was healthy: the next pause is short again
_LOOK_S = 0.1
_STOPPED_S = 2.0  # a stopped gateway may be about to continue
_SILENT_S = 4.0  # without a heartbeat; see `Silence`
_DISK = 0.4  # a process that waits for a disk, as on a machine that swaps, gets more time
_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Heart:
    """A pipe from the gateway to its keeper; each byte is a heartbeat of the gateway's event loop."""

    def __init__(self) -> None:
        self._end, self._beat = os.pipe()
        os.set_blocking(self._end, False)
        os.set_blocking(self._beat, False)

    def beat(self) -> None:
        """Send a heartbeat; ignore a full pipe, which holds enough of them, and a keeper that was killed."""
        with suppress(OSError):
            os.write(self._beat, b".")

    def heard(self) -> bool:
        """Read all heartbeats since the last call; return whether there was one."""
        try:
            return bool(os.read(self._end, 65_536))
        except BlockingIOError:
            return False


class Silence:
    """The time in seconds for which a process could have sent a heartbeat and did not.

    Waiting for a processor does not count: on a loaded machine that takes long, and killing the process would make
    everything slower. Only the time counts in which the process used a processor or slept, and of the sleep only what
    the keeper, which is slowed down as well, observed.

    Example:
        >>> silence = Silence()
        >>> silence.note("S", 1.0)
        0.1
        >>> silence.note("R", 1.0)  # it waits for a processor
        0.1
        >>> silence.note("R", 1.5)
        0.6
    """

    def __init__(self) -> None:
        self._length = 0.0
        self._used: float | None = None

    def note(self, state: str, used: float) -> float:
        """Record one look without a heartbeat, with the process's state and CPU time; return the silence so far."""
        since, self._used = (0.0 if self._used is None else used - self._used), used
        waits = {"R": 0.0, "D": _DISK * _LOOK_S}.get(state, _LOOK_S)
        self._length = round(self._length + max(since, waits), 6)
        return self._length


def keep(serve: Serve, *, silent_s: float = _SILENT_S) -> None:
    """Run ``serve`` in a child until it exits with 0; restart it whenever it ends otherwise.

    Args:
        serve: Takes the number of restarts, its heart, and the lifeline of its replicas; returns when the gateway was
            stopped.
        silent_s: The silence in seconds after which the child is killed, see `Silence`.
    """
    keeper = _Keeper(silent_s)
    pause, restarts = _FIRST_PAUSE_S, 0
    while True:
        begin = time.monotonic()
        if keeper.run(serve, restarts) or keeper.stopping:
            return
        if time.monotonic() - begin > _STEADY_S:
            pause = _FIRST_PAUSE_S
        keeper.pause(pause)
        pause, restarts = min(2 * pause, _LONGEST_PAUSE_S), restarts + 1


class _Keeper:
    """The parent process: forwards signals and records a request to stop."""

    def __init__(self, silent_s: float) -> None:
        self.stopping = False
        self._silent_s = silent_s
        self._child = 0
        self._heart = Heart()
        self._lifeline = Lifeline.create()
        for number in _FORWARDED:
            signal.signal(number, self._forward)
        self._ended, wake = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(self._ended, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _wake)

    def run(self, serve: Serve, restarts: int) -> bool:
        """Run the gateway once, from start to end; return whether it exited with 0."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED)  # a signal between fork and here would be lost
        if self.stopping:  # the signal came while no gateway was running
            return True
        self._child = os.fork()
        if not self._child:
            _serve(partial(serve, restarts, self._heart, self._lifeline))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
        status = self._watch(self._child)
        self._child = 0
        return os.waitstatus_to_exitcode(status) == 0

    def pause(self, seconds: float) -> None:
        """Wait before the gateway is restarted, unless it is to stop."""
        deadline = time.monotonic() + seconds
        while not self.stopping and (left := deadline - time.monotonic()) > 0:
            self._sleep(left)

    def _sleep(self, seconds: float) -> None:
        """Wait until the time is over or a signal arrives."""
        if select.select([self._ended], [], [], seconds)[0]:
            with suppress(BlockingIOError):
                os.read(self._ended, 4096)

    def _watch(self, child: int) -> int:
        """Wait for the end of the gateway and return its wait status; kill a gateway that hangs."""
        stopped, silence = 0, Silence()  # counted in looks: time in which the keeper was stopped, too, does not count
        while True:
            pid, status = self._wait(child)
            if pid and not (os.WIFSTOPPED(status) or os.WIFCONTINUED(status)):
                return status
            if pid:
                stopped = int(os.WIFSTOPPED(status))
            stopped += bool(stopped)
            silence = Silence() if self._heart.heard() or self.stopping else silence
            if stopped * _LOOK_S > _STOPPED_S or silence.note(*activity(child)) > self._silent_s:
                sys.stderr.write(f"mlport gateway: process {child} stands still; it is replaced\n")
                sys.stderr.flush()
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
                stopped, silence = 0, Silence()
            self._sleep(_LOOK_S)  # shorter if a signal arrives, perhaps for its end

    def _wait(self, child: int) -> tuple[int, int]:
        """Return one status change of the gateway, or (0, 0); record ends of replicas of an earlier gateway."""
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
            if pid in {0, child}:
                return pid, status
            if self._lifeline is not None and not (os.WIFSTOPPED(status) or os.WIFCONTINUED(status)):
                self._lifeline.note(pid, status)

    def _forward(self, number: int, _frame: FrameType | None) -> None:
        self.stopping = True
        if self._child:
            with suppress(ProcessLookupError):
                os.kill(self._child, number)


def _wake(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: the arrival of the signal already ends a wait."""


def _serve(serve: Callable[[], None]) -> None:
    """Run the gateway in the child and leave by ``_exit``, so that no clean-up code of the parent runs here."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (*_FORWARDED, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
        serve()
        code = 0
    except BaseException:  # noqa: BLE001  # the exit code must report any failure to the parent
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)
