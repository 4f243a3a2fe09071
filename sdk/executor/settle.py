"""Determines the outcome of calls: it counts only when observed, or absent for longer than the settle time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ..adapter import Nature
from ..errors import ConflictError, DeployFailed, SdkError, TrainFailed
from .calls import is_transient
from .plan import live_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..adapter import Live, Operation, Ref
    from ..util.waiting import Deadline
    from .context import Context
    from .plan import Step

Side = Literal["before", "after", "other"]


class Settler:
    """Waits until the platform has finished with a resource, and returns the outcome."""

    def __init__(self, context: Context, *, job: Ref | None = None) -> None:
        self._c = context
        self._job = job  # a job counts as created once it exists: the transaction does not wait for its end
        self.reason: str | None = None  # the platform's reason for the state last read

    def look(self, ref: Ref, deadline: Deadline) -> tuple[Live | None, Exception | None]:
        """Return the result of :meth:`read`, or a transient error, after which the next read may succeed."""
        try:
            return self.read(ref, deadline), None
        except SdkError as error:
            if not is_transient(error):
                raise
            return None, error

    def read(self, ref: Ref, deadline: Deadline) -> Live | None:
        """Read a resource, and record a sighting if it exists."""
        live = self._c.remote.read(ref, deadline)
        if live is not None:
            self._c.sightings.seen(ref)
        return live

    def created(self, step: Step, deadline: Deadline) -> Live | None:
        """Wait until a created resource is ready; return ``None`` if the create provably made nothing.

        Raises:
            DeployFailed: The platform failed to make the resource, or made it and it failed.
            ConflictError: Something else has this id.
        """
        for live, running in self._looks("create", step.ref, deadline):
            if live is not None and self._is_made(step, live):
                return live
            if live is None and not running and self._c.sightings.absent(step.ref):
                break
        return None

    def updated(self, step: Step, deadline: Deadline) -> Side:
        """Wait until it is certain whether an update took effect.

        Returns:
            ``after`` if it did, ``before`` if it did not, and ``other`` if the resource matches neither because another
            client changed it.
        """
        looks = self._looks("update", step.ref, deadline)
        sides: Iterator[Side | None] = (self._side(step, live, running=running) for live, running in looks)
        return next(filter(None, sides))

    def untouched(self, ref: Ref, as_planned: Callable[[Live], bool], deadline: Deadline) -> bool:
        """Check whether a delete that may have been sent had no effect: the resource is ready and as it was planned."""
        for live, running in self._looks("delete", ref, deadline):
            if live is None:
                if self._c.sightings.absent(ref):
                    break
            elif live.state != "ready" or not as_planned(live):
                break
            elif not running and self._c.sightings.settled(ref):
                return True
        return False

    def _looks(self, action: str, ref: Ref, deadline: Deadline) -> Iterator[tuple[Live | None, bool]]:
        """Yield the state of a resource repeatedly, each with whether a long-running operation on it still runs.

        Reads that the platform did not answer are left out. Only the deadline ends the iteration.
        """
        pauses = self._c.poll(deadline)
        while True:
            state, trouble = None, None
            try:
                running = self._operation(action, ref, deadline)
                live = self.read(ref, deadline)
            except SdkError as error:
                if not is_transient(error):
                    raise
                trouble = error
            else:
                self.reason = live.reason if live else None
                yield live, running
                state = live.raw or live.state if live else None
            pauses.pause(f"{action} {ref}", state=state, error=trouble)

    def is_same(self, step: Step, live: Live) -> bool:
        """Check whether a live resource was made by this very step, and does not only have the same name."""
        kind = self._c.kind(step.ref)
        labels = live.labels
        if labels is None:
            return not kind.tagged or kind.nature is Nature.SHARED
        if labels.spec and step.after is not None and labels.spec != step.after[:32]:
            return False
        return kind.nature is Nature.SHARED or labels.txn == self._c.txn

    def _is_made(self, step: Step, live: Live) -> bool:
        if not self.is_same(step, live):
            raise taken(live)
        if live.state == "ready" or step.ref == self._job:
            return True
        if live.state in {"failed", "deleting"}:
            raise self.failure(step.ref, live.reason or live.raw or live.state)
        return False

    def _side(self, step: Step, live: Live | None, *, running: bool) -> Side | None:
        """Return the outcome of an update, or ``None`` while it is uncertain."""
        if live is None:
            return "other" if self._c.sightings.absent(step.ref) else None
        if live.state in {"creating", "updating"} or running:
            return None
        if live.state in {"failed", "deleting"}:
            raise self.failure(step.ref, live.reason or live.raw or live.state)
        now = live_hash(live)
        if now == step.after:
            return "after"
        if not self._c.sightings.settled(step.ref):
            return None
        return "before" if now == step.before else "other"

    def _operation(self, action: str, ref: Ref, deadline: Deadline) -> bool:
        """Check whether the long-running operation on a resource still runs; one the platform forgot counts as over."""
        name = self._c.sightings.operations.get(ref)
        if name is None:
            return False
        operation: Operation | None = self._c.remote.operation(name, deadline)
        if operation is not None and not operation.done:
            return True
        self._c.sightings.operations.pop(ref, None)
        if operation is not None and operation.error is not None:
            self._c.sightings.refused(ref, create=action == "create")
            raise self.failure(ref, str(operation.error)) from operation.error
        return False

    def failure(self, ref: Ref, reason: str) -> DeployFailed | TrainFailed:
        """Make the error for a resource that the platform could not create or update."""
        failed = TrainFailed if self._job is not None else DeployFailed
        return failed(
            f"{ref} failed: {reason}",
            reason=reason,
            provider=self._c.adapter.provider,
            resource=ref.id,
            operation=f"create {ref.kind}",
        )


def taken(live: Live) -> ConflictError:
    """Make the error for an id that is already taken by another transaction or not made by mlport."""
    owner = live.labels.owner if live.labels else None
    whose = f"transaction {live.labels.txn} of {owner!r}" if live.labels else "something that mlport did not make"
    return ConflictError(f"{live.ref} exists already and belongs to {whose}", resource=live.id, holder=owner)
