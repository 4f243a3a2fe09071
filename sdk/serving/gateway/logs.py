"""Stores the output of replicas in files of limited size."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from typing import TYPE_CHECKING

from .table import clear_way

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_MAX_READ = 1024 * 1024  # maximum bytes of one log that are read for one response
_PLAIN = os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW  # opening a pipe must not wait for its other end
_READ = os.O_RDONLY | _PLAIN
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | _PLAIN


class ReplicaLog:
    """The output of one replica: `<id>.log` and, once that was full, the older `<id>.log.1`.

    On a full or failing disk only log bytes are lost; `lost` counts them.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lost = 0
        self._older = path.with_name(path.name + ".1")
        self._size = _size(path)
        self.end = self._size + _size(self._older)
        """The position after the last byte: the number of bytes ever written, as far as known."""

    def write(self, data: bytes, *, limit: int) -> None:
        """Append bytes; start a new file if the current one would become larger than `limit`."""
        data = data[-limit:]
        try:
            if self._size + len(data) > limit:
                self.path.replace(self._older)
                self._size = 0
            fd = self._open()
            try:
                written = os.write(fd, data)
            finally:
                os.close(fd)
        except OSError:
            self.lost += len(data)
            return
        self._size += written
        self.end += written
        self.lost += len(data) - written

    def _open(self) -> int:
        """Open the file for appending; what else is in its place, such as a pipe or a folder, is set aside."""
        try:
            return os.open(self.path, _APPEND, 0o600)
        except OSError:
            clear_way(self.path, stat.S_ISREG)
            return os.open(self.path, _APPEND, 0o600)

    def tail(self, lines: int) -> list[str]:
        """Return the last lines."""
        return _lines(self._bytes_from(max(0, self.end - _MAX_READ)))[-lines:] if lines > 0 else []

    def after(self, position: int) -> tuple[list[str], int]:
        """Return the complete lines written after a position, and the position after them."""
        start = position if 0 <= position <= self.end else 0
        start = max(start, self.end - _MAX_READ)
        data = self._bytes_from(start)
        whole = data[: data.rfind(b"\n") + 1]
        return _lines(whole), self.end - len(data) + len(whole)

    def _bytes_from(self, start: int) -> bytes:
        count = self.end - start
        data = _end_of(self.path, count)
        if len(data) < count:
            data = _end_of(self._older, count - len(data)) + data
        return data

    def remove(self) -> None:
        """Delete both files."""
        for path in (self.path, self._older):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _end_of(path: Path, count: int) -> bytes:
    try:
        with os.fdopen(os.open(path, _READ), "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - count))
            return file.read(count)
    except OSError:
        return b""


def _lines(data: bytes) -> list[str]:
    return data.decode("utf-8", "replace").splitlines()


class LogPipe(asyncio.Protocol):
    """A pipe that writes the output of a process to its log, and reports when the process has closed its end."""

    def __init__(self, write: Callable[[bytes], None], closed: Callable[[], None]) -> None:
        self._write = write
        self._closed = closed

    def data_received(self, data: bytes) -> None:
        """Write received bytes to the log."""
        self._write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Report that the process has closed its end."""
        del exc  # the reason does not matter
        self._closed()
