"""How SIGTERM and SIGHUP reach a verb; a module that loads nothing, so that a signal finds it at any moment."""

from __future__ import annotations

_SIGTERM = 15


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP: like Ctrl-C, but the process may be killed soon.

    Args:
        signal: The number of the signal.
    """

    def __init__(self, signal: int = _SIGTERM) -> None:
        super().__init__()
        self.signal = signal
