"""Handling of signals that end the command: exit code 128 + number, and one line on standard error.

Before a verb begins and after it has ended nothing needs to be undone, so the process ends at once. In between the
signal becomes an exception, so that a change can be undone. This module is imported first and imports almost nothing:
until then, Python itself answers Ctrl-C, with a stack trace and the same exit code.
"""

from __future__ import annotations

import importlib
import os
import sys

from ..util.terminated import Terminated

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from types import FrameType
    from typing import Any, NoReturn
else:
    signal = importlib.import_module("_signal")  # `signal` loads `enum`, which takes as long as everything else here

STOPPED = "stopped"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_AGAIN_S = 0.01


def exit_at_once() -> None:
    """End the process at once on a signal from now on, without a stack trace."""
    _handle(_exit)


class Raising:
    """Raise ``KeyboardInterrupt`` in the block on Ctrl-C, :class:`sdk.util.terminated.Terminated` on other signals.

    A class, since a generator would need ``contextlib``, whose import takes longer than everything else here.
    """

    def __enter__(self) -> None:
        """Install the handlers."""
        self._before = {number: signal.getsignal(number) for number in _SIGNALS}
        self._hook = sys.unraisablehook
        _handle(_raise)
        sys.unraisablehook = _not_lost(self._hook)

    def __exit__(self, *_: object) -> None:
        """Restore the handlers that were there before."""
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        sys.unraisablehook = self._hook


def code_of(stop: BaseException | None) -> int:
    """Return the exit code for an exception that :class:`Raising` has raised."""
    return 128 + int(getattr(stop, "signal", signal.SIGINT))


def _handle(handler: Callable[[int, FrameType | None], object]) -> None:
    for number in _SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # ignored under nohup, or in the background of a script
            signal.signal(number, handler)


def _exit(number: int, _frame: FrameType | None) -> NoReturn:
    try:
        os.write(2, f"{STOPPED}\n".encode())
    finally:
        os._exit(128 + number)


def _raise(number: int, _frame: FrameType | None) -> NoReturn:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise Terminated(number)


def _not_lost(hook: Callable[[Any], object]) -> Callable[[Any], object]:
    """Return a hook that resends a signal whose exception Python was about to ignore, as in a destructor."""

    def ignored(event: Any) -> None:
        if not isinstance(event.exc_value, KeyboardInterrupt):
            hook(event)
            return
        number = getattr(event.exc_value, "signal", signal.SIGINT)
        signal.signal(signal.SIGALRM, lambda _number, _frame: signal.raise_signal(number))
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)

    return ignored
