"""A sequential test of a rate: its window ends as soon as it is clear on which side of the objective the target is."""

from __future__ import annotations

import math
from collections import deque
from typing import Literal

import msgspec

Outcome = Literal["", "passed", "missed"]

SHARE = 0.05  # of the requests may take longer than the objective
_LIKELY, _UNLIKELY = SHARE / 2, SHARE * 2  # the two hypotheses of Wald's test, around the share
_OVER, _WITHIN = math.log(_UNLIKELY / _LIKELY), math.log((1 - _UNLIKELY) / (1 - _LIKELY))
# Requests follow each other through one queue, so slow ones come in bursts: fifteen in a row for "missed".
_PASSED, _MISSED = math.log(0.001), 20.0


class Trial(msgspec.Struct, frozen=True):
    """When a window may end early.

    Args:
        objective_s: 95 of 100 requests must be answered within so many seconds.
        least_s: A rate is not called borne before so many seconds: a queue that grows slowly needs them to show.
    """

    objective_s: float
    least_s: float


class Watch:
    """Follows a window, request by request in the order of the schedule.

    A request counts as soon as it is answered, or older than the objective. What is borne is judged from when requests
    were due, what is missed from when they were sent: in between the delay of the generator decides.

    Example:
        >>> watch = Watch(Trial(objective_s=0.1, least_s=0.0))
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
        """Take note that a request was sent."""
        self._waiting.append((place, min(due, at), at))

    def answered(self, place: int, *, at: float) -> None:
        """Take note of an answer; infinite for a request that failed."""
        self._answered[place] = at

    def look(self, now: float, begun: float = -math.inf) -> Outcome:
        """Return what is certain by now of a window that began at some moment."""
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
