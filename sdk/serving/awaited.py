"""Answers of `async def`: awaited on one event loop of the process, from whichever thread asks.

One loop for all threads, so that what the model opens in its first call, such as a pool of connections, serves its next
ones; a thread of its own, so that the caller may have a running loop itself, as a notebook has.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable

_lock = threading.Lock()
_loops: list[asyncio.AbstractEventLoop] = []


def settled(answer: Any) -> Any:
    """Return what an awaitable gives, and every other value as it is."""
    if not hasattr(answer, "__await__"):
        return answer
    waiting = asyncio.run_coroutine_threadsafe(_outcome(answer), _loop())
    try:
        value, error = waiting.result()
    finally:
        waiting.cancel()  # the caller was interrupted; nothing happens to what is done
    if error is not None:
        raise error
    return value


async def _outcome(answer: Awaitable[Any]) -> tuple[Any, BaseException | None]:
    """Keep what is raised: SystemExit would end the loop."""
    try:
        return await answer, None
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # noqa: BLE001 - raised again where the answer is asked for
        return None, error


def _loop() -> asyncio.AbstractEventLoop:
    with _lock:
        if not _loops:
            _loops.append(asyncio.new_event_loop())
            threading.Thread(target=_loops[0].run_forever, name="mlport-async", daemon=True).start()
        return _loops[0]
