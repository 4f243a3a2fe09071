"""The choice of the replica that answers a request."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .backend import Backend, Route
    from .table import Deployment


class Router:
    """A router with smooth weighted round-robin over deployments, and fewest requests in flight over replicas."""

    def __init__(self) -> None:
        self.routes: dict[str, Route] = {}
        self._cycle: list[Route] = []
        self._turn = -1
        self.only: Backend | None = None
        """The replica that answers every request that names no deployment, if there is only one."""

    def use(self, deployments: dict[str, Deployment], backends: dict[str, Backend]) -> None:
        """Route to exactly these deployments from the next request on; `backends` holds all their replicas."""
        routes: dict[str, Route] = {}
        for name, deployment in deployments.items():
            members = [backends[replica.id] for replica in deployment.replicas]
            route = members[0].route
            route.weight = deployment.weight
            route.backends = members
            routes[name] = route
        self.routes = routes
        self.refresh()

    def refresh(self) -> None:
        """Apply changed readiness: route traffic to the deployments with a ready replica."""
        for route in self.routes.values():
            route.ready = [backend for backend in route.backends if backend.ready]
        able = [route for route in self.routes.values() if route.weight and route.ready]
        self._cycle = smooth_cycle(able)
        self.only = able[0].ready[0] if len(able) == 1 and len(able[0].ready) == 1 else None

    @property
    def able(self) -> bool:
        """Whether a request that names no deployment can be answered."""
        return bool(self._cycle)

    @property
    def whole(self) -> bool:
        """Whether every replica can answer."""
        return all(len(route.ready) == len(route.backends) for route in self.routes.values())

    @property
    def ready(self) -> int:
        """The number of replicas that can answer."""
        return sum(len(route.ready) for route in self.routes.values())

    def pick(self, wanted: str | None, avoid: Backend | None = None) -> Backend | None:
        """Choose a replica; return None if none is ready.

        Raises:
            KeyError: No deployment is called `wanted`.

        """
        if wanted is not None:
            return self.routes[wanted].least_busy(avoid)
        cycle = self._cycle
        if len(cycle) == 1:
            return cycle[0].least_busy(avoid)
        if not cycle:
            return None
        self._turn = (self._turn + 1) % len(cycle)
        return cycle[self._turn].least_busy(avoid)


def smooth_cycle(routes: list[Route]) -> list[Route]:
    """Spread the routes over one cycle in proportion to their weights, as evenly as nginx does."""
    if not routes:
        return []
    divisor = math.gcd(*(route.weight for route in routes))
    weights = [route.weight // divisor for route in routes]
    total = sum(weights)
    credit = [0] * len(routes)
    cycle: list[Route] = []
    for _ in range(total):
        credit = [have + weight for have, weight in zip(credit, weights, strict=True)]
        chosen = credit.index(max(credit))
        credit[chosen] -= total
        cycle.append(routes[chosen])
    return cycle
