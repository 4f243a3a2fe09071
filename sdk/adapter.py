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

import hashlib
import json
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

from .types import Check, DeploymentStatus, EndpointStatus, Json, JobStatus, LogLine, Replicas, Resources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import httpx

    from .metrics import MetricsReport
    from .model import Model
    from .prices import PriceRow
    from .redact import Redactor


# --- options and capabilities -----------------------------------------------------------------------------------


class TargetOptions(BaseModel):
    """The settings that every target understands; an adapter's own options extend it."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    instance: str | None = Field(default=None, description="instance type in the platform's own words")
    resources: Resources | None = Field(default=None, description="cpu, memory_gib, gpu: the cheapest that fits")
    replicas: Replicas = Field(default_factory=Replicas, description="min and max copies of a deployment")
    tags: dict[str, str] = Field(default_factory=dict, description="your own tags, put on everything")
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
    """What one predict may be: bytes of the request body, seconds until the platform gives up."""

    request_bytes: int
    timeout_s: float


# --- resources --------------------------------------------------------------------------------------------------


class Nature(StrEnum):
    """How a kind of resource may change."""

    IMMUTABLE = "immutable"  # made once under an id with its hash, then only deleted
    MUTABLE = "mutable"  # updated in place; its spec holds journal-safe values only (see journal_safe)
    SHARED = "shared"  # used by many, content-addressed; never rolled back, removed by `gc --shared` only


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of resource of a platform.

    Args:
        name: The platform's word for it, such as ``"EndpointConfig"``.
        nature: How it may change.
        billed: Whether it costs money, or runs, while it exists.
        settle_s: Seconds after the last possible send of a create until an unseen one is proven absent.
        deletable: The states in which the platform accepts a delete; empty for all.
        tagged: Whether it carries our labels; otherwise its parent and its deterministic id tell whose it is.
        purgeable: ``False`` for free records that the platform itself never lets go.
        root: Whether it lives for its own sake: what holds an endpoint's traffic, and a job. Everything else is
            needed only as long as a root names it, directly or not, among its ``parents``; `gc` removes the rest.
    """

    name: str
    nature: Nature
    billed: bool = False
    settle_s: float = 0.0
    deletable: frozenset[str] = frozenset()
    tagged: bool = True
    purgeable: bool = True
    root: bool = False


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """The address of a resource on its target."""

    kind: str
    id: str

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"


def spec_hash(spec: Mapping[str, Json]) -> str:
    """SHA-256 (hex, 64 characters) of a spec in canonical JSON.

    Example:
        >>> spec_hash({"b": 1, "a": None}) == spec_hash({"a": None, "b": 1})
        True
    """
    text = json.dumps(spec, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Labels:
    """The tags on everything mlport makes; each value fits 63 characters of ``[a-z0-9_-]``.

    Args:
        endpoint: Name of the endpoint or job it belongs to.
        owner: Who may change it: the ``owner`` of the configuration.
        txn: The transaction that made it.
        generation: Which deployment of the endpoint it belongs to, counted from 1.
        model: First 32 hex characters of the model digest.
        spec: First 32 hex characters of the hash of the resource's spec.
        expires_at: Unix seconds after which ``gc --expired`` may remove it; 0 for never.
    """

    endpoint: str
    owner: str
    txn: str
    generation: int = 0
    model: str = ""
    spec: str = ""
    expires_at: int = 0

    def to_tags(self) -> dict[str, str]:
        """The labels as flat text, empty ones left out."""
        values = {
            "mlport": "1",
            "mlport-endpoint": self.endpoint,
            "mlport-owner": self.owner,
            "mlport-txn": self.txn,
            "mlport-gen": str(self.generation) if self.generation else "",
            "mlport-model": self.model,
            "mlport-spec": self.spec,
            "mlport-expires": str(self.expires_at) if self.expires_at else "",
        }
        return {key: value for key, value in values.items() if value}

    @classmethod
    def from_tags(cls, tags: Mapping[str, str]) -> Labels | None:
        """The labels in these tags, or ``None`` when the thing is not ours."""
        if tags.get("mlport") != "1" or "mlport-endpoint" not in tags:
            return None
        return cls(
            endpoint=tags["mlport-endpoint"],
            owner=tags.get("mlport-owner", ""),
            txn=tags.get("mlport-txn", ""),
            generation=_whole(tags.get("mlport-gen")),
            model=tags.get("mlport-model", ""),
            spec=tags.get("mlport-spec", ""),
            expires_at=_whole(tags.get("mlport-expires")),
        )


def _whole(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() else 0


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource as it should be.

    ``spec`` is everything that decides what it is (never a secret's value); ``None`` means: it exists, keep it.
    ``parents`` are what it needs: they are created before it, and deleted only after it is proven gone.
    ``usd_per_hour`` is ``None`` when the price is unknown. ``billed_units`` multiplies it (replicas).
    """

    kind: str
    id: str
    spec: Mapping[str, Json] | None
    labels: Labels
    parents: tuple[Ref, ...] = ()
    usd_per_hour: float | None = 0.0
    summary: str = ""

    @property
    def ref(self) -> Ref:
        """Its address."""
        return Ref(self.kind, self.id)

    @property
    def hash(self) -> str:
        """The hash of its spec."""
        return spec_hash(self.spec or {})

    @property
    def tags(self) -> dict[str, str]:
        """Its labels, with its own spec hash, as flat text."""
        return replace(self.labels, spec=self.hash[:32]).to_tags()


@dataclass(frozen=True, slots=True)
class Live:
    """A resource as it is.

    ``state`` is one of ``creating ready updating failed deleting``; ``raw`` the platform's own word. ``spec`` must be
    filled for mutable kinds, in the same shape as :attr:`Resource.spec`, so that the two can be compared.
    ``labels`` is ``None`` for what is not ours. ``created_at`` is Unix seconds by the platform's clock.
    """

    kind: str
    id: str
    state: Literal["creating", "ready", "updating", "failed", "deleting"]
    raw: str = ""
    spec: Mapping[str, Json] | None = None
    labels: Labels | None = None
    etag: str | None = None
    created_at: float | None = None
    parents: tuple[Ref, ...] = ()
    usd_per_hour: float | None = 0.0
    reason: str | None = None
    details: Mapping[str, Json] = field(default_factory=dict)

    @property
    def ref(self) -> Ref:
        """Its address."""
        return Ref(self.kind, self.id)


@dataclass(frozen=True, slots=True)
class Ack:
    """The platform took a call: the name of the long-running operation, if it started one, and the new etag."""

    operation: str | None = None
    etag: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    """A long-running operation. ``error`` is set when it failed."""

    name: str
    done: bool
    error: Exception | None = None
    retry_after_s: float | None = None


# --- endpoints --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DeploymentSpec:
    """A deployment as it should be. ``kept`` holds the live one when it exists already and only stays.

    ``secrets`` maps a variable's name to the *name* of a secret; values are resolved by :class:`Materials`.
    ``options`` are the adapter's own settings for it, as plain values.
    """

    id: str
    model_name: str
    model: str  # hex digest, 64 characters (32 when kept)
    generation: int
    image: str | None = None
    instance: str | None = None
    resources: Resources | None = None
    replicas: Replicas = field(default_factory=Replicas)
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Json] = field(default_factory=dict)
    usd_per_hour: float | None = None
    kept: DeploymentStatus | None = None

    @property
    def spec_hash(self) -> str:
        """First 32 hex of the hash of all that makes it what it is: two with the same one are interchangeable."""
        if self.kept is not None:
            return self.kept.spec_hash
        resources = None if self.resources is None else self.resources.to_dict()
        spec: dict[str, Json] = {
            "model": self.model,
            "image": self.image,
            "instance": self.instance,
            "resources": resources,
            "replicas": self.replicas.to_dict(),
            "env": dict(self.env),
            "secrets": dict(self.secrets),
            "options": dict(self.options),
        }
        return spec_hash(spec)[:32]


@dataclass(frozen=True, slots=True)
class EndpointSpec:
    """An endpoint as it should be: its deployments and their traffic in whole percents (sum 100, or all 0)."""

    name: str
    deployments: tuple[DeploymentSpec, ...]
    traffic: Mapping[str, int]
    labels: Labels
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A training job as it should be. ``data`` maps channel names to a local path or a URI the target can read."""

    name: str
    labels: Labels
    bundle: Path  # script, code and lock: see sdk.packaging.training
    digest: str
    data: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, Json] = field(default_factory=dict)
    image: str | None = None
    instance: str | None = None
    resources: Resources | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = 86_400.0
    options: Mapping[str, Json] = field(default_factory=dict)
    usd_per_hour: float | None = None


@dataclass(frozen=True, slots=True)
class Materials:
    """The bytes and secrets that creating a resource may need, kept out of specs, plans and journals."""

    model: Model | None = None
    job: JobSpec | None = None
    secret: Callable[[str], str] | None = None
    progress: Callable[[str, int, int | None], None] | None = None  # (what, bytes done, bytes in all)


# --- data plane -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ModelFault:
    """What the container itself answered, dug out of the platform's envelope."""

    status: int
    message: str
    field: str | None = None
    request_id: str | None = None
    body: str = ""


def _no_pin(deployment: str) -> Mapping[str, str]:
    raise NotImplementedError(deployment)


@dataclass(frozen=True, slots=True)
class Invoker:
    """How to call an endpoint: the core owns the HTTP path, the adapter says where and as whom.

    Args:
        url: Where predictions are POSTed to.
        limits: The platform's limits of one call.
        auth: Signs or authorises each request; ``None`` for none.
        headers: Sent with every request.
        pin: Headers that make one deployment answer; only called where ``Capability.PIN`` is supported.
        wrap: Puts the body ``{"instances": …}`` into the platform's envelope, if it has one.
        unwrap: Takes the answer ``{"predictions": …}`` out of it.
        fault: What the model itself said in a failed answer; ``None`` when the platform is to blame.
        error: Turns any other failed answer into an error of :mod:`sdk.errors`.
        deployment: Reads from an answer which deployment gave it.
        verify: Certificate file, or ``True`` for the system's.
    """

    url: str
    limits: Limits
    fault: Callable[[httpx.Response], ModelFault | None]
    error: Callable[[httpx.Response], Exception]
    auth: httpx.Auth | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    pin: Callable[[str], Mapping[str, str]] = _no_pin
    wrap: Callable[[bytes], bytes] | None = None
    unwrap: Callable[[bytes], bytes] | None = None
    deployment: Callable[[httpx.Response], str | None] | None = None
    verify: str | bool = True


# --- the adapter ------------------------------------------------------------------------------------------------


class Clock(Protocol):
    """Time, so that tests can own it: seconds since the epoch, monotonic seconds, and waiting."""

    def time(self) -> float: ...
    def monotonic(self) -> float: ...
    def sleep(self, seconds: float) -> None: ...


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
    """The interface of every platform. Optional abilities are the protocols below it."""

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

    def read(self, ref: Ref, *, timeout: float) -> Live | None: ...
    def create(self, resource: Resource, materials: Materials, *, timeout: float) -> Ack: ...
    def update(self, resource: Resource, before: Live, *, timeout: float) -> Ack: ...
    def delete(self, live: Live, *, timeout: float) -> Ack: ...
    def operation(self, name: str, *, timeout: float) -> Operation: ...

    def server_time(self) -> float:
        """Unix seconds by the platform's clock, as last seen; the local clock before the first call."""
        ...

    def invoker(self, status: EndpointStatus) -> Invoker:
        """How to call the endpoint."""
        ...

    def doctor(self) -> Iterator[Check]:
        """Makes one real read call at least, and says what is missing."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class Trains(Protocol):
    """Runs training jobs."""

    def job_resources(self, spec: JobSpec) -> Sequence[Resource]:
        """All resources of the job, the job itself last; pure."""
        ...

    def job_status(self, name: str, *, timeout: float) -> JobStatus | None: ...
    def stop_job(self, name: str, *, timeout: float) -> None: ...

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
    ) -> Iterator[LogLine]: ...


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """A small stored object with a version: the lock that other machines see."""

    body: str
    etag: str


@runtime_checkable
class Leases(Protocol):
    """Keeps leases on the target by compare-and-swap."""

    def lease_read(self, key: str, *, timeout: float) -> LeaseRecord | None: ...

    def lease_write(self, key: str, body: str, expected: str | None, *, timeout: float) -> LeaseRecord:
        """Writes if the stored etag is ``expected`` (``None``: absent), else raises ``ConflictError``."""
        ...

    def lease_delete(self, key: str, expected: str, *, timeout: float) -> None: ...


__all__ = [
    "YES", "Ack", "Adapter", "AdapterContext", "Capability", "Check", "Clock", "DeploymentSpec", "DeploymentStatus",
    "EndpointSpec", "EndpointStatus", "Invoker", "JobSpec", "JobStatus", "Json", "Kind", "Labels", "LeaseRecord",
    "Leases", "Limits", "Live", "LogLine", "Materials", "ModelFault", "Monitors", "Nature", "Operation", "Ref",
    "Replicas", "Resource", "Resources", "StreamsLogs", "Support", "TargetOptions", "Trains", "spec_hash",
]  # fmt: skip
