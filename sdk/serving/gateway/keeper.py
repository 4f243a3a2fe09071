"""Keeps a gateway alive: a small parent that starts it again when it is killed or crashes.

The parent holds the lock and both listening sockets, so while the gateway starts again connections wait in the queue
instead of being refused, and nobody else can take its port. If the parent itself is killed the gateway goes on.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 5.0
_STEADY_S = 30.0  # one that lived this long was healthy: the next pause is short again
_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def keep(serve: Callable[[int], None]) -> None:
    """Run ``serve`` in a child until it ends in order; start it again whenever it ends otherwise.

    Args:
        serve: Told how often it was started again; returns when the gateway was told to stop.
    """
    keeper = _Keeper()
    pause, restarts = _FIRST_PAUSE_S, 0
    while True:
        begin = time.monotonic()
        if keeper.run(serve, restarts) or keeper.stopping:
            return
        if time.monotonic() - begin > _STEADY_S:
            pause = _FIRST_PAUSE_S
        time.sleep(pause)
        pause, restarts = min(2 * pause, _LONGEST_PAUSE_S), restarts + 1


class _Keeper:
    """The parent: passes signals on and remembers that it was told to stop."""

    def __init__(self) -> None:
        self.stopping = False
        self._child = 0
        for number in _FORWARDED:
            signal.signal(number, self._forward)

    def run(self, serve: Callable[[int], None], restarts: int) -> bool:
        """One life of the gateway; whether it ended in order."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED)  # a signal between fork and here would be lost
        self._child = os.fork()
        if not self._child:
            _serve(serve, restarts)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
        _, status = os.waitpid(self._child, 0)
        self._child = 0
        return os.waitstatus_to_exitcode(status) == 0

    def _forward(self, number: int, _frame: FrameType | None) -> None:
        self.stopping = True
        if self._child:
            with suppress(ProcessLookupError):
                os.kill(self._child, number)


def _serve(serve: Callable[[int], None], restarts: int) -> None:
    """The child: leaves by ``_exit``, so that nothing of the parent's is cleaned up here."""
    code = 1
    try:
        for number in _FORWARDED:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
        serve(restarts)
        code = 0
    except BaseException:  # noqa: BLE001  # whatever ends it: the parent must learn of it by the exit code
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)
