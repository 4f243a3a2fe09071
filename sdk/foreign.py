"""JSON that others wrote: registries, clouds, containers, files. It is read within limits and ends in our errors.

Python's own reader raises ``RecursionError`` on text that is nested without end, which no caller expects; values that
are merely deep break what walks over them later.
"""

from __future__ import annotations

import functools
import json
from contextlib import contextmanager
from types import GeneratorType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from .errors import SdkError, UnreadableError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

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


_SURPRISES = (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError, OverflowError)
_OF_LIBRARIES = {"InvalidURL"}  # of httpx, which is too large to import for its name: an address that is none


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
    """Let the operations of an adapter end in :class:`UnreadableError` where an answer has another form than expected.

    A platform, or what stands for it, may send any JSON: a list for an object, null for a text, no field where one
    always was. What then surprises the code that reads it says in which operation, and which field.
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
