"""Recovery after a crash, from the journal and the live resources; safe to interrupt and to repeat."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..adapter import Labels, Nature, Ref, Resource
from ..errors import JournalDamaged
from .detach import Detacher
from .journal import NoJournal
from .plan import Step
from .transaction import Transaction

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..adapter import Kind, Live
    from ..errors import Leftover
    from ..util.waiting import Deadline
    from .journal import JournalRecord


DETACH = "detach"  # the journal's name for a delete that can be undone


@dataclass(frozen=True, slots=True)
class Recovered:
    """The outcome of recovering an unfinished transaction.

    ``outcome`` is ``done``, ``rolled_back``, ``partial`` (see ``leftovers``), ``busy`` (its lock or lease is held),
    ``waiting`` (to be resumed by its owner) or ``damaged`` (its journal cannot be trusted).
    """

    txn: str
    name: str
    verb: str
    outcome: str
    leftovers: tuple[Leftover, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values."""
        left = [item.to_dict() for item in self.leftovers]
        return {"txn": self.txn, "name": self.name, "verb": self.verb, "outcome": self.outcome, "leftovers": left}


@dataclass(slots=True)
class Past:
    """The content of a journal: the plan, and how far it got."""

    begin: Mapping[str, Any]
    steps: tuple[Step, ...]
    sent: dict[int, float] = field(default_factory=dict[int, float])  # step -> the platform's time when it was sent
    unknown: set[int] = field(default_factory=set[int])  # steps whose last call was never answered
    unanswered: set[int] = field(default_factory=set[int])  # steps of which some call was never answered
    done: set[int] = field(default_factory=set[int])
    operations: dict[Ref, str] = field(default_factory=dict[Ref, str])
    committed: bool = False
    aborted: bool = False
    detached_until: float = 0.0
    ended: bool = False

    @property
    def name(self) -> str:
        """The name of the endpoint or job."""
        return str(self.begin["name"])

    @property
    def verb(self) -> str:
        """The verb of the transaction."""
        return str(self.begin["verb"])


def step_record(step: Step, kinds: Mapping[str, Kind], safe: Any) -> dict[str, Any]:
    """Make the journal record of a step: full specs of what may be recreated, else only hash and labels.

    What may be recreated are mutable resources, and attached ones that are deleted.
    """
    mutable = step.ref.kind in kinds and kinds[step.ref.kind].nature is Nature.MUTABLE

    def image(resource: Resource | None) -> dict[str, Any] | None:
        if resource is None or resource.spec is None or not (mutable or step.action == "delete"):
            return None
        parents = [[parent.kind, parent.id] for parent in resource.parents]
        return {"spec": safe(resource.spec, str(resource.ref)), "tags": resource.labels.to_tags(), "parents": parents}

    return {
        "action": DETACH if step.detach else step.action,
        "kind": step.ref.kind,
        "id": step.ref.id,
        "hash": step.after or "",
        "parents": [[parent.kind, parent.id] for parent in step.parents],
        "tags": step.resource.labels.to_tags() if step.resource else {},
        "usd": step.usd_per_hour,
        "commit": step.commit,
        "before": image(step.previous),
        "after": image(step.resource),
    }


def read_past(records: Sequence[JournalRecord]) -> Past:
    """Reconstruct the past of a transaction from its records, at least one.

    Raises:
        JournalDamaged: Each record is whole, but together they do not form a transaction.
    """
    damaged = JournalDamaged(
        "its records do not belong together", hint="run `mlport gc`, which works from labels alone"
    )
    if [record.event == "begin" for record in records] != [True] + [False] * (len(records) - 1):
        raise damaged
    try:
        past = Past(records[0].data, tuple(_step(row) for row in records[0].data["steps"]))
        for record in records[1:]:
            _replay(past, record)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise damaged from error
    return past


def _replay(past: Past, record: JournalRecord) -> None:
    data = record.data
    index = range(max(1, len(past.steps))).index(data.get("step", 0))
    step = past.steps[index] if past.steps else None
    if record.event == "intent":
        past.unanswered |= past.unknown & {index}
        past.sent[index] = data["time"]
        past.unknown.add(index)
        past.committed |= step is not None and step.retires
    elif record.event == "ack":
        past.sent[index] = data["time"]
        if data["outcome"] != "unknown":
            past.unknown.discard(index)
        else:
            past.unanswered.add(index)
        if data["operation"] and step is not None:
            past.operations[step.ref] = data["operation"]
    elif record.event in {"settled", "probed"}:
        past.done.add(index)
    elif record.event == "committed":
        past.committed = True
    elif record.event == "abort":
        past.aborted = True
    elif record.event == "detached":
        past.detached_until = data["until"]
    elif record.event == "end":
        past.ended = True


def _step(row: Mapping[str, Any]) -> Step:
    ref = Ref(row["kind"], row["id"])
    parents = _refs(row["parents"])
    before, after = _image(ref, row["before"], row["usd"]), _image(ref, row["after"], row["usd"])
    detach = row["action"] == DETACH
    return Step(
        "delete" if detach else row["action"],
        ref,
        before.hash if before else None,
        row["hash"] or None,
        row["usd"],
        commit=row["commit"],
        resource=after or Resource(ref.kind, ref.id, None, _labels(row["tags"]), parents, row["usd"]),
        previous=before,
        parents=parents,
        detach=detach,
    )


def _image(ref: Ref, image: Mapping[str, Any] | None, usd: float | None) -> Resource | None:
    if image is None:
        return None
    return Resource(ref.kind, ref.id, image["spec"], _labels(image["tags"]), _refs(image["parents"]), usd)


def _refs(rows: Sequence[Sequence[str]]) -> tuple[Ref, ...]:
    return tuple(Ref(kind, id_) for kind, id_ in rows)


def _labels(tags: Mapping[str, str]) -> Labels:
    return Labels.from_tags(tags) or Labels(endpoint="", owner="", txn="")


class Recovery(Transaction):
    """A transaction whose process died: it is undone, or finished if its switch was made.

    A delete is finished if it has begun to take effect. One that has not is dropped: the endpoint serves, and another
    machine may have reported so to its user since.
    """

    def recover(self, deadline: Deadline) -> None:
        """Undo or finish the transaction, as far as possible until the deadline."""
        past = read_past(self.journal.records)
        if past.verb == "delete" and not past.done and self._serves(past, deadline):
            self._make_again(past, deadline)
            self.outcome = "" if self.c.left else "rolled_back"
        else:
            self.clean_up(deadline, "recovered")

    def _serves(self, past: Past, deadline: Deadline) -> bool:
        """Check whether every root that a delete was to remove is still there, untouched."""
        for index in past.unknown:
            self.c.sightings.sent(self.steps[index].ref)
            self.c.sightings.unanswered(self.steps[index].ref)
        roots = [step for step in self.steps if self.c.kind(step.ref).root]
        return bool(roots) and all(self._is_untouched(step, deadline) for step in roots)

    def _make_again(self, past: Past, deadline: Deadline) -> None:
        """Recreate attached resources that may have been deleted just before the process died.

        This is not journalled: the delete counts as one that never began.
        """
        detacher = Detacher(self.c, self.settler, self.remover, NoJournal())
        for index in sorted(past.sent, reverse=True):
            if self.steps[index].previous is not None:
                detacher.give_back(index, self.steps[index], deadline)

    def _is_untouched(self, step: Step, deadline: Deadline) -> bool:
        return self.settler.untouched(step.ref, lambda live: self._is_as_planned(step, live), deadline)

    def may_delete(self, step: Step, live: Live) -> bool:
        """Check as before the crash, and refuse a resource that an endpoint uses by now."""
        return super().may_delete(step, live) and step.ref not in self.in_use()


def take_over(transaction: Transaction, past: Past, server_time: float) -> None:
    """Restore the state of a transaction from its journal."""
    going_back = past.aborted and not past.committed
    transaction.sent = {index for index in past.sent if not past.steps[index].retires}
    transaction.done = set() if going_back else {index for index in past.done if not past.steps[index].retires}
    transaction.committed = past.committed or past.verb == "delete"
    for index in transaction.sent:
        # A call without an answer may have been sent at the very end of that process: only now it surely has been.
        if past.steps[index].detach and index not in past.unknown | past.unanswered:
            continue  # a delete that was answered cannot land late
        ago = 0.0 if index in past.unknown else max(0.0, server_time - past.sent[index])
        transaction.c.sightings.sent(past.steps[index].ref, ago_s=ago)
        if index in past.unknown | past.unanswered:
            transaction.c.sightings.unanswered(past.steps[index].ref)
    transaction.c.sightings.operations.update(past.operations)
