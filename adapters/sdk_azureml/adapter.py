"""The `azureml` target as an adapter: each method calls the module that does the work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from sdk.adapter import Ack, ChangeTimes, Operation, Ref
from sdk.adapter.identities import Identities
from sdk.adapter.prices import find_price, read_prices, refreshed_table
from sdk.adapter.shared.checks import check_variables
from sdk.adapter.shared.uploads import DATA, Inputs
from sdk.errors import AuthError, ConfigError, SecurityError, UnavailableError
from sdk.util.foreign import understanding

from . import _doctor, _plan, _policy, _predict, _rights, _spelling
from ._arm import Arm
from ._deploy import Deployments
from ._egress import check_egress
from ._errors import PROVIDER
from ._images import Images
from ._monitor import Monitor
from ._names import workspace_path
from ._owners import Owners
from ._plan import DEPLOYMENT, ENDPOINT, ENVIRONMENT, IMAGE, JOB
from ._pulling import Pulling
from ._shelf import UNFIT_NAMES, Shelf
from ._storage import Storage
from ._submission import local_data
from ._train import Jobs
from ._where import SCORING
from .options import AzureMLOptions, capabilities

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

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
        ServiceHost,
        Support,
        TargetOptions,
    )
    from sdk.adapter.metrics import MetricsReport
    from sdk.adapter.prices import PriceRow, Usage
    from sdk.adapter.rights import CallRights, PolicyForm, PolicyRole
    from sdk.adapter.types import Check, EndpointStatus, JobStatus, LogLine

_QUICK_S = 0.1  # between two polls of a mini cloud
_POLL_S = 1.0
_LOOK_S = 30.0  # for one check before a resource is created


@understanding
class AzureMLAdapter:
    """Managed online endpoints and command jobs of one workspace; implements :class:`sdk.adapter.Adapter`.

    Args:
        options: The target's settings.
        context: The services of the core: owner, clock, transport.
    """

    provider: ClassVar[str] = PROVIDER
    Options: ClassVar[type[TargetOptions]] = AzureMLOptions
    kinds: ClassVar[Mapping[str, Kind]] = _plan.kinds()
    # A successful deployment takes 5 to 40 minutes (likely); deleting one takes 5 to 20, after any running operation.
    change_times: ClassVar[ChangeTimes] = ChangeTimes(deploy_s=3600.0, undo_s=3600.0)

    def __init__(self, options: AzureMLOptions, context: AdapterContext) -> None:
        self.options = options
        self.context = context
        self._arm = Arm(options, context)
        self._deployments = Deployments(self._arm, options, self._price, self._why)
        self._monitor = Monitor(self._arm, self._deployments, self._machine)
        owners = Owners(self._arm, options, Identities(context.state_dir, PROVIDER))
        self._images = Images(self._arm, context.owner, context.clock, owners)
        self._pulling = Pulling(self._arm, options.identity)
        self._storage = Storage(self._arm, context.clock, owners)
        self._inputs = Inputs(context.owner, PROVIDER, "the workspace's storage", unfit=UNFIT_NAMES)
        self._jobs = Jobs(self._arm, self._storage, options, self._training_price)

    @classmethod
    def capabilities(cls, options: AzureMLOptions | None = None) -> Mapping[Capability, Support]:
        """Return what `azureml` supports."""
        return capabilities(options)

    @property
    def poll_s(self) -> float:
        """Seconds of the first pause of a wait; shorter for a mini cloud."""
        return _QUICK_S if self._arm.place.mini else _POLL_S

    def limits(self) -> Limits:
        """Return the limits of one prediction."""
        return _predict.limits(self.options)

    def check_variables(self, variables: Mapping[str, str], usage: Usage) -> None:
        """Refuse variables and secrets that would prevent a container from starting, before anything is built."""
        del usage  # the same for both
        check_variables(variables, PROVIDER)

    def prices(self) -> Iterable[PriceRow]:
        """Return the prices of instances; Azure ML adds nothing to the price of the machine."""
        return read_prices(
            Path(__file__).with_name("prices.csv"), refreshed_table(self.context.state_dir, self.provider)
        )

    def price_region(self) -> str:
        """Return the region of the workspace, which is read once.

        Raises:
            ConfigError: The target's settings name another region.
        """
        location, told = _spelling.region(self._arm.location), self.options.region
        if told is not None and _spelling.region(told) != location:
            raise ConfigError(
                f"region = {told!r}: workspace {self.options.workspace!r} is in {location}",
                provider=PROVIDER,
                hint="leave region out, or name the right one",
            )
        return location

    def instance_types(self, usage: Usage) -> Collection[str]:
        """Return the sizes of virtual machines from the adapter's table."""
        return _spelling.machine_types().of(usage)

    def default_instance(self, usage: Usage) -> str | None:
        """Return ``None``: the user has to choose a size, since every one is billed."""
        del usage  # the same for both
        return None

    def _row(self, instance: str | None, usage: Usage) -> PriceRow | None:
        if instance is None:
            return None
        spelled = _spelling.instance(instance)
        return find_price(self.prices(), spelled, region=_spelling.region(self._arm.location), usage=usage)

    def _machine(self, instance: str | None) -> PriceRow | None:
        return self._row(instance, "inference")

    def _price(self, instance: str | None) -> float | None:
        row = self._machine(instance)
        return row.usd_per_hour if row else None

    def _training_price(self, instance: str | None) -> float | None:
        row = self._row(instance, "training")
        return row.usd_per_hour if row else None

    def _why(self, name: str, deployment: str, timeout: float) -> str | None:
        return self._monitor.why(name, deployment, timeout)

    def where(self) -> Mapping[str, str]:
        """Return the workspace, and the region if the settings name it; this makes no call."""
        place = {} if not self._arm.place.mini else {"host": self._arm.place.arm.partition("://")[2]}
        return {"workspace": workspace_path(self.options), "region": self.options.region or "", **place}

    def service_host(self) -> ServiceHost:
        """Return the host of the resource manager: Azure's own, or the address that the settings name instead."""
        return self._arm.place.service_host

    # --- planning

    def resources(self, spec: EndpointSpec) -> Sequence[Resource]:
        """Return images, environments, endpoint, deployments and traffic."""
        self._deployments.tags[spec.name] = dict(spec.tags)
        return _plan.resources(spec, self.options)

    def status(self, name: str, live: Sequence[Live]) -> EndpointStatus | None:
        """Return the neutral status of the live resources."""
        return _plan.status(name, live, self.context.target)

    # --- operations

    def observe(self, name: str, *, timeout: float) -> Sequence[Live]:
        """Return all resources of one endpoint, with the images and environments that it needs."""
        found = self._deployments.observe(name, timeout)
        needed = {
            ref.id for live in found if live.kind == DEPLOYMENT for ref in live.parents if ref.kind == ENVIRONMENT
        }
        shared = [self.read(Ref(kind, one), timeout=timeout) for one in sorted(needed) for kind in (IMAGE, ENVIRONMENT)]
        return [*found, *(live for live in shared if live is not None)]

    def list(self, *, timeout: float) -> Iterator[Live]:
        """Yield all endpoints, jobs, environments and uploaded inputs of all owners."""
        yield from self._deployments.list_all(timeout)
        yield from self._jobs.all(timeout)
        yield from self._images.environments(timeout)
        try:
            yield from self._inputs.every(self._shelf(timeout))
        except AuthError as error:  # the rest can be listed without the right to read blobs
            if isinstance(error, SecurityError):
                raise

    def read(self, ref: Ref, *, timeout: float) -> Live | None:
        """Return one resource."""
        if ref.kind == IMAGE:
            return self._images.read(ref.id, timeout)
        if ref.kind == ENVIRONMENT:
            return self._images.environment(ref.id, timeout)
        if ref.kind == DATA:
            return self._inputs.read(self._shelf(timeout), ref.id)
        if ref.kind == JOB:
            return self._jobs.read(ref.id, timeout)
        return self._deployments.read(ref, timeout)

    def create(self, resource: Resource, materials: Materials, *, timeout: float) -> Ack:
        """Create one resource."""
        if resource.kind == ENDPOINT or (resource.kind == IMAGE and materials.job is None):
            self._pulling.check(min(timeout, _LOOK_S))
            if not self.options.public_egress:
                check_egress(self._arm, self.options)
        if resource.kind == IMAGE:
            self._images.create(resource, materials, timeout)
            return Ack()
        if resource.kind == ENVIRONMENT:
            self._images.create_environment(resource, timeout)
            return Ack()
        if resource.kind == DATA:
            self._storage.verify(timeout)
            self._inputs.make(self._shelf(timeout), resource, materials)
            return Ack()
        if resource.kind == JOB:
            return self._jobs.submit(resource, materials, timeout)
        return self._deployments.create(resource, materials, timeout)

    def update(self, resource: Resource, before: Live, *, timeout: float) -> Ack:
        """Change an endpoint or its traffic."""
        return self._deployments.update(resource, before, timeout)

    def delete(self, live: Live, *, timeout: float) -> Ack:
        """Delete one resource; a job is only stopped and an environment only archived, since Azure deletes neither."""
        if live.kind == IMAGE:
            self._images.delete(live.id, timeout)
            return Ack()
        if live.kind == ENVIRONMENT:
            self._images.archive(live.id, timeout)
            return Ack()
        if live.kind == DATA:
            self._inputs.delete(self._shelf(timeout), live.id)
            return Ack()
        if live.kind == JOB:
            return self._jobs.cancel(live.id, timeout)
        return self._deployments.delete(live, timeout)

    def operation(self, name: str, *, timeout: float) -> Operation:
        """Return the state of a long-running operation."""
        return self._arm.operation(name, timeout=timeout)

    def server_time(self) -> float:
        """Return the time by Azure's clock, estimated from its last answer."""
        return self._arm.server_time()

    # --- data plane

    def invoker(self, status: EndpointStatus) -> Invoker:
        """Return the client that calls the endpoint; the first prediction requests its key.

        Raises:
            UnavailableError: The endpoint has no address yet.
        """
        if status.url is None:
            raise UnavailableError(f"endpoint {status.name!r} has no address", provider=PROVIDER, sent=False)
        path = self._deployments.endpoint_path(status.name)
        ask = _predict.secret_source(self._arm, path, self.options.auth, status.name)
        auth = _predict.EndpointAuth(ask, self.context.clock)
        url = self._arm.place.check(f"endpoint {status.name}", status.url, SCORING)
        return _predict.invoker(url, auth, self.options, self._arm.place.ca)

    def doctor(self) -> Iterator[Check]:
        """Check what endpoints and jobs need, each with a real call."""
        parts = _doctor.Parts(self._arm, self._images, self._storage, self._pulling)
        return _doctor.checks(parts, self.options, self._machine, self.context.target)

    @classmethod
    def call_rights(cls) -> Sequence[CallRights]:
        """Return each call with its verbs and its rights."""
        return _rights.call_rights()

    def policy(self, role: PolicyRole, form: PolicyForm, secrets: Sequence[str]) -> str:
        """Return the smallest Azure roles for a role of this target; endpoints read secrets through their workspace."""
        del secrets
        return _policy.policy(self.options, self.context.target, role, form)

    def close(self) -> None:
        """Close the connections."""
        self._arm.close()

    # --- training

    def job_resources(self, spec: JobSpec) -> Sequence[Resource]:
        """Return the image with its program, its environment, the data, and the job."""
        _plan.check_data(spec.data)
        inputs = self._inputs.plan_all(local_data(spec.data), spec.labels)
        return _plan.job_resources(spec, self.options, inputs)

    def _shelf(self, timeout: float) -> Shelf:
        return Shelf(self._storage, timeout)

    def job_status(self, name: str, *, timeout: float) -> JobStatus | None:
        """Return the job's neutral status."""
        return self._jobs.status(name, self.context.target, timeout)

    def stop_job(self, name: str, *, timeout: float) -> None:
        """Ask the job to end."""
        self._jobs.cancel(name, timeout)

    def job_logs(self, name: str, *, follow: bool = False, tail: int | None = None) -> Iterator[LogLine]:
        """Return the lines that the job printed."""
        return self._jobs.logs(name, follow=follow, tail=tail, sleep=self.context.clock.sleep)

    def job_output(self, name: str, directory: Path, *, timeout: float) -> None:
        """Copy the job's output."""
        self._jobs.output(name, directory, timeout)

    # --- monitoring

    def metrics(self, name: str, *, window_s: float, timeout: float) -> MetricsReport:
        """Return the endpoint's metrics from Azure Monitor."""
        return self._monitor.report(name, window_s, timeout)

    def logs(
        self,
        name: str,
        *,
        deployment: str | None = None,
        tail: int | None = None,
        follow: bool = False,
        request_id: str | None = None,
    ) -> Iterator[LogLine]:
        """Return the lines that the endpoint's containers printed."""
        sleep = self.context.clock.sleep
        return self._monitor.logs(
            name, deployment=deployment, tail=tail, follow=follow, request_id=request_id, sleep=sleep
        )

    # --- leases

    def lease_read(self, key: str, *, timeout: float) -> LeaseRecord | None:
        """Return the stored lease."""
        return self._storage.read(key, timeout)

    def lease_write(self, key: str, body: str, expected: str | None, *, timeout: float) -> LeaseRecord:
        """Store a lease by compare-and-swap."""
        return self._storage.write(key, body, expected, timeout)

    def lease_delete(self, key: str, expected: str, *, timeout: float) -> None:
        """Remove a lease by compare-and-swap."""
        self._storage.release(key, expected, timeout)
