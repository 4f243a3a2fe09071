"""Deletes resources attached to an endpoint before the switch, and recreates them if the switch is not made."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from ..adapter import Materials
from ..errors import ConflictError, SdkError, TimedOut

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..adapter import Live
    from ..util.waiting import Deadline
    from .calls import Reply
    from .context import Context
    from .journal import Notes
    from .plan import Step
    from .settle import Settler
    from .undo import Remover

_ATTEMPTS = 3


class Detacher:
    """Deletes attached resources that block an update on the platform, and recreates them on undo.

    Args:
        context: The transaction.
        settler: Reads the platform's state.
        remover: Lists what could not be recreated.
        journal: Receives the outcomes.
    """

    def __init__(self, context: Context, settler: Settler, remover: Remover, journal: Notes) -> None:
        self._c = context
        self._settler = settler
        self._remover = remover
        self._journal = journal

    def take(self, index: int, step: Step, intend: Callable[[int], None], deadline: Deadline) -> None:
        """Delete the resource of a step and wait until it is proven gone.

        Args:
            index: The number of the step.
            step: The step.
            intend: Writes the intent of an attempt to the journal; no delete is sent before that.
            deadline: When to give up.

        Raises:
            SdkError: The platform refuses.
        """
        pauses, attempt = self._c.poll(deadline), 0
        while True:
            live, trouble = self._settler.look(step.ref, deadline)
            if live is None and trouble is None and self._c.sightings.absent(step.ref):
                self._journal.note("settled", step=index, outcome="gone")
                return
            if live is not None and live.state != "deleting":
                attempt += 1
                intend(attempt)
                trouble = self._send_delete(index, live, deadline)
                if trouble is None and attempt == 1:
                    continue  # most resources are gone at once: look without a pause
            pauses.pause(f"delete {step.ref}", state=live.raw if live else None, error=trouble)

    def give_back(self, index: int, step: Step, deadline: Deadline) -> None:
        """Recreate the resource of a step as it was; list what cannot be recreated instead of raising an error."""
        self._c.say(f"undo delete {step.ref}")
        try:
            self._give_back(index, step, deadline)
        except TimedOut as error:
            self._remover.leave(step.ref, f"not made again: {error.state or 'no answer'}", step.usd_per_hour)
        except SdkError as error:
            self._remover.leave(step.ref, f"not made again: {error.message}", step.usd_per_hour)

    def _give_back(self, index: int, step: Step, deadline: Deadline) -> None:
        pauses, refusals = self._c.poll(deadline), 0
        for attempt in count(1):  # a delete without an answer may still land: look until the settle time is over
            live, trouble = self._settler.look(step.ref, deadline)
            if live is not None and live.state != "deleting" and self._c.sightings.settled(step.ref):
                self._journal.note("settled", step=index, outcome="undone")
                return
            if live is None and trouble is None:
                if self._hosts_drifted(step):
                    self._c.say("left alone", f"{step.ref}: {step.parents[0]} was changed by somebody else since")
                    return
                reply = self._send_create(step, deadline)
                trouble = reply.error
                refusals += reply.outcome in {"refused", "gone"}
                if refusals == _ATTEMPTS and reply.error is not None:
                    raise reply.error
                if trouble is None and attempt == 1:
                    continue
            pauses.pause(f"undo {step.ref}", error=trouble)

    def _hosts_drifted(self, step: Step) -> bool:
        return any(parent in self._remover.drifted for parent in step.parents)

    def _send_delete(self, index: int, live: Live, deadline: Deadline) -> Exception | None:
        reply = self._c.remote.delete(live, deadline)
        self._acknowledge(index, reply)
        if reply.outcome in {"ok", "gone"}:
            self._c.sightings.deleted(live.ref, taken=reply.outcome == "ok")
            return None
        if reply.outcome == "unknown":
            self._c.sightings.sent(live.ref)
            self._c.sightings.unanswered(live.ref)  # it may still land, even after the resource was recreated
        elif reply.error is not None and not _is_for_now(reply):
            raise reply.error
        return reply.error

    def _send_create(self, step: Step, deadline: Deadline) -> Reply:
        """Send one create; the intent of the delete that it undoes is in the journal already."""
        if step.previous is None:
            raise ConflictError(f"what {step.ref} was before is not known", resource=step.ref.id)
        self._c.lease.check(deadline)
        return self._c.remote.create(step.previous, Materials(), deadline)

    def _acknowledge(self, index: int, reply: Reply) -> None:
        status = getattr(reply.error, "status", None)
        now = self._c.adapter.server_time()
        self._journal.note("ack", step=index, outcome=reply.outcome, operation=None, time=now, status=status)


def _is_for_now(reply: Reply) -> bool:
    return reply.outcome == "conflict" and isinstance(reply.error, SdkError) and reply.error.retryable
