"""Waiting in tests for what another process does: long enough for a busy machine, and with what was seen last."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def until(wanted: Callable[[], Any], seen: Callable[[], object] | None = None, *, seconds: float = 120.0) -> Any:
    """Ask again and again until the answer is true, and return it.

    Args:
        wanted: What is asked.
        seen: Shows the state of things in the error; the last answer when left out.
        seconds: How long.
    """
    give_up = time.monotonic() + seconds
    while not (answer := wanted()):
        if time.monotonic() > give_up:
            raise AssertionError(f"waited {seconds:g} s in vain; seen last: {seen() if seen else answer!r}")
        time.sleep(0.05)
    return answer
