"""The mini cloud that speaks Vertex AI's protocol, with the services of Google Cloud that belong to it."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..app import App, Request, Response
from ..cloud import Cloud
from ..runners import make_runner
from ..server import Server
from .accounts import Accounts
from .api import refused
from .artifacts import Images
from .errors import Refusal
from .identity import Identity
from .jobs import OVER
from .logs import Logs
from .monitoring import Monitoring
from .permissions import Permissions
from .secrets import Secrets
from .spots import Shared, Spots
from .storage import Storage
from .usage import Usage
from .world import Common

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping
    from pathlib import Path

    from ..runners import Runner
    from .artifacts import Artifacts
    from .predicting import Predictions
    from .serving import Fleet
    from .spots import Spot
    from .world import World

PROJECT, REGION = "mini-project", "europe-west4"


class VertexCloud(Cloud):
    """Vertex AI, Artifact Registry, Cloud Storage, Monitoring, Logging, Secret Manager, Service Usage on one port.

    Every project and region exists: each is created when a request first names it.

    Args:
        folder: Where it stores its files.
        runner: How models and jobs run.
        pace: Seconds that it takes for one second of the real cloud; 0: no delays.
        seed: Seed of everything that is random.
        project: Id of the project that exists from the start.
        region: Its region.
        cpu_quota: Processors that all replicas of a region may use together.
    """

    name = "vertex"

    def __init__(
        self,
        folder: Path,
        runner: str = "process",
        *,
        pace: float = 0.0,
        seed: int = 0,
        project: str = PROJECT,
        region: str = REGION,
        cpu_quota: int = 200,
    ) -> None:
        super().__init__(folder, runner, pace=pace, seed=seed)
        self._project, self._region, self.cpu_quota = project, region, cpu_quota
        self.identity = Identity(project)
        self.common = Common(self.pace, self.identity)

    @cached_property
    def runner(self) -> Runner:
        """The runner that starts models and jobs."""
        return make_runner(self.runner_name, self.folder / "runner")

    @cached_property
    def storage(self) -> Storage:
        """The buckets of Cloud Storage."""
        return Storage(self.common, self.folder / "buckets", self._project, self._region)

    @cached_property
    def spots(self) -> Spots:
        """All projects and regions."""
        images = Images(self.common, self.folder / "registry")
        shared = Shared(self.common, self.runner, images, self.storage, self.cpu_quota)
        return Spots(shared, self._project, self._region)

    @cached_property
    def secrets(self) -> Secrets:
        """The Secret Manager service."""
        return Secrets(self.spots)

    @cached_property
    def accounts(self) -> Accounts:
        """The service accounts of all projects."""
        return Accounts(self.spots)

    @cached_property
    def logs(self) -> Logs:
        """The Cloud Logging service."""
        return Logs(self.spots)

    @cached_property
    def usage(self) -> Usage:
        """The Service Usage service: enabled APIs, and quota."""
        return Usage(self.spots, self.cpu_quota)

    @cached_property
    def rights(self) -> Permissions:
        """The permissions of callers."""
        return Permissions(self.spots, self.storage, self._region)

    # --- the project and region that exist from the start

    @property
    def world(self) -> World:
        """The resources of the first project and region."""
        return self.spots.first.world

    @property
    def artifacts(self) -> Artifacts:
        """The image repositories of the first project and region."""
        return self.spots.first.artifacts

    @property
    def fleet(self) -> Fleet:
        """The containers behind the endpoints of the first project and region."""
        return self.spots.first.fleet

    @property
    def predictions(self) -> Predictions:
        """The data plane of the first project and region."""
        return self.spots.first.predictions

    def open(self) -> Server:
        """Create the server with all services behind it."""
        spots, images = self.spots, self.artifacts.store
        services: list[Any] = [
            spots, self.storage.api, images.tokens, self.identity.routes, self.logs.api, Monitoring(spots).api,
            self.usage.api, self.secrets.api, self.accounts.api, self.rights.api, images.registry,
        ]  # fmt: skip
        services[:0] = [self.rights.repositories, self.rights.buckets]
        self.app = App(services, calls=self.calls, faults=self.faults, missing=_missing, broken=_broken)
        self.app.guard = self.rights
        self.common.lacking = self.rights.lacking
        return Server(self.app)

    @contextmanager
    def unplugged(self) -> Generator[None]:
        """Make every connection fail inside the ``with`` block; all state is unchanged after it."""
        if self._server is None:
            raise RuntimeError("the mini cloud was not started")
        port = self._server.port
        self._server.close()
        try:
            yield
        finally:
            self._server = Server(self.app, port=port).start()

    def variables(self) -> Mapping[str, str]:
        """Return the variables that point clients here, Google's own included: service account and storage address."""
        path = self.folder / "service-account.json"
        self.identity.write(path, self.url)
        return {
            "MLPORT_MOCK_VERTEX_URL": self.url,
            "MLPORT_MOCK_VERTEX_TOKEN": self.identity.token,
            "GOOGLE_APPLICATION_CREDENTIALS": str(path),
            "API_ENDPOINT_OVERRIDE": self.url,
        }

    def inventory(self) -> list[str]:
        """List all resources that exist now, images, objects, and what runs."""
        with self.common.lock:
            self.spots.advance()
            lines = [line for spot in self.spots.all() for line in _listed(spot)]
            lines += [
                *(f"repository {name}" for name in self.spots.repositories()),
                *(f"image {one}" for one in self._images()),
                *(f"bucket {name}" for name in self.storage.buckets),
                *(f"object gs://{one}" for one in self._objects()),
            ]  # fmt: skip
        return sorted(lines)

    def _images(self) -> Iterator[str]:
        for path, found in self.artifacts.registry.repositories().items():
            yield from (f"{path}@{digest}" for digest in found)

    def _objects(self) -> Iterator[str]:
        for bucket in self.storage.buckets:
            yield from (f"{bucket}/{name}" for name in self.storage.names(bucket))

    def release(self) -> None:
        """Stop all models and jobs."""
        for spot in self.spots.all():
            spot.close()
        self.runner.close()
        self.app.close()


def _listed(spot: Spot) -> Iterator[str]:
    """Yield a line for each resource of one region of one project."""
    endpoints, jobs = spot.world.tables["endpoints"], spot.world.tables["customJobs"]
    for name, body in endpoints.items():
        yield f"endpoint {name}"
        yield from (f"deployed {name}/{one['id']}" for one in body["deployedModels"])
    yield from (f"model {name}" for name in spot.models.entries)
    yield from (f"job {number}" for number in jobs)
    yield from (f"process of job {number}" for number, job in jobs.items() if job["state"] not in OVER)
    yield from (f"process of {name}/{number}" for name, number in list(spot.fleet.running))


def _missing(request: Request) -> Response:
    return refused(Refusal("NOT_FOUND", f"This mini cloud has no {request.method} {request.path}."))


def _broken(request: Request, error: BaseException) -> Response:
    return refused(Refusal("INTERNAL", f"The mini cloud broke on {request.path}: {error!r}"))
