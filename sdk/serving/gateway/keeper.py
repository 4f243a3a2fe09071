"""Keeps a gateway alive: a small parent that starts it again when it is killed or crashes.

A gateway that was stopped (SIGSTOP) and does not go on, or whose loop stands still, is killed and replaced as well. Its
heart beats into a pipe, see `Heart`.

The parent holds the lock and both listening sockets, so while the gateway starts again connections wait in the queue
instead of being refused, and nobody else can take its port. The replicas go on, see `Lifeline`. If the parent itself is
killed the gateway goes on.
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
_STEADY_S = 30.0  # one that lived this long was healthy: the next pause is short again
_LOOK_S = 0.1
_STOPPED_S = 2.0  # a stopped gateway may be about to go on
_SILENT_S = 4.0  # without a beat; see `Silence`
_DISK = 0.4  # a process that waits for a disk, as on a machine that swaps, is given more time
_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Heart:
    """A pipe from the gateway to its keeper; each byte is a sign that the gateway's loop runs."""

    def __init__(self) -> None:
        self._end, self._beat = os.pipe()
        os.set_blocking(self._end, False)
        os.set_blocking(self._beat, False)

    def beat(self) -> None:
        """Give a sign; a full pipe has enough of them, and a keeper that was killed needs none."""
        with suppress(OSError):
            os.write(self._beat, b".")

    def heard(self) -> bool:
        """Take all signs since the last time; whether there was one."""
        try:
            return bool(os.read(self._end, 65_536))
        except BlockingIOError:
            return False


class Silence:
    """For how long a process could have given a sign and did not, in seconds.

    A process that waits for a processor is not silent: on a machine under load that takes long, and to kill it there
    makes everything slower. So only the time counts that it used a processor or slept, and of the sleep only what the
    keeper, which is slowed down as well, saw.

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
        """Take one look without a sign: the state of the process and its processor time so far."""
        since, self._used = (0.0 if self._used is None else used - self._used), used
        waits = {"R": 0.0, "D": _DISK * _LOOK_S}.get(state, _LOOK_S)
        self._length = round(self._length + max(since, waits), 6)
        return self._length


def keep(serve: Serve, *, silent_s: float = _SILENT_S) -> None:
    """Run ``serve`` in a child until it ends in order; start it again whenever it ends otherwise.

    Args:
        serve: Gets how often it was started again, its heart, and the lifeline of its replicas; returns when the
            gateway was told to stop.
        silent_s: After such a silence, see `Silence`, it is killed.
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
    """The parent: passes signals on and remembers that it was told to stop."""

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
        """One life of the gateway; whether it ended in order."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED)  # a signal between fork and here would be lost
        if self.stopping:  # the signal came while there was no gateway
            return True
        self._child = os.fork()
        if not self._child:
            _serve(partial(serve, restarts, self._heart, self._lifeline))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
        status = self._watch(self._child)
        self._child = 0
        return os.waitstatus_to_exitcode(status) == 0

    def pause(self, seconds: float) -> None:
        """Wait before the gateway is started again, unless it shall end."""
        deadline = time.monotonic() + seconds
        while not self.stopping and (left := deadline - time.monotonic()) > 0:
            self._sleep(left)

    def _sleep(self, seconds: float) -> None:
        """Wait, but not beyond the next signal."""
        if select.select([self._ended], [], [], seconds)[0]:
            with suppress(BlockingIOError):
                os.read(self._ended, 4096)

    def _watch(self, child: int) -> int:
        """Wait for the end of the gateway, which is brought about when it stands still; its wait status."""
        stopped, silence = 0, Silence()  # looks: where this process was stopped as well, they are not counted
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
            self._sleep(_LOOK_S)  # less if a signal comes, perhaps of its end

    def _wait(self, child: int) -> tuple[int, int]:
        """Give one change of the gateway, or (0, 0); note the ends of replicas that an earlier gateway started."""
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
    """Do nothing: that the signal came is enough to end a wait."""


def _serve(serve: Callable[[], None]) -> None:
    """The child: leaves by ``_exit``, so that nothing of the parent's is cleaned up here."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (*_FORWARDED, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
        serve()
        code = 0
    except BaseException:  # noqa: BLE001  # whatever ends it: the parent must learn of it by the exit code
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)
