"""JSON that others wrote: registries, clouds, containers, files. It is read within limits and ends in our errors.

Python's own reader raises ``RecursionError`` on text that is nested without end, which no caller expects; values that
are merely deep break what walks over them later.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from .errors import SdkError, UnreadableError

if TYPE_CHECKING:
    from collections.abc import Generator

    import httpx

DEEPEST = 100
LARGEST = 256 << 20


def parse(data: bytes | str, what: str = "an answer", *, most: int = LARGEST) -> Any:
    """The value of a JSON text.

    Args:
        data: The text.
        what: What it is, for the error.
        most: Bytes or characters that it may have.

    Raises:
        UnreadableError: It is too long, no JSON, or nested deeper than anything that is meant.

    Example:
        >>> parse('{"a": [1]}')
        {'a': [1]}
        >>> parse("[" * 1000 + "]" * 1000, "the manifest")
        Traceback (most recent call last):
        sdk.errors.UnreadableError: the manifest cannot be read: it is nested more than 100 levels deep
    """
    if len(data) > most:
        raise UnreadableError(f"{what} cannot be read: it has more than {most:,} bytes")
    try:
        value = json.loads(data)
    except RecursionError:
        raise _too_deep(what) from None
    except ValueError as error:
        raise UnreadableError(f"{what} cannot be read: it is no JSON: {error}") from error
    if not is_shallow(value):
        raise _too_deep(what)
    return value


def table(data: bytes | str, what: str = "an answer") -> dict[str, Any]:
    """The same where only a JSON object will do."""
    value = parse(data, what)
    if not isinstance(value, dict):
        raise UnreadableError(f"{what} cannot be read: it is no JSON object")
    return cast("dict[str, Any]", value)


def of_response(response: httpx.Response, what: str = "an answer") -> Any:
    """The same for the body of an answer."""
    return parse(response.content, what)


def is_shallow(value: Any, deepest: int = DEEPEST) -> bool:
    """Whether tables and lists are nested no deeper than this; looked at without recursion."""
    level: list[Any] = [value]
    for _ in range(deepest + 1):
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner += cast("Any", item).values()
            elif isinstance(item, list):
                inner += cast("Any", item)
        if not inner:
            return True
        level = inner
    return False


@contextmanager
def understood(what: str) -> Generator[None]:
    """Turn a surprise about the form of somebody else's JSON into one error.

    Raises:
        UnreadableError: A field is missing or of another kind.
    """
    try:
        yield
    except SdkError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError) as error:
        detail = f"{type(error).__name__} {error}"[:200]
        raise UnreadableError(f"{what} cannot be read: it has another form than expected ({detail})") from error


def _too_deep(what: str) -> UnreadableError:
    return UnreadableError(f"{what} cannot be read: it is nested more than {DEEPEST} levels deep")
