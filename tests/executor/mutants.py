"""Executors with one rule left out each: the matrix must notice every one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sdk.executor import Executor
from sdk.executor.context import Sightings
from sdk.executor.gc import Collector
from sdk.executor.lease import Lease
from sdk.executor.plan import Planner
from sdk.executor.recover import Recovery
from sdk.executor.settle import Settler
from sdk.executor.transaction import Transaction
from sdk.executor.undo import Remover

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sdk.adapter import Live, Ref, Resource
    from sdk.executor.calls import Reply
    from sdk.executor.disk import Disk
    from sdk.executor.plan import Plan, Step
    from sdk.util.waiting import Deadline


def planted(name: str, **parts: Any) -> type[Executor]:
    """An executor with some of its parts replaced; those of a transaction are replaced in its recovery too."""
    body: dict[str, Any] = {key: value for key, value in parts.items() if key in vars(Executor)}
    inner = {key: value for key, value in parts.items() if key not in body}
    for slot in ("transaction_class", "recovery_class"):
        if inner:
            base = body.get(slot, getattr(Executor, slot))
            body[slot] = type(base.__name__, (base,), inner)
    return type(name, (Executor,), body)


# --- sending ----------------------------------------------------------------------------------------------------


def _intent_after(base: type[Transaction]) -> type[Transaction]:
    class IntentAfter(base):  # type: ignore[valid-type, misc]  # a base chosen at run time
        def _intent(self, index: int, step: Step, attempt: int, deadline: Deadline) -> None:
            self.late = (index, step, attempt, deadline)
            self.sent.add(index)

        def _acknowledge(self, index: int, step: Step, reply: Reply) -> None:
            super()._intent(*self.late)
            super()._acknowledge(index, step, reply)

    return IntentAfter


def _no_unknown(base: type[Transaction]) -> type[Transaction]:
    class NoUnknown(base):  # type: ignore[valid-type, misc]  # a base chosen at run time
        def _acknowledge(self, index: int, step: Step, reply: Reply) -> None:
            super()._acknowledge(index, step, reply)
            if reply.outcome == "unknown" and reply.error is not None:
                self.sent.discard(index)  # "it failed, so it did nothing"
                raise reply.error

    return NoUnknown


# --- believing --------------------------------------------------------------------------------------------------


class NoWindow(Sightings):
    """Believes at once that what it does not see is not there."""

    def settled(self, ref: Ref) -> bool:
        return True

    def absent(self, ref: Ref) -> bool:
        return True


class AdoptByName(Settler):
    """Takes whatever has the right name for its own."""

    def is_same(self, step: Step, live: Live) -> bool:
        return True


# --- taking away ------------------------------------------------------------------------------------------------


class Careless(Remover):
    """Does not wait until something is proven gone before it goes on with what that needs."""

    def _delete(self, index: int, ref: Ref, mine: Callable[[Live], bool], deadline: Deadline) -> bool:
        live = self._settler.read(ref, deadline)
        if live is not None and mine(live):
            self._send_delete(index, live, 1, deadline)
        return True


class Overwrites(Remover):
    """Takes its update back although somebody else has changed the resource since."""

    def _undo(self, index: int, step: Step, deadline: Deadline) -> None:
        live = self._settler.read(step.ref, deadline)
        if live is not None and step.previous is not None:
            self._send_back(index, step, live, 1, deadline)


class Forward(Transaction):
    """Undoes in the order in which it did."""

    def roll_back(self, deadline: Deadline) -> None:
        for index in sorted(self.sent):
            sent, self.sent = self.sent, {index}
            super().roll_back(deadline)
            self.sent = sent


class ForwardRecovery(Forward, Recovery):
    """The same in recovery."""


class AlwaysBack(Recovery):
    """Rolls back although the switch was made."""

    def decide(self, deadline: Deadline) -> bool:
        self.committed = self.begun_as_delete
        return self.committed

    @property
    def begun_as_delete(self) -> bool:
        """Whether it only deletes."""
        return all(step.action == "delete" for step in self.steps)


class Forgetful(Executor):
    """Forgets a transaction that could not be cleaned up."""

    def _close(self, transaction: Transaction) -> None:
        transaction.outcome = "rolled_back"
        super()._close(transaction)


class Blind(Transaction):
    """Does not look again at what it switched before it deletes the old."""

    def _still_ours(self, deadline: Deadline) -> None:
        pass


# --- planning, leases, gc, disk ---------------------------------------------------------------------------------


class OldFirst(Planner):
    """Deletes the old before the new is there."""

    def plan(self, stages: Sequence[tuple[Sequence[Resource], str | None, bool]], target: str) -> Plan:
        from dataclasses import replace

        plan = super().plan(stages, target)
        return replace(plan, steps=tuple(sorted(plan.steps, key=lambda step: step.action != "delete")))


class InOrder(Transaction):
    """Carries out deletes where they stand."""

    def _forward(self, deadline: Deadline) -> None:
        for index, step in enumerate(self.steps):
            if step.action == "delete":
                self._take(index, step, lambda live: True, deadline)
        super()._forward(deadline)


class NoLease(Lease):
    """Takes no notice of the lease of another machine."""

    def _refuse_if_held(self, record: Any, *, missing: bool = False) -> None:
        pass


class LocalAge(Collector):
    """Judges age by the clock of this machine."""

    def _is_old(self, ref: Ref) -> bool:
        created = self.live[ref].created_at
        now: float = self._adapter.context.clock.time()  # type: ignore[attr-defined]  # the fake's
        return created is not None and now - created >= self._rules.min_age_s


class NoMark(Collector):
    """Sweeps what is old, needed or not."""

    def _needed(self) -> set[Ref]:
        return set()


class NoSecondLook(Collector):
    """Deletes what it saw earlier without looking again."""

    def still_orphaned(self, ref: Ref) -> Callable[[Live], bool]:
        return lambda live: True


class _Lazy:
    """A disk of which some syncs do nothing."""

    def __init__(self, disk: Disk, *without: str) -> None:
        self._disk = disk
        self._without = without

    def __getattr__(self, name: str) -> Any:
        return (lambda *_: None) if name in self._without else getattr(self._disk, name)


class NoFolderSync(Executor):
    """Never makes the names of files durable."""

    def __init__(self, adapter: Any, **options: Any) -> None:
        super().__init__(adapter, **{**options, "disk": _Lazy(options["disk"], "sync_folder")})


class NoFileSync(Executor):
    """Never makes the content of files durable."""

    def __init__(self, adapter: Any, **options: Any) -> None:
        super().__init__(adapter, **{**options, "disk": _Lazy(options["disk"], "sync")})


INTENT_AFTER = planted(
    "IntentAfter", transaction_class=_intent_after(Transaction), recovery_class=_intent_after(Recovery)
)
NO_UNKNOWN = planted("NoUnknown", transaction_class=_no_unknown(Transaction), recovery_class=_no_unknown(Recovery))
NO_WINDOW = planted("NoWindow", sightings_class=NoWindow)
ADOPT_BY_NAME = planted("AdoptByName", settler_class=AdoptByName)
CARELESS = planted("Careless", remover_class=Careless)
OVERWRITES = planted("Overwrites", remover_class=Overwrites)
FORWARD = planted("Forward", transaction_class=Forward, recovery_class=ForwardRecovery)
ALWAYS_BACK = planted("AlwaysBack", recovery_class=AlwaysBack)
BLIND = planted("Blind", transaction_class=Blind)
OLD_FIRST = planted("OldFirst", planner_class=OldFirst, transaction_class=InOrder)
NO_LEASE = planted("NoLease", lease_class=NoLease)
LOCAL_AGE = planted("LocalAge", collector_class=LocalAge)
NO_MARK = planted("NoMark", collector_class=NoMark)
NO_SECOND_LOOK = planted("NoSecondLook", collector_class=NoSecondLook)
