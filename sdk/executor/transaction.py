"""One transaction: undone if it fails before the switch, completed if it fails after it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ..adapter import Materials, Nature, change_times
from ..errors import ConflictError, Interrupted, RollbackFailed, SdkError, ThrottledError, UnavailableError
from ..util.terminated import Terminated
from ..util.waiting import Deadline
from .borrowed import borrowed, in_use_by
from .context import Detached
from .detach import Detacher
from .plan import closure, live_hash
from .settle import Settler, taken
from .undo import Remover, drift, leftover, staying

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from ..adapter import Live, Ref
    from ..errors import Leftover
    from .calls import Reply
    from .context import Context
    from .journal import Journal
    from .plan import Step

ATTEMPTS = 3
INTERRUPT_S = 60.0
TERMINATE_S = 8.0
_LARGEST_RESERVE = 4  # at most 1/4 of a time limit is reserved for undoing, unless the deadline sets its own reserve
TRANSFER_S = 6 * 3600.0  # time limit for building and uploading one image, or the data of one job


class Transaction:
    """Carries out the steps of a plan and journals them.

    Args:
        context: The state that its parts share.
        journal: Its journal, already begun.
        steps: All of its steps; deletes come last, except those that the switch needs.
        deadline: The deadline of the whole verb, part of which is reserved for cleaning up.
        job: The job to submit, for a training.
    """

    settler_class = Settler
    remover_class = Remover

    def __init__(
        self, context: Context, journal: Journal, steps: Sequence[Step], deadline: Deadline, *, job: Ref | None = None
    ) -> None:
        self.c = context
        self.journal = journal
        self.steps = steps
        self.deadline = deadline
        self.job = job
        self.settler = self.settler_class(context, job=job)
        self.remover = self.remover_class(context, self.settler, journal)
        self.detacher = Detacher(context, self.settler, self.remover, journal)
        self.sent: set[int] = set()  # steps whose call may have been made
        self.done: set[int] = set()  # steps whose outcome is certain
        self.committed = False
        self.lost = False  # another client switched after us
        self.materials = Materials()
        self.probe: Callable[[str], None] | None = None
        self.problem: Exception | None = None  # the error after the switch
        self.outcome = ""  # "done" or "rolled_back" once nothing is left to do

    # --- forward ------------------------------------------------------------------------------------------------

    def run(self, materials: Materials, probe: Callable[[str], None] | None) -> None:
        """Carry out all steps, or undo them and raise the error, or list what is left over.

        Raises:
            Detached: The caller does not wait.
            SdkError: The first error, after everything was undone.
            RollbackFailed: An error occurred, and something could not be undone.
            Interrupted: Ctrl-C or SIGTERM.
        """
        self.materials, self.probe = materials, probe
        try:
            self.c.lease.take(self.deadline)  # journalled first, so a crash here cannot leave an unknown lease
            self._forward(self.deadline.shorter(self._reserve()))
            self.retire(self.deadline)
            self.outcome = "" if self.c.left else "done"
        except Detached:
            raise
        except KeyboardInterrupt as stop:
            self._stop(stop)
        except Exception as error:  # noqa: BLE001  # raised again once everything is undone
            self._fail(error)

    def _reserve(self) -> float:
        """Return the seconds reserved for undoing: enough to undo the longest operation, if the time limit allows."""
        kept = self.deadline.undo_s
        longest = change_times(self.c.adapter).undo_s
        return min(longest, self.deadline.left / _LARGEST_RESERVE) if kept is None else kept

    def _forward(self, deadline: Deadline) -> None:
        last = last_create(self.steps)
        for index, step in enumerate(self.steps):
            if index in self.done or step.retires:
                continue
            self.c.patient = self.patient or index < last
            self.do(index, step, deadline)
            self.done.add(index)
        self.c.patient = True
        if not self.committed and self.steps and not self.steps[-1].retires:
            self.committed = True  # everything exists and is probed: from here on nothing is undone
            self.journal.note("committed", step=len(self.steps) - 1)

    patient = True  # whether to wait for the platform

    def do(self, index: int, step: Step, deadline: Deadline) -> None:
        """Carry out one step, including its probe, retries and waiting."""
        word = "switch" if step.commit and step.action == "update" else step.action
        self.c.say(f"{word} {step.ref}" if step.action != "probe" else "probe", step.summary)
        if step.action == "probe":
            if self.probe is not None:
                self.probe(step.ref.id)
            self.journal.note("probed", step=index)
            return
        if step.commit and not self.committed:
            self.c.lease.verify(deadline)
        if step.detach:
            self.detacher.take(index, step, lambda attempt: self._intent(index, step, attempt, deadline), deadline)
        elif not (index in self.sent and self._took_effect(step, deadline)):  # may be sent before a resume
            if step.action == "create":
                self._create(index, step, deadline)
            else:
                self._update(index, step, deadline)
        if step.commit:
            self.committed = True
            self.journal.note("committed", step=index)

    def _create(self, index: int, step: Step, deadline: Deadline) -> None:
        pauses, attempt, reply = self.c.poll(deadline), 0, None
        while attempt < ATTEMPTS:
            attempt += 1
            reply = self._send_create(index, step, attempt, deadline)
            if reply.outcome in {"refused", "gone"} and reply.error is not None:
                raise self._why_not_made(step, reply.error, deadline) from reply.error
            live = self.settler.created(step, deadline)
            if live is not None:
                self.journal.note("settled", step=index, outcome="after")
                return
            if reply.outcome == "conflict":  # the name is taken by something invisible: not free again yet
                attempt = self._not_yet(reply, attempt)
                pauses.pause(f"create {step.ref}", error=reply.error)
            elif reply.outcome == "ok":
                raise ConflictError(f"{step.ref} was made and is gone again", resource=step.ref.id)
        raise (reply.error if reply and reply.error else ConflictError(f"{step.ref} could not be made"))

    def _why_not_made(self, step: Step, error: Exception, deadline: Deadline) -> Exception:
        """Return the error for a refused create: perhaps another client removed a resource that it needs."""
        with contextlib.suppress(SdkError):
            for parent in step.parents:
                if self.c.remote.read(parent, deadline) is None:
                    return ConflictError(f"{parent}, which {step.ref} needs, was removed by somebody else")
        return error

    def _not_yet(self, reply: Reply, attempt: int) -> int:
        """Return the attempt count: a refusal for now does not use up an attempt, any other does."""
        return attempt - 1 if isinstance(reply.error, SdkError) and reply.error.retryable else attempt

    def _send_create(self, index: int, step: Step, attempt: int, deadline: Deadline) -> Reply:
        resource = step.resource
        if resource is None or resource.spec is None:
            raise ConflictError(f"{step.ref} cannot be made from the journal alone", hint="run the same verb again")
        self._intent(index, step, attempt, deadline)
        with self._uncounted(step, deadline) as own, self.c.lease.beating(own):
            reply = self.c.remote.create(resource, self.materials, own)
        self._acknowledge(index, step, reply)
        return reply

    @contextlib.contextmanager
    def _uncounted(self, step: Step, deadline: Deadline) -> Generator[Deadline]:
        """Give a job's uploads a time limit of their own, and extend the change's deadline by the time they take."""
        if self.job is None or not (self.c.is_shared(step.ref) or self.c.kind(step.ref).uploads):
            yield deadline
            return
        began = self.c.clock.monotonic()
        try:
            yield Deadline(self.c.clock, TRANSFER_S)
        finally:
            for counted in (deadline, self.deadline):
                counted.extend(self.c.clock.monotonic() - began)

    def _update(self, index: int, step: Step, deadline: Deadline) -> None:
        pauses, attempt, reply = self.c.poll(deadline), 0, None
        while attempt < ATTEMPTS:
            attempt += 1
            before = self._before(step, deadline)
            if before is None:
                return
            reply = self._send_update(index, step, before, attempt, deadline)
            if reply.outcome in {"refused", "gone"} and reply.error is not None:
                raise self._refusal(step, reply.error, deadline) from reply.error
            if reply.outcome == "conflict" and isinstance(reply.error, SdkError) and reply.error.retryable:
                attempt -= 1
                pauses.pause(f"update {step.ref}", error=reply.error)
                continue
            side = self.settler.updated(step, deadline)
            if side == "after":
                self.journal.note("settled", step=index, outcome="after")
                return
            if side == "other" or reply.outcome == "conflict":
                raise reply.error or self._lost(step, deadline)
            if reply.outcome == "ok":
                raise self.settler.failure(step.ref, self.settler.reason or "the platform took the update back")
        raise (reply.error if reply and reply.error else ConflictError(f"{step.ref} could not be updated"))

    def _before(self, step: Step, deadline: Deadline) -> Live | None:
        """Return the live resource if it is as planned; ``None`` if our own update has been made already.

        Raises:
            ConflictError: The resource is gone.
            DriftError: The resource differs from the plan.
        """
        live = self._read(step, deadline)
        if live is None:
            raise ConflictError(f"{step.ref} is gone", resource=step.ref.id)
        now = live_hash(live)
        if now == step.after and self.settler.is_same(step, live) and step.before != step.after:
            return None
        if now != step.before:
            raise drift(live)
        return live

    def _read(self, step: Step, deadline: Deadline) -> Live | None:
        pauses = self.c.poll(deadline)
        while True:
            try:
                live = self.settler.read(step.ref, deadline)
            except (ThrottledError, UnavailableError) as error:
                pauses.pause(f"update {step.ref}", error=error)
                continue
            if live is not None or self.c.sightings.absent(step.ref):
                return live
            pauses.pause(f"update {step.ref}")

    def _refusal(self, step: Step, error: Exception, deadline: Deadline) -> Exception:
        """Return the error for a refused update: drift, if another client has changed the resource meanwhile."""
        with contextlib.suppress(SdkError):
            live = self.settler.read(step.ref, deadline)
            if live is not None and live_hash(live) not in {step.before, step.after}:
                return drift(live)
        return error

    def _lost(self, step: Step, deadline: Deadline) -> Exception:
        live = self.settler.read(step.ref, deadline)
        return taken(live) if live is not None else ConflictError(f"{step.ref} is gone", resource=step.ref.id)

    def _send_update(self, index: int, step: Step, before: Live, attempt: int, deadline: Deadline) -> Reply:
        if step.resource is None:
            raise ConflictError(f"what {step.ref} should become is not known", hint="run the same verb again")
        self._intent(index, step, attempt, deadline)
        reply = self.c.remote.update(step.resource, before, deadline)
        self._acknowledge(index, step, reply)
        return reply

    def _intent(self, index: int, step: Step, attempt: int, deadline: Deadline) -> None:
        """Write the intent record, without which the call is not sent."""
        self.c.lease.check(deadline)
        self.journal.write(
            "intent",
            step=index,
            action=step.action,
            kind=step.ref.kind,
            id=step.ref.id,
            attempt=attempt,
            time=self.c.adapter.server_time(),
        )
        self.sent.add(index)
        if not step.detach:
            self.c.sightings.sent(step.ref)

    def _acknowledge(self, index: int, step: Step, reply: Reply) -> None:
        self.c.sightings.sent(step.ref)
        if reply.outcome == "unknown":
            self.c.sightings.unanswered(step.ref)
        elif reply.outcome in {"refused", "gone"}:  # gone: a resource that it needs does not exist
            self.c.sightings.refused(step.ref, create=step.action == "create")
        if reply.operation is not None:
            self.c.sightings.operations[step.ref] = reply.operation
        self.journal.note(
            "ack",
            step=index,
            outcome=reply.outcome,
            operation=reply.operation,
            time=self.c.adapter.server_time(),
            status=getattr(reply.error, "status", None),
        )

    # --- after the switch ---------------------------------------------------------------------------------------

    def retire(self, deadline: Deadline) -> None:
        """Delete what the change does not keep; list what cannot be deleted instead of raising an error."""
        first = next((index for index, step in enumerate(self.steps) if step.retires), None)
        if first is None:
            return
        self._still_ours(deadline)
        if not self.committed:
            self.journal.note("committed", step=first)  # only deletes: never undone, even without this record
            self.committed = True
        self.c.say("retire")
        self._delete_all(deadline)

    def _delete_all(self, deadline: Deadline) -> None:
        used = borrowed(self.c, self.steps, deadline)
        for index, step in enumerate(self.steps):
            if step.ref in used:
                self.c.say("left alone", f"{step.ref}: {in_use_by(used[step.ref])}")
                self.done.add(index)
            elif step.retires and index not in self.done:
                self._take(index, step, lambda live, step=step: self.may_delete(step, live), deadline)  # type: ignore[misc]  # binds the loop variable

    def may_delete(self, step: Step, live: Live) -> bool:
        """Check whether a resource to delete is still the same that the plan saw, and not in use after a lost race."""
        return self._is_as_planned(step, live) and not (self.lost and step.ref in self.in_use())

    def _is_as_planned(self, step: Step, live: Live) -> bool:
        if live.labels is None:
            return not self.c.kind(live.ref).tagged
        return step.resource is not None and live.labels.txn == step.resource.labels.txn

    def may_undo(self, step: Step, live: Live) -> bool:
        """Check whether a resource that this transaction made may be removed: the endpoint does not use it by now."""
        if not self.settler.is_same(step, live):
            return False
        if step.ref not in self.in_use():
            return True
        self.c.poll(self.deadline).pause(f"delete {step.ref}", state="in use")  # reads may be stale: look again
        return step.ref not in self.in_use()

    def in_use(self) -> set[Ref]:
        """Return the resources that the endpoint needs now; roots that this transaction deletes do not count as users.

        A root of the same name that another client made since does count.
        """
        observed = self.c.remote.observe(self.c.name, self.deadline)
        doomed = {step.ref: step for step in self.steps if step.retires}
        going = {one.ref for one in observed if one.ref in doomed and self._is_as_planned(doomed[one.ref], one)}
        made = {self.steps[index].ref for index in self.sent if self.steps[index].action == "create"}
        roots = [live for live in observed if self.c.kind(live.ref).root and live.ref not in going]
        others = [root.ref for root in roots if root.ref not in made or not self._has_our_label(root)]
        return closure(others, {live.ref: live.parents for live in observed})

    def _has_our_label(self, live: Live) -> bool:
        return live.labels is not None and live.labels.txn == self.c.txn

    def _still_ours(self, deadline: Deadline) -> None:
        """Check that our switch is still in effect, before deleting resources that others may use by now.

        Raises:
            ConflictError: Another client has switched since.
        """
        switched: dict[Ref, Step] = {step.ref: step for step in self.steps if step.action in {"create", "update"}}
        for ref, step in switched.items():
            kind = self.c.kind(ref)
            if kind.root and kind.nature is Nature.MUTABLE and self.settler.updated(step, deadline) != "after":
                self.committed, self.lost = False, True
                raise self._lost(step, deadline)

    def _take(self, index: int, step: Step, mine: Callable[[Live], bool], deadline: Deadline) -> None:
        if not self.remover.may_go(step.ref, self.parents()):
            self.remover.leave(step.ref, "something that needs it is still there", step.usd_per_hour)
            return
        self.remover.delete(index, step, mine, deadline)
        if not any(item.id == step.ref.id and item.kind == step.ref.kind for item in self.c.left):
            self.done.add(index)

    def parents(self) -> Mapping[Ref, Sequence[Ref]]:
        """Return what each resource of this transaction needs."""
        return {step.ref: step.parents for step in self.steps}

    # --- back ---------------------------------------------------------------------------------------------------

    def _fail(self, error: Exception) -> None:
        """Handle an error: finish if the switch was made, else undo everything and raise the error."""
        self.clean_up(self.deadline, "error")
        if self.committed:
            self.problem = error
            self.c.say("degraded", str(error))
            return
        if not self.c.left:
            raise error
        raise RollbackFailed(
            f"{error.message if isinstance(error, SdkError) else error}; not everything could be undone: "
            f"{staying(self.c.left)}",
            reason=getattr(error, "reason", None),
            logs=getattr(error, "logs", ()),
            leftovers=self.c.left,
            provider=self.c.adapter.provider,
            resource=self.c.name,
            hint=self.c.left[0].command,
        ) from error

    def _stop(self, stop: KeyboardInterrupt) -> None:
        """Handle Ctrl-C: undo, or finish if the switch was made; a second Ctrl-C stops at once."""
        self.c.say("interrupted", "press Ctrl-C again to leave everything as it is now")
        seconds = TERMINATE_S if isinstance(stop, Terminated) else INTERRUPT_S
        try:
            self.clean_up(Deadline(self.c.clock, seconds), "interrupt")
        except KeyboardInterrupt:
            alive = self.alive()
            raise Interrupted(
                f"{self.c.name}: stopped at once; {staying(alive)}",
                leftovers=alive,
                provider=self.c.adapter.provider,
            ) from stop
        outcome = "the switch was made already, so it was finished" if self.committed else "everything was undone"
        if self.c.left:
            outcome = f"not everything could be cleaned up: {staying(self.c.left)}"
        raise Interrupted(f"{self.c.name}: stopped; {outcome}", leftovers=self.c.left) from stop

    def clean_up(self, deadline: Deadline, reason: str) -> None:
        """Finish the transaction if the switch was made, else roll it back."""
        self.c.patient = True
        self.c.lease.relax()
        self.journal.relieve()  # undoing may have to write to this disk, too
        self.journal.note("abort", reason=reason)
        if self.decide(deadline):
            self.finish(deadline)
        if not self.committed:
            self.roll_back(deadline)
        if self.lost:
            self._delete_all(deadline)
        if not self.c.left:
            self.outcome = "done" if self.committed else "rolled_back"

    def decide(self, deadline: Deadline) -> bool:
        """Determine whether the switch was made, and look until that is certain."""
        for index, step in enumerate(self.steps):
            if not self.committed and step.commit and index in self.sent and not step.retires:
                self.committed = self._took_effect(step, deadline)
        return self.committed

    def _took_effect(self, step: Step, deadline: Deadline) -> bool:
        try:
            if step.action == "create":
                return self.settler.created(step, deadline) is not None
            return self.settler.updated(step, deadline) == "after"
        except Exception:  # noqa: BLE001  # no error proves that the switch was made
            return False

    def finish(self, deadline: Deadline) -> None:
        """Carry out what is left to do after the switch, as far as possible."""
        switch = next((index for index, step in enumerate(self.steps) if step.commit), -1)
        for index, step in enumerate(self.steps):
            if index <= switch or index in self.done or step.action in {"delete", "probe"}:
                continue
            try:
                self.do(index, step, deadline)
            except Exception as error:  # noqa: BLE001  # after the switch errors are listed, not raised
                self.remover.leave(step.ref, f"not brought up to date: {error}", step.usd_per_hour)
        try:
            self.retire(deadline)
        except Exception as error:  # noqa: BLE001  # as above
            if self.lost:
                return
            self.c.left += [self._kept(step, str(error)) for step in self.steps if step.retires]

    def roll_back(self, deadline: Deadline) -> None:
        """Undo every step whose call may have been made, last first."""
        if self.sent:
            self.c.say("roll back")
        for index in sorted(self.sent, reverse=True):
            step = self.steps[index]
            if step.action == "create" and not self.c.is_shared(step.ref):
                self._take(index, step, lambda live, step=step: self.may_undo(step, live), deadline)  # type: ignore[misc]  # binds the loop variable
            elif step.action == "update":
                self.remover.undo(index, step, deadline)
            elif step.detach:
                self.detacher.give_back(index, step, deadline)

    # --- what is there ------------------------------------------------------------------------------------------

    def alive(self) -> list[Leftover]:
        """Return the resources that this transaction would leave over now, as far as it knows without reading them.

        These are the ones that it created; after the switch, the old ones that it has not deleted yet.
        """
        made = [self.steps[index] for index in sorted(self.sent) if self.steps[index].action == "create"]
        if self.committed:
            made = [step for index, step in enumerate(self.steps) if step.retires and index not in self.done]
        return [self._kept(step, "the verb was stopped") for step in made if not self.c.is_shared(step.ref)]

    def _kept(self, step: Step, reason: str) -> Leftover:
        return leftover(self.c.target, step.ref, reason, step.usd_per_hour)


def last_create(steps: Sequence[Step]) -> int:
    """Return the index of the last create, the last step that needs more than the journal holds; -1 if none."""
    return max((index for index, step in enumerate(steps) if step.action == "create"), default=-1)
