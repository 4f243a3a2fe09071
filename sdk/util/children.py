"""Programs that this process starts for itself, and that end when it ends, even if it is killed.

A killed process can end nothing, so the kernel does it: the program's process group has the reading end of a pipe, and
gets SIGKILL when the writing end is closed, which only this process has. Without that, the program would continue to
write into a folder that the next verb removes, or that another process uses by then. On systems other than Linux, the
program of a killed process runs to its end.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence


@contextmanager
def started(command: Sequence[str], **options: Any) -> Generator[subprocess.Popen[Any]]:
    """Start a program in a process group of its own; at the end, kill what is left of the group.

    Args:
        command: The program and its arguments, which no shell reads.
        options: As for :class:`subprocess.Popen`.

    Example:
        >>> with started(["echo", "done"], stdout=subprocess.PIPE) as process:
        ...     process.communicate()[0].split()
        [b'done']
    """
    group: dict[str, Any] = {} if options.get("start_new_session") else {"process_group": 0}
    theirs, ours = os.pipe()
    try:
        process = subprocess.Popen(command, pass_fds=[theirs], **group, **options)  # noqa: S603  the caller's program
        _tie(process.pid, theirs)
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    with process:
        try:
            yield process
        finally:
            os.close(ours)  # kills the group, also if its first process has ended
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


def _tie(group: int, end: int) -> None:
    """Let the kernel kill a process group when the pipe with this reading end has no writer left."""
    if sys.platform == "linux":
        fcntl.fcntl(end, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(end, fcntl.F_SETOWN, -group)
        fcntl.fcntl(end, fcntl.F_SETFL, os.O_ASYNC)
