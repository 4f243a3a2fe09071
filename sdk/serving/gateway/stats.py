"""Counts responses and their latencies, in total and per minute for a day.

Latencies are counted in buckets whose bounds grow by 10 %, so a percentile computed from them is within 5 % of the
exact one. Buckets of several minutes, replicas or gateways can be added; percentiles cannot.
"""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FIRST_BOUND_S = 20e-6
GROWTH = 1.1
BUCKETS = 200  # the last one starts at 38 minutes
MINUTES = 24 * 60

_SCALE = 1 / math.log(GROWTH)
_OFFSET = 1 - math.log(FIRST_BOUND_S) * _SCALE
_log = math.log


def bound(bucket: int) -> float:
    """Return the upper bound of a bucket in seconds."""
    return FIRST_BOUND_S * GROWTH**bucket


class Window:
    """The counts of one period: responses by status and by latency bucket, and failures by kind."""

    __slots__ = ("buckets", "errors", "seconds", "start", "status")

    def __init__(self, start: float) -> None:
        self.start = start
        self.status: dict[int, int] = {}
        self.buckets: Counter[int] = Counter()
        self.seconds = 0.0
        self.errors: Counter[str] = Counter()

    def add(self, other: Window) -> None:
        """Add the counts of another period."""
        for status, count in other.status.items():
            self.status[status] = self.status.get(status, 0) + count
        for bucket, count in other.buckets.items():
            self.buckets[bucket] += count
        self.seconds += other.seconds
        self.errors.update(other.errors)

    def report(self) -> dict[str, Any]:
        """Return the counts as JSON-able values; `latency.buckets` maps an upper bound in seconds to its count."""
        classes: Counter[str] = Counter()
        for status, count in self.status.items():
            classes[f"{status // 100}xx"] += count
        return {
            "requests": sum(self.status.values()),
            "status": {str(status): count for status, count in sorted(self.status.items())},
            "classes": dict(sorted(classes.items())),
            "errors": dict(sorted(self.errors.items())),
            "latency": {
                "method": "histogram",
                "relative_error": 0.05,
                "sum_s": round(self.seconds, 6),
                **{f"p{share:g}_s": percentile(self.buckets, share) for share in (50, 90, 95, 99)},
                "buckets": {f"{bound(bucket):.9g}": count for bucket, count in sorted(self.buckets.items())},
            },
        }


def percentile(buckets: Mapping[int, int], share: float) -> float | None:
    """Return the latency in seconds that `share` percent of the responses stay within; None without responses."""
    total = sum(buckets.values())
    if not total:
        return None
    rank = max(1, math.ceil(total * share / 100))
    for bucket in sorted(buckets):
        rank -= buckets[bucket]
        if rank <= 0:
            return bound(bucket) / math.sqrt(GROWTH)  # middle of the bucket on the logarithmic scale
    raise AssertionError


class Stats:
    """The counts of one deployment."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.since = clock()
        self._past = Window(self.since)
        self._minutes: deque[Window] = deque(maxlen=MINUTES)
        self._now = Window(self.since)

    def record(self, status: int, seconds: float) -> None:
        """Count one response."""
        now = self._now
        now.status[status] = now.status.get(status, 0) + 1
        now.seconds += seconds
        bucket = int(_log(seconds) * _SCALE + _OFFSET) if seconds > FIRST_BOUND_S else 0
        now.buckets[bucket if bucket < BUCKETS else BUCKETS - 1] += 1

    def fail(self, kind: str) -> None:
        """Count one failure of a replica, independent of the final response."""
        self._now.errors[kind] += 1

    def tick(self) -> None:
        """Close the current minute once it is over; must be called about once a second."""
        now = self._clock()
        if int(now // 60) != int(self._now.start // 60):
            self._past.add(self._now)
            self._minutes.append(self._now)
            self._now = Window(now)

    def last_active(self) -> float | None:
        """Return the end of the last minute with a response, or now if that is the current one; None if unknown."""
        if self._now.status:
            return self._clock()
        end = self._now.start
        for minute in reversed(self._minutes):
            if minute.status:
                return end
            end = minute.start
        return None

    def total(self) -> Window:
        """Return the counts since the start."""
        window = Window(self.since)
        window.add(self._past)
        window.add(self._now)
        return window

    def window(self, seconds: float) -> Window:
        """Return the counts of the last `seconds` in whole minutes; the first minute counts if it ends inside."""
        start = self._clock() - seconds
        window = Window(max(start, self.since))
        minutes = [*self._minutes, self._now]
        ends = [later.start for later in minutes[1:]] + [math.inf]
        for minute, end in zip(minutes, ends, strict=True):
            if end > start:
                window.add(minute)
        return window
