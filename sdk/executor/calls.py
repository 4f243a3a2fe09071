"""One place for every call to the platform: time-outs, retries, and what an answer proves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

from ..adapter import KnowsUsers
from ..errors import ConflictError, NotFoundError, SdkError, ThrottledError, TimedOut, UnavailableError, UnreadableError
from ..waiting import Retry, bucket_of

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Collection, Mapping, Sequence

    from ..adapter import Ack, Adapter, Clock, Live, Materials, Operation, Ref, Resource
    from ..waiting import Deadline

T = TypeVar("T")

CALL_S = 60.0  # the longest that any call but a create may take

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
    """What a mutating call came to.

    ``ok``: taken. ``conflict``: the id exists, or it is refused for now. ``gone``: there is no such thing.
    ``refused``: nothing happened, for ``error``. ``unknown``: nothing is known.
    """

    outcome: Outcome
    ack: Ack | None = None
    error: Exception | None = None

    @property
    def operation(self) -> str | None:
        """The long-running operation that it started."""
        return self.ack.operation if self.ack else None


class Remote:
    """The adapter, behind one retry policy and one deadline; keeps a list of the mutating calls."""

    def __init__(self, adapter: Adapter, clock: Clock, random: random.Random, target: str) -> None:
        self.adapter = adapter
        self.calls: list[Call] = []
        self._retry = Retry(clock, bucket_of(target), random=random)

    def read(self, ref: Ref, deadline: Deadline) -> Live | None:
        """What is there now."""
        return self._look(lambda left: self.adapter.read(ref, timeout=left), deadline)

    def observe(self, name: str, deadline: Deadline) -> Sequence[Live]:
        """Everything of an endpoint."""
        return self._look(lambda left: self.adapter.observe(name, timeout=left), deadline)

    def list(self, deadline: Deadline) -> list[Live]:
        """Everything with our label; a hint."""
        return self._look(lambda left: list(self.adapter.list(timeout=left)), deadline)

    def users(self, known: Collection[Ref], deadline: Deadline) -> Mapping[Ref, Ref]:
        """What endpoints of others need, each with one of them; only asked of platforms that can tell."""
        adapter = self.adapter
        if not isinstance(adapter, KnowsUsers):
            return {}
        found = self._look(lambda left: tuple(adapter.users(known, timeout=left)), deadline)
        return {ref: endpoint for endpoint, needs in found for ref in needs}

    def operation(self, name: str, deadline: Deadline) -> Operation | None:
        """The state of an operation; ``None`` when the platform does not know it any more."""
        try:
            return self._look(lambda left: self.adapter.operation(name, timeout=left), deadline)
        except NotFoundError:
            return None

    def create(self, resource: Resource, materials: Materials, deadline: Deadline) -> Reply:
        """Sends a create; it may take as long as the deadline allows, since it may upload."""
        call = Call("create", resource.ref)
        return self._send(call, lambda: self.adapter.create(resource, materials, timeout=deadline.left), deadline)

    def update(self, resource: Resource, before: Live, deadline: Deadline) -> Reply:
        """Sends an update."""
        timeout = deadline.limit(CALL_S)
        return self._send(
            Call("update", resource.ref), lambda: self.adapter.update(resource, before, timeout=timeout), deadline
        )

    def delete(self, live: Live, deadline: Deadline) -> Reply:
        """Sends a delete."""
        return self._send(
            Call("delete", live.ref), lambda: self.adapter.delete(live, timeout=deadline.limit(CALL_S)), deadline
        )

    def _look(self, call: Callable[[float], T], deadline: Deadline) -> T:
        deadline.check("reading")
        return self._retry.run(lambda: call(deadline.limit(CALL_S)), deadline)

    def _send(self, call: Call, send: Callable[[], Ack], deadline: Deadline) -> Reply:
        deadline.check(str(call))
        self.calls.append(call)
        try:
            return Reply("ok", self._retry.run(send, deadline, unsent_only=True))
        except Exception as error:  # noqa: BLE001  # what it proves is decided by its class, nothing is swallowed
            return Reply(_proves(error), error=error)


def _proves(error: Exception) -> Outcome:
    if isinstance(error, ConflictError):
        return "conflict"
    if isinstance(error, NotFoundError):
        return "gone"
    if isinstance(error, UnavailableError):
        return "unknown" if error.sent else "refused"
    if isinstance(error, UnreadableError):
        return "unknown"  # it was answered, but nobody can say with what
    if isinstance(error, SdkError) and not isinstance(error, TimedOut):
        return "refused"
    return "unknown"


def is_transient(error: Exception) -> bool:
    """Whether a look that failed so may simply be repeated."""
    return isinstance(error, ThrottledError | UnavailableError)
