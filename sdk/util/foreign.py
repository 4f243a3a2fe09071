"""Parser for JSON from other systems (registries, clouds, containers, files), with limits and with our errors.

Python's own parser raises ``RecursionError`` on text that is nested without end, which no caller expects. Values that
are merely very deep break the code that walks over them later.
"""

from __future__ import annotations

import functools
import json
from contextlib import contextmanager
from types import GeneratorType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ..errors import SdkError, UnreadableError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    import httpx

DEEPEST = 100
LARGEST = 256 << 20


def parse(data: bytes | str, what: str = "an answer", *, most: int = LARGEST) -> Any:
    """Parse a JSON text.

    Args:
        data: The text.
        what: The name of the text, for the error.
        most: The most bytes or characters it may have.

    Raises:
        UnreadableError: It is too long, not JSON, or nested deeper than any real document.

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
    """Parse a JSON text that must be an object."""
    value = parse(data, what)
    if not isinstance(value, dict):
        raise UnreadableError(f"{what} cannot be read: it is no JSON object")
    return cast("dict[str, Any]", value)


def of_response(response: httpx.Response, what: str = "an answer") -> Any:
    """Parse the body of an HTTP answer."""
    return parse(response.content, what)


def is_shallow(value: Any, deepest: int = DEEPEST) -> bool:
    """Check whether tables and lists are nested at most this deep; works without recursion."""
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


_SURPRISES = (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError, OverflowError)
_OF_LIBRARIES = {"InvalidURL"}  # an invalid address, in httpx; the name is compared because importing httpx is slow


@contextmanager
def understood(what: str) -> Generator[None]:
    """Turn exceptions about an unexpected form of foreign JSON into one error.

    Raises:
        UnreadableError: A field is missing or has another type.
    """
    try:
        yield
    except SdkError:
        raise
    except Exception as error:
        if not isinstance(error, _SURPRISES) and type(error).__name__ not in _OF_LIBRARIES:
            raise
        detail = f"{type(error).__name__} {error}"[:200]
        raise UnreadableError(f"{what} cannot be read: it has another form than expected ({detail})") from error


_MARK = "_ends_in_our_error"
_OPERATIONS = [
    "aside",
    "create",
    "delete",
    "doctor",
    "invoker",
    "job_logs",
    "job_output",
    "job_status",
    "lease_delete",
    "lease_read",
    "lease_write",
    "list",
    "logs",
    "metrics",
    "observe",
    "operation",
    "price_region",
    "read",
    "status",
    "stop_job",
    "update",
    "users",
]
_Adapter = TypeVar("_Adapter")


def understanding(adapter: type[_Adapter]) -> type[_Adapter]:
    """Make the operations of an adapter raise :class:`UnreadableError` if an answer has an unexpected form.

    A platform, or a substitute for it, may send any JSON: a list for an object, null for a text, or an object without
    a field that always was there. The error says in which operation the parsing code failed, and on which field.
    """
    provider = str(getattr(adapter, "provider", adapter.__name__))
    for name in _OPERATIONS:
        operation = getattr(adapter, name, None)
        if operation is not None and not hasattr(operation, _MARK):
            setattr(adapter, name, _understanding(operation, provider, name))
    return adapter


def _understanding(operation: Callable[..., Any], provider: str, name: str) -> Callable[..., Any]:
    @functools.wraps(operation)
    def understood_operation(*args: Any, **kwargs: Any) -> Any:
        what = f"what {provider} answered to {name}{''.join(f' {arg}' for arg in args[1:2] if isinstance(arg, str))}"
        with understood(what):
            found = operation(*args, **kwargs)
        return _each_understood(cast("Any", found), what) if isinstance(found, GeneratorType) else found

    setattr(understood_operation, _MARK, True)
    return understood_operation


def _each_understood(found: Generator[Any], what: str) -> Generator[Any]:
    with understood(what):
        yield from found


def _too_deep(what: str) -> UnreadableError:
    return UnreadableError(f"{what} cannot be read: it is nested more than {DEEPEST} levels deep")
