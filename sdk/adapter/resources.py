"""Resources as an adapter plans them and finds them on its platform, and the labels that identify their owner."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

from .types import Json

if TYPE_CHECKING:
    from collections.abc import Mapping


class Nature(StrEnum):
    """The way in which a kind of resource may change."""

    IMMUTABLE = "immutable"  # created once under an id with its hash, then only deleted
    MUTABLE = "mutable"  # updated in place; its spec holds journal-safe values only (see journal_safe)
    SHARED = "shared"  # shared by many users, content-addressed; never rolled back, removed by `gc --shared` only


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of resource of a platform.

    Args:
        name: The platform's name of the kind, such as ``"EndpointConfig"``.
        nature: The way in which it may change.
        billed: Whether it costs money, or runs, while it exists.
        settle_s: Seconds after the last time a create may have been sent until a resource that is not visible is proven
            absent.
        deletable: The states in which the platform accepts a delete; empty for all.
        tagged: Whether it carries our labels; otherwise its parent and its deterministic id identify its owner.
        purgeable: ``False`` for free records that the platform itself keeps for ever.
        root: Whether it exists for its own sake: the resource that holds an endpoint's traffic, and a job. Every other
            resource is needed only while a root names it, directly or not, among its ``parents``; `gc` removes the
            rest.
        attached: Whether it is an addition to its parents, such as a scaling rule on an endpoint: created after them,
            named by no root, and needed as long as all its parents are.
        beside: Fields of the spec of a mutable kind. A change to one makes the platform start the new version beside
            the old one and run both until the update is done; a plan's peak cost counts both.
        uploads: Whether creating it uploads the user's data. The time limit for submitting a training job does not
            count that time, nor the time for shared resources.
    """

    name: str
    nature: Nature
    billed: bool = False
    settle_s: float = 0.0
    deletable: frozenset[str] = frozenset()
    tagged: bool = True
    purgeable: bool = True
    root: bool = False
    attached: bool = False
    beside: frozenset[str] = frozenset()
    uploads: bool = False


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """The address of a resource on its target."""

    kind: str
    id: str

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"


def spec_hash(spec: Mapping[str, Json]) -> str:
    """Return the SHA-256 (hex, 64 characters) of a spec in canonical JSON.

    Example:
        >>> spec_hash({"b": 1, "a": None}) == spec_hash({"a": None, "b": 1})
        True
    """
    text = json.dumps(spec, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Labels:
    """The tags on everything that mlport makes; each value fits in 63 characters of ``[a-z0-9_-]``.

    Args:
        endpoint: Name of the endpoint or job it belongs to.
        owner: The only owner allowed to change it: the ``owner`` of the configuration.
        txn: The transaction that made it.
        generation: The deployment of the endpoint that it belongs to, counted from 1.
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
        """Return the labels as flat text, without the empty ones."""
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
        """Read the labels from these tags; return ``None`` if mlport did not make the resource."""
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
    """A resource in its desired state.

    ``spec`` holds everything that defines the resource (never a secret's value); ``None`` means that it exists and is
    kept. ``parents`` are the resources it needs: they are created before it, and deleted only after it is proven gone.
    ``usd_per_hour`` is the price of the whole resource, replicas included; ``None`` if the price is unknown.
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
        """The address of the resource."""
        return Ref(self.kind, self.id)

    @property
    def hash(self) -> str:
        """The hash of its spec."""
        return spec_hash(self.spec or {})

    @property
    def tags(self) -> dict[str, str]:
        """The labels, with the resource's own spec hash, as flat text."""
        return replace(self.labels, spec=self.hash[:32]).to_tags()


@dataclass(frozen=True, slots=True)
class Live:
    """The current state of a resource.

    ``state`` is one of ``creating ready updating failed deleting``; ``raw`` is the platform's own word. ``spec`` must
    be filled for mutable kinds, in the same shape as :attr:`Resource.spec`, so that the two can be compared. ``labels``
    is ``None`` if mlport did not make the resource. ``created_at`` is Unix seconds by the platform's clock.
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
    details: Mapping[str, Json] = field(default_factory=dict[str, Json])

    @property
    def ref(self) -> Ref:
        """The address of the resource."""
        return Ref(self.kind, self.id)


@dataclass(frozen=True, slots=True)
class Ack:
    """The platform's acceptance of a call: the long-running operation that it started, if any, and the new etag."""

    operation: str | None = None
    etag: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    """A long-running operation; ``error`` is set if it failed."""

    name: str
    done: bool
    error: Exception | None = None
    retry_after_s: float | None = None
