"""A clock for tests of waiting, which adds up the pauses that were asked for."""

from __future__ import annotations

from sdk.util.waiting import SystemClock


class RecordingClock(SystemClock):
    """The clock of this machine.

    Attributes:
        paused: Seconds of all pauses since the last reset.
    """

    def __init__(self) -> None:
        self.paused = 0.0

    def sleep(self, seconds: float) -> None:
        """Wait, and remember for how long."""
        self.paused += max(seconds, 0.0)
        super().sleep(seconds)
