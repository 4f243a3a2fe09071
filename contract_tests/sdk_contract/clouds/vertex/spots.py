"""All regions of all projects of the mini cloud: each is created when a request first names it."""

from __future__ import annotations

import hashlib
import re
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .api import admit, refused
from .artifacts import Artifacts
from .endpoints import Endpoints
from .errors import Refusal
from .jobs import Jobs
from .models import Models
from .operations import Operations
from .predicting import Predictions
from .serving import Fleet
from .world import World, number_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..app import Match, Request, Response
    from ..faults import Fault
    from ..runners import Runner
    from .api import Api
    from .artifacts import Images
    from .storage import Storage
    from .world import Common

_PLACE = re.compile(r"/(?:v1|ui)/projects/([^/]+)/locations/([^/:]+)(?:/.*)?")
_PROJECT = re.compile(r"(?:[a-z][a-z0-9.-]*\.[a-z]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")
_REGION = re.compile(r"[a-z]+(?:-[a-z]+)+[1-9][0-9]?")


@dataclass
class Shared:
    """What all regions of all projects have in common.

    Attributes:
        common: Lock, pace, credentials, numbers.
        runner: Starts models and jobs.
        images: The image registry.
        storage: The buckets.
        cpu_quota: Processors that all replicas of one region may use together.
    """

    common: Common
    runner: Runner
    images: Images
    storage: Storage
    cpu_quota: int


class Spot:
    """One project in one region, with everything that is regional.

    Args:
        shared: What all regions of all projects have in common.
        project: Id of the project.
        region: Its region.
        key: Distinguishes its containers from those of other regions; empty for the first one.
    """

    def __init__(self, shared: Shared, project: str, region: str, key: str) -> None:
        images = shared.images
        self.world = world = World(project, region, shared.common, key=key)
        self.artifacts = Artifacts(world, images)
        self.models = Models(world, images.resolve)
        self.fleet = Fleet(world, shared.runner, images.registry)
        self.endpoints = Endpoints(world, self.models, self.fleet, dns=self._dns, cpu_quota=shared.cpu_quota)
        self.predictions = Predictions(world, self.endpoints, self.fleet)
        self.jobs = Jobs(world, shared.runner, images.registry, shared.storage, images.resolve)
        self.services: list[Api] = [
            self.predictions.api, Operations(world).api, self.endpoints.api, self.models.api, self.jobs.api,
            self.artifacts.api,
        ]  # fmt: skip

    def _dns(self, endpoint: str) -> str:
        return f"{endpoint}.{self.world.region}-{self.world.number}.prediction.vertexai.goog"

    def find(self, request: Request) -> Match | None:
        """Return the operation that a request to this region means."""
        found = (service.find(request) for service in self.services)
        return next((match for match in found if match is not None), None)

    def close(self) -> None:
        """End all models and jobs."""
        self.fleet.close()
        self.jobs.close()
        self.predictions.close()


class Spots:
    """Every project and region; one of the services of the cloud, and used by its global services.

    Args:
        shared: What all regions of all projects have in common.
        project: Id of the project that exists from the start.
        region: Its region.
    """

    def __init__(self, shared: Shared, project: str, region: str) -> None:
        self._shared = shared
        self.common = shared.common
        self.lock = shared.common.lock
        self._making = threading.Lock()
        self.first = Spot(shared, project, region, "")
        self._all = {(project, region): self.first}
        shared.images.known = self.has_repository

    # --- projects and regions

    def all(self) -> list[Spot]:
        """Return every region of every project that was used."""
        with self._making:
            return list(self._all.values())

    def of(self, project: str) -> list[Spot]:
        """Return the regions of a project that were used."""
        return [spot for spot in self.all() if spot.world.project == project]

    def project(self, text: str) -> str:
        """Return the id of a project, given its id or number.

        Raises:
            Refusal: No project can have this id.
        """
        known = {spot.world.number: spot.world.project for spot in self.all()}
        if text in known:
            return known[text]
        if not _PROJECT.fullmatch(text):
            raise Refusal("PERMISSION_DENIED", f"Permission denied on resource project {text}.")
        return text

    def number(self, project: str) -> str:
        """Return the number of a project."""
        return number_of(self.project(project))

    def at(self, project: str, region: str) -> Spot:
        """Return a project in a region, creating it if it does not exist.

        Raises:
            Refusal: No project or region can have this name.
        """
        project = self.project(project)
        if not _REGION.fullmatch(region):
            raise Refusal("INVALID_ARGUMENT", f"Location {region} is not found or access is unauthorized.")
        with self._making:
            if (project, region) not in self._all:
                key = hashlib.sha256(f"{project}/{region}".encode()).hexdigest()[:8]
                self._all[project, region] = Spot(self._shared, project, region, f"{key}-")
            return self._all[project, region]

    def has_repository(self, project: str, name: str) -> bool:
        """Return whether a project has an image repository of this name in any region."""
        return any(name in spot.artifacts.table for spot in self.of(project))

    def repositories(self) -> Iterator[str]:
        """Return the names of all image repositories."""
        return (name for spot in self.all() for name in spot.artifacts.table)

    def advance(self) -> None:
        """Bring all states up to date; called with the lock held."""
        for spot in self.all():
            spot.world.advance()

    # --- as a service

    def find(self, request: Request) -> Match | None:
        """Return the operation that a request means, by the project and region in its path."""
        match = self.first.find(request) if _PLACE.fullmatch(request.path) else None
        return match and replace(match, handler=self._handle)

    def _handle(self, request: Request) -> Response | Any:
        named = _PLACE.fullmatch(request.path)
        try:
            admit(self.common, request)  # a caller without credentials creates nothing
            match = self.at(named[1], named[2]).find(request) if named else None
        except Refusal as refusal:
            return refused(refusal)
        if match is None:
            return refused(Refusal("NOT_FOUND", f"This mini cloud has no {request.method} {request.path}."))
        return match.handler(request)

    def trouble(self, request: Request, match: Match, fault: Fault) -> Response:
        """Return the reply to a planned fault in Google's format."""
        return self.first.services[0].trouble(request, match, fault)


__all__ = ["Shared", "Spot", "Spots"]
