"""The verbs that remove what was left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..adapter import change_times
from ..errors import Leftover, NotFoundError
from ..util import scratch
from ..util.names import check_name
from .apply_change import redacting_errors
from .base import deadline_of
from .deploy import ChangeVerbs
from .temporary_endpoints import TemporaryRecords

if TYPE_CHECKING:
    from ..executor import GcReport
    from ..util.waiting import Deadline
    from .session import Session


class GcVerbs(ChangeVerbs):
    """The verbs gc and unlock."""

    def gc(
        self,
        *,
        apply: bool = False,
        expired: bool = False,
        shared: bool = False,
        target: str | None = None,
        timeout: str | float | None = None,
    ) -> GcReport:
        """Find leftover resources, from their labels alone if necessary; with ``apply``, remove them.

        Args:
            apply: Remove them, after finishing or undoing the changes of processes that died.
            expired: Include endpoints of all owners that are past their ttl.
            shared: Include unused shared resources.
            target: The target in the configuration.
            timeout: Seconds, or text such as ``"10m"``.

        Example:
            >>> sdk.gc().orphans
            []
        """
        session = self.session(target, sweeps=False)
        with redacting_errors(session):
            deadline = deadline_of(session, timeout, change_times(session.adapter).longest_s)
            temporaries = _temporaries(session, apply=apply)  # first, since a list may remove some
            report = session.executor.gc(apply=apply, expired=expired, shared=shared, deadline=deadline)
            (report.removed if apply else report.orphans).extend(temporaries)
            return self._abandoned(session, report, deadline, apply=apply)

    def _abandoned(self, session: Session, report: GcReport, deadline: Deadline, *, apply: bool) -> GcReport:
        """Add the endpoints of comparisons that were killed on this machine; with ``apply``, delete them."""
        records = TemporaryRecords(self.settings.state_dir.value)
        for run, one in records.abandoned(session.target):
            name, target = one.name, one.target
            status = self.session(target, sweeps=False).find(name, deadline)
            if status is None:
                if apply:
                    records.gone(run, target, name)
                continue
            command = f"mlport gc --apply --target {target}"
            left = Leftover("endpoint", name, "the run that made it is no more", status.usd_per_hour, command)
            if not apply:
                report.orphans.append(left)
                continue
            self.delete(name, target=target, timeout=deadline.left)
            records.gone(run, target, name)
            report.removed.append(left)
        return report

    def unlock(self, name: str, txn: str, *, target: str | None = None) -> None:
        """Release the lock of an endpoint on the target, left by a machine that does not return.

        A lock that is not renewed expires after a few minutes; use this only if you cannot wait. The changes that the
        machine had started are finished or undone by its own ``gc``, or removed by any ``gc`` when they are old enough.

        Args:
            name: The endpoint.
            txn: The transaction that holds the lock, as named by the :class:`~sdk.errors.ConflictError`.
            target: The target in the configuration.

        Raises:
            NotFoundError: The transaction does not hold the lock.
        """
        session = self.session(target)
        with redacting_errors(session):
            if not session.executor.unlock(check_name(name), txn):
                raise NotFoundError(
                    f"{name!r} is not locked by transaction {txn!r}",
                    operation="unlock",
                    resource=name,
                    hint="nothing needs to be unlocked; if a change is refused, its error names who holds the lock",
                )


def _temporaries(session: Session, *, apply: bool) -> list[Leftover]:
    """Return the unfinished files of killed processes on this machine; with ``apply``, remove them."""
    from ..packaging import disk

    found = scratch.sweep if apply else scratch.abandoned
    command = f"mlport gc --apply --target {session.target}"
    return [
        Leftover("temporary", str(item.path), item.reason, 0.0, command)
        for item in found(disk.roots(session.state_dir))
    ]
