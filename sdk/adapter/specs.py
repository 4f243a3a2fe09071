"""Specs of endpoints and jobs in their desired state, platform-neutral, and the materials for creating them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from ..errors import ConfigError
from .resources import Labels, spec_hash
from .types import DeploymentStatus, Json, Replicas, Resources

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class DeploymentSpec:
    """A deployment in its desired state. ``kept`` holds the live deployment if it exists already and does not change.

    ``secrets`` maps a variable's name to the *name* of a secret; :class:`Materials` resolves the values.
    ``options`` are the adapter's own settings for the deployment, as plain values.
    """

    id: str
    model_name: str
    model: str  # hex digest, 64 characters (32 when kept)
    generation: int
    image: str | None = None
    instance: str | None = None
    resources: Resources | None = None
    replicas: Replicas = field(default_factory=Replicas)
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    secrets: Mapping[str, str] = field(default_factory=dict[str, str])
    options: Mapping[str, Json] = field(default_factory=dict[str, Json])
    usd_per_hour: float | None = None
    kept: DeploymentStatus | None = None

    @property
    def spec_hash(self) -> str:
        """The first 32 hex characters of the hash of its settings; deployments with equal hashes are equivalent."""
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
    """An endpoint in its desired state: deployments and their traffic in whole percents (sum 100, or all 0).

    ``aside`` names a deployment that temporarily also runs where a smoke test can reach it; see
    :class:`~sdk.adapter.ProbesAside`.
    """

    name: str
    deployments: tuple[DeploymentSpec, ...]
    traffic: Mapping[str, int]
    labels: Labels
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    aside: str | None = None


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A training job in its desired state. ``data`` maps channel names to local paths or URIs that the target reads."""

    name: str
    labels: Labels
    bundle: Path  # script, code and lock: see sdk.packaging.training
    digest: str
    data: Mapping[str, str] = field(default_factory=dict[str, str])
    params: Mapping[str, Json] = field(default_factory=dict[str, Json])
    image: str | None = None
    instance: str | None = None
    resources: Resources | None = None
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    secrets: Mapping[str, str] = field(default_factory=dict[str, str])
    timeout_s: float = 86_400.0
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    options: Mapping[str, Json] = field(default_factory=dict[str, Json])
    usd_per_hour: float | None = None


class PackedModel(Protocol):
    """A packed model as an adapter sees it; :class:`sdk.Model` is one."""

    @property
    def digest(self) -> str:
        """SHA-256 of the model in 64 hex characters."""
        ...

    @property
    def path(self) -> Path | None:
        """The folder of its bundle; ``None`` for a ready-made image."""
        ...

    @property
    def image(self) -> str | None:
        """The ready-made image, else ``None``."""
        ...


@dataclass(frozen=True, slots=True)
class Materials:
    """The bytes and secrets needed to create a resource, kept out of specs, plans and journals."""

    model: PackedModel | None = None
    job: JobSpec | None = None
    secret: Callable[[str], str] | None = None
    progress: Callable[[str, int, int | None], None] | None = None  # (what, bytes done, total bytes)

    def resolve(self, secrets: Mapping[str, str]) -> dict[str, str]:
        """Return the values of secrets by variable, looked up by their names.

        Raises:
            ConfigError: Secrets are needed, but no resolver for them was given.
        """
        if secrets and self.secret is None:
            raise ConfigError(
                f"secrets {', '.join(sorted(secrets))} cannot be resolved here", hint="deploy again to give them"
            )
        return {variable: self.secret(name) for variable, name in secrets.items()} if self.secret else {}
