"""What a live run costs, and how its budget stops it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sdk.adapter import Clock

DELETE_S = 600.0  # cost of this long is reserved in the budget for deleting
_SHORTEST_S = 0.01


class BudgetSpent(KeyboardInterrupt):
    """The budget is used up but for the cost of deleting; like Ctrl-C, so that a change in progress is undone."""


class Meter:
    """Adds up the cost of everything that runs: hourly prices times elapsed time.

    Args:
        clock: The source of time.
        budget_usd: Dollars that may be spent.

    Example:
        >>> from sdk_contract.fake_cloud import VirtualClock
        >>> clock = VirtualClock()
        >>> meter = Meter(clock, 5.0)
        >>> meter.set("endpoint", 2.0)
        >>> clock.sleep(1800)
        >>> meter.usd
        1.0
    """

    def __init__(self, clock: Clock, budget_usd: float) -> None:
        self.budget_usd = budget_usd
        self.spent = False
        self._clock = clock
        self._rates: dict[str, float] = {}
        self._usd, self._since = 0.0, clock.monotonic()

    @property
    def hourly(self) -> float:
        """Dollars per hour of everything that runs now."""
        return sum(self._rates.values())

    @property
    def usd(self) -> float:
        """Dollars spent until now."""
        return self._usd + self.hourly * (self._clock.monotonic() - self._since) / 3600

    @property
    def left_s(self) -> float:
        """Seconds until the budget is used up at the current cost."""
        left = self.budget_usd - self.usd - self.hourly * DELETE_S / 3600
        return left / self.hourly * 3600 if self.hourly else float("inf")

    def set(self, what: str, usd_per_hour: float) -> None:
        """Set the hourly cost of something from now on."""
        self._usd, self._since = self.usd, self._clock.monotonic()
        self._rates[what] = usd_per_hour

    def check(self) -> None:
        """Stop when the budget is used up.

        Raises:
            BudgetSpent: The first time it is; the clean-up after it is not stopped.
        """
        if not self.spent and self.left_s <= 0:
            self.spent = True
            raise BudgetSpent


class MeteredClock:
    """A clock whose waits end when the budget is used up, in the thread that created it.

    Args:
        clock: The source of time.
        meter: Checked before, during and after each wait.
    """

    def __init__(self, clock: Clock, meter: Meter) -> None:
        self._clock, self._meter, self._thread = clock, meter, threading.get_ident()

    def time(self) -> float:
        """Return the seconds since the epoch."""
        return self._clock.time()

    def monotonic(self) -> float:
        """Return seconds that never jump."""
        return self._clock.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait.

        Raises:
            BudgetSpent: The budget is used up.
        """
        end = self.monotonic() + seconds
        self.check()
        while (left := end - self.monotonic()) > 0:
            self._clock.sleep(left if self._meter.spent else min(left, max(self._meter.left_s, _SHORTEST_S)))
            self.check()

    def check(self, *_event: object) -> None:
        """Stop when the budget is used up; threads that do not own the clock continue."""
        if threading.get_ident() == self._thread:
            self._meter.check()
