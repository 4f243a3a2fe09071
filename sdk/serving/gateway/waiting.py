"""Requests that wait for a replica: after a restart most are ready sooner than a client would try again."""

from __future__ import annotations

from time import perf_counter
from typing import Generic, Protocol, TypeVar

_HOPE_S = 10.0  # a replica that was lost longer ago is not waited for


class Guest(Protocol):
    """A request of which nothing was sent yet."""

    def resume(self, until: float) -> None:
        """Go on; wait on if it still cannot, as long as it is not later than `until`."""
        ...


G = TypeVar("G", bound=Guest)


class WaitingRoom(Generic[G]):
    """All requests that wait, each with the time until which it does."""

    def __init__(self) -> None:
        self._until: dict[G, float] = {}
        self._hopeful_until = 0.0

    def hope(self) -> None:
        """Expect replicas to be ready soon: they served a moment ago, and are being started again."""
        self._hopeful_until = perf_counter() + _HOPE_S

    def enter(self, guest: G, seconds: float, *, most: int) -> bool:
        """Let a request wait; `False` when no replica is expected, or too many requests wait already."""
        now = perf_counter()
        if now > self._hopeful_until or len(self._until) >= most:
            return False
        self._until[guest] = now + seconds
        return True

    def stay(self, guest: G, until: float) -> bool:
        """Let a request wait on that was asked to go on and could not; `False` when its time is over."""
        if perf_counter() >= until:
            return False
        self._until[guest] = until
        return True

    def leave(self, guest: G) -> None:
        """Forget a request whose client has left."""
        self._until.pop(guest, None)

    def retry(self) -> None:
        """Let all go on, as a replica may be ready now."""
        waiting, self._until = self._until, {}
        for guest, until in waiting.items():
            guest.resume(until)

    def sweep(self, *, all_of_them: bool = False) -> None:
        """Send away those whose time is over."""
        now = perf_counter()
        for guest in [one for one, until in self._until.items() if all_of_them or now > until]:
            del self._until[guest]
            guest.resume(now)
