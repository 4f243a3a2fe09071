"""Clocks, deadlines, retries and polling."""

from __future__ import annotations

import math
import random as _random
import threading
import time
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Protocol, TypeVar

from ..errors import ThrottledError, TimedOut, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


T = TypeVar("T")

LONGEST_RETRY_AFTER_S = 60.0
THROTTLED_FLOOR_S = 5.0
_LONGEST_PAUSE_S = 15.0
_GROWTH = 20.0
_ACCEPTABLE_S = 5.0  # difference between two clocks that counts as none


class Clock(Protocol):
    """A source of time that tests can replace: seconds since the epoch, monotonic seconds, and waiting."""

    def time(self) -> float:
        """Return the seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never jump."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait for this many seconds."""
        ...


def seconds_ahead(date: str | None, now: float) -> float | None:
    """Return by how many seconds a platform's clock is ahead of ours, from the ``Date`` header of an answer.

    The date has whole seconds only, and the answer took some time to arrive, so a small difference counts as 0.
    Otherwise a name could stay taken a second longer than an error has reported.

    Args:
        date: The header; if it is missing or malformed, the result is ``None``.
        now: Unix seconds by our clock.

    Example:
        >>> seconds_ahead("Thu, 01 Jan 1970 00:01:40 GMT", 101.9), seconds_ahead("Thu, 01 Jan 1970 00:01:40 GMT", 10.0)
        (0.0, 90.0)
    """
    try:
        ahead = parsedate_to_datetime(date or "").timestamp() - now
    except (ValueError, OverflowError):
        return None
    return ahead if abs(ahead) > _ACCEPTABLE_S else 0.0


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks to wait; ``None`` without one that can be read.

    The header holds a number or a date (RFC 9110, section 10.2.3). A date counts from the answer's own ``Date``, as the
    two clocks may differ.

    Args:
        headers: The headers of an answer, with lower-case names or without regard to case.

    Example:
        >>> retry_after({"retry-after": "2"}), retry_after({"retry-after": "soon"})
        (2.0, None)
        >>> dates = {"retry-after": "Thu, 01 Jan 1970 00:01:40 GMT", "date": "Thu, 01 Jan 1970 00:01:30 GMT"}
        >>> retry_after(dates)
        10.0
    """
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.replace(".", "", 1).isdigit():
        seconds = float(text)
        return seconds if math.isfinite(seconds) else None
    try:
        until, now = (parsedate_to_datetime(date).timestamp() for date in (text, headers.get("date", "")))
    except (ValueError, OverflowError):
        return None
    return max(0.0, until - now)


def pause_after(error: ThrottledError | UnavailableError, least: float) -> float:
    """Return the seconds to wait after an error: at least ``least``, or what the platform asks, within the longest.

    Example:
        >>> from sdk.errors import ThrottledError
        >>> [pause_after(ThrottledError("busy", retry_after_s=asked), 2.0) for asked in (None, 7.0, 1e9)]
        [2.0, 7.0, 60.0]
    """
    return max(least, min(error.retry_after_s or 0.0, LONGEST_RETRY_AFTER_S))


class SystemClock:
    """The clock of this machine."""

    def time(self) -> float:
        """Return the seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds that never jump."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait for this many seconds."""
        time.sleep(seconds)


class StoppableClock:
    """A clock whose wait another thread can end: the waiting thread gets one ``KeyboardInterrupt``, as for Ctrl-C.

    Python delivers signals to the main thread only. Work in another thread waits on this clock; after the interrupt it
    can continue to use the clock to undo its work.

    Args:
        clock: The source of time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._asked = threading.Event()
        self._lock = threading.Lock()
        self._delivered = False

    def time(self) -> float:
        """Return the seconds since the epoch."""
        return self._clock.time()

    def monotonic(self) -> float:
        """Return seconds that never jump."""
        return self._clock.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait for this many seconds.

        Raises:
            KeyboardInterrupt: :meth:`stop` was called; raised once.
        """
        self._deliver()
        if self._delivered or not isinstance(self._clock, SystemClock):
            self._clock.sleep(seconds)
        else:
            self._asked.wait(seconds)
        self._deliver()

    def stop(self) -> None:
        """Interrupt the current wait, or the next one."""
        self._asked.set()

    def resume(self) -> None:
        """Forget an interrupt that may not have reached a wait."""
        with self._lock:
            self._asked.clear()
            self._delivered = False

    def _deliver(self) -> None:
        with self._lock:
            due, self._delivered = self._asked.is_set() and not self._delivered, self._asked.is_set()
        if due:
            raise KeyboardInterrupt


class Deadline:
    """A point in monotonic time by which a whole verb must be done.

    Args:
        clock: The source of time.
        seconds: The time allowed, from now.
        undo_s: The part at its end that is reserved for undoing; ``None`` leaves that to the code that undoes.
    """

    def __init__(self, clock: Clock, seconds: float, *, undo_s: float | None = None) -> None:
        self._clock = clock
        self.seconds = seconds
        self.undo_s = undo_s
        self._start = clock.monotonic()
        self._awaited: tuple[str, str | None] | None = None

    @property
    def left(self) -> float:
        """The seconds left, never negative."""
        return max(0.0, self._start + self.seconds - self._clock.monotonic())

    @property
    def passed(self) -> bool:
        """Whether no time is left."""
        return self.left <= 0.0

    def shorter(self, seconds: float) -> Deadline:
        """Return a deadline ``seconds`` before this one, which leaves that much time to clean up."""
        return Deadline(self._clock, max(0.0, self.left - seconds))

    def extend(self, seconds: float) -> None:
        """Move the deadline later, by time that does not count."""
        self._start += seconds

    def limit(self, seconds: float) -> float:
        """Return the smaller of ``seconds`` and the time left: the time-out of one call."""
        return min(seconds, self.left)

    def expect(self, what: str | None, state: str | None = None) -> None:
        """Record what is waited for, which the error names if the time passes meanwhile; ``None`` for nothing."""
        self._awaited = None if what is None else (what, state)

    def check(self, what: str, state: str | None = None) -> None:
        """Raise :class:`~sdk.errors.TimedOut` if no time is left."""
        if self.passed:
            what, state = self._awaited or (what, state)
            waited = f"{what}: not done after {self.seconds:.0f} s{f', still {state}' if state else ''}"
            raise TimedOut(waited, waited_s=self.seconds, state=state, hint="give it more time with timeout=")


@dataclass(slots=True)
class TokenBucket:
    """The retry budget that all callers of a target share, so that retries do not worsen an outage.

    A retry costs ``cost`` (``throttle_cost`` after a throttle); every success pays back a little.
    """

    capacity: float = 500.0
    cost: float = 14.0
    throttle_cost: float = 5.0
    tokens: float = 500.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def take(self, *, throttled: bool) -> float | None:
        """Pay for one retry and return its price; ``None`` if not enough is left."""
        price = self.throttle_cost if throttled else self.cost
        with self._lock:
            if self.tokens < price:
                return None
            self.tokens -= price
            return price

    def give(self, tokens: float) -> None:
        """Pay back after a success."""
        with self._lock:
            self.tokens = min(self.capacity, self.tokens + tokens)


_buckets: dict[str, TokenBucket] = {}
_buckets_lock = threading.Lock()


def bucket_of(target: str) -> TokenBucket:
    """Return the bucket that all threads of this process share for one target."""
    with _buckets_lock:
        return _buckets.setdefault(target, TokenBucket())


class Retry:
    """Retries of a call that may be repeated: full jitter, at most ``attempts`` tries, paid from a shared bucket.

    Only :class:`~sdk.errors.ThrottledError` and :class:`~sdk.errors.UnavailableError` are repeated. With
    ``unsent_only``, a request that may have arrived is not repeated.
    """

    def __init__(
        self,
        clock: Clock,
        bucket: TokenBucket,
        *,
        random: _random.Random | None = None,
        attempts: int = 3,
        base_s: float = 0.05,
        cap_s: float = 20.0,
    ) -> None:
        self._clock = clock
        self._bucket = bucket
        self._random = random or _random.Random()  # noqa: S311  # jitter, not a secret
        self._attempts = attempts
        self._base_s = base_s
        self._cap_s = cap_s

    def run(self, call: Callable[[], T], deadline: Deadline, *, unsent_only: bool = False) -> T:
        """Call until it succeeds, or raise the last error."""
        for attempt in range(1, self._attempts):
            try:
                result = call()
            except (ThrottledError, UnavailableError) as error:
                maybe_sent = isinstance(error, UnavailableError) and error.sent
                if (unsent_only and maybe_sent) or not self._pause(error, attempt, deadline):
                    raise
            else:
                self._bucket.give(1.0)
                return result
        return call()

    def _pause(self, error: ThrottledError | UnavailableError, attempt: int, deadline: Deadline) -> bool:
        throttled = isinstance(error, ThrottledError)
        base = 1.0 if throttled else self._base_s
        delay = self._random.random() * min(base * 2**attempt, self._cap_s)
        delay = pause_after(error, delay)
        if delay >= deadline.left or self._bucket.take(throttled=throttled) is None:
            return False
        self._clock.sleep(delay)
        return True


class Poll:
    """The pauses between polls of a slow operation: 1, 2, 4, 8, 15 seconds and so on, each ±20 %.

    A quick operation is polled often until its end: no pause is longer than twenty times the first.

    Args:
        clock: The source of time.
        deadline: No pause extends beyond it.
        first_s: The first pause; later ones grow from it.
        random: The source of jitter.
        longest_s: The longest pause.
    """

    def __init__(
        self,
        clock: Clock,
        deadline: Deadline,
        *,
        first_s: float = 1.0,
        random: _random.Random | None = None,
        longest_s: float = _LONGEST_PAUSE_S,
    ) -> None:
        self._clock = clock
        self._deadline = deadline
        self._next = first_s
        self._longest_s = min(longest_s, _GROWTH * first_s)
        self._random = random or _random.Random()  # noqa: S311  # jitter, not a secret

    def pause(self, what: str, *, state: str | None = None, error: Exception | None = None) -> None:
        """Wait until the next poll; raise :class:`~sdk.errors.TimedOut` if the deadline has passed."""
        self._deadline.expect(what, state)
        self._deadline.check(what, state)
        delay = self._next * self._random.uniform(0.8, 1.2)
        self._next = min(self._next * 2, self._longest_s)
        if isinstance(error, ThrottledError):
            delay = max(delay, THROTTLED_FLOOR_S)
        if isinstance(error, ThrottledError | UnavailableError):
            delay = pause_after(error, delay)
        self._clock.sleep(min(delay, self._deadline.left))
