"""What Azure sends is JSON of which every part may be missing or null."""

from __future__ import annotations

from typing import Any, cast


def table(value: Any) -> dict[str, Any]:
    """An object, empty when there is none.

    Example:
        >>> table(None), table({"a": 1})
        ({}, {'a': 1})
    """
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
