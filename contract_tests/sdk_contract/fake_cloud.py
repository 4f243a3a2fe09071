"""A cloud in memory that is as hostile as real ones, in virtual time.

It answers late, with old state, or not at all. It refuses deletes while it is busy, loses replies, and carries out
requests long after the client gave up. It forgets operations, keeps names for a while after a delete, and reverts
updates. It also records every call and checks that an endpoint which once served never stops.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from sdk.adapter import Ack, Labels, LeaseRecord, Live, Operation, Ref, Resource
from sdk.errors import ConflictError, InvalidRequestError, NotFoundError, QuotaError, ThrottledError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sdk.adapter import Clock

EPOCH = 1_790_000_000.0

Trouble = Literal[
    "unsent",  # never left this machine
    "lost",  # done, but the reply was lost (also: a 504 after success)
    "dropped",  # never done, and no reply
    "late",  # no reply, and done much later
    "throttled",  # 429
    "unavailable",  # 503, and nothing was done
    "refused",  # a 409 for now
    "quota",  # a definite refusal
    "fails",  # accepted, but it never becomes ready
    "reverts",  # an update that the platform reverts
    "stale",  # a read that returns old state
    "forgets",  # the long-running operation is no longer known
]


class VirtualClock:
    """Time that passes only during a wait; the wall clock can be set."""

    def __init__(self) -> None:
        self._now = 0.0
        self.wrong_by = 0.0
        self.slept = 0

    def time(self) -> float:
        """Return the wall clock time of this machine, right or wrong."""
        return EPOCH + self._now + self.wrong_by

    def monotonic(self) -> float:
        """Return the true time."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """Advance the time."""
        self.slept += 1
        self._now += max(seconds, 0.0)


@dataclass(frozen=True)
class Temper:
    """How hostile the cloud is; times in seconds."""

    create_s: float = 0.0  # until a slow kind is ready
    update_s: float = 0.0
    delete_s: float = 0.0
    visible_s: float = 0.0  # until a read shows what was created
    listed_s: float = 0.0  # until a list shows it, and until a list no longer shows what is deleted
    stale_s: float = 0.0  # how old a stale read is
    late_s: float = 25.0  # after which time a late request is carried out
    tombstone_s: float = 0.0  # how long a name stays taken after a delete
    etags: bool = True  # whether an update is refused when the live one has changed
    yields: bool = False  # whether a resource may be deleted while it is being created


CALM = Temper()
HOSTILE = Temper(create_s=7, update_s=6, delete_s=3, visible_s=2, listed_s=20, stale_s=3, tombstone_s=4)


@dataclass
class Fault:
    """One planned fault: which, on which operation and kind, how often, after how many calls that succeed."""

    trouble: Trouble
    op: str = "create"
    kind: str | None = None
    times: int = 1
    skip: int = 0
    delay_s: float | None = None

    def strikes(self, op: str, kind: str) -> bool:
        """Return whether this call is hit, and count it."""
        if self.op != op or self.kind not in {None, kind} or self.times <= 0:
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times -= 1
        return True


@dataclass
class Item:
    """A resource in the cloud."""

    ref: Ref
    spec: Mapping[str, Any]
    tags: Mapping[str, str]
    parents: tuple[Ref, ...]
    usd: float | None
    created: float
    slow: bool
    ready_at: float
    fails: bool = False
    etag: int = 1
    gone_at: float | None = None
    update: tuple[float, Mapping[str, Any], Mapping[str, str], tuple[Ref, ...]] | None = None


class FakeCloud:
    """The inventory and the rules; any number of adapters can share one cloud.

    Args:
        clock: Its time; each machine may have a wall clock of its own.
        temper: How hostile it is.
    """

    def __init__(self, clock: Clock | None = None, temper: Temper = CALM) -> None:
        self.clock: Clock = clock or VirtualClock()
        self.temper = temper
        self.items: dict[Ref, Item] = {}
        self.leases: dict[str, LeaseRecord] = {}
        self.faults: list[Fault] = []
        self.calls: list[tuple[str, Ref]] = []
        self.outages: list[str] = []
        self.must_serve: set[str] = set()  # endpoints that may not stop
        self.watch: Callable[[FakeCloud], None] = lambda cloud: None
        self.referrers: Callable[[FakeCloud, Ref], bool] = lambda cloud, ref: False
        self.refusal: Callable[[FakeCloud, str, Resource], str | None] = lambda cloud, op, resource: None
        self.lock = threading.RLock()
        self._gone: dict[Ref, tuple[float, Live | None]] = {}
        self._later: list[tuple[float, Callable[[], object]]] = []
        self._operations: dict[str, tuple[Ref, float, str | None]] = {}
        self._numbers = itertools.count(1)

    # --- time ---------------------------------------------------------------------------------------------------

    def now(self) -> float:
        """Return the cloud's own clock, which cannot be set."""
        return EPOCH + self.clock.monotonic()

    def settle(self) -> None:
        """Do everything that is due by now, in order."""
        while True:
            due = sorted(self._due(), key=lambda pair: pair[0])
            if not due or due[0][0] > self.now():
                break
            due[0][1]()
            self.watch(self)
        self.watch(self)

    def _due(self) -> list[tuple[float, Callable[[], object]]]:
        due = [(at, self._popping(at, do)) for at, do in self._later]
        for item in self.items.values():
            if item.gone_at is not None:
                due.append((item.gone_at, lambda item=item: self._vanish(item)))  # type: ignore[misc]
            if item.update is not None:
                due.append((item.update[0], lambda item=item: self._updated(item)))  # type: ignore[misc]
        return due

    def _popping(self, at: float, do: Callable[[], object]) -> Callable[[], object]:
        def run() -> None:
            self._later.remove((at, do))
            with contextlib.suppress(ConflictError, NotFoundError, InvalidRequestError):  # no caller gets the error
                do()

        return run

    def _vanish(self, item: Item) -> None:
        self._gone[item.ref] = (self.now(), self.show(item))
        del self.items[item.ref]

    def _updated(self, item: Item) -> None:
        assert item.update is not None
        _, item.spec, item.tags, item.parents = item.update
        item.update = None
        item.etag += 1

    # --- faults -------------------------------------------------------------------------------------------------

    def strike(self, op: str, kind: str) -> Fault | None:
        """Return the fault planned for this call."""
        return next((fault for fault in self.faults if fault.strikes(op, kind)), None)

    def _change(self, op: str, ref: Ref, do: Callable[[Fault | None], Ack]) -> Ack:
        self.settle()
        fault = self.strike(op, ref.kind)
        trouble = fault.trouble if fault else ""
        if trouble == "unsent":
            raise UnavailableError("connection refused", sent=False)
        self.calls.append((op, ref))
        if trouble == "throttled":
            raise ThrottledError("slow down", status=429)
        if trouble == "unavailable":
            raise UnavailableError("internal error", status=503)
        if trouble == "refused":
            raise ConflictError(f"{ref} is busy", retryable=True, status=409)
        if trouble == "quota":
            raise QuotaError("no capacity", status=400)
        if trouble == "dropped":
            raise UnavailableError("time-out", sent=True)
        if trouble == "late" and fault is not None:
            delay = self.temper.late_s if fault.delay_s is None else fault.delay_s
            self._later.append((self.now() + delay, lambda: do(None)))
            raise UnavailableError("time-out", sent=True)
        ack = do(fault)
        self.watch(self)
        if trouble == "lost":
            raise UnavailableError("time-out", sent=True)
        return ack

    def _look(self, op: str, kind: str) -> str:
        fault = self.strike(op, kind)
        trouble = fault.trouble if fault else ""
        if trouble in {"unsent", "unavailable", "lost", "dropped"}:
            raise UnavailableError("internal error", status=503)
        if trouble == "throttled":
            raise ThrottledError("slow down", status=429)
        return trouble

    # --- operations ---------------------------------------------------------------------------------------------

    def create(self, resource: Resource, *, tagged: bool, slow: bool) -> Ack:
        """Create a resource, or start to."""

        def do(fault: Fault | None) -> Ack:
            gone = self._gone.get(resource.ref)
            if resource.ref in self.items:
                raise ConflictError(f"{resource.ref} exists", status=409)
            if gone is not None and self.now() < gone[0] + self.temper.tombstone_s:
                raise ConflictError(f"the name of {resource.ref} is not free yet", status=409, retryable=True)
            missing = [parent for parent in resource.parents if parent not in self.items]
            if missing:
                raise InvalidRequestError(f"{resource.ref} needs {missing[0]}, which does not exist", status=400)
            self._refuse("create", resource)
            tags = resource.tags if tagged else {}
            ready = self.now() + (self.temper.create_s if slow else 0.0)
            fails = fault is not None and fault.trouble == "fails"
            item = Item(
                ref=resource.ref,
                spec=dict(resource.spec or {}),
                tags=tags,
                parents=resource.parents,
                usd=resource.usd_per_hour,
                created=self.now(),
                slow=slow,
                ready_at=ready,
                fails=fails,
            )
            self.items[resource.ref] = item
            return self._ack(item, ready, "it never became ready" if fails else None, slow=slow, fault=fault)

        return self._change("create", resource.ref, do)

    def update(self, resource: Resource, before: Live, *, slow: bool) -> Ack:
        """Change a resource in place, or start to."""

        def do(fault: Fault | None) -> Ack:
            item = self._existing(resource.ref)
            if self.show(item).state in {"creating", "updating", "deleting"}:
                raise ConflictError(f"{resource.ref} is busy", status=409, retryable=True)
            if self.temper.etags and before.etag != str(item.etag):
                raise ConflictError(f"{resource.ref} has changed", status=412)
            for needed in self._closure(resource.parents):
                if needed not in self.items:
                    raise InvalidRequestError(f"{resource.ref} needs {needed}, which does not exist", status=400)
            self._refuse("update", resource)
            until = self.now() + (self.temper.update_s if slow else 0.0)
            reverts = fault is not None and fault.trouble == "reverts"
            if reverts:
                item.update = (until, item.spec, item.tags, item.parents)
            else:
                item.update = (until, resource.spec or {}, resource.tags, resource.parents)
            if not slow:
                self._updated(item)
            return self._ack(item, until, "health check failed" if reverts else None, slow=slow, fault=fault)

        return self._change("update", resource.ref, do)

    def _refuse(self, op: str, resource: Resource) -> None:
        reason = self.refusal(self, op, resource)
        if reason is not None:
            raise InvalidRequestError(f"{resource.ref}: {reason}", status=400)

    def stop(self, ref: Ref) -> Ack:
        """Stop a job where it is; its record is kept forever."""

        def do(fault: Fault | None) -> Ack:
            item = self._existing(ref)
            item.ready_at, item.fails = min(item.ready_at, self.now()), item.fails or self.now() < item.ready_at
            return Ack()

        return self._change("delete", ref, do)

    def delete(self, ref: Ref, *, refuse_if_used: bool) -> Ack:
        """Delete a resource, or start to."""

        def do(fault: Fault | None) -> Ack:
            item = self._existing(ref)
            busy = {"updating", "deleting", *(() if self.temper.yields else ("creating",))}
            if self.show(item).state in busy:
                raise ConflictError(f"{ref} is {self.show(item).state}", status=409, retryable=True)
            if refuse_if_used and self.referrers(self, ref):
                raise ConflictError(f"{ref} is in use", status=409, retryable=True)
            item.gone_at = self.now() + (self.temper.delete_s if item.slow else 0.0)
            if not item.slow:
                self._vanish(item)
            return Ack()

        return self._change("delete", ref, do)

    def read(self, ref: Ref) -> Live | None:
        """Return a resource in its current or an earlier state."""
        self.settle()
        trouble = self._look("read", ref.kind)
        return self._at(ref, self.now() - self.temper.stale_s) if trouble == "stale" else self._at(ref, self.now())

    def list(self) -> list[Live]:
        """List all resources, with the delay of the list."""
        self.settle()
        trouble = self._look("list", "")
        seen = [item for item in self.items.values() if item.created + self.temper.listed_s <= self.now()]
        shown = [self.show(item) for item in seen]
        late = [live for at, live in self._gone.values() if live is not None and self.now() < at + self.temper.listed_s]
        return shown[: len(shown) // 2] if trouble == "stale" else [*shown, *late]

    def operation(self, name: str) -> Operation:
        """Return the state of a long-running operation."""
        self.settle()
        fault = self.strike("operation", "")
        if name not in self._operations or (fault is not None and fault.trouble == "forgets"):
            self._operations.pop(name, None)
            raise NotFoundError(f"no operation {name}", status=404)
        _, done_at, error = self._operations[name]
        if self.now() < done_at:
            return Operation(name, done=False)
        return Operation(name, done=True, error=RuntimeError(error) if error else None)

    def show(self, item: Item) -> Live:
        """Return a resource as the cloud reports it."""
        state: Any = "ready"
        if item.gone_at is not None:
            state = "deleting"
        elif self.now() < item.ready_at:
            state = "creating"
        elif item.fails:
            state = "failed"
        elif item.update is not None:
            state = "updating"
        return Live(
            item.ref.kind,
            item.ref.id,
            state,
            raw=state.capitalize(),
            spec=item.spec,
            labels=Labels.from_tags(item.tags),
            etag=str(item.etag),
            created_at=item.created,
            parents=item.parents,
            usd_per_hour=item.usd,
            reason="it never became ready" if state == "failed" else None,
        )

    def _at(self, ref: Ref, when: float) -> Live | None:
        item = self.items.get(ref)
        if item is None:
            gone = self._gone.get(ref)
            return gone[1] if gone is not None and gone[0] > when else None
        if item.created + self.temper.visible_s > when:
            return None
        live = self.show(item)
        if when < item.ready_at and live.state in {"ready", "failed"}:
            return replace(live, state="creating", raw="Creating")
        return live

    def _closure(self, refs: tuple[Ref, ...]) -> tuple[Ref, ...]:
        """Return these resources and all that they depend on."""
        more = (self._closure(self.items[ref].parents) for ref in refs if ref in self.items)
        return (*refs, *itertools.chain.from_iterable(more))

    def _existing(self, ref: Ref) -> Item:
        if ref not in self.items:
            raise NotFoundError(f"{ref} does not exist", status=404)
        return self.items[ref]

    def _ack(self, item: Item, until: float, error: str | None, *, slow: bool, fault: Fault | None) -> Ack:
        if not slow:
            return Ack(etag=str(item.etag))
        name = f"operation-{next(self._numbers)}"
        if fault is None or fault.trouble != "forgets":
            self._operations[name] = (item.ref, until, error)
        return Ack(operation=name, etag=str(item.etag))

    # --- leases -------------------------------------------------------------------------------------------------

    def lease_write(self, key: str, body: str, expected: str | None) -> LeaseRecord:
        """Write a lease, if no other client changed it first."""
        held = self.leases.get(key)
        if (held.etag if held else None) != expected:
            raise ConflictError(f"{key} has changed", status=412)
        self.leases[key] = LeaseRecord(body, f"e{next(self._numbers)}")
        return self.leases[key]

    def lease_delete(self, key: str, expected: str) -> None:
        """Delete a lease, if no other client changed it first."""
        held = self.leases.get(key)
        if held is None or held.etag != expected:
            raise ConflictError(f"{key} has changed", status=412)
        del self.leases[key]

    # --- out of band --------------------------------------------------------------------------------------------

    def plant(self, live: Live, tags: Mapping[str, str] | None = None) -> None:
        """Create a resource that no adapter made."""
        now, spec = self.now(), dict(live.spec or {})
        self.items[live.ref] = Item(
            live.ref, spec, dict(tags or {}), live.parents, live.usd_per_hour, created=now, slow=False, ready_at=now
        )

    def remove(self, ref: Ref) -> None:
        """Delete a resource as if in the console."""
        self._vanish(self.items[ref])

    def edit(self, ref: Ref, spec: Mapping[str, Any]) -> None:
        """Change a resource as if in the console."""
        item = self.items[ref]
        item.spec, item.etag = dict(spec), item.etag + 1


_clouds: dict[str, FakeCloud] = {}


def cloud_named(name: str) -> FakeCloud:
    """Return the cloud of this name in this process; created on first use, calm and with a virtual clock."""
    return _clouds.setdefault(name, FakeCloud())


def give_name(name: str, cloud: FakeCloud) -> str:
    """Register a cloud under a name, by which the options of adapters refer to it."""
    _clouds[name] = cloud
    return name
