"""Data-plane state of replicas and of their deployments."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from .addresses import split_address

if TYPE_CHECKING:
    from .stats import Stats


class Link(Protocol):
    """An open connection to a replica."""

    def close(self) -> None:
        """Close the connection, which must not carry a request."""


class Backend:
    """The data-plane state of one replica."""

    def __init__(self, replica_id: str, address: str, route: Route) -> None:
        self.id = replica_id
        self.target = split_address(address)
        self.route = route
        self.ready = False
        self.inflight = 0
        self.served = 0
        self.idle: list[Link] = []
        """Open connections without a request; the most recently used is taken first."""
        self.retired = False
        self._empty = asyncio.Event()
        self.suspect = asyncio.Event()
        """Set when a request could not reach the replica, so that its health is checked at once."""

    def release(self) -> None:
        """Record the end of a request."""
        self.inflight -= 1
        if self.retired and not self.inflight:
            self._empty.set()

    async def empty(self) -> None:
        """Retire the replica, and wait until its last request in flight is answered."""
        self.retired = True
        if self.inflight:
            await self._empty.wait()
        for connection in self.idle:
            connection.close()
        self.idle.clear()


class Route:
    """One deployment: its replicas, traffic share and counts."""

    def __init__(self, name: str, stats: Stats) -> None:
        self.name = name
        self.line = b"x-mlport-deployment: " + name.encode() + b"\r\nx-request-id: "
        self.stats = stats
        self.weight = 0
        self.backends: list[Backend] = []
        self.ready: list[Backend] = []

    def least_busy(self, avoid: Backend | None) -> Backend | None:
        """Choose the ready replica with the fewest requests in flight; among equals, the one that served fewer."""
        if len(self.ready) == 1:
            return self.ready[0]
        best: Backend | None = None
        for backend in self.ready:
            if backend is avoid:
                continue
            if best is None or (backend.inflight, backend.served) < (best.inflight, best.served):
                best = backend
        return best
