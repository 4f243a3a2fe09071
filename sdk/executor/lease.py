"""The lease: a small record on the target that shows other machines which client is changing an endpoint.

It is advisory: the real protection are ids that contain the transaction, etags and re-reading. Its age is measured
by the platform's clock only.
"""

from __future__ import annotations

import contextlib
import json
import math
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from ..adapter import Leases
from ..errors import ConflictError, NotFoundError, SdkError, ThrottledError, UnavailableError
from ..util import foreign
from .calls import CALL_S

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from ..adapter import Adapter, LeaseRecord
    from ..util.waiting import Deadline


LONGEST_S = 600.0  # no lease of ours is valid for longer, of any class: one with a later end is damaged


@dataclass(frozen=True, slots=True)
class Holder:
    """The holder of a lease, and when the lease expires (Unix seconds of the platform)."""

    owner: str
    txn: str
    expires: float

    def holds(self, now: float) -> bool:
        """Check whether the lease is valid at this time; one that lasts longer than ``LONGEST_S`` is damaged."""
        return now < self.expires <= now + LONGEST_S


class Lease:
    """The lease of one endpoint, if the adapter keeps leases; otherwise every method does nothing.

    Attributes:
        ttl_s: Seconds after which a holder that has not renewed its lease counts as dead.
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
        self._doubtful = False  # a write was not answered, so the lease may be ours
        self._renewed = 0.0
        self._strict = True
        self._lock = threading.Lock()

    def take(self, deadline: Deadline) -> None:
        """Take the lease, also an expired one or one of this very transaction; do nothing if this object holds it.

        Raises:
            ConflictError: Another transaction holds it; the error names the owner.
        """
        if self._leases is None or self._etag is not None:
            return
        for _ in range(3):
            record = self._leases.lease_read(self._key, timeout=deadline.limit(CALL_S))
            self._refuse_if_held(record)
            try:
                self._write(record.etag if record else None, deadline)
            except (ConflictError, UnavailableError):
                continue  # another client was faster, or a reply was lost: look again
            return
        raise ConflictError(f"{self._name} is being changed by somebody else", resource=self._name, retryable=True)

    def check(self, deadline: Deadline) -> None:
        """Renew the lease if its renewal is due, and check that it is still ours.

        Raises:
            ConflictError: Another client took the lease over.
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
        """Stop treating a lost lease as an error: a clean-up removes our own resources, even if the name is taken."""
        self._strict = False

    def verify(self, deadline: Deadline) -> None:
        """Read the lease again just before the switch; raise :class:`ConflictError` if it is no longer ours."""
        if self._leases is None or self._etag is None:
            return
        self._refuse_if_held(self._leases.lease_read(self._key, timeout=deadline.limit(CALL_S)), missing=True)

    def drop(self, deadline: Deadline) -> None:
        """Delete the lease; one that cannot be deleted expires."""
        if self._leases is None or (self._etag is None and not self._doubtful):
            return
        etag, self._etag = self._etag, None
        with contextlib.suppress(SdkError):
            if etag is None or not self._give_back(self._leases, etag, deadline):
                unlock(self._adapter, self._name, self._txn, deadline)

    def _give_back(self, leases: Leases, etag: str, deadline: Deadline) -> bool:
        """Delete the lease; return ``False`` if its etag has changed.

        The lease may be ours all the same, if the reply to a renewal was lost.
        """
        try:
            leases.lease_delete(self._key, etag, timeout=deadline.limit(CALL_S))
        except ConflictError:
            return False
        return True

    @contextlib.contextmanager
    def beating(self, deadline: Deadline) -> Generator[None]:
        """Renew the lease in the background during one long call, such as an upload."""
        if self._leases is None or self._etag is None:
            yield
            return
        done = threading.Event()

        def beat() -> None:
            while not done.wait(self.renew_s):
                with contextlib.suppress(SdkError):  # `verify` detects it before it matters
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
        self._etag = None  # if the lease is lost, it is not renewed again
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
    """Describe when a lease expires unless it is renewed, by the platform's clock."""
    moment = datetime.fromtimestamp(max(0.0, min(expires, now + LONGEST_S)), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f" until {moment}, {max(0, math.ceil(expires - now))} s from now, and may renew it"


def parse(record: LeaseRecord | None) -> Holder | None:
    """Parse the holder of a stored lease; return ``None`` for no record, or for one that mlport did not write."""
    if record is None:
        return None
    try:
        body: dict[str, Any] = foreign.parse(record.body, "the lease", most=64 << 10)
        return Holder(str(body["owner"]), str(body["txn"]), float(body["expires"]))
    except (ValueError, KeyError, TypeError):
        return None


def holder_of(adapter: Adapter, name: str, deadline: Deadline) -> Holder | None:
    """Return the holder of an endpoint's lease if it is valid now, else ``None``."""
    if not isinstance(adapter, Leases):
        return None
    holder = parse(adapter.lease_read(f"locks/{name}", timeout=deadline.limit(CALL_S)))
    return holder if holder and holder.holds(adapter.server_time()) else None


def unlock(adapter: Adapter, name: str, txn: str, deadline: Deadline) -> bool:
    """Remove the lease of an endpoint if this transaction holds it; return whether it does."""
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
    """Remove the expired leases of these endpoints, which dead clients left."""
    if not isinstance(adapter, Leases):
        return
    for name in names:
        record = adapter.lease_read(f"locks/{name}", timeout=deadline.limit(CALL_S))
        holder = parse(record)
        if record is not None and holder is not None and not holder.holds(adapter.server_time()):
            with contextlib.suppress(NotFoundError, ConflictError):  # another client was faster
                adapter.lease_delete(f"locks/{name}", record.etag, timeout=deadline.limit(CALL_S))
