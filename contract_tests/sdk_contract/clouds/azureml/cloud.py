"""The cloud as a whole: one server over TLS for everything but the registry, which engines reach without."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..app import App
from ..cloud import Cloud
from ..runners import make_runner
from ..server import Server
from ..tls import Tls
from .acr import ContainerRegistry
from .answers import failure
from .assets import Assets
from .blobs import Blobs
from .deployments import Deployments
from .endpoints import Endpoints
from .identity import Identity
from .jobs import Jobs
from .monitor import Counters, Monitor
from .scoring import Scoring
from .workspace import Workspace
from .world import Place, World

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..app import Request, Response, Service
    from ..runners import Runner

_CORES = 100


class AzureMLCloud(Cloud):
    """A mini Azure with one Machine Learning workspace.

    Args:
        folder: For all that it keeps on disk.
        runner: How models and jobs run behind it.
        pace: Seconds it takes for one second of the real cloud.
        seed: Of everything that is left to chance.
        region: Where the workspace is.
        workspace: Its name.
        registry: Whether it has a container registry yet.
        cores: Quota of each family of machines.
        taken: Names of endpoints that other customers of the region have.
    """

    name: ClassVar[str] = "azureml"

    def __init__(
        self,
        folder: Path,
        runner: str = "process",
        *,
        pace: float = 0.0,
        seed: int = 0,
        region: str = "westeurope",
        workspace: str = "mini-ws",
        registry: bool = True,
        cores: int = _CORES,
        taken: Iterable[str] = (),
    ) -> None:
        super().__init__(folder, runner, pace=pace, seed=seed)
        self._seed, self._has_registry = seed, registry
        place = Place("00000000-0000-0000-0000-000000000001", "mini-rg", workspace, region)
        self.world = World(place, self.folder, self.pace, cores=cores, taken=frozenset(taken))
        self.identity = Identity()
        self.runner: Runner | None = None
        self.app: App

    @property
    def settings(self) -> dict[str, Any]:
        """A target's settings, as they stand in ``mlport.toml``."""
        place = self.world.place
        return {
            "subscription": place.subscription,
            "resource_group": place.resource_group,
            "workspace": place.workspace,
            "region": place.region,
            "endpoint": self.url,
            "ca": str(self.tls.ca_file),
        }

    def open(self) -> Server:
        """Makes everything, and the server that is in front of it."""
        valid = self.identity.valid
        self.tls = Tls(self.folder)
        self.runner = make_runner(self.runner_name, self.folder / "runner")
        self.acr = ContainerRegistry(self.folder / "registry", valid)
        self._acr_app = App([self.acr.routes, self.acr.registry], calls=self.calls, faults=self.faults)
        self._acr_app.watch = lambda moment, match: self.app.watch is not None and self.app.watch(moment, match)
        self._acr_server = Server(self._acr_app).start()
        self.blobs = Blobs(self.folder / "blobs")
        self.assets = Assets(self.world, self.blobs, valid)
        self.endpoints = Endpoints(self.world, valid)
        deployments = Deployments(self.endpoints, self.assets, self.runner, self.acr.registry, valid)
        counters = Counters()
        self.monitor = Monitor(self.endpoints, counters, valid)
        self.jobs = Jobs(self.world, self.assets, self.runner, self.acr.registry, valid)
        workspace = Workspace(self.world, self.blobs, valid, self._registry_host, self.endpoints.used)
        services: list[Service] = [
            Scoring(self.endpoints, counters, valid, self._seed),
            self.blobs,
            self.monitor.routes,
            deployments.routes,
            self.endpoints.routes,
            self.assets.routes,
            self.jobs.routes,
            self.jobs.history,
            self.jobs.open,
            workspace.open,
            workspace.routes,
            self.identity.routes,
        ]
        self.app = App(services, calls=self.calls, faults=self.faults, missing=_missing)
        server = Server(self.app, tls=self.tls)
        self.world.url = server.url
        return server

    @property
    def errors(self) -> list[str]:
        """Tracebacks of handlers that broke, which is a bug of this cloud."""
        return [*self.app.errors, *self._acr_app.errors]

    @property
    def registry_host(self) -> str:
        """Host and port of the container registry."""
        return self._acr_server.url.partition("://")[2]

    def _registry_host(self) -> str | None:
        return self.registry_host if self._has_registry else None

    def attach_registry(self) -> None:
        """Gives the workspace the registry that it did not have."""
        self._has_registry = True

    def variables(self) -> Mapping[str, str]:
        """What points clients here; the credential is that of a machine with a managed identity."""
        place, ca = self.world.place, str(self._bundle())
        return {
            "ARM_CLOUD_METADATA_URL": f"{self.url}/metadata/endpoints",
            "REQUESTS_CA_BUNDLE": ca,
            "SSL_CERT_FILE": ca,
            "IDENTITY_ENDPOINT": f"{self.url}/msi/token",
            "IDENTITY_HEADER": "mini",
            "MLPORT_MOCK_AZUREML_URL": self.url,
            "MLPORT_MOCK_AZUREML_SUBSCRIPTION": place.subscription,
            "MLPORT_MOCK_AZUREML_RESOURCE_GROUP": place.resource_group,
            "MLPORT_MOCK_AZUREML_WORKSPACE": place.workspace,
        }

    def _bundle(self) -> Path:
        """The public authorities and our own in one file, since the variables that name it are for everything."""
        import certifi

        path = self.folder / "bundle.pem"
        path.write_bytes(Path(certifi.where()).read_bytes() + self.tls.ca_file.read_bytes())
        return path

    def inventory(self) -> list[str]:
        """Everything there is, by this cloud's own account."""
        with self.world.lock:
            self.endpoints.sweep()
            endpoints = list(self.endpoints.all.values())
            jobs = [f"job {job.name} {self.jobs.state(job)}" for job in self.jobs.all.values()]
            assets = [
                f"{kind} {one.name}:{one.version}"
                for kind, found in self.world.assets.items()
                for one in found.values()
            ]
        deployments = [f"deployment {one.name}/{each}" for one in endpoints for each in one.deployments]
        images = [
            f"image {name}@{digest}" for name, found in self.acr.registry.repositories().items() for digest in found
        ]
        running = [f"process {name}" for name in (self.runner.alive() if self.runner else [])]
        settings = [f"autoscale {name}" for name in self.monitor.settings]
        names = [f"endpoint {one.name}" for one in endpoints]
        return sorted([*names, *deployments, *settings, *jobs, *assets, *images, *running])

    def release(self) -> None:
        """Ends the registry, and what runs."""
        self._acr_server.close()
        self._acr_app.close()
        self.app.close()
        if self.runner is not None:
            self.runner.close()


def _missing(request: Request) -> Response:
    return failure(404, "NotFound", f"This mini cloud has no {request.method} {request.path}.")
