"""The executor of one target: plan, apply, resume, recover and gc."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random as _random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from ..adapter import Materials, Trains, change_times
from ..adapter.types import EndpointState
from ..errors import ConflictError, JournalDamaged, JournalError, PlanStale, ThrottledError, TimedOut, UnavailableError
from ..util.waiting import Deadline
from .calls import Remote
from .context import Context, Detached, Event, Sightings
from .fields import journal_safe
from .gc import Collector, GcReport, SweepRules, leased_names, sweep
from .journal import FREEING, Journals, NoJournal
from .lease import Lease, remove_expired, unlock
from .locks import Locks
from .plan import Planner, desired
from .recover import Past, Recovered, Recovery, read_past, step_record, take_over
from .settle import Settler
from .transaction import Transaction
from .txn import new_txn
from .undo import Remover

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path

    from ..adapter import Adapter, Clock, Live, Ref
    from ..adapter.types import EndpointStatus, JobStatus
    from ..errors import Leftover
    from .calls import Call
    from .change import Change, Verb
    from .disk import Disk
    from .journal import Journal
    from .plan import Plan

T = TypeVar("T", bound=Transaction)

KEPT_S = 30 * 86_400.0  # how long the journals of finished transactions are kept for inspection


@dataclass(frozen=True, slots=True)
class Applied:
    """The result of applying a plan.

    Args:
        status: The endpoint or job as it is now; ``None`` after a delete, or when it could not be read.
        calls: The mutating calls that were made, in order.
        txn: The transaction, for :meth:`Executor.resume`.
        leftovers: Resources that could not be removed: the endpoint is degraded.
        waiting: Whether the rest is left to :meth:`Executor.resume` (``wait=False``).
        problem: The error after the switch, if any.
    """

    status: EndpointStatus | JobStatus | None
    calls: tuple[Call, ...]
    txn: str
    leftovers: tuple[Leftover, ...] = ()
    waiting: bool = False
    problem: Exception | None = None


class Executor:
    """Plans and applies changes on one target, with a journal in ``state_dir``.

    Args:
        adapter: The platform.
        owner: The owner label of every resource created here.
        state_dir: The folder of the journals and locks.
        clock: The source of time.
        target: Name of the target in the configuration, for messages.
        progress: Called with every event.
        random: The source of jitter.
        disk: The file operations of the journal.
        longest_deadline_s: The longest deadline of any verb, by default what the adapter declares; `gc` leaves alone
            resources younger than twice that.
    """

    transaction_class = Transaction
    recovery_class = Recovery
    collector_class = Collector
    planner_class = Planner
    sightings_class = Sightings
    lease_class = Lease

    def __init__(
        self,
        adapter: Adapter,
        *,
        owner: str,
        state_dir: Path,
        clock: Clock,
        target: str,
        progress: Callable[[Event], None] | None = None,
        random: _random.Random | None = None,
        disk: Disk | None = None,
        longest_deadline_s: float | None = None,
    ) -> None:
        self.adapter = adapter
        self.owner = owner
        self.clock = clock
        self.target = target
        self._progress = progress
        self._random = random or _random.Random()  # noqa: S311  # jitter, not a secret
        self._times = times = change_times(adapter)
        self._longest_deadline_s = times.longest_s if longest_deadline_s is None else longest_deadline_s
        self._where = where_hash(adapter)
        folder = state_dir / "executor" / self._where
        self.journals = Journals(folder, disk)
        self._locks = Locks(folder / "locks", self.journals.drop_ballast)

    # --- plan and apply -----------------------------------------------------------------------------------------

    def plan(self, change: Change, *, deadline: Deadline | None = None) -> Plan:
        """Compute the calls that a change needs, without making any that changes something.

        Raises:
            ConflictError: The name belongs to another owner.
        """
        deadline = deadline or self._usual_deadline()
        remote = Remote(self.adapter, self.clock, self._random, self.target)
        stages = desired(self.adapter, change)
        endpoint = remote.observe(change.name, deadline)
        self._check_seen(change, endpoint)
        wanted = [resource.ref for stage in stages for resource in stage[0]]
        observed = self._look(remote, change, endpoint, wanted, deadline)
        return self.planner_class(self.adapter.kinds, change, observed, self.owner).plan(stages, self.target)

    def apply(
        self,
        plan: Plan,
        materials: Materials,
        *,
        probe: Callable[[str], None] | None = None,
        deadline: Deadline | None = None,
        wait: bool = True,
    ) -> Applied:
        """Make the calls of the plan.

        Args:
            plan: The plan from :meth:`plan`.
            materials: The bytes and secrets that creates need.
            probe: Sends a smoke test to a deployment; raises if it fails.
            deadline: The deadline of the whole verb, including the clean-up.
            wait: ``False`` returns once only waiting is left; :meth:`resume` continues.

        Raises:
            PlanStale: The target's state differs from the one the plan was computed from; nothing was changed.
            ConflictError: Another client is changing the endpoint, or owns it.
            DeployFailed: The platform could not carry out the change; everything was undone.
            RollbackFailed: The change failed, and something could not be undone.
            Interrupted: Ctrl-C or SIGTERM.
        """
        deadline = deadline or self._usual_deadline()
        change = plan.change
        with self._locks.held(change.name, f"{self.owner} (transaction {change.txn})"):
            self._finish_earlier(change.name, deadline)
            context = self._context(change.name, change.txn)
            if self.plan(change, deadline=deadline).fingerprint != plan.fingerprint:
                raise PlanStale(
                    f"{change.name} changed since it was planned",
                    resource=change.name,
                    retryable=True,
                    hint="plan again",
                )
            if not plan.changes:
                return self._applied(context, change.verb, deadline)
            journal = self._journal(plan, deadline)
            transaction = self._transaction(context, journal, plan, deadline)
            transaction.patient = wait
            return self._run(transaction, change.verb, lambda: transaction.run(materials, probe))

    def resume(
        self,
        txn: str,
        *,
        materials: Materials | None = None,
        probe: Callable[[str], None] | None = None,
        deadline: Deadline | None = None,
    ) -> Applied:
        """Continue a transaction that was begun with ``wait=False``, in this process or another."""
        deadline = deadline or self._usual_deadline()
        past = read_past(self.journals.peek(txn))
        with self._locks.held(past.name, f"{self.owner} (transaction {txn})"):
            transaction = self._reopen(txn, deadline, self.transaction_class)
            return self._run(transaction, past.verb, lambda: transaction.run(materials or Materials(), probe))

    # --- after a crash ------------------------------------------------------------------------------------------

    def recover(self, *, name: str | None = None, deadline: Deadline | None = None) -> list[Recovered]:
        """Finish or undo the unfinished transactions of this machine whose process is gone."""
        deadline = deadline or self._usual_deadline()
        self._prune()
        return [
            found for txn in self.journals.unfinished() if (found := self._recover(txn, name, deadline)) is not None
        ]

    def gc(
        self,
        *,
        apply: bool = False,
        expired: bool = False,
        shared: bool = False,
        min_age_s: float | None = None,
        deadline: Deadline | None = None,
    ) -> GcReport:
        """Find resources that nothing needs; with ``apply``, remove them.

        Args:
            apply: Recover unfinished transactions, then remove the resources.
            expired: Include endpoints past their ttl, of any owner.
            shared: Include shared resources that nothing uses.
            min_age_s: Leave younger resources alone; default twice the longest deadline.
            deadline: The deadline of the whole run.
        """
        deadline = deadline or self._usual_deadline()
        remote = Remote(self.adapter, self.clock, self._random, self.target)
        recovered = self.recover(deadline=deadline.shorter(deadline.left / 2)) if apply else []
        pasts = [past for txn in self.journals.unfinished() if (past := self._peek(txn)) is not None]
        rules = self._rules(pasts, remote, deadline)
        min_age_s = 2 * self._longest_deadline_s if min_age_s is None else min_age_s
        rules = replace(rules, min_age_s=min_age_s, expired=expired, shared=shared)
        collector = self.collector_class(self.adapter, remote, rules, self.target, deadline)
        collector.mark(step.ref for past in pasts for step in past.steps if step.ref.kind in self.adapter.kinds)
        removed = self._sweep(collector, deadline.shorter(deadline.left / 10)) if apply else []
        gone = {(item.kind, item.id) for item in removed}
        found = [collector.leftover(ref, reason) for ref, reason in collector.orphans.items()]
        orphans = [item for item in found if (item.kind, item.id) not in gone]
        return GcReport(orphans, removed, collector.young, collector.kept, recovered)

    def unlock(self, name: str, txn: str) -> bool:
        """Remove the lease of an endpoint whose holder is gone for good; return whether this transaction held it."""
        return unlock(self.adapter, name, txn, self._usual_deadline())

    # --- parts --------------------------------------------------------------------------------------------------

    def _usual_deadline(self) -> Deadline:
        return Deadline(self.clock, self._times.deploy_s + self._times.undo_s)

    def _rules(self, pasts: Sequence[Past], remote: Remote, deadline: Deadline) -> SweepRules:
        """Collect which names are locked on this machine or leased by other machines, and what running plans need."""
        listed = {live.labels.endpoint for live in remote.list(deadline) if live.labels is not None}
        names = listed | {past.name for past in pasts}
        locked = {name for name in names if not self._locks.is_free(name)}
        running = [past for past in pasts if past.name in locked or self._is_awaited(past)]
        dead = [past for past in pasts if past not in running]
        leased = leased_names(self.adapter, names, deadline) - {past.name for past in dead}
        return SweepRules(
            owner=self.owner,
            unfinished=frozenset(str(past.begin["txn"]) for past in dead),
            busy=frozenset(locked | leased),
            planned=frozenset(step.ref for past in running for step in past.steps),
        )

    def _sweep(self, collector: Collector, deadline: Deadline) -> list[Leftover]:
        context = self._context("gc", new_txn(self.clock, self._random))
        remover = Remover(context, Settler(context), NoJournal())
        names = sorted({labels.endpoint for ref in collector.orphans if (labels := collector.labels(ref)) is not None})
        with contextlib.ExitStack() as stack:
            for name in names:
                stack.enter_context(self._locks.held(name, f"{self.owner} (gc)"))
            removed = sweep(collector, remover, deadline)
            remove_expired(self.adapter, names, deadline)
            return removed

    def _check_seen(self, change: Change, endpoint: Sequence[Live]) -> None:
        """Refuse a change that was computed from a state that the endpoint no longer has."""
        status = self.adapter.status(change.name, endpoint)
        if change.stages and _shares(status) != _shares(change.live):
            raise PlanStale(
                f"{change.name} changed while it was looked at", resource=change.name, retryable=True, hint="try again"
            )

    def _look(
        self, remote: Remote, change: Change, endpoint: Sequence[Live], wanted: Sequence[Ref], deadline: Deadline
    ) -> list[Live]:
        """Return the resources of the endpoint, and any others that exist under the wanted ids."""
        found = {live.ref: live for live in endpoint}
        extra = list(wanted)
        if change.verb == "delete":  # also what an interrupted verb left under this name
            extra += [live.ref for live in remote.list(deadline) if self._is_ours(live, change.name)]
        for ref in dict.fromkeys(extra):  # a resource that several stages want is read once
            if ref not in found:
                live = remote.read(ref, deadline)
                if live is not None:
                    found[ref] = live
        return list(found.values())

    def _is_ours(self, live: Live, name: str) -> bool:
        return live.labels is not None and live.labels.endpoint == name and live.labels.owner == self.owner

    def _context(self, name: str, txn: str) -> Context:
        return Context(
            adapter=self.adapter,
            remote=Remote(self.adapter, self.clock, self._random, self.target),
            clock=self.clock,
            random=self._random,
            target=self.target,
            owner=self.owner,
            name=name,
            txn=txn,
            lease=self.lease_class(self.adapter, name, owner=self.owner, txn=txn),
            sightings=self.sightings_class(self.clock, self.adapter.kinds),
            emit=self._progress or _ignore,
            started=self.clock.monotonic(),
            left=[],
            relieve=self.journals.drop_ballast,
        )

    def _begin(self, plan: Plan, deadline: Deadline) -> dict[str, Any]:
        change, job = plan.change, plan.steps[-1].ref.id if plan.change.job is not None else None
        return {
            "verb": change.verb,
            "name": change.name,
            "txn": change.txn,
            "owner": self.owner,
            "target": self._where,
            "provider": self.adapter.provider,
            "fingerprint": plan.fingerprint,
            "old": change.old,
            "new": change.new,
            "job": job,
            "deadline": deadline.left,
            "time": self.adapter.server_time(),
            "pid": os.getpid(),
            "steps": [step_record(step, self.adapter.kinds, journal_safe) for step in plan.steps],
        }

    def _journal(self, plan: Plan, deadline: Deadline) -> Journal:
        """Begin the journal of a change; a delete continues without one if the disk is full."""
        change, data = plan.change, self._begin(plan, deadline)
        try:
            return self.journals.begin(change.txn, frees=change.verb in FREEING, **data)
        except JournalError:
            if change.verb != "delete":
                raise
            return self.journals.unwritten(change.txn, **data)

    def _transaction(self, context: Context, journal: Journal, plan: Plan, deadline: Deadline) -> Transaction:
        job = plan.steps[-1].ref if plan.change.job is not None else None
        return self.transaction_class(context, journal, plan.steps, deadline, job=job)

    def _run(self, transaction: Transaction, verb: Verb | str, run: Callable[[], None]) -> Applied:
        context, journal = transaction.c, transaction.journal
        try:
            run()
        except Detached:
            journal.write("detached", step=0, until=self.adapter.server_time() + transaction.deadline.left)
            journal.close()
            context.lease.drop(transaction.deadline)
            return Applied(None, tuple(context.remote.calls), context.txn, waiting=True)
        except Exception:
            self._close(transaction)
            raise
        self._close(transaction)
        return self._applied(context, verb, transaction.deadline, transaction.problem)

    def _close(self, transaction: Transaction) -> None:
        """End the journal if nothing is left to do; otherwise leave it to `gc`.

        The lease goes first: a process that dies between the two leaves a journal (recovered), not a lease (never is).
        """
        transaction.c.lease.drop(transaction.deadline)
        if transaction.outcome:
            transaction.journal.end(transaction.outcome)
            self._prune()
        else:
            left = [[item.kind, item.id] for item in transaction.c.left]
            transaction.journal.note("left", refs=left)
            transaction.journal.close()

    def _prune(self) -> None:
        self.journals.prune(self.clock.time() - KEPT_S)

    def _applied(self, context: Context, verb: str, deadline: Deadline, problem: Exception | None = None) -> Applied:
        calls, left = tuple(context.remote.calls), tuple(context.left)
        return Applied(self._status(context, verb, deadline), calls, context.txn, left, problem=problem)

    def _status(self, context: Context, verb: str, deadline: Deadline) -> EndpointStatus | JobStatus | None:
        deadline = Deadline(self.clock, max(deadline.left, 60.0))  # reading the status is not part of the change
        if verb == "train":
            return self.adapter.job_status(context.name, timeout=60.0) if isinstance(self.adapter, Trains) else None
        status = self.adapter.status(context.name, context.remote.observe(context.name, deadline))
        if status is None or not context.left:
            return status
        reason = f"{len(context.left)} resources could not be removed: {context.left[0]}"
        return replace(status, state=EndpointState.DEGRADED, reason=reason)

    # --- recovery -----------------------------------------------------------------------------------------------

    def _finish_earlier(self, name: str, deadline: Deadline) -> None:
        """Recover unfinished transactions of this name, whose lock we hold."""
        for txn in self.journals.unfinished():
            past = self._peek(txn)
            if past is None or past.name != name:
                continue
            if self._is_awaited(past):
                raise ConflictError(
                    f"{name} is waited for by nobody yet: transaction {txn} was started with wait=False",
                    resource=name,
                    holder=str(past.begin["owner"]),
                    hint="wait for it first",
                )
            self._recover_locked(txn, deadline.shorter(deadline.left / 2))

    def _recover(self, txn: str, name: str | None, deadline: Deadline) -> Recovered | None:
        try:
            records = self.journals.peek(txn)
            if not records:
                self.journals.forget(txn)
                return None
            past = read_past(records)
        except JournalDamaged:
            self.journals.set_aside(txn)
            return Recovered(txn, "", "", "damaged")
        except JournalError:
            return None  # another process has just finished it
        return self._recover_past(txn, past, deadline) if name in {None, past.name} else None

    def _recover_past(self, txn: str, past: Past, deadline: Deadline) -> Recovered | None:
        if self._is_awaited(past):
            return Recovered(txn, past.name, past.verb, "waiting")
        try:
            with self._locks.held(past.name, f"{self.owner} (recovering {txn})"):
                return self._recover_locked(txn, deadline)
        except ConflictError:
            return Recovered(txn, past.name, past.verb, "busy")
        except (TimedOut, ThrottledError, UnavailableError):
            return Recovered(txn, past.name, past.verb, "partial")

    def _recover_locked(self, txn: str, deadline: Deadline) -> Recovered | None:
        try:
            transaction = self._reopen(txn, deadline, self.recovery_class)
        except JournalDamaged:
            raise
        except JournalError:
            return None  # another process has just finished it
        past, context = read_past(transaction.journal.records), transaction.c
        context.say("recover", f"{past.verb} of {past.name}, which was cut off (transaction {txn})")
        if past.ended:
            transaction.journal.end(str(transaction.journal.records[-1].data["outcome"]))
            return None
        with self._closing(transaction):
            transaction.recover(deadline)
        outcome = transaction.outcome or "partial"
        return Recovered(txn, past.name, past.verb, outcome, tuple(context.left))

    @contextlib.contextmanager
    def _closing(self, transaction: Transaction) -> Generator[None]:
        """Close the journal on success or any ``Exception``; other exceptions leave it as a killed process would."""
        try:
            yield
        except Exception:
            self._close(transaction)
            raise
        self._close(transaction)

    def _reopen(self, txn: str, deadline: Deadline, kind: type[T]) -> T:
        journal = self.journals.load(txn)
        past = read_past(journal.records)
        context = self._context(past.name, txn)
        job = past.steps[-1].ref if past.begin["job"] else None
        transaction = kind(context, journal, past.steps, deadline, job=job)
        if not past.ended:
            context.lease.take(deadline)
            context.remote.observe(past.name, deadline)  # after a reply, server_time() is the platform's clock
            take_over(transaction, past, self.adapter.server_time())
        return transaction

    def _peek(self, txn: str) -> Past | None:
        try:
            records = self.journals.peek(txn)
            return read_past(records) if records else None
        except JournalError:
            return None

    def _is_awaited(self, past: Past) -> bool:
        return past.detached_until > self.adapter.server_time()


def where_hash(adapter: Adapter) -> str:
    """Return the identity of a target (provider and location) as 16 hex characters."""
    text = json.dumps([adapter.provider, sorted(adapter.where().items())])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _shares(status: EndpointStatus | None) -> dict[str, tuple[int, str]]:
    """Return what a change builds on: the endpoint's deployments with their traffic shares and spec hashes."""
    return {item.id: (item.traffic, item.spec_hash) for item in status.deployments} if status else {}


def _ignore(event: Event) -> None:
    """Ignore an event, where no progress callback is set."""
