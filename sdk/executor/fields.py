"""Allow-list of the value types that the journal accepts (ids, hashes, enums, numbers), which keeps secrets out."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..adapter.types import Json

_ID = re.compile(r"(?:[A-Za-z0-9_]|[.:@-](?=.)|/(?=[A-Za-z0-9_.]))*")  # ids, names, paths, ARNs; no query, no URL
_HEX = re.compile(r"[0-9a-f]*")
_LONGEST_ID = 512
_DEEPEST = 8


def is_id(value: object) -> bool:
    """Check whether this is text that can only be a name: no spaces, quotes, ``=``, ``?`` or ``//``.

    Example:
        >>> is_id("projects/p/endpoints/churn"), is_id("https://user:pw@host"), is_id("a b")
        (True, False, False)
    """
    return isinstance(value, str) and len(value) <= _LONGEST_ID and bool(_ID.fullmatch(value)) and "//" not in value


def is_hex(value: object) -> bool:
    """Check whether this is a hash of at most 128 lower-case hex digits."""
    return isinstance(value, str) and len(value) <= 128 and bool(_HEX.fullmatch(value))


def is_number(value: object) -> bool:
    """Check whether this is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_flag(value: object) -> bool:
    """Check whether this is a Boolean."""
    return isinstance(value, bool)


def optional(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Return a check that also accepts ``None``."""
    return lambda value: value is None or check(value)


def list_of(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Return a check that accepts lists whose items all pass the given check."""

    def is_list(value: Any) -> bool:
        return isinstance(value, list) and all(map(check, value))  # pyright: ignore[reportUnknownArgumentType]  # any

    return is_list


def record_of(**checks: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Return a check that accepts dicts with exactly these fields, each passing its check."""
    return lambda value: (
        isinstance(value, dict)
        and value.keys() == checks.keys()
        and all(check(value[name]) for name, check in checks.items())
    )


def is_plain(value: Any, depth: int = 0) -> bool:
    """Check whether a nested value holds only ids, numbers, Booleans and ``None``."""
    if depth > _DEEPEST:
        return False
    if isinstance(value, Mapping):
        rows: Mapping[Any, Any] = value  # pyright: ignore[reportUnknownVariableType]  # of anything
        return all(is_id(key) and is_plain(item, depth + 1) for key, item in rows.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        items: Sequence[Any] = value  # pyright: ignore[reportUnknownVariableType]  # of anything
        return all(is_plain(item, depth + 1) for item in items)
    return value is None or is_flag(value) or is_number(value) or is_id(value)


def journal_safe(spec: Mapping[str, Json], what: str) -> dict[str, Any]:
    """Copy the spec of a mutable resource into plain dicts and lists for the journal.

    Raises:
        JournalError: The spec holds text that could be a secret; the message names the field.
    """
    for name, value in spec.items():
        if not (is_id(name) and is_plain(value)):
            raise JournalError(
                f"field {name!r} of {what} cannot be journalled",
                hint="specs of mutable kinds may hold ids, numbers and truth values only; move it to an immutable kind",
            )
    return {name: _copy(value) for name, value in spec.items()}


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        rows: Mapping[Any, Any] = value  # pyright: ignore[reportUnknownVariableType]  # of anything
        return {key: _copy(item) for key, item in rows.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        items: Sequence[Any] = value  # pyright: ignore[reportUnknownVariableType]  # of anything
        return [_copy(item) for item in items]
    return value
