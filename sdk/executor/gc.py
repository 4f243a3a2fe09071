"""Mark and sweep: deletes labelled resources that are old enough and unreferenced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..adapter import Nature
from ..errors import UnreadableError
from .borrowed import can_be_borrowed, in_use_by
from .lease import holder_of
from .plan import Step, closure, deletion_order
from .undo import leftover

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ..adapter import Adapter, Labels, Live, Ref
    from ..errors import Leftover
    from ..util.waiting import Deadline
    from .calls import Remote
    from .recover import Recovered
    from .undo import Remover


@dataclass(frozen=True, slots=True)
class GcReport:
    """The findings and actions of `gc`.

    Args:
        orphans: Resources that nothing needs and that still exist.
        removed: Resources that were removed.
        young: Resources that nothing needs, but that may belong to a verb still running elsewhere.
        kept_records: Free records that the platform never deletes, resources that endpoints of others use, and
            resources of endpoints whose state cannot be read.
        recovered: The outcomes of unfinished transactions.
    """

    orphans: list[Leftover]
    removed: list[Leftover]
    young: list[Leftover]
    kept_records: list[Leftover]
    recovered: list[Recovered]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values."""
        lists = {
            "orphans": self.orphans,
            "removed": self.removed,
            "young": self.young,
            "kept_records": self.kept_records,
        }
        rows: dict[str, Any] = {name: [item.to_dict() for item in items] for name, items in lists.items()}
        return {**rows, "recovered": [item.to_dict() for item in self.recovered]}


@dataclass(frozen=True, slots=True)
class SweepRules:
    """The rules of what may be swept.

    Args:
        owner: The owner whose orphans are swept; any owner may remove resources past their ttl.
        unfinished: Transactions of this machine whose process is gone: their resources need not have a minimum age.
        busy: Names that are being changed now.
        planned: Resources in the plans of running verbs.
        min_age_s: Minimum age in seconds; younger resources may belong to a verb still running elsewhere.
        expired: Include resources past their ttl.
        shared: Include shared resources that nothing uses.
    """

    owner: str
    unfinished: frozenset[str]
    busy: frozenset[str]
    planned: frozenset[Ref]
    min_age_s: float = 0.0
    expired: bool = False
    shared: bool = False


class Collector:
    """Finds the resources that nothing needs."""

    def __init__(self, adapter: Adapter, remote: Remote, rules: SweepRules, target: str, deadline: Deadline) -> None:
        self._adapter = adapter
        self._kinds = adapter.kinds
        self._remote = remote
        self._rules = rules
        self._target = target
        self._deadline = deadline
        self.live: dict[Ref, Live] = {}
        self._idle: set[str] = set()  # endpoints without traffic to any deployment: made by a verb that never finished
        self._unread: set[str] = set()  # endpoints with something that cannot be read
        self.young: list[Leftover] = []
        self.kept: list[Leftover] = []
        self.orphans: dict[Ref, str] = {}  # ref -> reason

    def mark(self, hints: Iterable[Ref]) -> None:
        """Read all labelled resources and sort them into needed, young, kept and orphaned."""
        self._find(hints)
        needed = self._needed()
        order = deletion_order(self.live, self._parents(), self._kinds)
        users = self._users() if any(self._may_be_in_use(ref) for ref in order if ref not in needed) else {}
        for ref in order:
            if (labels := self.labels(ref)) is not None and labels.endpoint in self._unread:
                self.kept.append(self.leftover(ref, f"the state of {labels.endpoint} cannot be read"))
            elif ref in users:
                self.kept.append(self.leftover(ref, in_use_by(users[ref])))
            elif ref not in needed:
                self._judge(ref)
            elif not self._kinds[ref.kind].purgeable and self.live[ref].usd_per_hour == 0:
                self._keep(ref)

    def _find(self, hints: Iterable[Ref]) -> None:
        """Read all resources listed or hinted at, and then all resources of their endpoints."""
        listed = {live.ref: live for live in self._remote.list(self._deadline)}
        unread: dict[Ref, UnreadableError] = {}
        for ref in sorted({*listed, *hints}):
            try:
                live = self._remote.read(ref, self._deadline)
            except UnreadableError as error:
                live, unread[ref] = listed.get(ref), error
            if live is not None:
                self.live[ref] = live
        for name in sorted({labels.endpoint for ref in self.live if (labels := self.labels(ref)) is not None}):
            self._look_at(name)
        for ref, why in unread.items():
            labels = self.labels(ref)
            if labels is None:
                raise why  # its endpoint is unknown, and so is what must be kept
            self._unread.add(labels.endpoint)

    def _look_at(self, name: str) -> None:
        """Add all resources of an endpoint; if its state cannot be read, keep all of them."""
        try:
            observed = self._remote.observe(name, self._deadline)
            status = self._adapter.status(name, observed)
        except UnreadableError:
            self._unread.add(name)
            return
        self.live.update({live.ref: live for live in observed})
        if status is not None and not any(status.traffic.values()):
            self._idle.add(name)

    def labels(self, ref: Ref) -> Labels | None:
        """Return the labels of a resource; for kinds that the platform cannot label, those of a resource it needs."""
        live = self.live.get(ref)
        if live is None or live.labels is not None or self._kinds[ref.kind].tagged:
            return live.labels if live else None
        return next((labels for parent in live.parents if (labels := self.labels(parent)) is not None), None)

    def still_orphaned(self, ref: Ref) -> Callable[[Live], bool]:
        """Return a check, for use just before a delete: the resource is the same, and still nothing needs it."""
        seen = self.live[ref]

        def same(live: Live) -> bool:
            labels = self.labels(ref)
            if live.labels != seen.labels or labels is None:
                return False
            fresh = self._remote.observe(labels.endpoint, self._deadline)
            roots = [item.ref for item in fresh if self._kinds[item.kind].root and item.ref not in self.orphans]
            return ref not in closure(roots, {item.ref: item.parents for item in fresh})

        return same

    def leftover(self, ref: Ref, reason: str) -> Leftover:
        """Return a resource as a leftover."""
        return leftover(self._target, ref, reason, self.live[ref].usd_per_hour)

    def _needed(self) -> set[Ref]:
        roots = [ref for ref, live in self.live.items() if self._is_alive_root(ref, live)]
        busy = [ref for ref in self.live if self._is_busy(ref)]
        needed = closure([*roots, *busy, *self._rules.planned], self._parents())
        rank = {kind: number for number, kind in enumerate(self._kinds)}
        for ref in sorted(self.live, key=lambda ref: rank[ref.kind]):
            if self._kinds[ref.kind].attached and needed.issuperset(self.live[ref].parents):
                needed.add(ref)
        return needed

    def _may_be_in_use(self, ref: Ref) -> bool:
        """Check whether other endpoints could use a resource that this `gc` might sweep."""
        kind = self._kinds[ref.kind]
        return can_be_borrowed(kind) and (self._rules.shared or kind.nature is not Nature.SHARED)

    def _users(self) -> dict[Ref, Ref]:
        """Return the resources that endpoints without our labels need, each with one such endpoint."""
        return {
            ref: user for ref, user in self._remote.users(list(self.live), self._deadline).items() if ref in self.live
        }

    def _is_alive_root(self, ref: Ref, live: Live) -> bool:
        if not self._kinds[ref.kind].root or self._is_expired(ref) or live.state == "deleting":
            return False
        return not (live.labels is not None and live.labels.endpoint in self._idle and self._may_belong_to_nobody(ref))

    def _is_busy(self, ref: Ref) -> bool:
        labels = self.labels(ref)
        return labels is not None and labels.endpoint in {*self._rules.busy, *self._unread}

    def _is_expired(self, ref: Ref) -> bool:
        labels = self.labels(ref)
        if not self._rules.expired or labels is None or not labels.expires_at:
            return False
        return labels.expires_at <= self._adapter.server_time()

    def _parents(self) -> Mapping[Ref, tuple[Ref, ...]]:
        return {ref: live.parents for ref, live in self.live.items()}

    def _judge(self, ref: Ref) -> None:
        kind, labels = self._kinds[ref.kind], self.labels(ref)
        if labels is None or (kind.nature is Nature.SHARED and not self._may_sweep_shared(ref)):
            return
        expired = self._is_expired(ref)
        if labels.owner != self._rules.owner and not expired:
            return
        if not kind.purgeable:
            self.kept.append(self.leftover(ref, "the platform keeps this record"))
        elif expired:
            self.orphans[ref] = "past its ttl"
        elif self._may_belong_to_nobody(ref):
            self.orphans[ref] = "nothing uses it"
        else:
            self.young.append(self.leftover(ref, "nothing uses it yet"))

    def _keep(self, ref: Ref) -> None:
        """List a free record of ours that the platform keeps forever."""
        labels = self.labels(ref)
        if labels is not None and labels.owner == self._rules.owner:
            self.kept.append(self.leftover(ref, "the platform keeps this record"))

    def _may_belong_to_nobody(self, ref: Ref) -> bool:
        labels = self.labels(ref)
        return (labels is not None and labels.txn in self._rules.unfinished) or self._is_old(ref)

    def _may_sweep_shared(self, ref: Ref) -> bool:
        users = (live.parents for live in self.live.values() if live.ref not in self.orphans)
        return self._rules.shared and not self._unread and not any(ref in parents for parents in users)

    def _is_old(self, ref: Ref) -> bool:
        created = self.live[ref].created_at
        return created is not None and self._adapter.server_time() - created >= self._rules.min_age_s


def sweep(collector: Collector, remover: Remover, deadline: Deadline) -> list[Leftover]:
    """Remove the orphans, dependents first; return the removed ones."""
    parents = {ref: live.parents for ref, live in collector.live.items()}
    removed: list[Leftover] = []
    for ref, reason in collector.orphans.items():
        live = collector.live[ref]
        step = Step("delete", ref, usd_per_hour=live.usd_per_hour, parents=live.parents)
        if not remover.may_go(ref, parents):
            remover.leave(ref, "something that needs it is still there", live.usd_per_hour)
        elif remover.delete(0, step, collector.still_orphaned(ref), deadline):
            removed.append(collector.leftover(ref, reason))
    return removed


def leased_names(adapter: Adapter, names: Iterable[str], deadline: Deadline) -> set[str]:
    """Return the names with a valid lease, held on any machine."""
    return {name for name in names if holder_of(adapter, name, deadline) is not None}
