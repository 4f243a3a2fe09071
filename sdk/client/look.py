"""The verbs that look, call and clean up."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any, cast

from .. import scratch
from ..adapter import change_times
from ..alarms import evaluate, objective
from ..durations import parse_duration
from ..endpoint import Endpoint
from ..errors import NotFoundError, SdkError
from ..monitor import Watch, cost_so_far
from ..names import check_name
from ..types import Check, Leftover
from .base import ClientBase, deadline_of, seconds_of
from .calling import say_how
from .changing import border, told
from .order import region_of
from .passing import Records
from .session import READ_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import TypeVar

    import httpx

    from ..adapter import Capability, Support
    from ..executor import GcReport
    from ..invoke import Caller
    from ..metrics import MetricsReport
    from ..prediction import Prediction
    from ..price_refresh import Refreshed
    from ..prices import PriceRow
    from ..types import EndpointStatus, LogLine
    from ..waiting import Deadline
    from . import Client
    from .session import Session

    T = TypeVar("T")

_TAIL = 10  # log lines that a watch shows


class LookVerbs(ClientBase):
    """predict, status, list, logs, monitor, gc, unlock, doctor, capabilities, prices."""

    def endpoint(self, name: str, *, target: str | None = None) -> Endpoint:
        """The handle of an endpoint, without looking whether it is there.

        Example:
            >>> sdk.endpoint("churn").predict([[1.0, 2.0]]).values
            [3.0]
        """
        return Endpoint(cast("Client", self), check_name(name), self.session(target).target)

    # --- calling ------------------------------------------------------------------------------------------------

    def predict(
        self,
        name: str,
        inputs: Any,
        *,
        deployment: str | None = None,
        target: str | None = None,
        timeout: str | float | None = None,
    ) -> Prediction:
        """Asks the model behind an endpoint.

        Args:
            name: The endpoint.
            inputs: Rows: a list, a dict (columns by name, or one record), a numpy array, or a pandas or polars
                table, whose index ``.frame`` of the answer keeps. More than fits into one request goes in several, if
                the model answers row by row.
            deployment: Makes this deployment answer, where the platform allows it.
            target: Target of the configuration.
            timeout: Seconds, or text such as ``"30s"``, for all of it; the platform's limit by default.

        Raises:
            InvalidInputError: The input is wrong; names the field.
            ModelError: The model failed.
            NotFoundError: There is no such endpoint.
            TimedOut: No answer in time; it is never sent twice then.

        Example:
            >>> sdk.predict("churn", [[1.0, 2.0]]).values
            [3.0]
        """
        session, seconds = self.session(target), _maybe(timeout)

        def call(caller: Caller, left: float | None) -> Prediction:
            return caller.predict(inputs, deployment=deployment, timeout=left)

        return self._called(session, name, call, seconds)

    async def apredict(
        self,
        name: str,
        inputs: Any,
        *,
        deployment: str | None = None,
        target: str | None = None,
        timeout: str | float | None = None,  # noqa: ASYNC109  # the same arguments as predict
    ) -> Prediction:
        """The same without blocking the event loop, but for the first look at the endpoint."""
        session, seconds = self.session(target), _maybe(timeout)
        with border(session):
            caller = self._callers.get(session, check_name(name))
            deadline, since = _deadline(session, caller, seconds), session.clock.time()
            try:
                return await caller.apredict(inputs, deployment=deployment, seconds=seconds)
            except SdkError as error:
                fresh = await asyncio.to_thread(self._callers.outdated, session, name, error, deadline)
                if fresh is None:
                    await asyncio.to_thread(say_how, session, name, error, since, deadline)
                    raise
            return await fresh.apredict(inputs, deployment=deployment, seconds=deadline.left)

    def request(
        self, name: str, inputs: Any, *, deployment: str | None = None, target: str | None = None
    ) -> httpx.Request:
        """The signed request of a :meth:`predict`, for any other HTTP client; it holds credentials."""
        return self._called(
            self.session(target), name, lambda caller, _left: caller.request(inputs, deployment=deployment)
        )

    def curl(self, name: str, inputs: Any, *, deployment: str | None = None, target: str | None = None) -> str:
        """The same request as a shell line; it holds credentials."""
        return self._called(
            self.session(target), name, lambda caller, _left: caller.curl(inputs, deployment=deployment)
        )

    def _called(
        self,
        session: Session,
        name: str,
        call: Callable[[Caller, float | None], T],
        seconds: float | None = None,
    ) -> T:
        with border(session):
            caller = self._callers.get(session, check_name(name))
            deadline, since = _deadline(session, caller, seconds), session.clock.time()
            try:
                return call(caller, seconds)
            except SdkError as error:
                fresh = self._callers.outdated(session, name, error, deadline)
                if fresh is None:
                    say_how(session, name, error, since, deadline)
                    raise
            return call(fresh, deadline.left)

    # --- looking ------------------------------------------------------------------------------------------------

    def status(self, name: str, *, target: str | None = None) -> EndpointStatus:
        """An endpoint as it is now.

        Raises:
            NotFoundError: It is not there.
        """
        session = self.session(target)
        with border(session):
            return session.status(check_name(name), session.deadline(READ_S))

    def list(self, *, target: str | None = None) -> list[EndpointStatus]:
        """All endpoints on a target that mlport made, whoever owns them, by name.

        One whose state cannot be read is ``degraded``, with the reason; it does not hide the others.
        """
        session = self.session(target)
        with border(session):
            deadline = session.deadline(READ_S)
            found = [session.find_or_say_why(name, deadline) for name in session.names(deadline)]
            return [status for status in found if status is not None]

    def logs(
        self,
        name: str,
        *,
        tail: int | None = None,
        follow: bool = False,
        deployment: str | None = None,
        request_id: str | None = None,
        target: str | None = None,
    ) -> Iterator[LogLine]:
        """What the containers of an endpoint wrote, oldest first; known secrets are hidden.

        Args:
            name: The endpoint.
            tail: Only the last so many lines.
            follow: Goes on with new lines until it is stopped.
            deployment: Only lines of this deployment.
            request_id: Only lines about this request (see ``Prediction.request_id`` and the errors of a predict).
            target: Target of the configuration.

        Raises:
            NotFoundError: There is no such endpoint.
        """
        session = self.session(target)
        with border(session):
            source = session.streams_logs()
            session.status(check_name(name), session.deadline(READ_S))
            lines = source.logs(name, deployment=deployment, tail=tail, follow=follow, request_id=request_id)
            return told(session, lines)

    def monitor(self, name: str, *, window: str | float = "1h", target: str | None = None) -> Watch:
        """What an endpoint did: state, rate, errors, latency, use, cost so far, alarms, last log lines.

        The alarms are the rules of the configuration (``[monitor] alarms``) and its latency objective.

        Args:
            name: The endpoint.
            window: How far back: seconds, or text such as ``"15m"``.
            target: Target of the configuration.

        Raises:
            NotFoundError: There is no such endpoint.

        Example:
            >>> watch = sdk.monitor("churn", window="15m")
            >>> sdk.promote("churn") if watch.ok else sdk.rollback("churn")
            <Endpoint churn on local ready>
        """
        session = self.session(target)
        seconds = parse_duration(window, field="window")
        with border(session):
            deadline = session.deadline(READ_S)
            status = session.status(check_name(name), deadline)
            reports: dict[float, MetricsReport | None] = {}

            def report(window_s: float) -> MetricsReport | None:
                if window_s not in reports:
                    reports[window_s] = session.metrics(name, window_s, deadline)
                return reports[window_s]

            settings = self.settings
            rules = (*settings.alarms.value, *objective(settings.p95_ms.value))
            return Watch(
                name=name,
                target=session.target,
                window_s=seconds,
                status=status,
                metrics=report(seconds),
                usd=cost_so_far(status.deployments, session.adapter.server_time()),
                alarms=evaluate(rules, status, seconds, report),
                logs=tuple(session.tail(name, _TAIL)),
            )

    # --- the target itself --------------------------------------------------------------------------------------

    def gc(
        self,
        *,
        apply: bool = False,
        expired: bool = False,
        shared: bool = False,
        target: str | None = None,
        timeout: str | float | None = None,
    ) -> GcReport:
        """Finds what was left behind, from labels alone if need be; with ``apply`` removes it.

        Args:
            apply: Removes it, after finishing or undoing what a process that died had begun.
            expired: Also endpoints past their ttl, whoever owns them.
            shared: Also shared things that nothing uses.
            target: Target of the configuration.
            timeout: Seconds, or text such as ``"10m"``.

        Example:
            >>> sdk.gc().orphans
            []
        """
        session = self.session(target, sweeps=False)
        with border(session):
            deadline = deadline_of(session, timeout, change_times(session.adapter).longest_s)
            report = session.executor.gc(apply=apply, expired=expired, shared=shared, deadline=deadline)
            _temporaries(session, report, apply=apply)
            return self._abandoned(session, report, deadline, apply=apply)

    def _abandoned(self, session: Session, report: GcReport, deadline: Deadline, *, apply: bool) -> GcReport:
        """Adds the endpoints of comparisons that were killed on this machine; with ``apply`` deletes them."""
        records = Records(self.settings.state_dir.value)
        for run, name in records.abandoned(session.target):
            status = session.find(name, deadline)
            if status is None:
                if apply:
                    records.gone(run, session.target, name)
                continue
            command = f"mlport gc --apply --target {session.target}"
            left = Leftover("endpoint", name, "the run that made it is no more", status.usd_per_hour, command)
            if not apply:
                report.orphans.append(left)
                continue
            cast("Client", self).delete(name, target=session.target, timeout=deadline.left)
            records.gone(run, session.target, name)
            report.removed.append(left)
        return report

    def unlock(self, name: str, txn: str, *, target: str | None = None) -> None:
        """Releases an endpoint whose lock on the target was left behind by a machine that is gone for good.

        A lock that nobody renews ends by itself after a few minutes; this is for who cannot wait. What that machine had
        begun is finished or undone by its own ``gc``, or swept by anybody's when it is old enough.

        Args:
            name: The endpoint.
            txn: The transaction that holds it, as the :class:`~sdk.errors.ConflictError` said.
            target: Target of the configuration.

        Raises:
            NotFoundError: That transaction does not hold it.
        """
        session = self.session(target)
        with border(session):
            if not session.executor.unlock(check_name(name), txn):
                raise NotFoundError(
                    f"{name!r} is not locked by transaction {txn!r}",
                    operation="unlock",
                    resource=name,
                    hint="nothing needs to be unlocked; if a change is refused, its error names who holds the lock",
                )

    def doctor(self, *, target: str | None = None) -> dict[str, tuple[Check, ...]]:
        """Makes one real read call per target, and says what is missing and how to mend it.

        Args:
            target: Only this one; all configured ones by default.
        """
        names = (target,) if target else self.targets()
        return {"python": (_python(),), **{name: tuple(self._examined(name)) for name in names}}

    def _examined(self, target: str) -> Iterator[Check]:
        try:
            session = self.session(target)
            with border(session):
                yield from session.adapter.doctor()
        except SdkError as error:
            yield Check(target, ok=False, detail=error.message, hint=error.hint)

    def capabilities(self, *, target: str | None = None) -> dict[str, Mapping[Capability, Support]]:
        """What each target can do, and why not; no call is made.

        Args:
            target: Only this one; all configured ones by default.
        """
        names = (target,) if target else self.targets()
        return {name: self.session(name).capabilities() for name in names}

    def refresh_prices(
        self, *, regions: Sequence[str] = (), accept: bool = False, target: str | None = None
    ) -> Refreshed:
        """Fetches the price table of a target's provider anew; the only verb that goes to a price service.

        The table is kept in the state folder and used from then on; nothing is kept when a guard refuses it.

        Args:
            regions: Regions to fetch; the target's own, or those of the table, when left out.
            accept: Takes prices that move by more than 60 %, too.
            target: Target of the configuration.

        Raises:
            ConfigError: The provider has no price source, or what it gives is not to be believed; the old table stays.
            UnavailableError: The price service does not answer.
        """
        from ..packaging import disk
        from ..price_refresh import Get, refresh, source_of
        from ..prices import refreshed_table

        session = self.session(target)
        provider, old = session.provider, tuple(session.adapter.prices())
        own = () if regions else region_of(session)
        wanted = tuple(regions) or ((own,) if own else tuple(sorted({row.region for row in old})))
        prefix = f"MLPORT_PRICES_{provider.upper()}"
        source = source_of(provider)(self._environ.get(f"{prefix}_URL"), self._environ.get(f"{prefix}_KEY"))
        table = refreshed_table(session.state_dir, provider)
        get = Get(session.clock)
        try:
            return refresh(source, get, old, wanted, accept=accept, write=lambda data: disk.write_file(table, data))
        finally:
            get.close()

    def prices(self, *, instance: str | None = None, target: str | None = None) -> tuple[PriceRow, ...]:
        """What instances cost on a target, by the table its adapter ships; no call is made.

        Args:
            instance: Only this instance type.
            target: Target of the configuration.
        """
        rows = self.session(target).adapter.prices()
        return tuple(row for row in rows if instance is None or row.instance_type == instance)


def _deadline(session: Session, caller: Caller, seconds: float | None) -> Deadline:
    return session.deadline(caller.invoker.limits.timeout_s if seconds is None else seconds)


def _maybe(timeout: str | float | None) -> float | None:
    return None if timeout is None else seconds_of(timeout, 0.0)


_FIXED = {11: 13, 12: 11, 13: 4}  # the releases whose tarfile does not write outside of its folder


def _python() -> Check:
    """Older releases unpack archives outside of the folder they are told; we do not use them for it, others may."""
    major, minor, micro = sys.version_info[:3]
    fixed = _FIXED.get(minor, 0)
    hint = None if micro >= fixed else f"upgrade to {major}.{minor}.{fixed} or later: archives may escape their folder"
    return Check("python", ok=True, detail=f"{major}.{minor}.{micro}", hint=hint)


def _temporaries(session: Session, report: GcReport, *, apply: bool) -> None:
    """Add what killed processes left half-written on this machine; with ``apply`` remove it."""
    from ..packaging import disk

    found = scratch.sweep if apply else scratch.abandoned
    command = f"mlport gc --apply --target {session.target}"
    into = report.removed if apply else report.orphans
    for item in found(disk.roots(session.state_dir)):
        reason = f"the process that wrote it was killed ({item.size:,} bytes)"
        into.append(Leftover("temporary", str(item.path), reason, 0.0, command))
