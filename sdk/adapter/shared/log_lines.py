"""Log lines of mlport's model server: its own lines are JSON with time and request id, a model's are plain text."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from ...util import foreign
from ..types import LogLine

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def read_line(replica: str, text: str, time: float = 0.0) -> LogLine:
    """Parse a line of a replica, with the server's own time if it has one, else ``time`` (0 if unknown).

    Example:
        >>> read_line("d1-0", '{"ts": 5.0, "request_id": "r"}').request_id
        'r'
    """
    told = _told(text)
    stamp = told.get("ts")
    return LogLine(
        time=float(stamp) if isinstance(stamp, int | float) else time,
        text=text,
        deployment=replica.rpartition("-")[0],
        replica=replica,
        request_id=told.get("request_id"),
    )


def dated(lines: Sequence[LogLine], last: dict[str, float], now: float) -> list[LogLine]:
    """Give each line a time: model output has none and gets that of the server's line before it.

    Output before the first server's line gets the time of that line.

    Args:
        lines: Lines of one or more replicas, in order for each replica.
        last: The last known time of each replica; kept between calls and updated here.
        now: The time for a replica without a known time.
    """
    for line in lines:
        if line.time:
            last.setdefault(str(line.replica), line.time)
    found: list[LogLine] = []
    for line in lines:
        replica = str(line.replica)
        last[replica] = line.time or last.get(replica, now)
        found.append(replace(line, time=last[replica]))
    return found


def select(lines: Iterable[LogLine], tail: int | None, request_id: str | None) -> list[LogLine]:
    """Return the lines of one request, if one is given, and only the last ``tail`` of them."""
    found = [line for line in lines if request_id is None or request_id == line.request_id or request_id in line.text]
    return found if tail is None else found[len(found) - min(tail, len(found)) :]


def start_failure(line: str) -> str | None:
    """Return the message of the line in which the model server reports that it cannot start; ``None`` for any other.

    Example:
        >>> start_failure('{"event": "start_failed", "message": "no model"}')
        'no model'
    """
    told = _told(line)
    return str(told.get("message")).strip() if told.get("event") == "start_failed" else None


def _told(text: str) -> dict[str, Any]:
    try:
        told: Any = foreign.parse(text)
    except ValueError:
        return {}
    return cast("dict[str, Any]", told) if isinstance(told, dict) else {}
