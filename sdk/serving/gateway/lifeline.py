"""Lets replicas outlive a gateway that was killed or crashed, but not its keeper as well (Linux only).

Keeper and gateway hold the writing end of a pipe, and each replica its reading end. When both are gone, however they
ended, the kernel kills the replica's process group. Until then the next gateway takes the replica over: it answers at
once, though its model may need a minute to load.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_PATIENCE_S = 0.05  # the keeper needs a moment to take note of an end


class Lifeline:
    """What keeper, gateways and replicas share."""

    def __init__(self) -> None:
        self.end, self._held = os.pipe()
        self._exits, self._noted = os.pipe()
        os.set_blocking(self._exits, False)
        os.set_blocking(self._noted, False)
        self._statuses: dict[int, int] = {}

    @classmethod
    def create(cls) -> Lifeline | None:
        """Make the keeper the parent of what a killed gateway leaves; None where the system cannot."""
        if sys.platform != "linux" or not Path("/proc/self/fd").exists():
            return None
        if ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1):
            return None
        return cls()

    def tie(self) -> None:
        """Tie the present process group to it; called in a new process, before its program runs.

        The program must inherit the descriptor `end`.

        Raises:
            OSError: The system cannot.

        """
        if sys.platform == "linux":
            import fcntl  # it lacks these names elsewhere

            own = os.open(f"/proc/self/fd/{self.end}", os.O_RDONLY | os.O_NONBLOCK)  # the owner belongs to one opening
            os.dup2(own, self.end)
            os.close(own)
            fcntl.fcntl(self.end, fcntl.F_SETSIG, signal.SIGKILL)
            fcntl.fcntl(self.end, fcntl.F_SETOWN, -os.getpgrp())
            fcntl.fcntl(self.end, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)

    def note(self, pid: int, status: int) -> None:
        """Pass on how a replica of an earlier gateway ended; the keeper alone can know it."""
        with contextlib.suppress(OSError):
            os.write(self._noted, b"%d %d\n" % (pid, status))

    def exit_code(self, pid: int) -> int | None:
        """Give the exit code of a replica of an earlier gateway, negative for a signal; None if it was not noted."""
        if pid not in self._statuses:
            select.select([self._exits], [], [], _PATIENCE_S)
            with contextlib.suppress(BlockingIOError):
                for line in os.read(self._exits, 65_536).splitlines():
                    one, status = map(int, line.split())
                    self._statuses[one] = status
        if pid not in self._statuses:
            return None
        return os.waitstatus_to_exitcode(self._statuses.pop(pid))
