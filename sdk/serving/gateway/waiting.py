"""Requests that wait for a replica: after a restart it is usually ready sooner than a client would retry."""

from __future__ import annotations

from time import perf_counter
from typing import Generic, Protocol, TypeVar

_HOPE_S = 10.0  # requests do not wait for a replica that was lost longer ago


class Guest(Protocol):
    """A waiting request, of which nothing was sent yet."""

    def resume(self, until: float) -> None:
        """Try to start the request; if that is still impossible, keep waiting, but not beyond `until`."""
        ...


G = TypeVar("G", bound=Guest)


class WaitingRoom(Generic[G]):
    """All waiting requests, each with the end of its wait."""

    def __init__(self) -> None:
        self._until: dict[G, float] = {}
        self._hopeful_until = 0.0

    def hope(self) -> None:
        """Expect replicas to be ready soon: they served a moment ago and are being restarted."""
        self._hopeful_until = perf_counter() + _HOPE_S

    def enter(self, guest: G, seconds: float, *, most: int) -> bool:
        """Let a request wait; return `False` if no replica is expected or too many requests wait already."""
        now = perf_counter()
        if now > self._hopeful_until or len(self._until) >= most:
            return False
        self._until[guest] = now + seconds
        return True

    def stay(self, guest: G, until: float) -> bool:
        """Let a resumed request that could not start keep waiting; return `False` if its time is over."""
        if perf_counter() >= until:
            return False
        self._until[guest] = until
        return True

    def leave(self, guest: G) -> None:
        """Remove a request whose client has disconnected."""
        self._until.pop(guest, None)

    def retry(self) -> None:
        """Resume all requests, as a replica may be ready now."""
        waiting, self._until = self._until, {}
        for guest, until in waiting.items():
            guest.resume(until)

    def sweep(self, *, all_of_them: bool = False) -> None:
        """Resume, for the last time, the requests whose time is over; with `all_of_them`, every request."""
        now = perf_counter()
        for guest in [one for one, until in self._until.items() if all_of_them or now > until]:
            del self._until[guest]
            guest.resume(now)
