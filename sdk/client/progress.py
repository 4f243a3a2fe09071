"""Progress output of the module-level verbs on standard error: stages in a terminal, notes everywhere."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from typing import TYPE_CHECKING

from ..util.redact import escape_controls

if TYPE_CHECKING:
    from ..executor import Event

_LOGGER = logging.getLogger("sdk")


def to_stderr(event: Event) -> None:
    """Write an event to standard error: a stage only if it is a terminal, dimmed; a note always.

    With ``MLPORT_LOG=info``, log files and pipes get the stages as log lines. Then, and where an application shows
    mlport's log lines of that level, this function writes nothing, so that no line appears twice.
    """
    if _LOGGER.isEnabledFor(logging.INFO):
        return
    with contextlib.suppress(AttributeError, OSError, ValueError):  # stderr may be missing or closed
        if event.stage == "note":
            sys.stderr.write(f"mlport: {escape_controls(event.detail)}\n")
        elif sys.stderr.isatty():
            dim, plain = ("", "") if _is_plain() else ("\x1b[2m", "\x1b[0m")
            sys.stderr.write(f"{dim}{time.strftime('%H:%M:%S')}  {escape_controls(str(event))}{plain}\n")


def _is_plain() -> bool:
    """Return whether the terminal has no styles, or the user switched them off (https://no-color.org)."""
    return os.environ.get("TERM", "dumb") == "dumb" or bool(os.environ.get("NO_COLOR"))
