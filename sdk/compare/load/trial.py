"""A sequential test of a rate, which ends the window as soon as it is clear whether the objective is met."""

from __future__ import annotations

import math
from collections import deque
from typing import Literal

import msgspec

Outcome = Literal["", "passed", "missed"]

SHARE = 0.05  # share of the requests that may take longer than the objective
_LIKELY, _UNLIKELY = SHARE / 2, SHARE * 2  # the two hypotheses of Wald's test, around the share
_OVER, _WITHIN = math.log(_UNLIKELY / _LIKELY), math.log((1 - _UNLIKELY) / (1 - _LIKELY))
# All requests go through one queue, so slow ones come in bursts: "missed" takes fifteen in a row.
_PASSED, _MISSED = math.log(0.001), 20.0


class Trial(msgspec.Struct, frozen=True):
    """The conditions under which a window may end early.

    Args:
        objective_s: The seconds within which 95 of 100 requests must be answered.
        least_s: The minimum seconds before a rate counts as sustained, since a slowly growing queue needs time to show.
    """

    objective_s: float
    least_s: float


class WindowWatch:
    """The evaluation of a window while it runs, request by request in the order of the schedule.

    A request counts as soon as it is answered or older than the objective. "passed" uses the times since requests were
    due, "missed" the times since they were sent. Between the two, the result depends on the generator's own delay.

    Example:
        >>> watch = WindowWatch(Trial(objective_s=0.1, least_s=0.0))
        >>> for place in range(20):
        ...     watch.sent(place, due=place, at=place)
        >>> watch.look(now=100.0)
        'missed'
    """

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._waiting: deque[tuple[int, float, float]] = deque()
        self._answered: dict[int, float] = {}
        self._from_due = self._from_sent = 0.0

    def sent(self, place: int, *, due: float, at: float) -> None:
        """Record that a request was sent."""
        self._waiting.append((place, min(due, at), at))

    def answered(self, place: int, *, at: float) -> None:
        """Record the time of an answer; infinite for a request that failed."""
        self._answered[place] = at

    def look(self, now: float, begun: float = -math.inf) -> Outcome:
        """Return the verdict on a window that began at some moment; empty while it is not certain."""
        limit = self._trial.objective_s
        while self._waiting:
            place, due, sent = self._waiting[0]
            end = self._answered.pop(place, None)
            if end is None and now - sent <= limit:
                break
            self._waiting.popleft()
            end = math.inf if end is None else end
            self._from_due += _OVER if end - due > limit else _WITHIN
            self._from_sent += _OVER if end - sent > limit else _WITHIN
        if self._from_sent >= _MISSED:
            return "missed"
        return "passed" if self._from_due <= _PASSED and now - begun >= self._trial.least_s else ""
