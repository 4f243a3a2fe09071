"""The log of a mini cloud's calls: every request that reached it, in order, including those that it dropped."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable


@dataclass(frozen=True, slots=True)
class Call:
    """One request as the cloud understood it.

    Attributes:
        service: Such as ``"sagemaker"`` or ``"s3"``.
        operation: The cloud's own word, such as ``"CreateEndpoint"``.
        resource: The resource that it was about, as far as the request names it; else empty.
        method: HTTP method.
        path: Path without the query.
        status: HTTP status of the reply; 0 when the connection was dropped instead.
        at: Unix time of its arrival, in seconds.
        changing: Whether it may change the cloud: a create, update or delete may, a read or a prediction may not.
    """

    service: str
    operation: str
    resource: str = ""
    method: str = "GET"
    path: str = "/"
    status: int = 200
    at: float = 0.0
    changing: bool = False


class CallLog(Sequence[Call]):
    """All calls so far, oldest first; reads like a list, and any thread may add to it.

    Example:
        >>> log = CallLog()
        >>> with log.since() as new:
        ...     log.add(Call("sagemaker", "CreateModel", "m", "POST", changing=True))
        >>> new.operations
        ['CreateModel']
    """

    def __init__(self, calls: Iterable[Call] = ()) -> None:
        self._lock = threading.Lock()
        self._calls = list(calls)

    def add(self, call: Call) -> None:
        """Add a call to the log."""
        with self._lock:
            self._calls.append(call)

    def clear(self) -> None:
        """Remove all calls from the log."""
        with self._lock:
            self._calls.clear()

    @property
    def changing(self) -> CallLog:
        """The calls that may change the cloud."""
        return CallLog(call for call in self.copy() if call.changing)

    @property
    def operations(self) -> list[str]:
        """The names of the operations, in order."""
        return [call.operation for call in self.copy()]

    def of(self, *operations: str) -> CallLog:
        """Return the calls of some operations."""
        return CallLog(call for call in self.copy() if call.operation in operations)

    def copy(self) -> list[Call]:
        """Return the calls so far, as a list that no longer grows."""
        with self._lock:
            return list(self._calls)

    @contextmanager
    def since(self) -> Generator[CallLog]:
        """Collect the calls that arrive inside the ``with`` block; complete when the block ends."""
        start, inside = len(self), CallLog()
        try:
            yield inside
        finally:
            for call in self.copy()[start:]:
                inside.add(call)

    def __len__(self) -> int:
        with self._lock:
            return len(self._calls)

    @overload
    def __getitem__(self, index: int) -> Call: ...
    @overload
    def __getitem__(self, index: slice) -> list[Call]: ...
    def __getitem__(self, index: int | slice) -> Call | list[Call]:
        return self.copy()[index]

    def __repr__(self) -> str:
        return f"CallLog({self.copy()!r})"
