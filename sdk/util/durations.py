"""Parsing and formatting of durations such as ``30m`` or ``1h30m``."""

from __future__ import annotations

import math
import re

from ..errors import ConfigError

_UNITS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PART = r"([0-9]{1,9}(?:\.[0-9]{1,9})?)"
_DURATION = re.compile("".join(rf"(?:{_PART}{unit})?" for unit in _UNITS))


def parse_duration(value: str | float, *, field: str = "duration") -> float:
    """Return the seconds in a duration: a number of seconds, or text with the units d, h, m, s, ms from long to short.

    Args:
        value: The duration as the user wrote it.
        field: The setting or argument that holds it, for the message.

    Raises:
        ConfigError: It is not a positive, finite duration.

    Example:
        >>> parse_duration("1h30m"), parse_duration(2.5)
        (5400.0, 2.5)
    """
    seconds = _seconds(value)
    if seconds is None or not 0 < seconds < math.inf:
        raise ConfigError(f"{field} = {value!r} is not a duration", hint="write it like 90s, 30m, 1h30m or 7d")
    return seconds


def _seconds(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        return None
    return sum(float(part) * unit for part, unit in zip(match.groups(), _UNITS.values(), strict=True) if part)


def format_duration(seconds: float) -> str:
    """Return the shortest exact text of a duration, down to milliseconds; :func:`parse_duration` reads it back.

    Example:
        >>> format_duration(5400), format_duration(0.25)
        ('1h30m', '250ms')
    """
    left = round(seconds * 1000)
    parts: list[str] = []
    for name, unit in _UNITS.items():
        count, left = divmod(left, round(unit * 1000))
        parts += [f"{count}{name}"] if count else []
    return "".join(parts) or "0s"
