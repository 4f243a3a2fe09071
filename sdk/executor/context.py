"""The state that all parts of one transaction share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..adapter import Nature
from ..util.waiting import Poll

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping

    from ..adapter import Adapter, Clock, Kind, Ref
    from ..errors import Leftover
    from ..util.waiting import Deadline
    from .calls import Remote
    from .lease import Lease

_SAY_AGAIN_S, _SAY_SELDOM_S = 30.0, 300.0  # interval at which a wait is reported again, at first and later
TWICE_APART_S = 4.0  # an absence that no delete explains counts when seen twice, this many seconds apart


@dataclass(frozen=True, slots=True)
class Event:
    """A progress event of a transaction: a stage such as ``"create EndpointConfig x"`` or ``"roll back"``."""

    stage: str
    detail: str = ""
    elapsed_s: float = 0.0

    def __str__(self) -> str:
        return f"{self.stage}  {self.detail}".rstrip()


class Sightings:
    """Knowledge about which resources exist on a platform whose answers may be late or stale.

    Seeing a resource proves that it exists. Not seeing it proves nothing until ``settle_s`` after the last moment at
    which a create may have been sent, unless the platform answered every call: a refused create made nothing, and an
    acknowledged delete removed the resource.
    """

    def __init__(self, clock: Clock, kinds: Mapping[str, Kind]) -> None:
        self._clock = clock
        self._kinds = kinds
        self._sent: dict[Ref, float] = {}
        self._unanswered: set[Ref] = set()
        self._deleted: set[Ref] = set()
        self._proven: set[Ref] = set()
        self._missing: dict[Ref, float] = {}
        self.operations: dict[Ref, str] = {}

    def sent(self, ref: Ref, *, ago_s: float = 0.0) -> None:
        """Record that a create or update may have been sent until ``ago_s`` seconds ago."""
        self._sent[ref] = self._clock.monotonic() - ago_s
        self._missing.pop(ref, None)
        self._deleted.discard(ref)
        self._proven.discard(ref)

    def unanswered(self, ref: Ref) -> None:
        """Record that a call was never answered: it may still take effect, whatever other calls return."""
        self._unanswered.add(ref)

    def refused(self, ref: Ref, *, create: bool) -> None:
        """Record a refusal: nothing can take effect late, unless an earlier call was never answered."""
        if ref not in self._unanswered:
            self._sent.pop(ref, None)
            self._proven |= {ref} if create else set()

    def seen(self, ref: Ref) -> None:
        """Record that the resource was seen."""
        self._missing.pop(ref, None)

    def deleted(self, ref: Ref, *, taken: bool) -> None:
        """Record the delete of a resource: accepted (``taken``), or answered that there is nothing to delete."""
        self._deleted.add(ref)
        if taken and ref not in self._unanswered:
            self._proven.add(ref)

    def settled(self, ref: Ref) -> bool:
        """Check whether the settle time is over, so that no call that was sent can still take effect unseen."""
        sent = self._sent.get(ref)
        return sent is None or self._clock.monotonic() >= sent + self._kinds[ref.kind].settle_s

    def absent(self, ref: Ref) -> bool:
        """Check whether the absence of a resource that was just not seen is proven."""
        if ref in self._proven:
            return True
        if not self.settled(ref):
            return False
        if ref in self._deleted or self._kinds[ref.kind].settle_s <= 0:
            return True
        now = self._clock.monotonic()
        return now - self._missing.setdefault(ref, now) >= TWICE_APART_S


@dataclass(slots=True)
class Context:
    """The platform, clock, names and records of one transaction.

    ``left`` lists what could not be removed. ``relieve`` frees the space that is reserved for cleaning up.
    ``patient`` is ``False`` where the verb should end instead of pausing (``wait=False``).
    """

    adapter: Adapter
    remote: Remote
    clock: Clock
    random: random.Random
    target: str
    owner: str
    name: str
    txn: str
    lease: Lease
    sightings: Sightings
    emit: Callable[[Event], None]
    started: float
    left: list[Leftover]
    relieve: Callable[[], bool]
    patient: bool = True

    def kind(self, ref: Ref) -> Kind:
        """Return the kind of a resource."""
        return self.adapter.kinds[ref.kind]

    def is_shared(self, ref: Ref) -> bool:
        """Check whether a resource is shared, so that other endpoints may be using it."""
        return self.kind(ref).nature is Nature.SHARED

    def say(self, stage: str, detail: str = "") -> None:
        """Emit a progress event."""
        self.emit(Event(stage, detail, self.clock.monotonic() - self.started))

    def poll(self, deadline: Deadline) -> Pauses:
        """Return the pauses of one wait."""
        first = float(getattr(self.adapter, "poll_s", 1.0))
        return Pauses(self, Poll(self.clock, deadline, first_s=first, random=self.random), deadline)


class Detached(Exception):
    """Raised when the caller does not wait: the rest of the transaction is left to a later resume."""


class Pauses:
    """The pauses of one wait, which also keep the lease alive."""

    def __init__(self, context: Context, poll: Poll, deadline: Deadline) -> None:
        self._context = context
        self._poll = poll
        self._deadline = deadline
        self._told: tuple[str, str] | None = None
        self._began = self._said = context.clock.monotonic()
        self._quiet_s = _SAY_AGAIN_S

    def pause(self, what: str, *, state: str | None = None, error: Exception | None = None) -> None:
        """Wait until the next look, report the wait and renew the lease.

        Raises:
            TimedOut: The deadline has passed.
            Detached: The caller asked not to wait.
            ConflictError: The lease is lost.
        """
        if not self._context.patient:
            raise Detached
        now, known = self._context.clock.monotonic(), self._told == (what, state or "")
        if not known or now - self._said >= self._quiet_s:
            self._told, self._said = (what, state or ""), now
            self._quiet_s = min(2 * self._quiet_s, _SAY_SELDOM_S) if known else _SAY_AGAIN_S
            since = f"for {now - self._began:.0f} s" if known else ""
            self._context.say(f"wait {what.partition(' ')[2]}", ", ".join(filter(None, (state, since))))
        self._context.lease.check(self._deadline)
        self._poll.pause(what, state=state, error=error)
