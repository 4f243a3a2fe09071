"""The verbs that call models and read the state of a target."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

from ..adapter.types import Check
from ..errors import SdkError
from ..util.durations import parse_duration
from ..util.names import check_name
from .alarms import evaluate, objective
from .apply_change import redacted_lines, redacting_errors
from .base import ClientBase, seconds_of
from .callers import say_how
from .monitor import Watch, cost_so_far
from .resolve import region_of
from .session import READ_S

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
    from typing import TypeVar

    import httpx

    from ..adapter import Capability, Support
    from ..adapter.metrics import MetricsReport
    from ..adapter.prices import PriceRow
    from ..adapter.types import EndpointStatus, LogLine
    from ..dataplane.invoke import Caller
    from ..dataplane.prediction import Prediction
    from ..dataplane.streams import AsyncStream, Stream
    from ..util.waiting import Deadline
    from .price_refresh import Refreshed
    from .session import Session

    T = TypeVar("T")

_TAIL = 10  # log lines that a watch shows


class ReadVerbs(ClientBase):
    """The verbs predict, status, list, logs, monitor, doctor, capabilities, prices and their variants."""

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
        """Send a request to the model behind an endpoint.

        Args:
            name: The endpoint.
            inputs: Rows: a list, a dict (columns by name, or one record), a numpy array, or a pandas or polars
                table, whose index ``.frame`` of the answer keeps. Inputs that are too large for one request are sent
                in several, if the model answers row by row.
            deployment: The deployment that must answer, where the platform supports this.
            target: The target in the configuration.
            timeout: Seconds, or text such as ``"30s"``, for the whole call; the platform's limit by default.

        Raises:
            InvalidInputError: The input is wrong; the error names the field.
            ModelError: The model failed.
            NotFoundError: The endpoint does not exist.
            TimedOut: There was no answer in time; such a request is never sent again.

        Example:
            >>> sdk.predict("churn", [[1.0, 2.0]]).values
            [3.0]
        """
        return self._called(
            self.session(target),
            name,
            lambda caller, left: caller.predict(inputs, deployment=deployment, timeout=left),
            _maybe(timeout),
        )

    async def apredict(
        self,
        name: str,
        inputs: Any,
        *,
        deployment: str | None = None,
        target: str | None = None,
        timeout: str | float | None = None,  # noqa: ASYNC109  # the same arguments as predict
    ) -> Prediction:
        """Do the same as :meth:`predict` asynchronously; only the first read of the endpoint blocks the event loop."""
        return await self._acalled(
            self.session(target),
            name,
            lambda caller, left: caller.apredict(inputs, deployment=deployment, seconds=left),
            _maybe(timeout),
        )

    def stream(
        self,
        name: str,
        inputs: Any,
        *,
        deployment: str | None = None,
        target: str | None = None,
        timeout: str | float | None = None,
    ) -> Stream:
        """Send a request to the model behind an endpoint, and return the items of its answer as they arrive.

        A function or class that is a generator streams what it yields. The items of any other model are its
        predictions, which arrive together.

        Args:
            name: The endpoint.
            inputs: As for :meth:`predict`, but always sent in one request.
            deployment: The deployment that must answer, where the platform supports this.
            target: The target in the configuration.
            timeout: Seconds, or text such as ``"30s"``, for each item; the platform's limit by default.

        Returns:
            An iterator over plain Python values. Iterating raises the same errors as :meth:`predict` if the model or
            the connection fails in between; close it to end the model's work early.

        Raises:
            UnsupportedError: The platform has no streams.

        Example:
            >>> for item in sdk.stream("story", ["Once upon a time"]):  # doctest: +SKIP
            ...     print(item, end="", flush=True)
        """
        return self._called(
            self.session(target),
            name,
            lambda caller, left: caller.stream(inputs, deployment=deployment, timeout=left),
            _maybe(timeout),
        )

    async def astream(
        self,
        name: str,
        inputs: Any,
        *,
        deployment: str | None = None,
        target: str | None = None,
        timeout: str | float | None = None,  # noqa: ASYNC109  # the same arguments as stream
    ) -> AsyncStream:
        """Do the same as :meth:`stream` asynchronously: ``async for item in await client.astream(…)``."""
        return await self._acalled(
            self.session(target),
            name,
            lambda caller, left: caller.astream(inputs, deployment=deployment, seconds=left),
            _maybe(timeout),
        )

    def request(
        self, name: str, inputs: Any, *, deployment: str | None = None, target: str | None = None
    ) -> httpx.Request:
        """Return the signed request of a :meth:`predict`, for any other HTTP client; it contains credentials."""
        return self._called(
            self.session(target), name, lambda caller, _left: caller.request(inputs, deployment=deployment)
        )

    def curl(self, name: str, inputs: Any, *, deployment: str | None = None, target: str | None = None) -> str:
        """Return the same request as a shell command; it contains credentials."""
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
        with redacting_errors(session):
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

    async def _acalled(
        self,
        session: Session,
        name: str,
        call: Callable[[Caller, float | None], Coroutine[Any, Any, T]],
        seconds: float | None,
    ) -> T:
        with redacting_errors(session):
            caller = self._callers.get(session, check_name(name))
            deadline, since = _deadline(session, caller, seconds), session.clock.time()
            try:
                return await call(caller, seconds)
            except SdkError as error:
                fresh = await asyncio.to_thread(self._callers.outdated, session, name, error, deadline)
                if fresh is None:
                    await asyncio.to_thread(say_how, session, name, error, since, deadline)
                    raise
            return await call(fresh, deadline.left)

    # --- reading ------------------------------------------------------------------------------------------------

    def status(self, name: str, *, target: str | None = None) -> EndpointStatus:
        """Return the current status of an endpoint.

        Raises:
            NotFoundError: The endpoint does not exist.
        """
        session = self.session(target)
        with redacting_errors(session):
            return session.status(check_name(name), session.deadline(READ_S))

    def list(self, *, target: str | None = None) -> list[EndpointStatus]:
        """Return all endpoints of all owners that mlport created on a target, sorted by name.

        An endpoint whose state cannot be read is ``degraded``, with the reason; the others are still returned.
        """
        session = self.session(target)
        with redacting_errors(session):
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
        """Return the log lines of an endpoint's containers, oldest first; known secrets are redacted.

        Args:
            name: The endpoint.
            tail: Return only this many of the last lines.
            follow: Wait for new lines and return them until the iteration is stopped.
            deployment: Only lines of this deployment.
            request_id: Only lines about this request (see ``Prediction.request_id`` and the errors of a predict).
            target: The target in the configuration.

        Raises:
            NotFoundError: The endpoint does not exist.
        """
        session = self.session(target)
        with redacting_errors(session):
            source = session.streams_logs()
            session.status(check_name(name), session.deadline(READ_S))
            lines = source.logs(name, deployment=deployment, tail=tail, follow=follow, request_id=request_id)
            return redacted_lines(session, lines)

    def monitor(self, name: str, *, window: str | float = "1h", target: str | None = None) -> Watch:
        """Return what an endpoint did: state, rate, errors, latency, utilisation, cost so far, alarms, last log lines.

        The alarms are the rules of the configuration (``[monitor] alarms``) and its latency objective.

        Args:
            name: The endpoint.
            window: The period to report, up to now: seconds, or text such as ``"15m"``.
            target: The target in the configuration.

        Raises:
            NotFoundError: The endpoint does not exist.

        Example:
            >>> watch = sdk.monitor("churn", window="15m")
            >>> sdk.promote("churn") if watch.ok else sdk.rollback("churn")
            <Endpoint churn on local ready>
        """
        session = self.session(target)
        seconds = parse_duration(window, field="window")
        with redacting_errors(session):
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

    def doctor(self, *, target: str | None = None) -> dict[str, tuple[Check, ...]]:
        """Make one real read call per target, and report what is missing and how to fix it.

        Args:
            target: The only target to include; all configured targets by default.
        """
        names = (target,) if target else self.targets()
        return {"python": (_python(),), **{name: tuple(self._examined(name)) for name in names}}

    def _examined(self, target: str) -> Iterator[Check]:
        try:
            session = self.session(target)
            with redacting_errors(session):
                yield from session.adapter.doctor()
        except SdkError as error:
            yield Check(target, ok=False, detail=error.message, hint=error.hint)

    def capabilities(self, *, target: str | None = None) -> dict[str, Mapping[Capability, Support]]:
        """Return what each target supports, and why it does not support the rest; no call is made.

        Args:
            target: The only target to include; all configured targets by default.
        """
        names = (target,) if target else self.targets()
        return {name: self.session(name).capabilities() for name in names}

    def refresh_prices(
        self, *, regions: Sequence[str] = (), accept: bool = False, target: str | None = None
    ) -> Refreshed:
        """Fetch the current price table of a target's provider; only this verb contacts a price service.

        The table is stored in the state folder and used from then on. A table that fails a plausibility check is not
        stored.

        Args:
            regions: Regions to fetch; by default the target's own, or those of the current table.
            accept: Accept prices that change by more than 60 %, too.
            target: The target in the configuration.

        Raises:
            ConfigError: The provider has no price source, or its prices are implausible; the old table stays.
            UnavailableError: The price service does not answer.
        """
        from ..adapter.prices import refreshed_table
        from ..packaging import disk
        from .price_refresh import Get, refresh, source_of

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
        """Return the prices of instances on a target, from the adapter's price table; no call is made.

        Args:
            instance: The only instance type to return; all when left out.
            target: The target in the configuration.
        """
        rows = self.session(target).adapter.prices()
        return tuple(row for row in rows if instance is None or row.instance_type == instance)


def _deadline(session: Session, caller: Caller, seconds: float | None) -> Deadline:
    return session.deadline(caller.invoker.limits.timeout_s if seconds is None else seconds)


def _maybe(timeout: str | float | None) -> float | None:
    return None if timeout is None else seconds_of(timeout, 0.0)


_FIXED = {11: 13, 12: 11, 13: 4}  # minor version: first release whose tarfile never writes outside its folder


def _python() -> Check:
    """Check the Python release: in older ones, ``tarfile`` can write outside its folder, which other code may use."""
    major, minor, micro = sys.version_info[:3]
    fixed = _FIXED.get(minor, 0)
    hint = None if micro >= fixed else f"upgrade to {major}.{minor}.{fixed} or later: archives may escape their folder"
    return Check("python", ok=True, detail=f"{major}.{minor}.{micro}", hint=hint)
