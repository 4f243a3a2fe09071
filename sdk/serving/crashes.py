"""Lets a model that ends its own process say so: a crash prints its Python lines, and ``os._exit`` raises."""

from __future__ import annotations

import faulthandler
import json
import os
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

ENDED = "replica_ended"
"""The event of the log line that says how the process of a replica ended; others than itself write it."""

_STDERR = 2


def ending(replica: str, how: str, at: float) -> str:
    """Return the log line for the end of a replica's process.

    Example:
        >>> ending("d1-0", "killed by SIGKILL", 5.0)
        '{"ts": 5.0, "level": "warning", "event": "replica_ended", "replica": "d1-0", "message": "killed by SIGKILL"}'
    """
    return json.dumps({"ts": round(at, 3), "level": "warning", "event": ENDED, "replica": replica, "message": how})


def report() -> None:
    """From now on a crash of the interpreter prints the lines that led to it, and `os._exit` is a failed call.

    For the whole life of a server: the model may call either at any time, in any thread.
    """
    faulthandler.enable(_STDERR, all_threads=False)
    refuse_exits()


def refuse_exits() -> Callable[[], None]:
    """Make ``os._exit`` raise ``SystemExit`` in this process; what is returned makes it as it was.

    It would end the process without a word, and with 0 as if all were well.
    """
    leave, process = os._exit, os.getpid()

    def refuse(status: int) -> NoReturn:
        if os.getpid() != process:  # a child that the code has forked may end
            leave(status)
        raise SystemExit(f"os._exit({status})")

    def restore() -> None:
        os._exit = leave

    os._exit = refuse
    return restore
