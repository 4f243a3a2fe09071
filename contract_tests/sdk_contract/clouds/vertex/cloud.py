"""The mini cloud that speaks Vertex AI's wire, with the services of Google Cloud that go with it."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..app import App, Request, Response
from ..cloud import Cloud
from ..runners import make_runner
from ..server import Server
from .api import refused
from .artifacts import Artifacts
from .endpoints import Endpoints
from .errors import Refusal
from .jobs import OVER, Jobs
from .logs import Logs
from .models import Models
from .monitoring import Monitoring
from .operations import Operations
from .predicting import Predictions
from .secrets import Secrets
from .serving import Fleet
from .storage import Storage
from .usage import Usage
from .world import World

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping
    from pathlib import Path

    from ..runners import Runner

PROJECT, REGION, TOKEN = "mini-project", "europe-west4", "mini-token"


class VertexCloud(Cloud):
    """Vertex AI, Artifact Registry, Cloud Storage, Monitoring, Logging, Secret Manager, Service Usage on one port.

    Args:
        folder: For all that it keeps on disk.
        runner: How models and jobs run behind it.
        pace: Seconds it takes for one second of the real cloud; 0: as fast as it is asked.
        seed: Of everything that is left to chance.
        project: Id of the one project.
        region: The one region; the official clients take real names only.
        token: The access token that everybody has to show.
        cpu_quota: Processors that all replicas may have together.
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
        token: str = TOKEN,
        cpu_quota: int = 200,
    ) -> None:
        super().__init__(folder, runner, pace=pace, seed=seed)
        self.world = World(project, region, token, self.pace)
        self.cpu_quota = cpu_quota

    @cached_property
    def runner(self) -> Runner:
        """What starts models and jobs."""
        return make_runner(self.runner_name, self.folder / "runner")

    @cached_property
    def artifacts(self) -> Artifacts:
        """Image repositories."""
        return Artifacts(self.world, self.folder / "registry")

    @cached_property
    def storage(self) -> Storage:
        """Buckets."""
        return Storage(self.world, self.folder / "buckets")

    @cached_property
    def models(self) -> Models:
        """The model registry."""
        return Models(self.world, self.artifacts.resolve)

    @cached_property
    def fleet(self) -> Fleet:
        """What runs behind endpoints."""
        return Fleet(self.world, self.runner, self.artifacts.registry)

    @cached_property
    def endpoints(self) -> Endpoints:
        """Endpoints and deployed models."""
        return Endpoints(self.world, self.models, self.fleet, dns=self._dns, cpu_quota=self.cpu_quota)

    @cached_property
    def predictions(self) -> Predictions:
        """The data plane."""
        return Predictions(self.world, self.endpoints, self.fleet)

    @cached_property
    def jobs(self) -> Jobs:
        """Custom jobs."""
        return Jobs(self.world, self.runner, self.artifacts.registry, self.storage, self.artifacts.resolve)

    @cached_property
    def secrets(self) -> Secrets:
        """Secret Manager."""
        return Secrets(self.world)

    @cached_property
    def usage(self) -> Usage:
        """What is enabled, and quota."""
        return Usage(self.world, self.cpu_quota)

    def open(self) -> Server:
        """The server with all services behind it."""
        services: list[Any] = [
            self.predictions.api, Operations(self.world).api, self.endpoints.api, self.models.api, self.jobs.api,
            self.storage.api, self.artifacts.tokens, self.artifacts.api, Logs(self.world, self.fleet, self.jobs).api,
            Monitoring(self.world, self.predictions, self.fleet).api, self.usage.api,
            self.secrets.api, self.artifacts.registry,
        ]  # fmt: skip
        self.app = App(services, calls=self.calls, faults=self.faults, missing=_missing, broken=_broken)
        return Server(self.app)

    @contextmanager
    def unplugged(self) -> Generator[None]:
        """No connection can be made inside the block; everything is as before after it."""
        if self._server is None:
            raise RuntimeError("the mini cloud was not started")
        port = self._server.port
        self._server.close()
        try:
            yield
        finally:
            self._server = Server(self.app, port=port).start()

    def _dns(self, endpoint: str) -> str:
        return f"{endpoint}.{self.world.region}-{self.world.number}.prediction.vertexai.goog"

    def variables(self) -> Mapping[str, str]:
        """What points clients here."""
        return {
            "MLPORT_MOCK_VERTEX_URL": self.url,
            "MLPORT_MOCK_VERTEX_TOKEN": self.world.token,
            "STORAGE_EMULATOR_HOST": self.url,
        }

    def inventory(self) -> list[str]:
        """Everything that is there now: resources, images, objects, and what runs."""
        world = self.world
        with world.lock:
            world.advance()
            endpoints = world.tables["endpoints"]
            running = [f"{name}/{number}" for name, number in self.fleet.running]
            jobs = [number for number, job in world.tables["customJobs"].items() if job["state"] not in OVER]
            lines = [
                *(f"endpoint {name}" for name in endpoints),
                *(f"deployed {name}/{one['id']}" for name, body in endpoints.items() for one in body["deployedModels"]),
                *(f"model {name}" for name in self.models.entries),
                *(f"job {number}" for number in world.tables["customJobs"]),
                *(f"process of job {number}" for number in jobs),
                *(f"process of {one}" for one in running),
                *(f"repository {name}" for name in world.tables["repositories"]),
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
        """Ends all models and jobs."""
        self.fleet.close()
        self.jobs.close()
        self.runner.close()
        self.predictions.close()
        self.app.close()


def _missing(request: Request) -> Response:
    return refused(Refusal("NOT_FOUND", f"This mini cloud has no {request.method} {request.path}."))


def _broken(request: Request, error: BaseException) -> Response:
    return refused(Refusal("INTERNAL", f"The mini cloud broke on {request.path}: {error!r}"))
