"""Log lines on stderr, if the configuration asks for them: ``log = "info"`` or ``MLPORT_LOG=info``.

A library is silent by default; an application may instead attach its own handlers to the logger ``sdk``.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import TYPE_CHECKING, TextIO

from .redact import escape_controls

if TYPE_CHECKING:
    from .redact import Redactor

OURS, CALLS = "sdk", "httpx"  # our own lines; each HTTP call, at level "debug" only

logging.getLogger("sdk").addHandler(logging.NullHandler())


class _Formatter(logging.Formatter):
    """A formatter that hides secrets in the whole text of a record, its traceback included."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self.redactors: list[Redactor] = []

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        for redactor in self.redactors:
            text = redactor.safe(text)
        return text


_FORMATTER = _Formatter()


class _Stderr(logging.StreamHandler[TextIO]):
    """A handler that writes to the current ``sys.stderr``, because tests and notebooks replace it."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.setFormatter(_FORMATTER)

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


_HANDLER = _Stderr()


def note(text: str, logger: logging.Logger) -> None:
    """Show a line to the user: in the log, or on standard error if log lines of that level are not shown."""
    if logger.isEnabledFor(logging.INFO):
        logger.warning(text)
        return
    with contextlib.suppress(AttributeError, OSError, ValueError):  # standard error is missing or closed
        sys.stderr.write(f"mlport: {escape_controls(text)}\n")


def log_to_stderr(level: str, redactor: Redactor) -> None:
    """Write log lines from this level up to stderr, without the secrets that the redactor knows.

    Args:
        level: ``"debug"`` (with a line for each HTTP call), ``"info"``, ``"warning"`` or ``"error"``.
        redactor: Applied to every line, in addition to the redactors of earlier calls.
    """
    _FORMATTER.redactors = [*(known for known in _FORMATTER.redactors if known is not redactor), redactor]
    for name in (OURS, CALLS) if level == "debug" else (OURS,):
        logger = logging.getLogger(name)
        logger.setLevel(level.upper())
        logger.addHandler(_HANDLER)  # adding it twice changes nothing
