"""Formatting of log lines for people."""

from __future__ import annotations

from typing import Any, cast

from sdk.util import foreign

_ELSEWHERE = {"ts", "endpoint", "deployment", "replica"}  # fields that are shown beside the line


def readable(text: str) -> str:
    """Format a structured line of mlport's own server as text; return any other line unchanged.

    Example:
        >>> readable('{"ts": 1, "level": "info", "event": "request", "deployment": "d1", "status": 200, "ms": 7.96}')
        'request status=200 ms=7.96'
        >>> readable("loading weights")
        'loading weights'
    """
    values = _values(text)
    if values is None:
        return text
    level, event, message = (values.pop(name, "") for name in ("level", "event", "message"))
    head = [str(level).upper() if level not in {"", "info"} else "", str(event), str(message)]
    facts = [f"{name}={value}" for name, value in values.items() if name not in _ELSEWHERE and value is not None]
    return " ".join(part for part in [*head, *facts] if part)


def _values(text: str) -> dict[str, Any] | None:
    if not text.startswith('{"ts":'):
        return None
    try:
        values: Any = foreign.parse(text)
    except ValueError:
        return None
    return cast("dict[str, Any]", values) if isinstance(values, dict) and "event" in values else None
