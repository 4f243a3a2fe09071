"""Platform-neutral values that all parts exchange: immutable, without I/O."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Json: TypeAlias = "str | int | float | bool | Sequence[Json] | Mapping[str, Json] | None"


class EndpointState(StrEnum):
    """The state of an endpoint, with the same words on every platform."""

    CREATING = "creating"
    READY = "ready"
    UPDATING = "updating"
    DEGRADED = "degraded"
    FAILED = "failed"
    DELETING = "deleting"
    DELETED = "deleted"


class JobState(StrEnum):
    """The state of a training job, with the same words on every platform."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"

    @property
    def finished(self) -> bool:
        """Whether the job will no longer change."""
        return self not in {JobState.QUEUED, JobState.RUNNING}


class Value:
    """An immutable value that can be converted to plain data."""

    def to_dict(self) -> dict[str, Any]:
        """Return the value as plain Python data, for JSON."""
        return asdict(self)  # type: ignore[call-overload, no-any-return]  # every subclass is a dataclass


@dataclass(frozen=True, slots=True)
class Replicas(Value):
    """The number of copies of a deployment: ``min`` always, up to ``max`` under load."""

    min: int = 1
    max: int = 1


@dataclass(frozen=True, slots=True)
class Resources(Value):
    """The needs of one replica or job: processor cores, memory in GiB (2**30 bytes), GPUs."""

    cpu: float | None = None
    memory_gib: float | None = None
    gpu: int = 0


@dataclass(frozen=True, slots=True)
class LogLine(Value):
    """One line that a container wrote. ``time`` is Unix seconds by the platform's clock."""

    time: float
    text: str
    deployment: str | None = None
    replica: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class DeploymentStatus(Value):
    """The current state of one model behind an endpoint.

    ``traffic`` is in whole percents. ``model`` is the hex digest of the model (at least its first 32 characters).
    ``generation`` counts the deployments of the endpoint. ``settings`` is what the adapter needs to keep it unchanged.
    """

    id: str
    traffic: int
    state: str
    model: str
    spec_hash: str
    generation: int
    instance: str | None = None
    replicas: Replicas = field(default_factory=Replicas)
    created_at: float | None = None
    usd_per_hour: float | None = None
    reason: str | None = None
    settings: Mapping[str, Json] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class EndpointStatus(Value):
    """The current state of an endpoint. ``raw`` is the platform's own word for the state; times are Unix seconds.

    ``tags`` are the user's own tags, so that a later change can keep them.
    """

    name: str
    target: str
    provider: str
    state: EndpointState
    raw: str
    url: str | None
    deployments: tuple[DeploymentStatus, ...] = ()
    owner: str | None = None
    created_at: float | None = None
    expires_at: float | None = None
    idle_s: float | None = None
    usd_per_hour: float | None = None
    reason: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def traffic(self) -> dict[str, int]:
        """The traffic in whole percents by deployment id."""
        return {deployment.id: deployment.traffic for deployment in self.deployments}


@dataclass(frozen=True, slots=True)
class JobStatus(Value):
    """The current state of a training job. Times are Unix seconds; ``usd`` is its cost so far."""

    name: str
    target: str
    provider: str
    state: JobState
    raw: str
    reason: str | None = None
    created_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    exit_code: int | None = None
    instance: str | None = None
    usd: float | None = None


@dataclass(frozen=True, slots=True)
class Check(Value):
    """One finding of ``doctor``; ``hint`` says how to fix what is not ok."""

    name: str
    ok: bool
    detail: str
    hint: str | None = None


Method = Literal["exact", "histogram", "approximate"]
