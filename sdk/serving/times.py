"""Moments and durations as ISO 8601 text, exact to the nanosecond.

It imports neither numpy nor pandas, so that clients write with the same module that the server reads with.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Any

# Nanoseconds in each unit that pandas uses for moments and durations.
UNITS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
GAPS = frozenset({"NaTType", "NAType"})
"""The names of the pandas types that stand for a missing value."""
MOMENT_FORM = "2024-01-31T12:00:00"
DURATION_FORM = "P1DT12H30M"

_MOMENT = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)(?:[T ](?P<hour>\d\d):(?P<minute>\d\d)"
    r"(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,9}))?)?"
    r"(?P<offset>[Zz]|[+-]\d\d(?::?\d\d(?::?\d\d)?)?)?)?",
    re.ASCII,
)
_NUMBER = r"[+-]?\d{1,18}"
_DURATION = re.compile(
    rf"(?P<sign>[+-]?)P(?:(?P<weeks>{_NUMBER})W)?(?:(?P<days>{_NUMBER})D)?(?:T(?:(?P<hours>{_NUMBER})H)?"
    rf"(?:(?P<minutes>{_NUMBER})M)?(?:(?P<seconds>{_NUMBER})(?:[.,](?P<fraction>\d{{1,9}}))?S)?)?",
    re.ASCII,
)
_PARTS = {"weeks": 604_800, "days": 86_400, "hours": 3_600, "minutes": 60, "seconds": 1}
_EPOCH = date(1970, 1, 1).toordinal()


def moment(text: str) -> tuple[int, int | None] | None:
    """Parse a date with or without time: nanoseconds since 1970, and the offset from UTC in seconds if it has one.

    Example:
        >>> moment("1970-01-01T01:00:00.5+01:00")
        (3600500000000, 3600)
    """
    found = _MOMENT.fullmatch(text)
    if found is None:
        return None
    try:
        days = date.fromisoformat(found["day"]).toordinal() - _EPOCH
    except ValueError:
        return None
    hour, minute, second = (int(found[part] or 0) for part in ("hour", "minute", "second"))
    if hour > 23 or minute > 59 or second > 59:
        return None
    seconds = days * 86_400 + hour * 3_600 + minute * 60 + second
    return seconds * 10**9 + _nanoseconds(found["fraction"]), _offset(found["offset"])


def duration(text: str) -> int | None:
    """Parse a duration and return its nanoseconds.

    Example:
        >>> duration("-P1DT0.5S")
        -86400500000000
    """
    found = _DURATION.fullmatch(text)
    if found is None or not any(found[part] for part in _PARTS):
        return None
    total = sum(int(found[part] or 0) * size for part, size in _PARTS.items()) * 10**9
    fraction = _nanoseconds(found["fraction"])
    total += -fraction if (found["seconds"] or "").startswith("-") else fraction
    return -total if found["sign"] == "-" else total


def duration_text(value: Any) -> str:
    """Format a `datetime.timedelta`, or a pandas one, which also has nanoseconds.

    Example:
        >>> from datetime import timedelta
        >>> duration_text(timedelta(hours=-30))
        '-P1DT21600S'
    """
    micros = (value.days * 86_400 + value.seconds) * 10**6 + value.microseconds
    return nanoseconds_text(micros * 1_000 + getattr(value, "nanoseconds", 0))


def nanoseconds_text(total: int) -> str:
    """Format a duration given in nanoseconds."""
    seconds, nanoseconds = divmod(abs(total), 10**9)
    days, seconds = divmod(seconds, 86_400)
    fraction = f".{nanoseconds:09}".rstrip("0") if nanoseconds else ""
    return f"{'-' if total < 0 else ''}P{days}DT{seconds}{fraction}S"


def _nanoseconds(fraction: str | None) -> int:
    return int(fraction.ljust(9, "0")) if fraction else 0


def _offset(text: str | None) -> int | None:
    if text is None:
        return None
    digits = text[1:].replace(":", "").ljust(6, "0")
    seconds = int(digits[:2]) * 3_600 + int(digits[2:4]) * 60 + int(digits[4:])
    return -seconds if text[0] == "-" else seconds
