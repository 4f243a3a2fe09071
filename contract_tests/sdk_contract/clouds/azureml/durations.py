"""Durations in ISO 8601, as the resource manager writes them."""

from __future__ import annotations

import re

_PARTS = re.compile(r"P(?:(\d+(?:\.\d+)?)D)?(?:T(?:(\d+(?:\.\d+)?)H)?(?:(\d+(?:\.\d+)?)M)?(?:(\d+(?:\.\d+)?)S)?)?")


def seconds_of(text: str) -> float:
    """Return the seconds of a duration.

    Raises:
        ValueError: It is not a duration.

    Example:
        >>> seconds_of("PT1M30S"), seconds_of("P1D")
        (90.0, 86400.0)
    """
    found = _PARTS.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no duration")
    return sum(float(part or 0) * size for part, size in zip(found.groups(), (86_400, 3600, 60, 1), strict=True))
