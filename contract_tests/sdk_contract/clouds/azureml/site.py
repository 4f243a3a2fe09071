"""One workspace with everything in it: assets, endpoints, jobs, metrics, registry."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from ..app import App
from ..guard import nothing_lacking
from ..server import Server
from .acr import ContainerRegistry
from .assets import Assets
from .deployments import Deployments
from .endpoints import Endpoints
from .jobs import Jobs
from .monitor import Monitor
from .names import Names
from .workspace import Workspace
from .world import World

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ..app import Match, Request, Response, Service
    from ..calls import CallLog
    from ..faults import Faults
    from ..guard import Lacking
    from ..runners import Runner
    from ..timing import Pace
    from .blobs import Blobs
    from .monitor import Counters
    from .online import Endpoint
    from .world import Place


@dataclass
class Shared:
    """What all workspaces of one mini cloud have in common.

    Attributes:
        folder: Where files are stored.
        pace: How fast time passes.
        runner: Runs containers.
        blobs: The storage.
        counters: The requests of all endpoints.
        valid: Checks whether a token is one of this cloud.
        cores: Quota of each family of machines.
        taken: Names of endpoints that belong to other customers of the region.
        calls: The log of requests.
        faults: The planned faults.
        watch: Called before and after each registry call, like ``watch`` of the cloud's application for other calls.
        guard: Refuses registry calls that lack a right, like ``guard`` of the cloud's application for other calls.
        lacking: Finds the rights that the identities of containers lack.
        first_region: The region whose endpoints are called by their names alone.
        url: Address of the cloud.
        autoscale: Autoscale settings, by the path of their resource group.
    """

    folder: Path
    pace: Pace
    runner: Runner
    blobs: Blobs
    counters: Counters
    valid: Callable[[str], bool]
    cores: int
    taken: frozenset[str]
    calls: CallLog
    faults: Faults
    watch: Callable[[str, Match], bool]
    first_region: str = ""
    guard: Callable[[Request, Match], Response | None] | None = None
    lacking: Lacking = nothing_lacking
    url: str = ""
    autoscale: Names[Names[dict[str, Any]]] = field(default_factory=Names["Names[dict[str, Any]]"])

    def admits(self, request: Request) -> bool:
        """Return whether a request has a token of this cloud."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self.valid(token)


class Region(Protocol):
    """Functions that span all workspaces."""

    def endpoint(self, name: str, region: str = "") -> Endpoint | None:
        """Find an endpoint, whose name no two workspaces of a region may have."""
        ...

    def used(self, subscription: str, region: str) -> dict[str, int]:
        """Count the cores in use in a subscription and region, by family of machines."""
        ...


class Site:
    """A workspace.

    Args:
        shared: What all workspaces have in common.
        place: The workspace's place: subscription, group, name and region.
        key: Distinguishes its files and blob containers from those of other workspaces; empty for the first one.
        region: Functions that span all workspaces.
        has_registry: Whether it has a container registry from the start.
    """

    def __init__(self, shared: Shared, place: Place, key: str, region: Region, *, has_registry: bool) -> None:
        self.key, self.has_registry = key, has_registry
        folder = shared.folder / "workspaces" / key if key else shared.folder
        self.world = World(place, folder, shared.pace, cores=shared.cores, taken=shared.taken, key=key)
        self.world.suffix = "" if place.region == shared.first_region else f".{place.region}"
        self.world.url, self.world.used = shared.url, lambda: region.used(place.subscription, place.region)
        self.world.lacking = shared.lacking
        valid = shared.valid
        self.acr = ContainerRegistry(folder / "registry", valid)
        self.acr_app = App([self.acr.routes, self.acr.registry], calls=shared.calls, faults=shared.faults)
        self.acr_app.watch, self.acr_app.guard = shared.watch, shared.guard
        self.acr_server = Server(self.acr_app).start()
        self.assets = Assets(self.world, shared.blobs, valid)

        def elsewhere(name: str) -> Endpoint | None:
            return region.endpoint(name, place.region)

        self.endpoints = Endpoints(self.world, valid, elsewhere)
        deployments = Deployments(
            self.endpoints,
            self.assets,
            shared.runner,
            self.acr.registry,
            valid,
        )
        settings = shared.autoscale.setdefault(place.group, Names())
        self.monitor = Monitor(self.endpoints, shared.counters, valid, settings, elsewhere)
        self.jobs = Jobs(self.world, self.assets, shared.runner, self.acr.registry, valid)
        self.workspace = Workspace(self.world, shared.blobs, valid, self._registry_host)
        self.services: list[Service] = [
            self.monitor.routes,
            deployments.routes,
            self.endpoints.routes,
            self.assets.routes,
            self.jobs.routes,
            self.jobs.history,
            self.jobs.open,
            self.workspace.routes,
        ]

    @property
    def registry_host(self) -> str:
        """Host and port of its container registry."""
        return self.acr_server.url.partition("://")[2]

    def _registry_host(self) -> str | None:
        return self.registry_host if self.has_registry else None

    def find(self, request: Request) -> Match | None:
        """Return the operation that a request to this workspace means."""
        found = (service.find(request) for service in self.services)
        return next((match for match in found if match is not None), None)

    def close(self) -> None:
        """Stop the registry."""
        self.acr_server.close()
        self.acr_app.close()
