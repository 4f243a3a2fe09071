"""The adapter of the `sagemaker` target: each method delegates to a module for its subject."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec, TypeVar

from sdk.adapter import Ack, ChangeTimes, Live, Operation, Ref
from sdk.adapter.identities import Identities
from sdk.adapter.prices import read_prices, refreshed_table
from sdk.adapter.shared.uploads import DATA, Inputs
from sdk.errors import NotFoundError
from sdk.util.foreign import understanding

from . import _doctor, _limits, _logs, _monitor, _plan, _policy, _predict, _rights, _status, _tagged, _train
from ._aws import Aws
from ._calls import Control
from ._errors import PROVIDER, gone
from ._images import Images
from ._plan import ENDPOINT, IMAGE, JOB
from ._shelf import Shelf
from ._storage import Storage
from ._users import Users
from .options import SagemakerOptions, capabilities

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from sdk.adapter import (
        AdapterContext,
        Capability,
        EndpointSpec,
        Invoker,
        JobSpec,
        Kind,
        LeaseRecord,
        Limits,
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

_TYPE_SHAPES = {"inference": "ProductionVariantInstanceType", "training": "TrainingInstanceType"}
_POLL_S, _MOCK_POLL_S = 2.0, 0.02  # the first pause of a wait; a mini cloud is fast


P = ParamSpec("P")
T = TypeVar("T")


def _timed(operation: Callable[P, T]) -> Callable[P, T]:
    """Limit the time of an operation's calls to the rest of its timeout."""

    @functools.wraps(operation)
    def timed(*args: P.args, **kwargs: P.kwargs) -> T:
        adapter: Any = args[0]
        seconds: Any = kwargs["timeout"]
        with adapter.aws.within(seconds):
            return operation(*args, **kwargs)

    return timed


@understanding
class SagemakerAdapter:
    """Endpoints and jobs of one account and region; implements :class:`sdk.adapter.Adapter`.

    Args:
        options: The target's settings.
        context: Owner, clock, redactor and other values from the core.

    Attributes:
        aws: The connection to AWS.
    """

    provider: ClassVar[str] = PROVIDER
    Options: ClassVar[type[TargetOptions]] = SagemakerOptions
    kinds: ClassVar[Mapping[str, Kind]] = _plan.kinds()
    # An update takes up to an hour (likely); the endpoint cannot be changed or deleted in the meantime (certain).
    change_times: ClassVar[ChangeTimes] = ChangeTimes(deploy_s=3600.0, undo_s=3600.0)

    def __init__(self, options: SagemakerOptions, context: AdapterContext) -> None:
        self.options = options
        self.context = context
        self.aws = Aws(options, context.clock)
        self._images = Images(self.aws, context.owner, context.clock)
        self._prices = read_prices(
            Path(__file__).with_name("prices.csv"), refreshed_table(context.state_dir, self.provider)
        )
        self._control = Control(self.aws, self._images, context.redactor, self._prices)
        self._storage = Storage(self.aws, Identities(context.state_dir, PROVIDER))
        self._shelf, self._inputs = Shelf(self._storage), Inputs(context.owner, PROVIDER, "S3")
        self._jobs = _train.Jobs(
            self.aws, self._control, self._images, self._storage, self._inputs, prices=self._prices
        )
        self.poll_s = _MOCK_POLL_S if self.aws.mock else _POLL_S

    @classmethod
    def capabilities(cls, options: SagemakerOptions | None = None) -> Mapping[Capability, Support]:
        """Return what `sagemaker` can do under these options."""
        return capabilities(options)

    def limits(self) -> Limits:
        """Return the limits of one prediction."""
        return _predict.limits(self.options)

    def prices(self) -> Iterable[PriceRow]:
        """Return the price table: the one shipped with the adapter, or a refreshed one."""
        return self._prices

    def instance_types(self, usage: Usage) -> Collection[str]:
        """Return the types in the AWS library's own description of SageMaker; a newer library knows newer types."""
        return self.aws.instance_types(_TYPE_SHAPES[usage])

    def check_variables(self, variables: Mapping[str, str], usage: Usage) -> None:
        """Refuse variables and secrets that SageMaker would reject, before an image is built."""
        _limits.check_variables(variables, usage, field="env and secrets")

    def default_instance(self, usage: Usage) -> str | None:
        """Return ``None``: an instance must be named, since every instance is billed."""
        del usage  # the same for both
        return None

    def where(self) -> Mapping[str, str]:
        """Return account and region, and the URL of the mini cloud if one is used."""
        mock = {"mock": self.aws.mock} if self.aws.mock else {}
        return {"account": self.aws.account, "region": self.aws.region, **mock}

    def service_host(self) -> ServiceHost:
        """Return the host of SageMaker's API as boto3 resolves it, `AWS_ENDPOINT_URL` and profiles included."""
        return self.aws.service_host

    def resources(self, spec: EndpointSpec) -> Sequence[Resource]:
        """Return images, models, configuration, endpoint and scaling."""
        return _plan.resources(spec, self.options)

    def status(self, name: str, live: Sequence[Live]) -> EndpointStatus | None:
        """Return the status of an endpoint from its live resources, in provider-neutral form."""
        return _status.status(name, live, self.context.target, self._prices, self.aws.region)

    @_timed
    def observe(self, name: str, *, timeout: float) -> Sequence[Live]:
        """Return all resources of one endpoint."""
        return self._control.observe(name)

    @_timed
    def list(self, *, timeout: float) -> Iterator[Live]:
        """Yield all resources with mlport's tags, of all owners, and the shared images and data."""
        return iter([*_tagged.every(self.aws), *self._images.every(), *self._inputs.every(self._shelf)])

    @_timed
    def users(self, known: Collection[Ref], *, timeout: float) -> Iterator[tuple[Ref, frozenset[Ref]]]:
        """Yield endpoints that others made, and the resources that they use."""
        return iter(list(Users(self.aws, self._images, lambda: _tagged.indexed(self.aws)).find(known)))

    @_timed
    def read(self, ref: Ref, *, timeout: float) -> Live | None:
        """Read one resource."""
        if ref.kind == DATA:
            return self._inputs.read(self._shelf, ref.id)
        readers = {IMAGE: self._images.read, JOB: self._jobs.read}
        reader = readers.get(ref.kind)
        return reader(ref.id) if reader else self._control.read(ref)

    @_timed
    def create(self, resource: Resource, materials: Materials, *, timeout: float) -> Ack:
        """Create one resource."""
        if resource.kind == IMAGE:
            self._images.make(resource, materials, timeout)
        elif resource.kind == DATA:
            self._inputs.make(self._shelf, resource, materials)
        elif resource.kind == JOB:
            self._jobs.submit(resource, materials)
        else:
            return self._control.create(resource, materials)
        return Ack()

    @_timed
    def update(self, resource: Resource, before: Live, *, timeout: float) -> Ack:
        """Switch an endpoint to another configuration, or to other traffic shares."""
        return self._control.update(resource, before)

    @_timed
    def delete(self, live: Live, *, timeout: float) -> Ack:
        """Delete one resource."""
        if live.kind == IMAGE:
            self._images.delete(live.id)
        elif live.kind == DATA:
            self._inputs.delete(self._shelf, live.id)
        elif live.kind == JOB:
            self._jobs.delete(live.id)
        else:
            return self._control.delete(live)
        return Ack()

    def operation(self, name: str, *, timeout: float) -> Operation:
        """Raise an error: SageMaker has no named operations; changes in progress are visible on the endpoint itself."""
        raise NotFoundError(
            f"there is no operation {name!r}", provider=PROVIDER, operation="ReadOperation", resource=name
        )

    def server_time(self) -> float:
        """Return Unix seconds by the AWS clock."""
        return self.aws.server_time()

    def invoker(self, status: EndpointStatus) -> Invoker:
        """Return what the core needs to call the endpoint."""
        return _predict.invoker(status.name, self.aws, self.options)

    def doctor(self) -> Iterator[Check]:
        """Yield checks of what endpoints and jobs need in the account."""
        return _doctor.checks(self.aws, self.context.target)

    @classmethod
    def call_rights(cls) -> Sequence[CallRights]:
        """Return each call with its verbs and its permissions."""
        return _rights.call_rights()

    def policy(self, role: PolicyRole, form: PolicyForm, secrets: Sequence[str]) -> str:
        """Return the smallest policy of a role for this target."""
        return _policy.policy(self.aws, self.context.target, role, form, secrets)

    def close(self) -> None:
        """Close all connections."""
        self.aws.close()

    # --- training

    def job_resources(self, spec: JobSpec) -> Sequence[Resource]:
        """Return the image with the program, the data, and the job."""
        return self._jobs.plan(spec)

    @_timed
    def job_status(self, name: str, *, timeout: float) -> JobStatus | None:
        """Return the status of the job in provider-neutral form."""
        return self._jobs.status(name, self.context.target)

    @_timed
    def stop_job(self, name: str, *, timeout: float) -> None:
        """Ask the job to stop."""
        self._jobs.stop(name)

    def job_logs(self, name: str, *, follow: bool = False, tail: int | None = None) -> Iterator[LogLine]:
        """Yield the lines that the job printed."""
        if self._jobs.describe(name) is None:
            raise gone(JOB, name)
        reader = _logs.Reader(self.aws, _logs.JOB_GROUP, f"{name}/", sleep=self.context.clock.sleep)

        def over() -> bool:
            about = self._jobs.describe(name)
            return about is None or _train.outcome(about)[0].finished

        return _logs.lines(reader, tail=tail, follow=follow, over=over)

    @_timed
    def job_output(self, name: str, directory: Path, *, timeout: float) -> None:
        """Copy the files that the job left."""
        self._jobs.output(name, directory)

    # --- metrics and logs

    @_timed
    def metrics(self, name: str, *, window_s: float, timeout: float) -> MetricsReport:
        """Return request counts, latencies and machine use of the endpoint."""
        live = self.observe(name, timeout=timeout)
        status = self.status(name, live)
        if status is None:
            raise gone(ENDPOINT, name)
        instances: Any = live[0].details["instances"]
        return _monitor.report(self.aws, status, window_s, int(instances), self._prices)

    def logs(
        self,
        name: str,
        *,
        deployment: str | None = None,
        tail: int | None = None,
        follow: bool = False,
        request_id: str | None = None,
    ) -> Iterator[LogLine]:
        """Yield the log lines of an endpoint since its creation; for a deleted endpoint, all lines that are kept."""
        live = self._control.read(Ref(ENDPOINT, name))
        since = (live.created_at or 0.0) if live else 0.0
        prefix = f"{deployment}/" if deployment else ""
        sleep = self.context.clock.sleep
        reader = _logs.Reader(self.aws, _logs.endpoint_group(name), prefix, since=since, sleep=sleep)
        if live is None and not reader.exists():
            raise gone(ENDPOINT, name)
        return _logs.lines(reader, tail=tail, follow=follow, request_id=request_id)

    # --- leases

    @_timed
    def lease_read(self, key: str, *, timeout: float) -> LeaseRecord | None:
        """Read the stored lease."""
        return self._storage.lease_read(key)

    @_timed
    def lease_write(self, key: str, body: str, expected: str | None, *, timeout: float) -> LeaseRecord:
        """Write a lease by compare-and-swap."""
        return self._storage.lease_write(key, body, expected)

    @_timed
    def lease_delete(self, key: str, expected: str, *, timeout: float) -> None:
        """Delete a lease."""
        self._storage.lease_delete(key, expected)
