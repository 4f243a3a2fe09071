"""How far a transfer of several blobs is, told in steps that a log file can bear."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Progress = Callable[[str, int, int | None], None]

_STEPS = 20  # a line for each 5 %


class Transfer:
    """Adds up what has moved of each blob; all blobs may move at once.

    Args:
        what: The stage, such as ``"push"``.
        sizes: Bytes of each blob by digest.
        tell: Told the stage, and how many bytes of how many have moved.

    Example:
        >>> transfer = Transfer("push", {"a": 50, "b": 50}, print)
        >>> transfer.at("a", 50)
        push 50 100
        >>> transfer.at("b", 1)
        >>> transfer.at("b", 50)
        push 100 100
    """

    def __init__(self, what: str, sizes: Mapping[str, int], tell: Progress | None) -> None:
        self._what, self._tell = what, tell
        self._total = sum(sizes.values())
        self._moved: dict[str, int] = {}
        self._step = 0
        self._lock = threading.Lock()

    def at(self, digest: str, moved: int) -> None:
        """So many bytes of this blob have moved; one that begins again moves back."""
        with self._lock:
            self._moved[digest] = moved
            done = sum(self._moved.values())
            step = _STEPS * done // self._total if self._total else _STEPS
            if self._tell is not None and step > self._step:
                self._step = step
                self._tell(self._what, done, self._total)
