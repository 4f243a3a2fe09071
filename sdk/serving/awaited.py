"""Results of `async def` model code and iterators, awaited on one event loop for all threads of the process.

All threads share one loop, so that resources opened in the model's first call, such as a connection pool, also serve
later calls. The loop runs in its own thread, since the caller may have a running loop of its own, as in a notebook.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator

_lock = threading.Lock()
_loops: list[asyncio.AbstractEventLoop] = []


def settled(answer: Any) -> Any:
    """Return the result of an awaitable; return any other value unchanged."""
    if not hasattr(answer, "__await__"):
        return answer
    waiting = asyncio.run_coroutine_threadsafe(_outcome(answer), _loop())
    try:
        value, error = waiting.result()
    finally:
        waiting.cancel()  # takes effect only if the caller was interrupted before the end
    if error is not None:
        raise error
    return value


def iterated(answer: Any) -> Generator[Any]:
    """Iterate over an iterator or an asynchronous iterator, and close it at the end."""
    try:
        if not hasattr(answer, "__anext__"):
            yield from answer
            return
        with contextlib.suppress(StopAsyncIteration):
            while True:
                yield settled(answer.__anext__())
    finally:
        close = getattr(answer, "aclose", None) or getattr(answer, "close", None)
        if close is not None:
            settled(close())


async def _outcome(answer: Awaitable[Any]) -> tuple[Any, BaseException | None]:
    """Return the result and the exception, since a raised SystemExit would end the loop."""
    try:
        return await answer, None
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # noqa: BLE001 - raised again in the calling thread
        return None, error


def _loop() -> asyncio.AbstractEventLoop:
    with _lock:
        if not _loops:
            _loops.append(asyncio.new_event_loop())
            threading.Thread(target=_loops[0].run_forever, name="mlport-async", daemon=True).start()
        return _loops[0]
