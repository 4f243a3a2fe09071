"""Errors raised by a user's code: type, message and the user's own lines, from an exception or a printed trace."""

from __future__ import annotations

import json
import re
import traceback
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..serving.crashes import ENDED

if TYPE_CHECKING:
    from collections.abc import Iterable

_FRAME = re.compile(r'^ *File "(?P<file>.+)", line (?P<line>\d+)(?:,? in (?P<function>.+))?$')
CRASH = "Fatal Python error: "
"""The beginning of a crash of the interpreter in a log."""

_STACK = ("  File ", "Current thread ", "Stack ")
_OURS = re.compile(r"[/\\](mlport_serving|sdk[/\\]serving)[/\\]")
_LIBRARY = re.compile(r"[/\\](site|dist)-packages[/\\]")
_PYTHON = re.compile(r"[/\\]lib(64)?[/\\]python\d[^/\\]*[/\\](?!(site|dist)-packages)|^<frozen ")
_HEADER = "Traceback (most recent call last):"
_SDK = str(Path(__file__).parents[1])
_MOST_FRAMES = 6
_LONGEST = 500


@dataclass(frozen=True, slots=True)
class Raised:
    """An exception raised by a user's code.

    Args:
        error: Type and message, such as ``"KeyError: 'age'"``.
        frames: The places in the code, innermost last: ``"/app/model.py, line 7, in predict"``. Only lines of the
            user's own files, unless there are none.
    """

    error: str
    frames: tuple[str, ...] = ()

    def __str__(self) -> str:
        head = self.error.strip().partition("\n")[0][:_LONGEST]
        return f"{head} ({'; '.join(self.frames)})" if self.frames else head


def from_exception(error: BaseException) -> Raised:
    """Extract the type, message and lines of a caught exception."""
    return from_trace("".join(traceback.format_exception(error)))


def from_trace(text: str) -> Raised:
    r"""Extract the type, message and lines of an exception from its printed trace.

    Example:
        >>> lines = [_HEADER, '  File "/app/m.py", line 2, in f', "    return 1 / 0", "ZeroDivisionError: no"]
        >>> str(from_trace("\n".join(lines)))
        'ZeroDivisionError: no (/app/m.py, line 2, in f)'
    """
    lines = text.rpartition(_HEADER)[2].strip("\n").splitlines()
    start = next((place for place, line in enumerate(lines) if line and not line.startswith(" ")), len(lines) - 1)
    error = "\n".join(lines[start:]).strip() if lines else text.strip()
    last = _frames(lines[:start])
    return Raised(error, (_own(last) or _own(_frames(text.splitlines())) or last)[-_MOST_FRAMES:])


def _frames(lines: Iterable[str]) -> tuple[str, ...]:
    """Return the frames in these lines as text, without those of mlport itself and of Python."""
    found: list[str] = []
    for line in lines:
        match = _FRAME.match(line)
        if match is not None and not _is_hidden(match["file"]):
            where = f"{match['file']}, line {match['line']}"
            found.append(f"{where}, in {match['function']}" if match["function"] else where)
    return tuple(found)


def _is_hidden(file: str) -> bool:
    """Check whether a file belongs to mlport or to Python itself; such lines do not help a user."""
    return bool(file.startswith(_SDK) or _OURS.search(file) or _PYTHON.search(file))


def _own(frames: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(frame for frame in frames if not _LIBRARY.search(frame))


def in_lines(lines: Iterable[str]) -> Raised | None:
    r"""Return the last exception or crash of the interpreter in these log lines.

    Example:
        >>> crash = ["Fatal Python error: Aborted", "", "Stack (most recent call first):", '  File "m.py", line 2 in f']
        >>> str(in_lines(crash))
        'Fatal Python error: Aborted (m.py, line 2, in f)'
    """
    known = list(lines)
    for place in reversed(range(len(known))):
        if known[place].startswith(CRASH):
            return _crash(known[place:])
        if trace := _values(known[place]).get("trace"):
            return from_trace(str(trace))
    return None


def _crash(lines: list[str]) -> Raised:
    """Parse a crash as `faulthandler` prints it: innermost frame first, other output after the last one."""
    stack = list(takewhile(lambda line: not line.strip() or line.startswith(_STACK), lines[1:]))
    frames = _frames(reversed(stack))
    return Raised(lines[0].strip(), (_own(frames) or frames)[-_MOST_FRAMES:])


def ended(lines: Iterable[str]) -> str | None:
    """Return how a replica ended, from the last log line about that.

    Example:
        >>> ended(['{"ts": 1, "event": "replica_ended", "replica": "d1-0", "message": "killed by SIGKILL"}'])
        'replica d1-0 killed by SIGKILL'
    """
    found = [values for line in lines if (values := _values(line)).get("event") == ENDED]
    return f"replica {found[-1].get('replica')} {found[-1].get('message')}" if found else None


def failed(lines: Iterable[str]) -> bool:
    """Check whether mlport's server logged a failure in these lines, with or without a trace."""
    return any(_values(line).get("level") == "error" or "trace" in _values(line) for line in lines)


def spread(line: str) -> list[str]:
    r"""Split a log line for reading: a trace inside it gets its own lines.

    Example:
        >>> spread('{"ts": 1, "event": "model_error", "request_id": "r", "trace": "a\\nb\\n"}')
        ['{"ts": 1, "event": "model_error", "request_id": "r"}', 'a', 'b']
    """
    values = _values(line)
    trace = values.pop("trace", None)
    if trace is None:
        return [line]
    return [json.dumps(values, ensure_ascii=False), *str(trace).rstrip("\n").splitlines()]


def _values(line: str) -> dict[str, Any]:
    if not line.startswith("{"):
        return {}
    try:
        values: Any = json.loads(line)
    except (ValueError, RecursionError):  # a container may write JSON that is nested without end
        return {}
    return cast("dict[str, Any]", values) if isinstance(values, dict) else {}
