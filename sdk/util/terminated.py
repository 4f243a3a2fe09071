"""The exception for SIGTERM and SIGHUP; this module imports nothing, so that it is available at any moment."""

from __future__ import annotations

_SIGTERM = 15


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP was received: like Ctrl-C, but the process may be killed soon.

    Args:
        signal: The number of the signal.
    """

    def __init__(self, signal: int = _SIGTERM) -> None:
        super().__init__()
        self.signal = signal
