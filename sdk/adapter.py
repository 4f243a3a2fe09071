"""What an adapter is: a planner and a translator.

An adapter turns neutral specs into an ordered list of :class:`Resource` (pure functions), and each single
operation on a resource into one call of its platform. It never loops, waits, retries, rolls back or decides: the
core does all of that the same way for everybody. Vendor types and vendor exceptions do not cross this border:
operations return the values below and raise the classes of :mod:`sdk.errors`.

The life of a resource in calls::

    read(ref) -> Live | None        what is there now; None only if the platform says that it is not there
    create(resource, materials)     one call with the id we chose; may start a long-running operation
    update(resource, before)        one call, refused when the live one is not `before` (where the platform can)
    delete(live)                    one call; may be refused for now (ConflictError, retryable)
    operation(name)                 the state of a long-running operation

Outcomes that the core must be able to tell apart: :class:`~sdk.errors.ConflictError` from ``create`` means that
the id exists; :class:`~sdk.errors.NotFoundError` from ``delete`` means that it is gone;
:class:`~sdk.errors.UnavailableError` with ``sent=False`` proves that nothing happened, with ``sent=True`` nothing
is known. Everything else that the platform answers proves that nothing happened.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

from .resources import Ack, Kind, Labels, Live, Nature, Operation, Ref, Resource, spec_hash
from .specs import DeploymentSpec, EndpointSpec, JobSpec, Materials
from .types import Check, DeploymentStatus, EndpointStatus, JobStatus, Json, LogLine, Replicas, Resources

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import httpx

    from .metrics import MetricsReport
    from .prices import PriceRow, Usage
    from .redact import Redactor


LARGEST_ANSWER = 64 << 20  # bytes of the answer to one prediction, unless a target's settings say otherwise

# --- options and capabilities -----------------------------------------------------------------------------------


class TargetOptions(BaseModel):
    """The settings that every target understands; an adapter's own options extend it."""

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
    """What a target may or may not be able to do."""

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
    LEASE = "lease"  # a lock that other machines see
    TAGS = "tags"
    TTL = "ttl"
    IMAGES = "images"  # takes ready-made images
    STOP_JOB = "stop_job"


@dataclass(frozen=True, slots=True)
class Support:
    """Whether a capability is there; if not, why: our gap, the platform's, or for ever."""

    ok: bool = True
    reason: Literal["", "not_implemented", "upstream", "never"] = ""
    text: str = ""


YES = Support()


@dataclass(frozen=True, slots=True)
class Limits:
    """What one predict may be: bytes of the request body, seconds until the platform gives up, bytes of the answer."""

    request_bytes: int
    timeout_s: float
    answer_bytes: int = LARGEST_ANSWER


@dataclass(frozen=True, slots=True)
class ChangeTimes:
    """How long changes take on a platform, by its documents and by what users report.

    Args:
        deploy_s: Seconds that one deploy takes at most when it succeeds: the default time limit of a change; a change
            that deploys twice, one after the other, has twice as long.
        undo_s: Seconds that the platform may need to end and take back one operation: kept for undoing, after that.
    """

    deploy_s: float = 1800.0
    undo_s: float = 300.0

    @property
    def longest_s(self) -> float:
        """The longest time limit of a change, and that of `gc`, which takes what is twice as old for left behind."""
        return 2 * self.deploy_s


@dataclass(frozen=True, slots=True)
class ServiceHost:
    """The host that a target's calls go to.

    Args:
        address: Host name and port, or what stands for them, such as the socket of an engine.
        official: Whether it is the platform itself. False for any substitute that speaks its protocol: a local test
            server, another vendor's emulator, a recording proxy. Figures measured there say nothing of the platform.
        billed: Whether its owner charges for what runs there. A substitute never does; neither does your own machine.
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
    """What the container itself answered, dug out of the platform's envelope."""

    status: int
    message: str
    field: str | None = None
    request_id: str | None = None
    body: str = ""


@dataclass(frozen=True, slots=True)
class Invoker:
    """How to call an endpoint: the core owns the HTTP path, the adapter says where and as whom.

    Args:
        url: Where predictions are POSTed to.
        limits: The platform's limits of one call.
        auth: Signs or authorises each request; ``None`` for none.
        headers: Sent with every request.
        pin: Headers that make one deployment answer; there where ``Capability.PIN`` is supported.
        wrap: Puts the body ``{"instances": …}`` into the platform's envelope, if it has one.
        unwrap: Takes the answer ``{"predictions": …}`` out of it.
        fault: What the model itself said in a failed answer; ``None`` when the platform is to blame.
        error: Turns any other failed answer into an error of :mod:`sdk.errors`.
        deployment: Reads from an answer which deployment gave it.
        verify: Certificate file, or ``True`` for the system's.
        revives: Whether looking at the endpoint brings back what should serve and does not run.
        health: A URL that is answered at once as long as the server runs, however long a model works; plain HTTP.
        direct: Whether nothing stands between this process and the server, which reads a request whole before a model
            gets it. A connection that is reset then proves that no model got it.
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


# --- the adapter ------------------------------------------------------------------------------------------------


class Clock(Protocol):
    """Time, so that tests can own it: seconds since the epoch, monotonic seconds, and waiting."""

    def time(self) -> float:
        """Seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds that never jump."""
        ...

    def sleep(self, seconds: float) -> None:
        """Waits."""
        ...


@dataclass(frozen=True, slots=True)
class AdapterContext:
    """What the core lends an adapter.

    Args:
        target: Name of the target in the configuration.
        owner: The label value of everything made here.
        state_dir: Folder for caches and, on `local`, for the endpoints themselves; mode 0700.
        clock: The only source of time.
        redactor: Hides secrets in whatever text leaves the adapter.
        transport: Used instead of the network, in tests.
    """

    target: str
    owner: str
    state_dir: Path
    clock: Clock
    redactor: Redactor
    transport: httpx.BaseTransport | None = None


@runtime_checkable
class Adapter(Protocol):
    """The interface of every platform. Optional abilities are the protocols below it.

    One whose operations are quick may also have ``poll_s``, the seconds of the first pause of a wait (default 1); the
    others grow from it.
    """

    provider: ClassVar[str]
    Options: ClassVar[type[TargetOptions]]
    kinds: ClassVar[Mapping[str, Kind]]

    def __init__(self, options: Any, context: AdapterContext) -> None: ...

    @classmethod
    def capabilities(cls, options: Any | None = None) -> Mapping[Capability, Support]:
        """Every member of :class:`Capability`, judged on these options (on the defaults without)."""
        ...

    def limits(self) -> Limits:
        """Limits of one predict."""
        ...

    def prices(self) -> Iterable[PriceRow]:
        """The price table; empty when nothing costs anything."""
        ...

    def where(self) -> Mapping[str, str]:
        """What makes this target *this* one (account, project, region, host): typed ids, no credentials."""
        ...

    def service_host(self) -> ServiceHost:
        """Return the host that calls go to, and whether it is the platform's own; no call is made."""
        ...

    # planning: pure, no call is made

    def resources(self, spec: EndpointSpec) -> Sequence[Resource]:
        """All resources of the endpoint, parents first, the one that holds the traffic last."""
        ...

    def status(self, name: str, live: Sequence[Live]) -> EndpointStatus | None:
        """What these live resources amount to; ``None`` when there is no endpoint among them."""
        ...

    # operations: one call each (observe and list may page)

    def observe(self, name: str, *, timeout: float) -> Sequence[Live]:
        """Everything of this endpoint, by consistent reads: the pointer first, then what it names."""
        ...

    def list(self, *, timeout: float) -> Iterator[Live]:
        """Everything on the target with our label, whoever owns it; a hint only, to be confirmed by ``read``."""
        ...

    def read(self, ref: Ref, *, timeout: float) -> Live | None:
        """What is there now; ``None`` only if the platform says that nothing is."""
        ...

    def create(self, resource: Resource, materials: Materials, *, timeout: float) -> Ack:
        """Makes it under the id we chose."""
        ...

    def update(self, resource: Resource, before: Live, *, timeout: float) -> Ack:
        """Changes it, refused when the live one is not ``before`` (where the platform can)."""
        ...

    def delete(self, live: Live, *, timeout: float) -> Ack:
        """Deletes it; may be refused for now."""
        ...

    def operation(self, name: str, *, timeout: float) -> Operation:
        """The state of a long-running operation."""
        ...

    def server_time(self) -> float:
        """Unix seconds by the platform's clock, as last seen; the local clock before the first call."""
        ...

    def invoker(self, status: EndpointStatus) -> Invoker:
        """How to call the endpoint."""
        ...

    def doctor(self) -> Iterator[Check]:
        """Makes one real read call at least, and says what is missing."""
        ...

    def close(self) -> None:
        """Lets go of connections."""
        ...


@runtime_checkable
class ProbesAside(Protocol):
    """Cannot call a deployment with 0 %, but can run it a second time, for its smoke test only.

    ``resources`` of a spec with ``aside`` holds what that takes; the stage after it does not, so that it is deleted.
    """

    @property
    def probes_aside(self) -> bool:
        """Whether the target is set to do so."""
        ...

    def aside(self, name: str, deployment: str) -> Invoker:
        """How to call what runs aside."""
        ...


@runtime_checkable
class Trains(Protocol):
    """Runs training jobs."""

    def job_resources(self, spec: JobSpec) -> Sequence[Resource]:
        """All resources of the job, the job itself last; pure."""
        ...

    def job_status(self, name: str, *, timeout: float) -> JobStatus | None:
        """The job as it is now; ``None`` when there is none."""
        ...

    def stop_job(self, name: str, *, timeout: float) -> None:
        """Ends a job that runs; one that has ended stays as it is."""
        ...

    def job_logs(self, name: str, *, follow: bool = False, tail: int | None = None) -> Iterator[LogLine]:
        """The lines so far; with ``follow`` also those to come, until the job has ended."""
        ...

    def job_output(self, name: str, directory: Path, *, timeout: float) -> None:
        """Copies what the job left in its output folder into this empty directory."""
        ...


@runtime_checkable
class Monitors(Protocol):
    """Measures its endpoints."""

    def metrics(self, name: str, *, window_s: float, timeout: float) -> MetricsReport:
        """Counts, latencies and utilisation over the last ``window_s`` seconds, each with scope and method."""
        ...


@runtime_checkable
class StreamsLogs(Protocol):
    """Gives the log lines of its endpoints."""

    def logs(
        self,
        name: str,
        *,
        deployment: str | None = None,
        tail: int | None = None,
        follow: bool = False,
        request_id: str | None = None,
    ) -> Iterator[LogLine]:
        """The lines so far, oldest first; with ``follow`` also those to come, until the caller stops."""
        ...


@runtime_checkable
class KnowsInstances(Protocol):
    """Knows which instance types its platform takes, so that a wrong one is refused when a verb is planned."""

    def instance_types(self, usage: Usage) -> Collection[str]:
        """The platform's own names of all types for serving, or for training; no call is made."""
        ...

    def default_instance(self, usage: Usage) -> str | None:
        """The type that is used when none is named; ``None`` where one has to be named."""
        ...


@runtime_checkable
class KnowsVariables(Protocol):
    """Knows which variables its platform takes, so that others are refused before an image is built."""

    def check_variables(self, variables: Mapping[str, str], usage: Usage) -> None:
        """Refuse variables and secrets, by their values, that the platform would refuse; no call is made.

        Raises:
            ConfigError: Names the variable, and never shows its value.
        """
        ...


@runtime_checkable
class PricesByRegion(Protocol):
    """Learns from its platform in which region it is billed, where that is no setting."""

    def price_region(self) -> str:
        """The region whose prices count; may make one read call."""
        ...


@runtime_checkable
class KnowsTimes(Protocol):
    """Declares how long changes take on its platform; half an hour and five minutes for undoing where it does not."""

    change_times: ClassVar[ChangeTimes]


def change_times(adapter: Adapter) -> ChangeTimes:
    """How long changes take on the platform of an adapter."""
    return adapter.change_times if isinstance(adapter, KnowsTimes) else ChangeTimes()


@runtime_checkable
class KnowsUsers(Protocol):
    """Deletes what is still in use, so that mlport asks before a delete which other endpoints use it."""

    def users(self, known: Collection[Ref], *, timeout: float) -> Iterator[tuple[Ref, frozenset[Ref]]]:
        """Each endpoint that is not ``known`` and was not made by mlport, with everything that it needs."""
        ...


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """A small stored object with a version: the lock that other machines see."""

    body: str
    etag: str


@runtime_checkable
class Leases(Protocol):
    """Keeps leases on the target by compare-and-swap."""

    def lease_read(self, key: str, *, timeout: float) -> LeaseRecord | None:
        """The stored lease."""
        ...

    def lease_write(self, key: str, body: str, expected: str | None, *, timeout: float) -> LeaseRecord:
        """Writes if the stored etag is ``expected`` (``None``: absent), else raises ``ConflictError``."""
        ...

    def lease_delete(self, key: str, expected: str, *, timeout: float) -> None:
        """Deletes it if the stored etag is ``expected``."""
        ...


__all__ = [
    "YES", "Ack", "Adapter", "AdapterContext", "Capability", "ChangeTimes", "Check", "Clock", "DeploymentSpec",
    "DeploymentStatus", "EndpointSpec", "EndpointStatus", "Invoker", "JobSpec", "JobStatus", "Json", "Kind",
    "KnowsInstances", "KnowsTimes", "KnowsUsers", "KnowsVariables", "Labels", "LeaseRecord", "Leases", "Limits", "Live",
    "LogLine", "Materials", "ModelFault", "Monitors", "Nature", "Operation", "PricesByRegion", "Ref", "Replicas",
    "Resource", "Resources", "ServiceHost", "StreamsLogs", "Support", "TargetOptions", "Trains", "change_times",
    "spec_hash",
]  # fmt: skip
