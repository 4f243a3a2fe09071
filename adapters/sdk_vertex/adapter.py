"""The adapter of the `vertex` target: each method delegates to a module for its subject."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from sdk.adapter import Ack, ChangeTimes
from sdk.adapter.identities import Identities
from sdk.adapter.shared import mini_clouds
from sdk.adapter.shared.checks import check_variables
from sdk.adapter.shared.uploads import DATA, Inputs
from sdk.util.foreign import understanding

from . import _doctor, _logs, _plan, _policy, _rights, _train
from ._access import MOCK_URL, Access
from ._bucket import Bucket
from ._control import Control
from ._deploy import Deployments
from ._errors import PROVIDER
from ._images import PREFIX, Images
from ._leases import Leases
from ._machines import machine_types
from ._monitor import Metrics
from ._names import deployment_of, join, number_of, parent
from ._plan import FILES, IMAGE, JOB, REPOSITORY
from ._predict import DataPlane
from ._prices import Prices
from ._secrets import Secrets
from ._shelf import Shelf
from ._smoke import KINDS as SMOKES
from ._smoke import SmokeTests
from .options import DEFAULT_INSTANCES, VertexOptions, capabilities

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
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
        Operation,
        Ref,
        Resource,
        ServiceHost,
        Support,
        TargetOptions,
    )
    from sdk.adapter.metrics import MetricsReport
    from sdk.adapter.prices import PriceRow, Usage
    from sdk.adapter.rights import CallRights, PolicyForm, PolicyRole
    from sdk.adapter.types import Check, EndpointStatus, JobStatus, LogLine

_CALL_S = 30.0


@understanding
class VertexAdapter:
    """Endpoints and jobs on Google Vertex AI; implements :class:`sdk.adapter.Adapter`.

    Args:
        options: The target's settings.
        context: Owner, clock and other values from the core.
    """

    provider: ClassVar[str] = PROVIDER
    Options: ClassVar[type[TargetOptions]] = VertexOptions
    kinds: ClassVar[Mapping[str, Kind]] = _plan.kinds()
    # A deploy takes 15 to 40 minutes (likely), and nothing else can be done to it before it has ended (certain).
    change_times: ClassVar[ChangeTimes] = ChangeTimes(_plan.DEPLOY_S, _plan.DEPLOY_S)

    def __init__(self, options: VertexOptions, context: AdapterContext) -> None:
        self.options = options
        self.context = context
        self._access = Access(options, context.clock.time, context.transport)
        self._control = Control(self._access)
        self._bucket = Bucket(self._access, options, Identities(context.state_dir, PROVIDER), context.clock)
        self._images = Images(self._access, context.clock, context.owner)
        self._plane = DataPlane(self._access, options)
        self._prices = Prices(options.region, context.state_dir)
        secrets = Secrets(self._access, context.redactor)
        self._deployments = Deployments(
            self._control, self._images, self._plane, options, self._prices, secrets=secrets
        )
        self._smoke = SmokeTests(self._deployments)
        self._jobs = _train.Jobs(self._control, self._images, self._bucket, options, self._prices, secrets=secrets)
        self._inputs = Inputs(context.owner, PROVIDER, "Cloud Storage")
        self._leases = Leases(self._bucket)
        self._metrics = Metrics(self._access)
        self._logs = _logs.Logs(self._access, context.clock.sleep)
        self.poll_s = 0.05 if self._access.mock else 2.0
        if self._access.mock:
            mini_clouds.tell("vertex", self._access.mock, MOCK_URL)

    @classmethod
    def capabilities(cls, options: VertexOptions | None = None) -> Mapping[Capability, Support]:  # noqa: ARG003  no setting changes them
        """Return what Vertex AI can do."""
        return capabilities()

    def limits(self) -> Limits:
        """Return the limits of one prediction."""
        return self._plane.limits()

    def check_variables(self, variables: Mapping[str, str], usage: Usage) -> None:
        """Refuse variables and secrets with which no container starts, before anything is built."""
        del usage  # the same for both
        check_variables(variables, PROVIDER)

    def prices(self) -> Iterable[PriceRow]:
        """Return the price table."""
        return self._prices.rows

    def instance_types(self, usage: Usage) -> Collection[str]:
        """Return the machine types that the platform accepts, from the table shipped with the adapter."""
        return machine_types().of(usage)

    def default_instance(self, usage: Usage) -> str | None:
        """Return the instance type that is used when none is named."""
        return DEFAULT_INSTANCES[usage]

    def where(self) -> Mapping[str, str]:
        """Return project and region, and the address of the mini cloud if one is used."""
        place = {"project": self.options.project, "region": self.options.region}
        return {**place, "mock": self._access.mock.partition("//")[2]} if self._access.mock else place

    def service_host(self) -> ServiceHost:
        """Return the host of Vertex AI's own API, or of the mini cloud that replaces it."""
        return self._access.service_host

    def resources(self, spec: EndpointSpec) -> Sequence[Resource]:
        """Return repository, images, models, endpoint, deployed models and traffic."""
        return _plan.resources(spec, self.options, self._prices)

    def status(self, name: str, live: Sequence[Live]) -> EndpointStatus | None:
        """Return the status of an endpoint from its live resources, in provider-neutral form."""
        return _plan.status(name, live, self.context.target)

    def observe(self, name: str, *, timeout: float) -> Sequence[Live]:
        """Return all resources of one endpoint, or of one job."""
        found = list(self._deployments.observe(name, timeout))
        return found or self._jobs.observe(name, timeout)

    def list(self, *, timeout: float) -> Iterator[Live]:
        """Yield all endpoints, models, jobs and images, of all owners."""
        yield from self._deployments.list_all(timeout)
        yield from self._jobs.list_all(timeout)
        yield from self._inputs.every(self._shelf(timeout))
        repository = self._images.read_repository(self.options.repository, timeout=timeout)
        if repository is not None:
            yield repository
            yield from self._images.every(timeout=timeout)

    def read(self, ref: Ref, *, timeout: float) -> Live | None:
        """Read one resource."""
        if ref.kind == REPOSITORY:
            return self._images.read_repository(ref.id, timeout=timeout)
        if ref.kind == IMAGE:
            return self._images.read(ref.id, timeout=timeout)
        if ref.kind == DATA:
            return self._inputs.read(self._shelf(timeout), ref.id)
        if ref.kind in {JOB, FILES}:
            return self._jobs.read(ref, timeout)
        return (self._smoke if ref.kind in SMOKES else self._deployments).read(ref, timeout)

    def create(self, resource: Resource, materials: Materials, *, timeout: float) -> Ack:
        """Create one resource."""
        if resource.kind == REPOSITORY:
            return self._images.create_repository(resource, timeout=timeout)
        if resource.kind == IMAGE:
            return self._images.create(resource, materials, timeout=timeout)
        if resource.kind == DATA:
            self._inputs.make(self._shelf(timeout), resource, materials)
            return Ack()
        if resource.kind in {JOB, FILES}:
            return self._jobs.create(resource, materials, timeout)
        if resource.kind in SMOKES:
            return self._smoke.create(resource, timeout)
        return self._deployments.create(resource, materials, timeout)

    def update(self, resource: Resource, before: Live, *, timeout: float) -> Ack:
        """Replace the labels of an endpoint or its traffic."""
        return self._deployments.update(resource, before, timeout)

    def delete(self, live: Live, *, timeout: float) -> Ack:
        """Delete one resource."""
        if live.kind == REPOSITORY:
            return self._images.delete_repository(live.id, timeout=timeout)
        if live.kind == IMAGE:
            return self._images.delete(live, timeout=timeout)
        if live.kind == DATA:
            self._inputs.delete(self._shelf(timeout), live.id)
            return Ack()
        if live.kind in {JOB, FILES}:
            return self._jobs.delete(live, timeout)
        return (self._smoke if live.kind in SMOKES else self._deployments).delete(live, timeout)

    def _shelf(self, timeout: float) -> Shelf:
        return Shelf(self._bucket, timeout)

    def operation(self, name: str, *, timeout: float) -> Operation:
        """Return the state of a long-running operation."""
        if name.startswith(PREFIX):
            return self._images.operation(name, timeout=timeout)
        return self._control.operation(name, timeout=timeout)

    def server_time(self) -> float:
        """Return Unix seconds by Google's clock, as last seen."""
        return self._access.server_time()

    def invoker(self, status: EndpointStatus) -> Invoker:
        """Return what the core needs to call the endpoint; the host of a dedicated endpoint is read once."""
        dns = ""
        if status.raw == "dedicated":
            dns = str(self._deployments.existing(status.name, _CALL_S).dedicated_endpoint_dns)
        name = f"{parent(self.options)}/endpoints/{status.name}"
        return self._plane.invoker(self._plane.url(name, dns), dns)

    @property
    def probes_aside(self) -> bool:
        """Whether a new deployment is tested on a temporary endpoint."""
        return self.options.smoke_endpoint

    def aside(self, name: str, deployment: str) -> Invoker:
        """Return what the core needs to call a deployment on its temporary endpoint."""
        return self._smoke.invoker(join(name, deployment), _CALL_S)

    def doctor(self) -> Iterator[Check]:
        """Yield checks of what endpoints and jobs need in the project."""
        return _doctor.checks(self._access, self.context.target, self._control, self._bucket, self._images)

    @classmethod
    def call_rights(cls) -> Sequence[CallRights]:
        """Return each call with its verbs and its permissions."""
        return _rights.call_rights()

    def policy(self, role: PolicyRole, form: PolicyForm, secrets: Sequence[str]) -> str:
        """Return the smallest custom roles and bindings of a role for this target."""
        return _policy.policy(self.options, self.context.target, role, form, secrets)

    def close(self) -> None:
        """Close all connections; endpoints and jobs keep running."""
        self._control.close()
        self._access.close()

    # --- training ---------------------------------------------------------------------------------------------------

    def job_resources(self, spec: JobSpec) -> Sequence[Resource]:
        """Return the repository, the image with the program, the data, the files, and the job."""
        _train.check_data(spec.data)
        inputs = self._inputs.plan_all(_train.local_data(spec.data), spec.labels)
        return _plan.job_resources(spec, self.options, self._prices, inputs)

    def job_status(self, name: str, *, timeout: float) -> JobStatus | None:
        """Return the status of the job in provider-neutral form."""
        return self._jobs.status(name, self.context.target, self._access.server_time(), timeout)

    def stop_job(self, name: str, *, timeout: float) -> None:
        """Ask the job to stop."""
        self._jobs.stop(name, timeout)

    def job_logs(self, name: str, *, follow: bool = False, tail: int | None = None) -> Iterator[LogLine]:
        """Yield the lines that the job printed."""
        found = self._jobs.existing(name, _CALL_S)
        since = found.create_time.timestamp() - 1
        going = self._going(name) if follow else None
        filter_ = _logs.job_filter(found.name.rpartition("/")[2])
        return self._logs.lines(filter_, since=since, tail=tail, follow=going)

    def _going(self, name: str) -> Callable[[], bool]:
        return lambda: not _train.state_of(self._jobs.existing(name, _CALL_S)).finished

    def job_output(self, name: str, directory: Path, *, timeout: float) -> None:
        """Copy the files that the job left."""
        self._jobs.output(name, directory, timeout)

    # --- metrics and logs -------------------------------------------------------------------------------------------

    def metrics(self, name: str, *, window_s: float, timeout: float) -> MetricsReport:
        """Return request counts, latencies and machine use of the endpoint."""
        self._deployments.existing(name, timeout)
        return self._metrics.report(name, window_s=window_s, timeout=timeout)

    def logs(
        self,
        name: str,
        *,
        deployment: str | None = None,
        tail: int | None = None,
        follow: bool = False,
        request_id: str | None = None,
    ) -> Iterator[LogLine]:
        """Yield the lines that the endpoint's replicas printed."""
        found = self._deployments.existing(name, _CALL_S)
        number = None if deployment is None else _number(deployment)
        filter_ = _logs.endpoint_filter(self.options.region, name, number, request_id)
        since = found.create_time.timestamp() - 1
        return self._logs.lines(filter_, since=since, tail=tail, follow=(lambda: True) if follow else None)

    # --- leases -----------------------------------------------------------------------------------------------------

    def lease_read(self, key: str, *, timeout: float) -> LeaseRecord | None:
        """Read the stored lease."""
        return self._leases.read(key, timeout=timeout)

    def lease_write(self, key: str, body: str, expected: str | None, *, timeout: float) -> LeaseRecord:
        """Write the lease unless another client has changed it."""
        return self._leases.write(key, body, expected, timeout=timeout)

    def lease_delete(self, key: str, expected: str, *, timeout: float) -> None:
        """Delete the lease unless another client has changed it."""
        self._leases.delete(key, expected, timeout=timeout)


def _number(deployment: str) -> str:
    number = number_of(deployment) if deployment.startswith("d") else deployment
    return number if deployment_of(number) == deployment else deployment
