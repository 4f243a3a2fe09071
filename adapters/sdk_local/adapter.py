"""The `local` target as an adapter: each method calls the module that does the work."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, ClassVar

from sdk.adapter import Ack, Operation, Ref, ServiceHost
from sdk.adapter.shared import inputs, invoker
from sdk.adapter.shared.checks import check_variables
from sdk.adapter.shared.gateway_plan import GATEWAY, JOB, split_workload_id
from sdk.errors import NotFoundError, UnavailableError
from sdk.util.foreign import understanding

from . import _doctor, _monitor, _plan, _train
from ._deploy import Deployments
from ._devices import Devices, job_need, need
from ._errors import PROVIDER
from ._folder import Endpoints
from ._gateway import FAILURE
from ._plan import MODEL, PROCESS, PROGRAM
from ._prepare import Prepared
from .options import LocalOptions, capabilities

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


@understanding
class LocalAdapter:
    """Endpoints and jobs as processes of this machine; implements :class:`sdk.adapter.Adapter`.

    It is not a sandbox: a model runs with the rights of the user who deploys it. It gets a short list of environment
    variables, limits of memory and threads, and a process group of its own.

    Args:
        options: The target's settings.
        context: The services of the core: state folder, clock, redactor.
    """

    provider: ClassVar[str] = PROVIDER
    poll_s: ClassVar[float] = 0.02  # processes are ready soon, so the first pauses of a wait are short
    Options: ClassVar[type[TargetOptions]] = LocalOptions
    kinds: ClassVar[Mapping[str, Kind]] = _plan.KINDS

    def __init__(self, options: LocalOptions, context: AdapterContext) -> None:
        self.options = options
        self.context = context
        self._endpoints = Endpoints(context.state_dir, context.owner)
        self._prepared = Prepared(context.state_dir)
        self._devices = Devices(options, context.state_dir)
        self._deployments = Deployments(self._endpoints, self._prepared, self._devices, options, context.clock)
        self._jobs = _train.Jobs(context.state_dir, context.owner)

    @classmethod
    def capabilities(cls, options: LocalOptions | None = None) -> Mapping[Capability, Support]:  # noqa: ARG003  no setting changes them
        """Return what `local` supports."""
        return capabilities()

    def limits(self) -> Limits:
        """Return the limits of one prediction."""
        return invoker.limits(self.options)

    def check_variables(self, variables: Mapping[str, str], usage: Usage) -> None:
        """Refuse variables and secrets that would prevent a process from starting, before anything is built."""
        del usage  # the same for both
        check_variables(variables, PROVIDER)

    def prices(self) -> Iterable[PriceRow]:
        """Return no prices: nothing is sold here; `usd_per_hour` of the target says what the machine costs."""
        return ()

    def where(self) -> Mapping[str, str]:
        """Return this machine's name and the folder that holds everything."""
        return {"host": socket.gethostname(), "state": str(self.context.state_dir.resolve())}

    def service_host(self) -> ServiceHost:
        """Return this machine, which sends no bill; `usd_per_hour` of the target is the user's own figure."""
        return ServiceHost(socket.gethostname(), official=True, billed=False)

    def resources(self, spec: EndpointSpec) -> Sequence[Resource]:
        """Return models, gateway, processes and traffic."""
        found = _plan.resources(spec, self.options)
        self._devices.check(
            [
                need(spec.name, one.spec, self._endpoints.folder(spec.name).deployment(split_workload_id(one.id)[1]))
                for one in found
                if one.kind == PROCESS and one.spec is not None and one.spec.get("gpu")
            ]
        )
        return found

    def status(self, name: str, live: Sequence[Live]) -> EndpointStatus | None:
        """Return the neutral status of the live resources."""
        return _plan.status(name, live, self.context.target, self.context.clock.time())

    def observe(self, name: str, *, timeout: float) -> Sequence[Live]:
        """Return all resources of one endpoint."""
        return self._deployments.observe(name, timeout)

    def list(self, *, timeout: float) -> Iterator[Live]:
        """Yield all endpoints, jobs and shared material of all owners."""
        yield from self._deployments.list_all(timeout)
        for name in self._jobs.names():
            live = self._jobs.read(name, self.options.usd_per_hour)
            if live is not None:
                yield live
        yield from self._prepared.all()

    def read(self, ref: Ref, *, timeout: float) -> Live | None:
        """Return one resource."""
        if ref.kind in {MODEL, PROGRAM}:
            return self._prepared.read(ref.kind, ref.id)
        if ref.kind == JOB:
            return self._jobs.read(ref.id, self.options.usd_per_hour)
        return self._deployments.read(ref, timeout)

    def create(self, resource: Resource, materials: Materials, *, timeout: float) -> Ack:
        """Create one resource."""
        if resource.kind in {MODEL, PROGRAM}:
            self._prepared.make(resource, materials, self.context.clock.time())
            return Ack()
        if resource.kind == JOB:
            self._submit(resource, materials)
            return Ack()
        return self._deployments.create(resource, materials, timeout)

    def update(self, resource: Resource, before: Live, *, timeout: float) -> Ack:
        """Replace the record of an endpoint or its traffic."""
        return self._deployments.update(resource, before, timeout)

    def delete(self, live: Live, *, timeout: float) -> Ack:
        """Delete one resource."""
        if live.kind in {MODEL, PROGRAM}:
            self._prepared.delete(live.kind, live.id)
            return Ack()
        if live.kind == JOB:
            self._jobs.delete(live.id)
            return Ack()
        return self._deployments.delete(live, timeout)

    def operation(self, name: str, *, timeout: float) -> Operation:  # noqa: ARG002  the protocol's signature
        """Raise ``NotFoundError``: no call here starts a named operation."""
        raise NotFoundError(
            f"there is no operation {name!r}", provider=PROVIDER, operation="ReadOperation", resource=name
        )

    def server_time(self) -> float:
        """Return the time by this machine's clock."""
        return self.context.clock.time()

    def invoker(self, status: EndpointStatus) -> Invoker:
        """Return the client that calls the endpoint."""
        seen = self._deployments.gateway(status.name).look(_CALL_S)
        if seen is None:
            raise _no_endpoint(status.name)
        if seen.url is None:
            raise UnavailableError(
                f"endpoint {status.name!r} does not run: {seen.reason}",
                provider=PROVIDER,
                resource=status.name,
                sent=False,
            )
        token = self._endpoints.folder(status.name).token()
        return invoker.invoker(seen.url, token, self.options, PROVIDER, direct=True)

    def doctor(self) -> Iterator[Check]:
        """Check what endpoints and jobs need on this machine."""
        return _doctor.checks(self.context.state_dir, self.options)

    def close(self) -> None:
        """Do nothing, as nothing is held open: endpoints and jobs continue to run."""

    # --- training

    def job_resources(self, spec: JobSpec) -> Sequence[Resource]:
        """Return the program with its environment, and the job."""
        inputs.check_data(spec.data, PROVIDER)
        found = _plan.job_resources(spec, self.options)
        if found[-1].spec and found[-1].spec.get("gpu") and self._jobs.read(spec.name) is None:
            self._devices.check([job_need(spec.name, found[-1].spec)])
        return found

    def job_status(self, name: str, *, timeout: float) -> JobStatus | None:  # noqa: ARG002  the protocol's signature
        """Return the job's neutral status."""
        return self._jobs.status(name, self.context.target, self.options.usd_per_hour, self.context.clock.time())

    def stop_job(self, name: str, *, timeout: float) -> None:  # noqa: ARG002  the protocol's signature
        """Ask the job to end."""
        self._jobs.stop(name)

    def job_logs(self, name: str, *, follow: bool = False, tail: int | None = None) -> Iterator[LogLine]:
        """Return the lines that the job printed."""
        return self._jobs.logs(name, follow=follow, tail=tail, sleep=self.context.clock.sleep)

    def job_output(self, name: str, directory: Path, *, timeout: float) -> None:  # noqa: ARG002  the protocol's signature
        """Copy the job's output."""
        self._jobs.output(name, directory)

    def _submit(self, resource: Resource, materials: Materials) -> None:
        spec: dict[str, Any] = dict(resource.spec or {})
        material = self._prepared.existing(PROGRAM, str(spec["program"])[:32])
        given = {**spec["env"], **materials.resolve(spec["secrets"])}
        data = inputs.local_data(spec["data"], PROVIDER)

        with self._devices.held(job_need(resource.id, spec)) as (gpus, locks):

            def launch(folder: Path) -> dict[str, Any]:
                about = _train.Run(data, given, gpus, locks, self.options.stop_s)
                return _train.launch_spec(folder, material, resource, about)

            self._jobs.submit(resource, launch, self.context.clock.time())

    # --- monitoring

    def metrics(self, name: str, *, window_s: float, timeout: float) -> MetricsReport:
        """Return the endpoint's metrics."""
        seen = self._deployments.gateway(name).look(timeout)
        if seen is None:
            raise _no_endpoint(name)
        return _monitor.report(self._endpoints.folder(name), seen, window_s)

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
        folder = self._endpoints.folder(name)
        if folder.read() is None:
            raise _no_endpoint(name)
        records = folder.deployments()
        failures = {one: record.extra[FAILURE]["log"] for one, record in records.items() if FAILURE in record.extra}
        return _monitor.logs(
            folder,
            failures,
            deployment=deployment,
            tail=tail,
            follow=follow,
            request_id=request_id,
            sleep=self.context.clock.sleep,
        )


_CALL_S = 30.0


def _no_endpoint(name: str) -> NotFoundError:
    return NotFoundError(
        f"there is no endpoint {name!r} on this machine", provider=PROVIDER, operation=f"Read{GATEWAY}", resource=name
    )
