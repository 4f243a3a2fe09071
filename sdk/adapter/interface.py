"""The adapter interface: what an adapter must implement (`Adapter`), and what it may (`Trains`, `Monitors`, …).

An adapter turns neutral specs into an ordered list of :class:`Resource` (pure functions), and turns each single
operation on a resource into one call of its platform. It never loops, waits, retries, rolls back or decides: the
core does all of that, in the same way for every adapter. Vendor types and vendor exceptions do not cross this
interface: operations return the values below and raise the classes of :mod:`sdk.errors`.

The calls in the life of a resource::

    read(ref) -> Live | None        the live resource; None only if the platform reports that it does not exist
    create(resource, materials)     one call with the planned id; may start a long-running operation
    update(resource, before)        one call; refused if the live resource is not `before` (where the platform can)
    delete(live)                    one call; the platform may refuse it for now (ConflictError, retryable)
    operation(name)                 the state of a long-running operation

The core must be able to distinguish these outcomes. :class:`~sdk.errors.ConflictError` from ``create`` means that
the id exists. :class:`~sdk.errors.NotFoundError` from ``delete`` means that the resource is gone.
:class:`~sdk.errors.UnavailableError` with ``sent=False`` proves that nothing happened; with ``sent=True`` the outcome
is unknown. Any other answer of the platform proves that nothing happened.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

from ..util.waiting import Clock
from .resources import Ack, Kind, Labels, Live, Nature, Operation, Ref, Resource, spec_hash
from .specs import DeploymentSpec, EndpointSpec, JobSpec, Materials
from .types import Check, DeploymentStatus, EndpointStatus, JobStatus, Json, LogLine, Replicas, Resources

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import httpx

    from ..util.redact import Redactor
    from .metrics import MetricsReport
    from .prices import PriceRow, Usage


LARGEST_ANSWER = 64 << 20  # bytes of the answer to one prediction, unless a target's settings say otherwise

# --- options and capabilities -----------------------------------------------------------------------------------


class TargetOptions(BaseModel):
    """Settings that every target understands; the options of an adapter extend this class."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    instance: str | None = Field(default=None, description="instance type in the platform's own words")
    resources: Resources | None = Field(default=None, description="cpu, memory_gib, gpu: the cheapest that fits")
    any_instance: bool = Field(
        default=False, description="take instance types that this version does not know: the platform judges them"
    )
    replicas: Replicas = Field(default_factory=Replicas, description="min and max copies of a deployment")
    tags: dict[str, str] = Field(default_factory=dict, description="your own tags, put on everything")
    max_answer: int = Field(default=LARGEST_ANSWER, gt=0, description="largest answer of a prediction in bytes")
    ttl: str | None = Field(default=None, description="age at which `mlport gc --expired` removes it, such as 8h")


class Capability(StrEnum):
    """A feature that a target may or may not support."""

    TRAIN = "train"
    DEPLOY = "deploy"
    TRAFFIC = "traffic"  # more than one deployment behind an endpoint, split by percents
    DARK_PROBE = "dark_probe"  # a deployment with 0 % can be called
    PIN = "pin"  # a request can name its deployment
    REPLICAS = "replicas"
    AUTOSCALE = "autoscale"
    ENV = "env"
    SECRETS = "secrets"
    RESOURCES = "resources"
    INSTANCES = "instances"
    GPU = "gpu"
    METRICS = "metrics"
    LOGS = "logs"
    LEASE = "lease"  # a lock that is visible to other machines
    TAGS = "tags"
    TTL = "ttl"
    IMAGES = "images"  # takes ready-made images
    STOP_JOB = "stop_job"
    STREAM = "stream"  # an answer arrives item by item


@dataclass(frozen=True, slots=True)
class Support:
    """Whether a capability is supported and, if not, the reason: not implemented here, missing upstream, or never."""

    ok: bool = True
    reason: Literal["", "not_implemented", "upstream", "never"] = ""
    text: str = ""


YES = Support()


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one prediction: bytes of the request, seconds until the platform times out, bytes of the answer."""

    request_bytes: int
    timeout_s: float
    answer_bytes: int = LARGEST_ANSWER


@dataclass(frozen=True, slots=True)
class ChangeTimes:
    """The time that changes take on a platform, from its documentation and from reports of users.

    Args:
        deploy_s: The most seconds that one successful deploy takes: the default time limit of a change. A change that
            deploys twice, one after the other, has twice this limit.
        undo_s: Seconds that the platform may need to end and undo one operation; reserved for undoing after that limit.
    """

    deploy_s: float = 1800.0
    undo_s: float = 300.0

    @property
    def longest_s(self) -> float:
        """The longest time limit of a change, and that of `gc`, which takes anything twice as old for a leftover."""
        return 2 * self.deploy_s


@dataclass(frozen=True, slots=True)
class ServiceHost:
    """The host that receives a target's calls.

    Args:
        address: Host name and port, or an equivalent, such as the socket of an engine.
        official: Whether the host is the platform itself. False for any substitute that speaks its protocol: a local
            test server, another vendor's emulator, a recording proxy. Measurements there say nothing about the
            platform.
        billed: Whether the host's owner charges for what runs there. False for substitutes and for your own machine.
    """

    address: str
    official: bool
    billed: bool

    def __post_init__(self) -> None:
        if self.billed and not self.official:
            raise ValueError(f"{self.address} is not the official host, so nothing is billed there")


# --- data plane -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ModelFault:
    """The error that the model's container returned, extracted from the platform's envelope."""

    status: int
    message: str
    field: str | None = None
    request_id: str | None = None
    body: str = ""


@dataclass(frozen=True, slots=True)
class Streaming:
    """The way a platform streams an answer, where it differs from the way it sends a whole one.

    Args:
        url: The URL to which such requests are POSTed; that of whole answers if empty.
        headers: Sent with such requests, in addition to ``Accept: text/event-stream``.
        content_type: The header of an answer with the content type of the container's own answer.
        decoder: Makes a function for one answer, which takes the pieces of its body and returns the container's bytes
            in them, and at the end an empty piece; ``None`` if the platform passes the bytes on unchanged. For a
            failure that the platform reports in the body it raises an error of :mod:`sdk.errors`, in the call after
            the one that returned the last bytes before it.
    """

    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    content_type: str = "content-type"
    decoder: Callable[[], Callable[[bytes], bytes]] | None = None


@dataclass(frozen=True, slots=True)
class Invoker:
    """The way to call an endpoint: the core implements the HTTP calls, the adapter provides address and credentials.

    Args:
        url: The URL to which predictions are POSTed.
        limits: The platform's limits of one call.
        auth: Signs or authorises each request; ``None`` for none.
        headers: Sent with every request.
        pin: Returns the headers that select one deployment; set where ``Capability.PIN`` is supported.
        wrap: Puts the body ``{"instances": …}`` into the platform's envelope, if it has one.
        unwrap: Extracts the answer ``{"predictions": …}`` from the platform's envelope.
        fault: Returns the model's own error in a failed answer; ``None`` if the platform is to blame.
        error: Turns any other failed answer into an error of :mod:`sdk.errors`.
        deployment: Reads from an answer which deployment gave it.
        verify: Certificate file, or ``True`` for the certificates of the system.
        revives: Whether reading the endpoint's status restarts whatever should serve but is not running.
        health: A plain HTTP URL that answers at once while the server runs, no matter how long the model takes.
        direct: Whether this process is connected to the server without an intermediary. The server reads a request
            completely before a model receives it, so a reset connection proves that no model received the request.
        stream: The way to stream an answer; set where ``Capability.STREAM`` is supported.
    """

    url: str
    limits: Limits
    fault: Callable[[httpx.Response], ModelFault | None]
    error: Callable[[httpx.Response], Exception]
    auth: httpx.Auth | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    pin: Callable[[str], Mapping[str, str]] | None = None
    wrap: Callable[[bytes], bytes] | None = None
    unwrap: Callable[[bytes], bytes] | None = None
    deployment: Callable[[httpx.Response], str | None] | None = None
    verify: str | bool = True
    revives: bool = False
    health: str | None = None
    direct: bool = False
    stream: Streaming | None = None


# --- the adapter ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AdapterContext:
    """Values that the core passes to an adapter.

    Args:
        target: Name of the target in the configuration.
        owner: The value of the owner label on everything that is made here.
        state_dir: Folder for caches and, on `local`, for the endpoints themselves; mode 0700.
        clock: The only source of time.
        redactor: Hides secrets in every text that leaves the adapter.
        transport: Replaces the network in tests.
    """

    target: str
    owner: str
    state_dir: Path
    clock: Clock
    redactor: Redactor
    transport: httpx.BaseTransport | None = None


@runtime_checkable
class Adapter(Protocol):
    """The interface that every adapter implements. The protocols below it are optional abilities.

    An adapter with quick operations may also define ``poll_s``, the seconds of the first pause of a wait (default 1);
    later pauses grow from it.
    """

    provider: ClassVar[str]
    Options: ClassVar[type[TargetOptions]]
    kinds: ClassVar[Mapping[str, Kind]]

    def __init__(self, options: Any, context: AdapterContext) -> None: ...

    @classmethod
    def capabilities(cls, options: Any | None = None) -> Mapping[Capability, Support]:
        """Return the support for each :class:`Capability` with these options (with the default options if ``None``)."""
        ...

    def limits(self) -> Limits:
        """Return the limits of one prediction."""
        ...

    def prices(self) -> Iterable[PriceRow]:
        """Return the price table; empty if nothing costs money."""
        ...

    def where(self) -> Mapping[str, str]:
        """Return what identifies this target (account, project, region, host): typed ids, no credentials."""
        ...

    def service_host(self) -> ServiceHost:
        """Return the host that calls go to, and whether it is the platform's own. This makes no call."""
        ...

    # planning: pure functions that make no call

    def resources(self, spec: EndpointSpec) -> Sequence[Resource]:
        """Return all resources of the endpoint: parents first, the resource that holds the traffic last."""
        ...

    def status(self, name: str, live: Sequence[Live]) -> EndpointStatus | None:
        """Derive the endpoint's status from its live resources; ``None`` if they contain no endpoint."""
        ...

    # operations: one call each (observe and list may page)

    def observe(self, name: str, *, timeout: float) -> Sequence[Live]:
        """Read all resources of this endpoint with consistent reads: first the pointer, then the resources it names."""
        ...

    def list(self, *, timeout: float) -> Iterator[Live]:
        """List all resources with mlport's label, of any owner. The list is a hint; confirm each one with ``read``."""
        ...

    def read(self, ref: Ref, *, timeout: float) -> Live | None:
        """Return the resource as it is now; ``None`` only if the platform reports that it does not exist."""
        ...

    def create(self, resource: Resource, materials: Materials, *, timeout: float) -> Ack:
        """Create the resource under the id that the plan chose."""
        ...

    def update(self, resource: Resource, before: Live, *, timeout: float) -> Ack:
        """Update the resource; refused if the live one differs from ``before`` (where the platform can check that)."""
        ...

    def delete(self, live: Live, *, timeout: float) -> Ack:
        """Delete the resource; the platform may refuse this for now."""
        ...

    def operation(self, name: str, *, timeout: float) -> Operation:
        """Return the state of a long-running operation."""
        ...

    def server_time(self) -> float:
        """Return the Unix seconds of the platform's clock as last seen; the local clock's before the first call."""
        ...

    def invoker(self, status: EndpointStatus) -> Invoker:
        """Return the way to call the endpoint."""
        ...

    def doctor(self) -> Iterator[Check]:
        """Make at least one real read call and report what is missing."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


@runtime_checkable
class ProbesAside(Protocol):
    """Adapter that cannot call a deployment with 0 % of the traffic, but can run a second copy for its smoke test.

    ``resources`` of a spec with ``aside`` includes that copy. The next stage does not, so the copy is deleted then.
    """

    @property
    def probes_aside(self) -> bool:
        """Whether the target's settings enable this."""
        ...

    def aside(self, name: str, deployment: str) -> Invoker:
        """Return the way to call the second copy of a deployment."""
        ...


@runtime_checkable
class Trains(Protocol):
    """Adapter that runs training jobs."""

    def job_resources(self, spec: JobSpec) -> Sequence[Resource]:
        """Return all resources of the job, the job itself last. This is a pure function."""
        ...

    def job_status(self, name: str, *, timeout: float) -> JobStatus | None:
        """Return the current status of the job; ``None`` if it does not exist."""
        ...

    def stop_job(self, name: str, *, timeout: float) -> None:
        """Stop a running job; a job that has ended stays as it is."""
        ...

    def job_logs(self, name: str, *, follow: bool = False, tail: int | None = None) -> Iterator[LogLine]:
        """Return the log lines so far; with ``follow``, continue with new lines until the job has ended."""
        ...

    def job_output(self, name: str, directory: Path, *, timeout: float) -> None:
        """Copy the content of the job's output folder into this empty directory."""
        ...


@runtime_checkable
class Monitors(Protocol):
    """Adapter that measures its endpoints."""

    def metrics(self, name: str, *, window_s: float, timeout: float) -> MetricsReport:
        """Return counts, latencies and utilisation of the last ``window_s`` seconds, each with scope and method."""
        ...


@runtime_checkable
class StreamsLogs(Protocol):
    """Adapter that provides the log lines of its endpoints."""

    def logs(
        self,
        name: str,
        *,
        deployment: str | None = None,
        tail: int | None = None,
        follow: bool = False,
        request_id: str | None = None,
    ) -> Iterator[LogLine]:
        """Return the lines so far, oldest first; with ``follow``, continue with new lines until the caller stops."""
        ...


@runtime_checkable
class KnowsInstances(Protocol):
    """Adapter that knows the instance types of its platform, so that planning refuses an unknown one."""

    def instance_types(self, usage: Usage) -> Collection[str]:
        """Return the platform's names of all types for serving, or for training. This makes no call."""
        ...

    def default_instance(self, usage: Usage) -> str | None:
        """Return the type that is used if none is named; ``None`` if the platform requires one."""
        ...


@runtime_checkable
class KnowsVariables(Protocol):
    """Adapter that knows which variables its platform accepts, so that others are refused before an image is built."""

    def check_variables(self, variables: Mapping[str, str], usage: Usage) -> None:
        """Refuse variables and secrets whose values the platform would refuse. This makes no call.

        Raises:
            ConfigError: A variable is not acceptable; the message names it and never shows its value.
        """
        ...


@runtime_checkable
class PricesByRegion(Protocol):
    """Adapter that reads the billing region from its platform, because no setting names it."""

    def price_region(self) -> str:
        """Return the region whose prices apply; may make one read call."""
        ...


@runtime_checkable
class KnowsTimes(Protocol):
    """Adapter that declares how long changes take; without it, half an hour, and five minutes to undo."""

    change_times: ClassVar[ChangeTimes]


def change_times(adapter: Adapter) -> ChangeTimes:
    """Return the time that changes take on the platform of an adapter."""
    return adapter.change_times if isinstance(adapter, KnowsTimes) else ChangeTimes()


@runtime_checkable
class KnowsUsers(Protocol):
    """Adapter whose deletes succeed for resources in use, so mlport asks before which other endpoints use them."""

    def users(self, known: Collection[Ref], *, timeout: float) -> Iterator[tuple[Ref, frozenset[Ref]]]:
        """Return each endpoint that is not ``known`` and not made by mlport, with all the resources that it needs."""
        ...


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """A small stored object with a version: the lock that other machines can see."""

    body: str
    etag: str


@runtime_checkable
class Leases(Protocol):
    """Adapter that keeps leases on the target by compare-and-swap."""

    def lease_read(self, key: str, *, timeout: float) -> LeaseRecord | None:
        """Return the stored lease; ``None`` if there is none."""
        ...

    def lease_write(self, key: str, body: str, expected: str | None, *, timeout: float) -> LeaseRecord:
        """Write the lease if the stored etag is ``expected`` (``None``: absent); else raise ``ConflictError``."""
        ...

    def lease_delete(self, key: str, expected: str, *, timeout: float) -> None:
        """Delete the lease if the stored etag is ``expected``."""
        ...


__all__ = [
    "LARGEST_ANSWER", "YES", "Ack", "Adapter", "AdapterContext", "Capability", "ChangeTimes", "Check", "Clock",
    "DeploymentSpec", "DeploymentStatus", "EndpointSpec", "EndpointStatus", "Invoker", "JobSpec", "JobStatus",
    "Json", "Kind", "KnowsInstances", "KnowsTimes", "KnowsUsers", "KnowsVariables", "Labels", "LeaseRecord",
    "Leases", "Limits", "Live", "LogLine", "Materials", "ModelFault", "Monitors", "Nature", "Operation",
    "PricesByRegion", "ProbesAside", "Ref", "Replicas", "Resource", "Resources", "ServiceHost", "StreamsLogs",
    "Support", "TargetOptions", "Trains", "change_times", "spec_hash",
]  # fmt: skip
