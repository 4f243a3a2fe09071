"""The `docker` target as an adapter: each method calls the module that does the work."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from sdk.adapter import Ack, Operation, Ref, ServiceHost
from sdk.adapter.shared import inputs, invoker
from sdk.adapter.shared.checks import check_variables
from sdk.adapter.shared.gateway_plan import GATEWAY, JOB
from sdk.errors import NotFoundError, UnavailableError
from sdk.packaging.image.engine_address import find_address
from sdk.util.foreign import understanding

from . import _doctor, _images, _lease, _monitor, _plan, _train
from ._containers import container_name
from ._deploy import Deployments, url
from ._engine import Host
from ._errors import PROVIDER, gone
from ._plan import IMAGE
from ._tunnel import Tunnel
from .options import DockerOptions, capabilities

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from sdk.adapter import (
        AdapterContext,
        Capability,
        EndpointSpec,
        Invoker,
        JobSpec,
        Kind,
        LeaseRecord,
        Limits,
        Live,
        Materials,
        Resource,
        Support,
        TargetOptions,
    )
    from sdk.adapter.metrics import MetricsReport
    from sdk.adapter.prices import PriceRow, Usage
    from sdk.adapter.types import Check, EndpointStatus, JobStatus, LogLine

_CALL_S = 30.0


@understanding
class DockerAdapter:
    """Endpoints and jobs as containers of one engine; implements :class:`sdk.adapter.Adapter`.

    All state is in the engine: this machine stores only the layers of images.

    Args:
        options: The target's settings.
        context: The services of the core: owner, clock.
    """

    provider: ClassVar[str] = PROVIDER
    poll_s: ClassVar[float] = 0.1
    Options: ClassVar[type[TargetOptions]] = DockerOptions
    kinds: ClassVar[Mapping[str, Kind]] = _plan.KINDS

    def __init__(self, options: DockerOptions, context: AdapterContext) -> None:
        self.options = options
        self.context = context
        self.host = Host(lambda: find_address(named=options.host))
        self._deployments = Deployments(self.host, options, context.owner, context.clock.sleep)
        self._jobs = _train.Jobs(self.host, options)
        self._tunnels: dict[str, Tunnel] = {}

    @classmethod
    def capabilities(cls, options: DockerOptions | None = None) -> Mapping[Capability, Support]:  # noqa: ARG003  no setting changes them
        """Return what `docker` supports."""
        return capabilities()

    def limits(self) -> Limits:
        """Return the limits of one prediction."""
        return invoker.limits(self.options)

    def check_variables(self, variables: Mapping[str, str], usage: Usage) -> None:
        """Refuse variables and secrets that would prevent a container from starting, before anything is built."""
        del usage  # the same for both
        check_variables(variables, PROVIDER)

    def prices(self) -> Iterable[PriceRow]:
        """Return no prices: nothing is sold here; `usd_per_hour` of the target says what the machine costs."""
        return ()

    def where(self) -> Mapping[str, str]:
        """Return the address of the engine that holds everything."""
        return {"engine": find_address(named=self.options.host).host}

    def service_host(self) -> ServiceHost:
        """Return the engine, which sends no bill; `usd_per_hour` of the target is the user's own figure."""
        return ServiceHost(find_address(named=self.options.host).host, official=True, billed=False)

    def resources(self, spec: EndpointSpec) -> Sequence[Resource]:
        """Return images, gateway, containers and traffic."""
        return _plan.resources(spec, self.options, self.context.state_dir)

    def status(self, name: str, live: Sequence[Live]) -> EndpointStatus | None:
        """Return the neutral status of the live resources."""
        return _plan.status(name, live, self.context.target, self.server_time())

    def observe(self, name: str, *, timeout: float) -> Sequence[Live]:
        """Return all resources of one endpoint."""
        return self._deployments.observe(name, timeout)

    def list(self, *, timeout: float) -> Iterator[Live]:
        """Yield all endpoints, jobs and images of all owners."""
        yield from self._deployments.list_all(timeout)
        yield from self._jobs.all(timeout)
        yield from _images.every(self.host, self.context.owner, timeout)

    def read(self, ref: Ref, *, timeout: float) -> Live | None:
        """Return one resource."""
        if ref.kind == IMAGE:
            return _images.read(self.host, ref.id, self.context.owner, timeout)
        if ref.kind == JOB:
            return self._jobs.read(ref.id, timeout)
        return self._deployments.read(ref, timeout)

    def create(self, resource: Resource, materials: Materials, *, timeout: float) -> Ack:
        """Create one resource."""
        if resource.kind == IMAGE:
            _images.make(self.host, resource, materials, timeout)
            return Ack()
        if resource.kind == JOB:
            self._jobs.submit(resource, materials, timeout)
            return Ack()
        return self._deployments.create(resource, materials, timeout)

    def update(self, resource: Resource, before: Live, *, timeout: float) -> Ack:
        """Replace the record of an endpoint or its traffic."""
        return self._deployments.update(resource, before, timeout)

    def delete(self, live: Live, *, timeout: float) -> Ack:
        """Delete one resource."""
        if live.kind == IMAGE:
            _images.delete(self.host, live.id, timeout)
            return Ack()
        if live.kind == JOB:
            self._jobs.delete(live.id, timeout)
            return Ack()
        return self._deployments.delete(live, timeout)

    def operation(self, name: str, *, timeout: float) -> Operation:  # noqa: ARG002  the protocol's signature
        """Raise ``NotFoundError``: no call here starts a named operation."""
        raise NotFoundError(
            f"there is no operation {name!r}", provider=PROVIDER, operation="ReadOperation", resource=name
        )

    def server_time(self) -> float:
        """Return the time by the engine's clock."""
        return self.host.time(self.context.clock.time())

    def invoker(self, status: EndpointStatus) -> Invoker:
        """Return the client that calls the endpoint."""
        gateways = self._deployments.gateways
        found = gateways.entrance(status.name, _CALL_S)
        if found is None:
            raise gone(GATEWAY, status.name)
        about, token = found
        address = url(about)
        if address is None:
            raise UnavailableError(
                f"endpoint {status.name!r} does not run", provider=PROVIDER, resource=status.name, sent=False
            )
        if self._is_elsewhere():
            address = f"http://127.0.0.1:{self._tunnel(status.name).port}/invocations"
        return invoker.invoker(address, token, self.options, PROVIDER)

    def _is_elsewhere(self) -> bool:
        if self.options.reach == "auto":
            return not self.host.engine.address.is_here
        return self.options.reach == "tunnel"

    def _tunnel(self, name: str) -> Tunnel:
        if name not in self._tunnels:
            self._tunnels[name] = Tunnel(self.host.engine, container_name(name, "gateway"))
        return self._tunnels[name]

    def doctor(self) -> Iterator[Check]:
        """Check what endpoints and jobs need from the engine."""
        return _doctor.checks(self.host, self.options)

    def close(self) -> None:
        """Close the connections to the engine; endpoints and jobs continue to run."""
        for tunnel in self._tunnels.values():
            tunnel.close()
        self._deployments.gateways.close()
        self.host.close()

    # --- leases

    def lease_read(self, key: str, *, timeout: float) -> LeaseRecord | None:
        """Return the stored lease."""
        return _lease.read(self.host, key, timeout)

    def lease_write(self, key: str, body: str, expected: str | None, *, timeout: float) -> LeaseRecord:
        """Replace the stored lease if it is the expected one."""
        return _lease.write(self.host, key, body, expected, timeout)

    def lease_delete(self, key: str, expected: str, *, timeout: float) -> None:
        """Release the stored lease if it is the expected one."""
        _lease.delete(self.host, key, expected, timeout)

    # --- training

    def job_resources(self, spec: JobSpec) -> Sequence[Resource]:
        """Return the image with its program, and the job."""
        inputs.check_data(spec.data, PROVIDER)
        return _plan.job_resources(spec, self.options)

    def job_status(self, name: str, *, timeout: float) -> JobStatus | None:
        """Return the job's neutral status."""
        return self._jobs.status(name, self.context.target, self.server_time(), timeout)

    def stop_job(self, name: str, *, timeout: float) -> None:
        """Ask the job to end."""
        self._jobs.stop(name, timeout)

    def job_logs(self, name: str, *, follow: bool = False, tail: int | None = None) -> Iterator[LogLine]:
        """Return the lines that the job printed."""
        return self._jobs.logs(name, follow=follow, tail=tail, sleep=self.context.clock.sleep)

    def job_output(self, name: str, directory: Path, *, timeout: float) -> None:
        """Copy the job's output."""
        self._jobs.output(name, directory, timeout)

    # --- monitoring

    def metrics(self, name: str, *, window_s: float, timeout: float) -> MetricsReport:
        """Return the endpoint's metrics."""
        gateways = self._deployments.gateways
        seen = gateways.look(name, timeout)
        if seen is None or seen.container is None:
            raise gone(GATEWAY, name)
        given = gateways.control(name).call("GET", "/metrics", {"window": f"{window_s:g}"}, timeout=timeout)
        return _monitor.report(self.host, seen, given, window_s, timeout)

    def logs(
        self,
        name: str,
        *,
        deployment: str | None = None,
        tail: int | None = None,
        follow: bool = False,
        request_id: str | None = None,
    ) -> Iterator[LogLine]:
        """Return the lines that the endpoint's replicas printed."""
        return _monitor.logs(
            self.host,
            name,
            lambda: self._deployments.gateways.look(name, _CALL_S),
            deployment=deployment,
            tail=tail,
            follow=follow,
            request_id=request_id,
            sleep=self.context.clock.sleep,
        )
