"""The cloud as a whole: one TLS server for everything but the registries, which engines reach without TLS."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from sdk.util.private import write_private

from ..app import App
from ..cloud import Cloud
from ..runners import make_runner
from ..server import Server
from ..tls import Tls
from .answers import failure
from .blobs import Blobs
from .identity import Identity
from .monitor import Counters
from .rights import Rights
from .scoring import Scoring
from .site import Shared
from .sites import Sites
from .workspace import open_routes
from .world import Place

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..app import Request, Response, Service
    from ..runners import Runner
    from .acr import ContainerRegistry
    from .assets import Assets
    from .endpoints import Endpoints
    from .jobs import Jobs
    from .monitor import Monitor
    from .site import Site
    from .world import World

_CORES = 100


class AzureMLCloud(Cloud):
    """A mini Azure with a Machine Learning workspace; any other workspace, in its group, is created at first use.

    Args:
        folder: Where it stores its files.
        runner: How models and jobs run.
        pace: Seconds that it takes for one second of the real cloud.
        seed: Seed of everything that is random.
        region: Region of the workspace.
        workspace: Name of the workspace.
        registry: Whether the workspace has a container registry from the start.
        cores: Quota of each family of machines.
        taken: Names of endpoints that belong to other customers of the region.
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
        self._place, self._cores, self._taken = place, cores, frozenset(taken)
        self.identity = Identity()
        self.runner: Runner | None = None
        self.app: App

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of a target, as in ``mlport.toml``."""
        place = self._place
        return {
            "subscription": place.subscription,
            "resource_group": place.resource_group,
            "workspace": place.workspace,
            "region": place.region,
            "endpoint": self.url,
            "ca": str(self.tls.ca_file),
        }

    def open(self) -> Server:
        """Create all parts of the cloud, and the server in front of them."""
        valid = self.identity.valid
        self.tls = Tls(self.folder)
        write_private(self.folder / "identity-header", self.identity.header.encode())
        self.runner = make_runner(self.runner_name, self.folder / "runner")
        self.blobs, counters = Blobs(self.folder / "blobs"), Counters()
        self._shared = Shared(
            self.folder, self.pace, self.runner, self.blobs, counters, valid, self._cores, self._taken, self.calls,
            self.faults, lambda moment, match: self.app.watch is not None and self.app.watch(moment, match),
            first_region=self._place.region,
        )  # fmt: skip
        self.rights = Rights(self._place.path, lambda: self.world.registry_path, valid)
        self._shared.guard, self._shared.lacking = self.rights, self.rights.lacking
        self.sites = Sites(self._shared, self._place, has_registry=self._has_registry)
        self.scoring = Scoring(self.sites.endpoint, counters, valid, self._seed)
        services: list[Service] = [
            self.rights.routes,
            self.scoring,
            self.blobs,
            self.sites,
            open_routes(lambda: self._shared.url),
            self.identity.routes,
        ]
        self.app = App(services, calls=self.calls, faults=self.faults, missing=_missing)
        self.app.guard = self.rights
        server = Server(self.app, tls=self.tls)
        self._shared.url = self.world.url = server.url
        return server

    # --- the workspace that exists from the start

    @property
    def world(self) -> World:
        """The state that all parts of the first workspace share."""
        return self.sites.first.world

    @property
    def acr(self) -> ContainerRegistry:
        """The registry of the first workspace."""
        return self.sites.first.acr

    @property
    def assets(self) -> Assets:
        """The models, environments, code and data of the first workspace."""
        return self.sites.first.assets

    @property
    def endpoints(self) -> Endpoints:
        """The endpoints of the first workspace."""
        return self.sites.first.endpoints

    @property
    def monitor(self) -> Monitor:
        """The metrics of the first workspace, and the autoscale settings of its group."""
        return self.sites.first.monitor

    @property
    def jobs(self) -> Jobs:
        """The jobs of the first workspace."""
        return self.sites.first.jobs

    @property
    def errors(self) -> list[str]:
        """Tracebacks of handlers that raised, which is a bug of this cloud."""
        return [*self.app.errors, *(error for site in self.sites.all() for error in site.acr_app.errors)]

    @property
    def registry_host(self) -> str:
        """Host and port of the first workspace's container registry."""
        return self.sites.first.registry_host

    def attach_registry(self) -> None:
        """Give the first workspace the registry that it did not have."""
        self.sites.first.has_registry = True

    def variables(self) -> Mapping[str, str]:
        """Return the variables that point clients here; the credential is that of a machine with a managed identity."""
        place, ca = self._place, str(self._bundle())
        return {
            "ARM_CLOUD_METADATA_URL": f"{self.url}/metadata/endpoints",
            "REQUESTS_CA_BUNDLE": ca,
            "SSL_CERT_FILE": ca,
            "IDENTITY_ENDPOINT": f"{self.url}/msi/token",
            "IDENTITY_HEADER": self.identity.header,
            "MLPORT_MOCK_AZUREML_URL": self.url,
            "MLPORT_MOCK_AZUREML_SUBSCRIPTION": place.subscription,
            "MLPORT_MOCK_AZUREML_RESOURCE_GROUP": place.resource_group,
            "MLPORT_MOCK_AZUREML_WORKSPACE": place.workspace,
        }

    def _bundle(self) -> Path:
        """Write the public authorities and our own to one file, since the variables that name it are global."""
        import certifi

        path = self.folder / "bundle.pem"
        path.write_bytes(Path(certifi.where()).read_bytes() + self.tls.ca_file.read_bytes())
        return path

    def inventory(self) -> list[str]:
        """List everything that exists, according to this cloud itself."""
        running = [f"process {name}" for name in (self.runner.alive() if self.runner else [])]
        settings = [f"autoscale {name}" for group in self._shared.autoscale.values() for name in group]
        return sorted([*running, *settings, *(line for site in self.sites.all() for line in _listed(site))])

    def release(self) -> None:
        """Stop the registries, and everything that runs."""
        for site in self.sites.all():
            site.close()
        self.app.close()
        if self.runner is not None:
            self.runner.close()


def _missing(request: Request) -> Response:
    return failure(404, "NotFound", f"This mini cloud has no {request.method} {request.path}.")


def _listed(site: Site) -> list[str]:
    """List everything that exists in one workspace."""
    with site.world.lock:
        site.endpoints.sweep()
        endpoints = list(site.endpoints.all.values())
        jobs = [f"job {job.name} {site.jobs.state(job)}" for job in site.jobs.all.values()]
        assets = [
            f"{kind} {one.name}:{one.version}" for kind, found in site.world.assets.items() for one in found.values()
        ]
    names = [f"endpoint {one.name}" for one in endpoints]
    deployments = [f"deployment {one.name}/{each}" for one in endpoints for each in one.deployments]
    images = [f"image {name}@{digest}" for name, found in site.acr.registry.repositories().items() for digest in found]
    return [*names, *deployments, *jobs, *assets, *images]
