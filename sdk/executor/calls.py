"""The single path of every call to the platform: time-outs, retries, and what a reply proves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

from ..adapter import KnowsUsers
from ..errors import ConflictError, NotFoundError, SdkError, ThrottledError, TimedOut, UnavailableError, UnreadableError
from ..util.waiting import Retry, bucket_of

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Collection, Mapping, Sequence

    from ..adapter import Ack, Adapter, Clock, Live, Materials, Operation, Ref, Resource
    from ..util.waiting import Deadline

T = TypeVar("T")

CALL_S = 60.0  # the longest time that any call except a create may take

Outcome = Literal["ok", "conflict", "gone", "refused", "unknown"]


@dataclass(frozen=True, slots=True)
class Call:
    """A mutating call that was sent."""

    action: Literal["create", "update", "delete"]
    ref: Ref

    def __str__(self) -> str:
        return f"{self.action} {self.ref}"


@dataclass(frozen=True, slots=True)
class Reply:
    """The outcome of a mutating call.

    ``ok``: accepted. ``conflict``: the id exists, or the call is refused for now. ``gone``: the resource, or one that
    it needs, does not exist. ``refused``: nothing was changed, because of ``error``. ``unknown``: the call may or may
    not have taken effect.
    """

    outcome: Outcome
    ack: Ack | None = None
    error: Exception | None = None

    @property
    def operation(self) -> str | None:
        """The long-running operation that the call started, if any."""
        return self.ack.operation if self.ack else None


class Remote:
    """The adapter behind one retry policy; every call has a deadline, and mutating calls are recorded in ``calls``."""

    def __init__(self, adapter: Adapter, clock: Clock, random: random.Random, target: str) -> None:
        self.adapter = adapter
        self.calls: list[Call] = []
        self._retry = Retry(clock, bucket_of(target), random=random)

    def read(self, ref: Ref, deadline: Deadline) -> Live | None:
        """Read the current state of a resource; ``None`` if the platform does not show it."""
        return self._look(lambda left: self.adapter.read(ref, timeout=left), deadline, str(ref))

    def observe(self, name: str, deadline: Deadline) -> Sequence[Live]:
        """Return all resources of an endpoint."""
        return self._look(lambda left: self.adapter.observe(name, timeout=left), deadline)

    def list(self, deadline: Deadline) -> list[Live]:
        """Return all resources with our label; only a hint, since listings may be stale."""
        return self._look(lambda left: list(self.adapter.list(timeout=left)), deadline)

    def users(self, known: Collection[Ref], deadline: Deadline) -> Mapping[Ref, Ref]:
        """Return the resources that other endpoints need, each with one such endpoint.

        The result is empty for an adapter that cannot report users (:class:`KnowsUsers`).
        """
        adapter = self.adapter
        if not isinstance(adapter, KnowsUsers):
            return {}
        found = self._look(lambda left: tuple(adapter.users(known, timeout=left)), deadline)
        return {ref: endpoint for endpoint, needs in found for ref in needs}

    def operation(self, name: str, deadline: Deadline) -> Operation | None:
        """Return the state of an operation; ``None`` if the platform no longer knows it."""
        try:
            return self._look(lambda left: self.adapter.operation(name, timeout=left), deadline)
        except NotFoundError:
            return None

    def create(self, resource: Resource, materials: Materials, deadline: Deadline) -> Reply:
        """Send a create; it may take as long as the deadline allows, since it may upload."""
        call = Call("create", resource.ref)
        return self._send(call, lambda: self.adapter.create(resource, materials, timeout=deadline.left), deadline)

    def update(self, resource: Resource, before: Live, deadline: Deadline) -> Reply:
        """Send an update."""
        timeout = deadline.limit(CALL_S)
        return self._send(
            Call("update", resource.ref), lambda: self.adapter.update(resource, before, timeout=timeout), deadline
        )

    def delete(self, live: Live, deadline: Deadline) -> Reply:
        """Send a delete."""
        return self._send(
            Call("delete", live.ref), lambda: self.adapter.delete(live, timeout=deadline.limit(CALL_S)), deadline
        )

    def _look(self, call: Callable[[float], T], deadline: Deadline, what: str = "reading") -> T:
        deadline.check(what)
        return self._retry.run(lambda: call(deadline.limit(CALL_S)), deadline)

    def _send(self, call: Call, send: Callable[[], Ack], deadline: Deadline) -> Reply:
        deadline.expect(None)
        deadline.check(str(call))
        self.calls.append(call)
        try:
            return Reply("ok", self._retry.run(send, deadline, unsent_only=True))
        except Exception as error:  # noqa: BLE001  # its class decides the outcome; the error is kept in the reply
            return Reply(_proves(error), error=error)


def _proves(error: Exception) -> Outcome:
    if isinstance(error, ConflictError):
        return "conflict"
    if isinstance(error, NotFoundError):
        return "gone"
    if isinstance(error, UnavailableError):
        return "unknown" if error.sent else "refused"
    if isinstance(error, UnreadableError):
        return "unknown"  # there was an answer, but it cannot be read
    if isinstance(error, SdkError) and not isinstance(error, TimedOut):
        return "refused"
    return "unknown"


def is_transient(error: Exception) -> bool:
    """Check whether a read that failed with this error may simply be repeated."""
    return isinstance(error, ThrottledError | UnavailableError)
