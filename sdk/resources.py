"""Resources: what an adapter plans, what it finds on its platform, and the labels that say whose it is."""

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
        attached: Whether it hangs on what it needs, such as a scaling rule on an endpoint: made after that, wanted by
            no root, and needed as long as all its parents are.
        beside: Fields of the spec of a mutable kind whose change makes the platform start the new beside the old and
            run both until the update is done; a plan's peak counts both.
        uploads: Whether making it uploads the user's data, whose time a training job's submission does not count; what
            is shared always does.
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
    details: Mapping[str, Json] = field(default_factory=dict[str, Json])

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
