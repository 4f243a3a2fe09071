"""Strict parsers that extract message bodies from the byte stream, never beyond their end."""

from __future__ import annotations

import re
from typing import Protocol

from .heads import CHUNKED, CRLF, UNTIL_CLOSE

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,12})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?")
_MAX_LINE = 1024
_MAX_TRAILERS = 8 * 1024


class BadBody(ValueError):
    """Raised for a chunked body with invalid framing."""


class BodyParser(Protocol):
    """The parser of a body that is being received."""

    done: bool

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Take the next bytes; return the content and the bytes after the end of the body."""
        ...


class LengthBody:
    """A body of a declared number of bytes."""

    def __init__(self, length: int) -> None:
        self._left = length
        self.done = not length

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Take bytes up to the declared length."""
        piece, rest = data[: self._left], data[self._left :]
        self._left -= len(piece)
        self.done = not self._left
        return piece, rest


class UntilCloseBody:
    """A response body that ends with its connection."""

    done = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Take all bytes as content."""
        return data, b""


class ChunkedBody:
    """A chunked body; chunk extensions and trailers are parsed and dropped."""

    def __init__(self) -> None:
        self.done = False
        self._buffer = b""
        self._left = 0  # remaining bytes of the current chunk
        self._trailers = 0  # bytes of trailers seen after the last chunk
        self._step = self._size
        self._pieces: list[bytes] = []

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Take bytes up to the end of the trailers."""
        self._buffer += data
        while not self.done and self._step():
            pass
        piece = b"".join(self._pieces)
        self._pieces.clear()
        rest = b""
        if self.done:
            rest, self._buffer = self._buffer, b""
        return piece, rest

    def _line(self, limit: int) -> bytes | None:
        end = self._buffer.find(b"\n")
        if end < 0:
            if len(self._buffer) > limit:
                raise BadBody("a line of the chunked body is too long")
            return None
        line, self._buffer = self._buffer[: end + 1], self._buffer[end + 1 :]
        if not line.endswith(CRLF) or b"\r" in line[:-2] or len(line) > limit:
            raise BadBody("a line of the chunked body does not end in CRLF")
        return line[:-2]

    def _size(self) -> bool:
        line = self._line(_MAX_LINE)
        if line is None:
            return False
        match = _SIZE.fullmatch(line)
        if match is None:
            raise BadBody("a chunk size is not a hexadecimal number")
        self._left = int(match[1], 16)
        self._step = self._data if self._left else self._trailer
        return True

    def _data(self) -> bool:
        piece, self._buffer = self._buffer[: self._left], self._buffer[self._left :]
        self._left -= len(piece)
        self._pieces.append(piece)
        if not self._left:
            self._step = self._end
        return not self._left

    def _end(self) -> bool:
        if len(self._buffer) < 2 and CRLF.startswith(self._buffer):
            return False
        if not self._buffer.startswith(CRLF):
            raise BadBody("a chunk is longer than its size says")
        self._buffer = self._buffer[2:]
        self._step = self._size
        return True

    def _trailer(self) -> bool:
        line = self._line(_MAX_TRAILERS)
        if line is None:
            return False
        self._trailers += len(line)
        if self._trailers > _MAX_TRAILERS:
            raise BadBody("the trailers are too long")
        self.done = not line
        return True


def body_of(length: int) -> BodyParser:
    """Return the parser of a body of this length, or of one of the marks CHUNKED and UNTIL_CLOSE."""
    if length == CHUNKED:
        return ChunkedBody()
    return UntilCloseBody() if length == UNTIL_CLOSE else LengthBody(length)
