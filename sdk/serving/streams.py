"""Answers that a model yields item by item, on their way from its worker thread to the event loop that sends them.

The worker waits while the client reads slower than the model yields, and stops the model once no more items are wanted.
Two forms are sent piece by piece: server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html),
whose last event is `end` or `error`, and JSON lines, whose connection is cut if the model fails.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

import msgspec

from .failures import RequestError
from .media import EVENTS, LINES
from .outputs import Outputs

if TYPE_CHECKING:
    from collections.abc import Callable

FORMS = frozenset({EVENTS, *LINES})
"""The media types of answers that are sent item by item."""
END = b"event: end\ndata: {}\n\n"
PAUSE = b":\n\n"
"""A comment, which clients ignore: it keeps a silent connection open."""

_WAITING_BYTES = 1 << 18  # items that wait for the client; then the model waits
_COLLECTED_BYTES = 64 << 20  # items of an answer that is not streamed
_ROOM_S = 0.5


def event(item: bytes, name: bytes = b"") -> bytes:
    """Return JSON as a server-sent event."""
    return b"%bdata: %b\n\n" % (b"event: " + name + b"\n" if name else b"", item)


def piece(form: bytes, items: list[bytes]) -> bytes:
    """Return JSON items in a form of `FORMS`."""
    return b"".join(map(event, items)) if form == EVENTS else b"".join(item + b"\n" for item in items)


class ItemStream:
    """The JSON items of one answer: a worker puts them, the event loop takes them.

    Args:
        loop: the event loop that takes the items.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._items: deque[bytes] = deque()
        self._size = 0
        self._wanted = True
        self._ended = False
        self.left = False
        """Whether the model was stopped because its client had left."""
        self._error: BaseException | None = None
        self._room = threading.Condition()
        self._changed = asyncio.Event()

    # Called by the worker

    def put(self, item: bytes, wait: Callable[[], bool]) -> bool:
        """Add an item as soon as there is room; return whether more items are wanted.

        Args:
            item: the JSON of the item.
            wait: called while there is no room; returns whether to wait on.
        """
        with self._room:
            while self._wanted and self._size > _WAITING_BYTES:
                if not wait():
                    return False
                self._room.wait(_ROOM_S)
            if not self._wanted:
                return False
            self._items.append(item)
            self._size += len(item)
        self._loop.call_soon_threadsafe(self._changed.set)
        return True

    def end(self, error: BaseException | None = None) -> None:
        """Mark the end, or the failure, after the items so far."""
        with self._room:
            self._error = self._error or error
            self._ended = True
        self._loop.call_soon_threadsafe(self._changed.set)

    # Called on the loop

    async def take(self, seconds: float) -> list[bytes] | None:
        """Return the items that have arrived, waiting for the first one; an empty list at the end, None if too late.

        Raises:
            BaseException: what the model raised after its last item.
        """
        end = time.monotonic() + seconds
        while not self._items and not self._ended:
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), end - time.monotonic())
            except TimeoutError:
                return None
        with self._room:
            items, self._size = list(self._items), 0
            self._items.clear()
            self._room.notify_all()
        if not items and self._error is not None:
            raise self._error
        return items

    async def collected(self, until: float) -> Outputs:
        """Return all items as one value.

        Args:
            until: the monotonic time after which the answer is no longer wanted.

        Raises:
            RequestError: 504 if the model takes too long, 500 if the items are too large together.
        """
        found: list[bytes] = []
        size = 0
        while items := await self.take(until - time.monotonic()):
            found += items
            size += sum(map(len, items))
            if size > _COLLECTED_BYTES:
                message = "the streamed items are too large for one answer; ask for text/event-stream"
                raise RequestError(500, "bad_model_output", message)
        if items is None:
            raise late()
        return Outputs(free=[msgspec.json.decode(item) for item in found])

    def cancel(self, error: BaseException | None = None) -> None:
        """Take no more items, so that the worker stops the model; with an error, `take` raises it."""
        with self._room:
            self._wanted = False
            if error is not None and not self._ended:
                self._error, self._ended = error, True
                self._changed.set()
            self._room.notify_all()


def check_time(end: float) -> None:
    """Raise the 504 error once a monotonic time has passed."""
    if time.monotonic() >= end:
        raise late()


def late() -> RequestError:
    """Return the 504 error for a model that takes too long."""
    message = "no answer within the deadline (header x-mlport-deadline-ms, or MLPORT_DEADLINE_S)"
    return RequestError(504, "deadline_exceeded", message)
