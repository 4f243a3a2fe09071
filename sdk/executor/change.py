"""The change that a verb asks for, before the calls for it are planned.

A verb is a short list of stages. The planner goes from the live state to each stage in turn (creating and updating,
never deleting), and at the end deletes what the last stage does not name. One stage is the *commit*: a failure before
its traffic change rolls everything back; after that the change only goes forward.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ..adapter import EndpointSpec, JobSpec
    from ..adapter.types import EndpointStatus

Verb = Literal["deploy", "promote", "rollback", "traffic", "finalize", "delete", "train"]


@dataclass(frozen=True, slots=True)
class Stage:
    """One intermediate state of an endpoint.

    Args:
        spec: The endpoint as it should be at the end of this stage.
        probe: The deployment that must pass a smoke test before the next stage begins.
        commit: Whether this stage is the point of no return.
    """

    spec: EndpointSpec
    probe: str | None = None
    commit: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """A verb applied to a name: ``stages`` for endpoints (empty: delete everything), ``job`` for training.

    ``old`` and ``new`` are deployment ids, for the journal and for display. ``live`` is the endpoint state from which
    the change was computed.
    """

    verb: Verb
    name: str
    txn: str
    stages: tuple[Stage, ...] = ()
    job: JobSpec | None = None
    live: EndpointStatus | None = None
    old: str | None = None
    new: str | None = None
    adopt: bool = False
    notes: tuple[str, ...] = field(default=())
