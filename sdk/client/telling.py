"""What the module-level verbs say to whoever runs a script: the stages in a terminal, notes everywhere."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from typing import TYPE_CHECKING

from ..redact import escape_controls

if TYPE_CHECKING:
    from ..executor import Event

_LOGGER = logging.getLogger("sdk")


def to_stderr(event: Event) -> None:
    """Writes one line on standard error: a stage if somebody watches there, a note in any case.

    Log files and pipes get the stages by ``MLPORT_LOG=info``; then, and where an application shows our log lines of
    that level itself, nothing is written twice.
    """
    if _LOGGER.isEnabledFor(logging.INFO):
        return
    with contextlib.suppress(AttributeError, OSError, ValueError):  # none or a closed one is no reason to stop
        if event.stage == "note":
            sys.stderr.write(f"mlport: {escape_controls(event.detail)}\n")
        elif sys.stderr.isatty():
            dim, plain = ("", "") if _is_plain() else ("\x1b[2m", "\x1b[0m")
            sys.stderr.write(f"{dim}{time.strftime('%H:%M:%S')}  {escape_controls(str(event))}{plain}\n")


def _is_plain() -> bool:
    """Whether the terminal knows no styles, or its user wants none (https://no-color.org)."""
    return os.environ.get("TERM", "dumb") == "dumb" or bool(os.environ.get("NO_COLOR"))
