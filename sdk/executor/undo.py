"""Removes resources, with deletes that may be refused for a while, and reverts updates."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from ..errors import AuthError, ConflictError, DriftError, Leftover, QuotaError, SdkError, TimedOut
from .plan import closure, live_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ..adapter import Live, Ref, Resource
    from ..util.waiting import Deadline
    from .context import Context, Pauses
    from .journal import Notes
    from .plan import Step
    from .settle import Settler


class Remover:
    """Deletes resources and reverts updates; lists what it cannot do as leftovers instead of raising errors.

    Args:
        context: The transaction.
        settler: Reads the platform's state.
        journal: Receives the intents; the resources are already recorded there, so a full disk does not stop deletes.
    """

    def __init__(self, context: Context, settler: Settler, journal: Notes) -> None:
        self._c = context
        self._settler = settler
        self._journal = journal
        self._stuck: set[Ref] = set()
        self.drifted: set[Ref] = set()  # resources left alone because another client changed them since

    def may_go(self, ref: Ref, parents: Mapping[Ref, Iterable[Ref]]) -> bool:
        """Check whether a resource may be deleted: all resources that need it are gone, so none of them is stuck."""
        return ref not in closure(self._stuck, parents)

    def leave(self, ref: Ref, reason: str, usd_per_hour: float | None) -> None:
        """List a resource as a leftover."""
        self._stuck.add(ref)
        self._c.left.append(leftover(self._c.target, ref, reason, usd_per_hour))
        self._c.say("left over", f"{ref}: {reason}")

    def delete(self, index: int, step: Step, mine: Callable[[Live], bool], deadline: Deadline) -> bool:
        """Delete a resource and wait until it is proven gone; return whether it is.

        A resource that no longer passes ``mine`` is left alone and not listed.
        """
        self._c.say(f"delete {step.ref}")
        try:
            return self._delete(index, step.ref, mine, deadline)
        except TimedOut as error:
            self.leave(step.ref, f"still there: {error.state or 'the platform did not let it go'}", step.usd_per_hour)
        except Exception as error:  # noqa: BLE001  # the caller raises the first error; this one is listed
            self.leave(step.ref, _text(error), step.usd_per_hour)
        return False

    def undo(self, index: int, step: Step, deadline: Deadline) -> None:
        """Revert an update, unless another client has changed the resource since."""
        self._c.say(f"undo update {step.ref}")
        try:
            self._undo(index, step, deadline)
        except TimedOut as error:
            self.leave(step.ref, f"not as it was before: {error.state or 'no answer'}", step.usd_per_hour)
        except DriftError as error:
            self.drifted.add(step.ref)
            self._c.say("left alone", error.message)
        except Exception as error:  # noqa: BLE001  # the caller raises the first error; this one is listed
            self.leave(step.ref, _text(error), step.usd_per_hour)

    def _delete(self, index: int, ref: Ref, mine: Callable[[Live], bool], deadline: Deadline) -> bool:
        pauses = self._c.poll(deadline)
        for attempt in count(1):
            live, trouble = self._settler.look(ref, deadline)
            if live is None:
                if trouble is None and self._c.sightings.absent(ref):
                    self._journal.note("settled", step=index, outcome="gone")
                    return True
            elif not mine(live):
                return False
            elif not self._c.kind(ref).purgeable and live.usd_per_hour == 0 and live.state in {"ready", "failed"}:
                return True  # a free record, which this platform keeps forever
            elif self._lets_go(live):
                trouble = self._send_delete(index, live, attempt, deadline)
                if trouble is None and attempt == 1:
                    continue  # most resources are gone at once: look without a pause
            self._wait(pauses, ref, live, trouble)
        raise AssertionError  # unreachable: the pauses raise TimedOut

    def _lets_go(self, live: Live) -> bool:
        deletable = self._c.kind(live.ref).deletable
        return live.state != "deleting" and (not deletable or live.state in deletable or live.raw in deletable)

    def _send_delete(self, index: int, live: Live, attempt: int, deadline: Deadline) -> Exception | None:
        self._c.lease.check(deadline)
        self._intent(index, "delete", live.ref, attempt)
        reply = self._c.remote.delete(live, deadline)
        if reply.outcome in {"ok", "gone"}:
            self._c.sightings.deleted(live.ref, taken=reply.outcome == "ok")
            return None
        if isinstance(reply.error, AuthError):
            raise reply.error  # waiting does not grant a permission
        if isinstance(reply.error, QuotaError):
            self._c.relieve()  # a local target needs disk space even to delete something
        return reply.error

    def _undo(self, index: int, step: Step, deadline: Deadline) -> None:
        pauses = self._c.poll(deadline)
        for attempt in count(1):
            live, trouble = self._settler.look(step.ref, deadline)
            if live is None:
                if trouble is None and self._c.sightings.absent(step.ref):
                    return
            elif live.state not in {"creating", "updating"}:
                now = live_hash(live)
                if now not in {step.before, step.after}:
                    raise drift(live)
                if now == step.after:
                    trouble = self._send_back(index, step, live, attempt, deadline)
                elif self._c.sightings.settled(step.ref):
                    self._journal.note("settled", step=index, outcome="undone")
                    return
            self._wait(pauses, step.ref, live, trouble)

    def _send_back(self, index: int, step: Step, live: Live, attempt: int, deadline: Deadline) -> Exception | None:
        if step.previous is None:
            raise ConflictError(f"what {step.ref} was before is not known", resource=step.ref.id)
        self._intent(index, "update", step.ref, attempt)
        reply = self._c.remote.update(step.previous, live, deadline)
        if reply.operation:
            self._c.sightings.operations[step.ref] = reply.operation
        if reply.outcome == "refused":
            self._refuse_if_impossible(step.previous, deadline)
        return reply.error

    def _refuse_if_impossible(self, previous: Resource, deadline: Deadline) -> None:
        """Raise :class:`DriftError` if a parent of the previous version is gone for good, so it cannot be restored.

        The resource then stays as it is, and so do the parents that it has now.
        """
        for parent in previous.parents:
            if self._c.remote.read(parent, deadline) is None and self._c.sightings.absent(parent):
                raise DriftError(f"{previous.ref} cannot be as before, since {parent} is gone", resource=previous.id)

    def _wait(self, pauses: Pauses, ref: Ref, live: Live | None, trouble: Exception | None) -> None:
        state = (live.raw or live.state) if live else None
        pauses.pause(f"undo {ref}", state=_why(state, trouble), error=trouble)

    def _intent(self, index: int, action: str, ref: Ref, attempt: int) -> None:
        now = self._c.adapter.server_time()
        self._journal.note("intent", step=index, action=action, kind=ref.kind, id=ref.id, attempt=attempt, time=now)


def _why(state: str | None, trouble: Exception | None) -> str | None:
    if trouble is None:
        return state
    return f"{state or 'unknown'} ({_text(trouble)})"


def _text(error: Exception) -> str:
    return error.message if isinstance(error, SdkError) else f"{type(error).__name__}: {error}"


def drift(live: Live) -> DriftError:
    """Make the error for a resource that matches neither its previous state nor the one that we set."""
    holder = live.labels.owner if live.labels else None
    return DriftError(
        f"{live.ref} was changed by somebody else since, so it was left as it is",
        resource=live.id,
        holder=holder,
        hint="look at it, then deploy again",
    )


def leftover(target: str, ref: Ref, reason: str, usd_per_hour: float | None) -> Leftover:
    """Make a leftover with the command that removes it."""
    return Leftover(ref.kind, ref.id, reason, usd_per_hour, f"mlport gc --apply --target {target}")


def staying(left: Sequence[Leftover]) -> str:
    """Describe the leftovers, their price per hour and the command that removes them.

    Example:
        >>> staying([Leftover("Deployment", "d1", "still there", 0.4, "mlport gc --apply --target mine")])
        'Deployment d1 stays and costs $0.4 an hour until `mlport gc --apply --target mine`'
    """
    if not left:
        return "nothing stays"
    names = ", ".join(f"{item.kind} {item.id}" for item in left)
    known = sum(item.usd_per_hour or 0.0 for item in left)
    unknown = any(item.usd_per_hour is None for item in left)
    price = f"${known:.4g} an hour" if known else "nothing"
    if unknown:
        price = f"${known:.4g} an hour and more, of an unknown price," if known else "an unknown price"
    verbs = "stays and costs" if len(left) == 1 else "stay and cost"
    return f"{names} {verbs} {price} until `{left[0].command}`"
