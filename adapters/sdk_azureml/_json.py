"""Access to Azure's JSON, of which every part may be missing or null."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Sequence


def table(value: Any) -> dict[str, Any]:
    """Return a value if it is an object, else an empty one.

    Example:
        >>> table(None), table({"a": 1})
        ({}, {'a': 1})
    """
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def rows(value: Any) -> list[Any]:
    """Return a value if it is a list, else an empty one.

    Example:
        >>> rows(None), rows([1])
        ([], [1])
    """
    return list(cast("Sequence[Any]", value)) if isinstance(value, list) else []


def moment(value: Any) -> float | None:
    """Convert a time stamp to Unix seconds; ``None`` if it is missing or malformed. Without a zone it is UTC.

    Example:
        >>> moment("2026-01-01T00:00:00.1234567Z"), moment("2026-01-01T00:00:00"), moment("soon"), moment(None)
        (1767225600.123456, 1767225600.0, None, None)
    """
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def whole(value: Any, otherwise: int) -> int:
    """Convert a value to a whole number, also from text; return ``otherwise`` if it is not a number.

    Example:
        >>> whole("3", 1), whole(None, 1), whole("many", 1)
        (3, 1, 1)
    """
    try:
        return int(value)
    except (TypeError, ValueError):
        return otherwise
