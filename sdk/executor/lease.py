"""The lease: a small record on the target that tells other machines who is changing an endpoint.

It is advisory: what really guards are ids with the transaction in them, etags and re-reading. Its age is judged by
the platform's clock only.
"""

from __future__ import annotations

import contextlib
import json
import math
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from .. import foreign
from ..adapter import Leases
from ..errors import ConflictError, NotFoundError, SdkError, ThrottledError, UnavailableError
from .calls import CALL_S

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from ..adapter import Adapter, LeaseRecord
    from ..waiting import Deadline


LONGEST_S = 600.0  # by which no lease of ours is written ahead, whatever its class: a later one is damaged


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lease, and until when (Unix seconds of the platform)."""

    owner: str
    txn: str
    expires: float

    def holds(self, now: float) -> bool:
        """Whether the lease is valid; nobody writes one that lasts longer than a few minutes."""
        return now < self.expires <= now + LONGEST_S


class Lease:
    """The lease of one endpoint, if the adapter keeps leases; otherwise every method does nothing.

    Attributes:
        ttl_s: Seconds after which a holder that has not renewed it is taken for dead.
        renew_s: Seconds between two renewals.
    """

    ttl_s: ClassVar[float] = 120.0
    renew_s: ClassVar[float] = 40.0

    def __init__(self, adapter: Adapter, name: str, *, owner: str, txn: str) -> None:
        self._adapter = adapter
        self._leases = adapter if isinstance(adapter, Leases) else None
        self._key = f"locks/{name}"
        self._name = name
        self._owner = owner
        self._txn = txn
        self._etag: str | None = None
        self._doubtful = False  # a write was not answered, so it may be ours all the same
        self._renewed = 0.0
        self._strict = True
        self._lock = threading.Lock()

    def take(self, deadline: Deadline) -> None:
        """Takes it, also from a holder whose time is over or from this very transaction; if it is ours, nothing.

        Raises:
            ConflictError: Somebody else holds it; names the owner.
        """
        if self._leases is None or self._etag is not None:
            return
        for _ in range(3):
            record = self._leases.lease_read(self._key, timeout=deadline.limit(CALL_S))
            self._refuse_if_held(record)
            try:
                self._write(record.etag if record else None, deadline)
            except (ConflictError, UnavailableError):
                continue  # somebody was faster, or a reply was lost: look again
            return
        raise ConflictError(f"{self._name} is being changed by somebody else", resource=self._name, retryable=True)

    def check(self, deadline: Deadline) -> None:
        """Makes sure that it is still ours, and renews it in time.

        Raises:
            ConflictError: Somebody else took it over.
        """
        if self._leases is None or self._etag is None:
            return
        with self._lock:
            if self._adapter.server_time() - self._renewed < self.renew_s:
                return
            with contextlib.suppress(ThrottledError, UnavailableError):  # tried again before the next call
                try:
                    self._write(self._etag, deadline)
                except ConflictError:
                    self._retake(deadline)

    def relax(self) -> None:
        """From now on a lost lease is no error: what is being cleaned up is our own, whoever holds the name."""
        self._strict = False

    def verify(self, deadline: Deadline) -> None:
        """Reads it again: the last look before the switch."""
        if self._leases is None or self._etag is None:
            return
        self._refuse_if_held(self._leases.lease_read(self._key, timeout=deadline.limit(CALL_S)), missing=True)

    def drop(self, deadline: Deadline) -> None:
        """Gives it back; a lease that cannot be given back expires."""
        if self._leases is None or (self._etag is None and not self._doubtful):
            return
        etag, self._etag = self._etag, None
        with contextlib.suppress(SdkError):
            if etag is None or not self._give_back(self._leases, etag, deadline):
                unlock(self._adapter, self._name, self._txn, deadline)

    def _give_back(self, leases: Leases, etag: str, deadline: Deadline) -> bool:
        """``False`` if it is not as we last saw it: ours all the same if the reply to a renewal was lost."""
        try:
            leases.lease_delete(self._key, etag, timeout=deadline.limit(CALL_S))
        except ConflictError:
            return False
        return True

    @contextlib.contextmanager
    def beating(self, deadline: Deadline) -> Generator[None]:
        """Renews it in the background during one long call, such as an upload."""
        if self._leases is None or self._etag is None:
            yield
            return
        done = threading.Event()

        def beat() -> None:
            while not done.wait(self.renew_s):
                with contextlib.suppress(SdkError):  # `verify` finds out before it matters
                    self.check(deadline)

        thread = threading.Thread(target=beat, name=f"lease-{self._name}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _retake(self, deadline: Deadline) -> None:
        if self._leases is None:
            return
        record = self._leases.lease_read(self._key, timeout=deadline.limit(CALL_S))
        self._etag = None  # if it is lost it is not asked for again
        try:
            self._refuse_if_held(record, missing=True)
        except ConflictError:
            if self._strict:
                raise
            return
        self._write(record.etag if record else None, deadline)

    def _refuse_if_held(self, record: LeaseRecord | None, *, missing: bool = False) -> None:
        holder = parse(record)
        if holder is None:
            if missing:
                raise ConflictError(f"the lease of {self._name} was taken away", resource=self._name)
            return
        now = self._adapter.server_time()
        if holder.txn == self._txn or (not missing and not holder.holds(now)):
            return
        raise ConflictError(
            f"{self._name} is being changed by {holder.owner} (transaction {holder.txn}), who has its lease"
            f"{_until(holder.expires, now)}",
            holder=holder.owner,
            free_at=holder.expires,
            resource=self._name,
            retryable=True,
            hint=f"wait; if that machine is gone, the name is free then, or at once after `mlport unlock {self._name} "
            f"--id {holder.txn}`",
        )

    def _write(self, expected: str | None, deadline: Deadline) -> None:
        if self._leases is None:
            return
        now = self._adapter.server_time()
        body = json.dumps({"owner": self._owner, "txn": self._txn, "expires": now + self.ttl_s}, sort_keys=True)
        self._doubtful = True
        record = self._leases.lease_write(self._key, body, expected, timeout=deadline.limit(CALL_S))
        self._etag, self._renewed, self._doubtful = record.etag, now, False


def _until(expires: float, now: float) -> str:
    """When a lease ends that is not renewed, by the platform's clock."""
    moment = datetime.fromtimestamp(max(0.0, min(expires, now + LONGEST_S)), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f" until {moment}, {max(0, math.ceil(expires - now))} s from now, and may renew it"


def parse(record: LeaseRecord | None) -> Holder | None:
    """The holder in a stored lease; ``None`` for none, or for a record that nobody of us wrote."""
    if record is None:
        return None
    try:
        body: dict[str, Any] = foreign.parse(record.body, "the lease", most=64 << 10)
        return Holder(str(body["owner"]), str(body["txn"]), float(body["expires"]))
    except (ValueError, KeyError, TypeError):
        return None


def holder_of(adapter: Adapter, name: str, deadline: Deadline) -> Holder | None:
    """Who holds the lease of an endpoint now, if it is still valid."""
    if not isinstance(adapter, Leases):
        return None
    holder = parse(adapter.lease_read(f"locks/{name}", timeout=deadline.limit(CALL_S)))
    return holder if holder and holder.holds(adapter.server_time()) else None


def unlock(adapter: Adapter, name: str, txn: str, deadline: Deadline) -> bool:
    """Removes the lease of an endpoint if it is the one of this transaction."""
    if not isinstance(adapter, Leases):
        return False
    record = adapter.lease_read(f"locks/{name}", timeout=deadline.limit(CALL_S))
    holder = parse(record)
    if record is None or holder is None or holder.txn != txn:
        return False
    with contextlib.suppress(NotFoundError):
        adapter.lease_delete(f"locks/{name}", record.etag, timeout=deadline.limit(CALL_S))
    return True


def remove_expired(adapter: Adapter, names: Iterable[str], deadline: Deadline) -> None:
    """Removes the leases of these endpoints that dead clients left, once their time is over."""
    if not isinstance(adapter, Leases):
        return
    for name in names:
        record = adapter.lease_read(f"locks/{name}", timeout=deadline.limit(CALL_S))
        holder = parse(record)
        if record is not None and holder is not None and not holder.holds(adapter.server_time()):
            with contextlib.suppress(NotFoundError, ConflictError):  # another client was faster
                adapter.lease_delete(f"locks/{name}", record.etag, timeout=deadline.limit(CALL_S))
