"""Passes the answers of a platform's control plane to listeners; the live run records their form.

Without a listener nothing is kept. A listener receives the body of an answer, so it must not store or print it as is.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

LARGEST = 1 << 20  # bytes of a body that are kept for a listener


@dataclass(frozen=True, slots=True)
class ControlExchange:
    """One answered request.

    Args:
        method: HTTP method.
        url: Whole address of the request.
        status: HTTP status of the answer.
        body: The beginning of the answer's body, decompressed; at most :data:`LARGEST` bytes.
        seconds: From the request until the head of the answer; ``None`` where that was not measured.
        operation: The platform's own name of the operation, if the client library provides it.
        parsed: The answer as the client library parsed it, if the body is not JSON.
    """

    method: str
    url: str
    status: int
    body: bytes = b""
    seconds: float | None = None
    operation: str = ""
    parsed: Any = None


_listeners: list[Callable[[ControlExchange], None]] = []
_lock = threading.Lock()


@contextmanager
def listening(listener: Callable[[ControlExchange], None]) -> Generator[None]:
    """Pass every answer inside the block to a listener, which is called in the thread that reads the answer.

    Example:
        >>> seen: list[Exchange] = []
        >>> with listening(seen.append):
        ...     publish(ControlExchange("GET", "https://example.com/v1/models", 200))
        >>> [exchange.status for exchange in seen]
        [200]
    """
    with _lock:
        _listeners.append(listener)
    try:
        yield
    finally:
        with _lock:
            _listeners.remove(listener)


def has_listener() -> bool:
    """Return whether there is a listener."""
    return bool(_listeners)


def publish(exchange: ControlExchange) -> None:
    """Pass an answer to every listener."""
    for listener in tuple(_listeners):
        listener(exchange)
