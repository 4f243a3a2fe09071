"""Structured logs: one JSON object per line on standard error, written by a separate thread.

The event loop never blocks on a full pipe: lines wait in a bounded list, and lines dropped because the reader stopped
reading are counted and reported. Bodies, credentials and health checks are never logged.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import traceback
from typing import Any

import msgspec

from .tracing import log_fields

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_MAX_WAITING = 10_000
_PAUSE_S = 0.05
_encode = msgspec.json.Encoder(enc_hook=str).encode


class Log:
    """A log of structured lines on a file descriptor.

    Example:
        log = Log("info", {"deployment": "d1"})
        log.info("listening", address="tcp:127.0.0.1:8080")
    """

    def __init__(self, level: str = "info", always: dict[str, str] | None = None, fd: int = 2) -> None:
        self._threshold = _LEVELS[level]
        self._always = {key: value for key, value in (always or {}).items() if value}
        self._fd = fd
        self._waiting: list[bytes] = []
        self._lost = 0
        self._wake = threading.Event()
        self._write_lock = threading.Lock()
        threading.Thread(target=self._run, name="mlport-log", daemon=True).start()

    def debug(self, event: str, **values: Any) -> None:
        """Write a line for debugging."""
        self._put("debug", event, values)

    def info(self, event: str, **values: Any) -> None:
        """Write a line about normal operation."""
        self._put("info", event, values)

    def warning(self, event: str, **values: Any) -> None:
        """Write a line about something that may need attention."""
        self._put("warning", event, values)

    def error(self, event: str, *, trace: BaseException | None = None, **values: Any) -> None:
        """Write a line about a failure, with the full traceback of its exception."""
        if trace is not None:
            values["trace"] = "".join(traceback.format_exception(trace))
        self._put("error", event, values)

    def flush(self) -> None:
        """Write the waiting lines from the calling thread."""
        with self._write_lock:
            waiting, self._waiting = self._waiting, []
            if self._lost:
                waiting.append(_encode({"ts": time.time(), "level": "warning", "event": "lost", "lines": self._lost}))
                self._lost = 0
            if waiting:
                _write(self._fd, b"\n".join(waiting) + b"\n")

    def _put(self, level: str, event: str, values: dict[str, Any]) -> None:
        if _LEVELS[level] < self._threshold:
            return
        if len(self._waiting) >= _MAX_WAITING:
            self._lost += 1
            return
        self._waiting.append(
            _encode({"ts": round(time.time(), 3), "level": level, "event": event, **self._always, **values})
        )
        if not self._wake.is_set():
            self._wake.set()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            time.sleep(_PAUSE_S)  # one write and one wake-up of this thread for many lines
            self._wake.clear()
            self.flush()


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(fd, view) :]
    except OSError:
        return  # the log's reader is gone; continue serving


class LoggingHandler(logging.Handler):
    """A handler that writes records of Python's `logging` (libraries, user code) to a `Log`."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record as a structured line."""
        values: dict[str, Any] = {"logger": record.name, "message": record.getMessage(), **log_fields()}
        raised = record.exc_info[1] if record.exc_info else None
        if record.levelno >= logging.ERROR:
            self._log.error("log", trace=raised, **values)
            return
        if raised:
            values["trace"] = "".join(traceback.format_exception(raised))
        write = self._log.debug if record.levelno < logging.INFO else self._log.info
        (self._log.warning if record.levelno >= logging.WARNING else write)("log", **values)
