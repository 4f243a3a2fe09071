"""Report the progress of a transfer of several blobs, in steps coarse enough for a log file."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Progress = Callable[[str, int, int | None], None]

_STEPS = 20  # a line for each 5 %


class Transfer:
    """The total progress of several blobs, which may move concurrently.

    Args:
        what: The stage, such as ``"push"``.
        sizes: Bytes of each blob by digest.
        report: Called with the stage, the bytes moved so far and the total.

    Example:
        >>> transfer = Transfer("push", {"a": 50, "b": 50}, print)
        >>> transfer.at("a", 50)
        push 50 100
        >>> transfer.at("b", 1)
        >>> transfer.at("b", 50)
        push 100 100
    """

    def __init__(self, what: str, sizes: Mapping[str, int], report: Progress | None) -> None:
        self._what, self._report = what, report
        self._total = sum(sizes.values())
        self._moved: dict[str, int] = {}
        self._step = 0
        self._lock = threading.Lock()

    def at(self, digest: str, moved: int) -> None:
        """Record how many bytes of this blob have moved; a blob that starts again moves back."""
        with self._lock:
            self._moved[digest] = moved
            done = sum(self._moved.values())
            step = _STEPS * done // self._total if self._total else _STEPS
            if self._report is not None and step > self._step:
                self._step = step
                self._report(self._what, done, self._total)
