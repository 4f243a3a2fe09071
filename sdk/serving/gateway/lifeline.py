"""Lets replicas outlive a gateway that was killed or crashed, but not its keeper as well (Linux only).

Keeper and gateway hold the writing end of a pipe, and each replica its reading end. When both are gone, however they
ended, the kernel kills the replica's process group. Until then the next gateway takes the replica over: it answers at
once, though its model may need a minute to load.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_PATIENCE_S = 0.05  # the keeper needs a moment to take note of an end


class Lifeline:
    """What keeper, gateways and replicas share."""

    def __init__(self) -> None:
        self.keeper = os.getpid()
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
        """Pass on how a replica of an earlier gateway ended; the keeper alone can know it.

        Notes that no gateway asked for, such as those of what replicas start, make way for new ones.
        """
        for _ in range(2):
            try:
                os.write(self._noted, b"%d %d\n" % (pid, status))
            except BlockingIOError:
                self._read()
            else:
                return

    def forget(self, pid: int) -> None:
        """Drop what was noted for a number that another process has now."""
        self._keep_notes()
        self._statuses.pop(pid, None)

    def exit_code(self, pid: int, *, patience_s: float = _PATIENCE_S) -> int | None:
        """Give the exit code of a replica of an earlier gateway, negative for a signal; None if it was not noted."""
        deadline = time.monotonic() + patience_s
        self._keep_notes()
        while pid not in self._statuses and (left := deadline - time.monotonic()) > 0:
            select.select([self._exits], [], [], left)
            self._keep_notes()
        if pid not in self._statuses:
            return None
        return os.waitstatus_to_exitcode(self._statuses.pop(pid))

    def _keep_notes(self) -> None:
        for line in self._read().splitlines():
            one, status = map(int, line.split())
            self._statuses[one] = status

    def _read(self) -> bytes:
        try:
            return os.read(self._exits, 65_536)  # all of it
        except BlockingIOError:
            return b""
