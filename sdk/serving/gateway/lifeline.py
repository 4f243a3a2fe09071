"""Lets replicas outlive a gateway that was killed or crashed, as long as its keeper lives (Linux only).

Keeper and gateway hold the writing end of a pipe, and each replica its reading end. When both are gone, for any
reason, the kernel kills the replica's process group. Until then the next gateway can take the replica over. The
replica then answers at once, although its model might need a minute to load.
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
_PATIENCE_S = 0.05  # the keeper needs a moment to record an end


class Lifeline:
    """The pipes that keeper, gateways and replicas share."""

    def __init__(self) -> None:
        self.keeper = os.getpid()
        self.end, self._held = os.pipe()
        self._exits, self._noted = os.pipe()
        os.set_blocking(self._exits, False)
        os.set_blocking(self._noted, False)
        self._statuses: dict[int, int] = {}

    @classmethod
    def create(cls) -> Lifeline | None:
        """Make this process, the keeper, the parent of orphaned replicas; return None if the system cannot."""
        if sys.platform != "linux" or not Path("/proc/self/fd").exists():
            return None
        if ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1):
            return None
        return cls()

    def tie(self) -> None:
        """Tie the current process group to the lifeline; called in a new process before its program runs.

        The program must inherit the descriptor `end`.

        Raises:
            OSError: The system does not support it.

        """
        if sys.platform == "linux":
            import fcntl  # the names below exist only on Linux

            own = os.open(f"/proc/self/fd/{self.end}", os.O_RDONLY | os.O_NONBLOCK)  # the signal's owner is per opening
            os.dup2(own, self.end)
            os.close(own)
            fcntl.fcntl(self.end, fcntl.F_SETSIG, signal.SIGKILL)
            fcntl.fcntl(self.end, fcntl.F_SETOWN, -os.getpgrp())
            fcntl.fcntl(self.end, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)

    def note(self, pid: int, status: int) -> None:
        """Pass on the wait status of a replica of an earlier gateway, which only the keeper can get.

        If the pipe is full of statuses that no gateway reads, such as those of children of replicas, they are dropped.
        """
        for _ in range(2):
            try:
                os.write(self._noted, b"%d %d\n" % (pid, status))
            except BlockingIOError:
                self._read()
            else:
                return

    def forget(self, pid: int) -> None:
        """Drop the recorded status of a pid that another process has now."""
        self._keep_notes()
        self._statuses.pop(pid, None)

    def exit_code(self, pid: int, *, patience_s: float = _PATIENCE_S) -> int | None:
        """Return the exit code of a replica of an earlier gateway, negative for a signal; None if not recorded."""
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
            return os.read(self._exits, 65_536)  # the whole content
        except BlockingIOError:
            return b""
