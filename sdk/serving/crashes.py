"""Makes the end of a process caused by its model visible: a crash prints its traceback, and ``os._exit`` raises."""

from __future__ import annotations

import faulthandler
import json
import os
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

ENDED = "replica_ended"
"""The event of the log line on how the process of a replica ended; another process writes it."""

_STDERR = 2


def ending(replica: str, how: str, at: float) -> str:
    """Return the log line for the end of a replica's process.

    Example:
        >>> ending("d1-0", "killed by SIGKILL", 5.0)
        '{"ts": 5.0, "level": "warning", "event": "replica_ended", "replica": "d1-0", "message": "killed by SIGKILL"}'
    """
    return json.dumps({"ts": round(at, 3), "level": "warning", "event": ENDED, "replica": replica, "message": how})


def report() -> None:
    """Print a traceback when the interpreter crashes, and make `os._exit` a failed call.

    This lasts for the whole life of a server: the model may cause either at any time, in any thread.
    """
    faulthandler.enable(_STDERR, all_threads=False)
    refuse_exits()


def refuse_exits() -> Callable[[], None]:
    """Make ``os._exit`` raise ``SystemExit`` in this process; return a function that restores it.

    The original would end the process without a message, possibly with exit code 0 as if it had succeeded.
    """
    leave, process = os._exit, os.getpid()

    def refuse(status: int) -> NoReturn:
        if os.getpid() != process:  # a child forked by the code may exit
            leave(status)
        raise SystemExit(f"os._exit({status})")

    def restore() -> None:
        os._exit = leave

    os._exit = refuse
    return restore
