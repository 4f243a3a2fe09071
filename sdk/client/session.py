"""A session with one target: its adapter, its capabilities, and the operations that all verbs share."""

from __future__ import annotations

import functools
import logging
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar, cast

from ..adapter import AdapterContext, Capability, Monitors, ProbesAside, StreamsLogs, Trains
from ..adapter.types import EndpointState, EndpointStatus
from ..errors import ConfigError, NotFoundError, SdkError, UnreadableError, UnsupportedError
from ..executor import Event, Executor, new_txn
from ..util import private, scratch
from ..util.raised import ended, failed
from ..util.waiting import Deadline, Retry, bucket_of

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    import httpx

    from ..adapter import Adapter, Clock, Live, Support, TargetOptions
    from ..adapter.metrics import MetricsReport
    from ..adapter.types import LogLine
    from ..config import Settings, TargetSettings
    from ..util.redact import Redactor

T = TypeVar("T")
_log = logging.getLogger(__name__)

READ_S = 60.0  # for a verb that only reads
_CALL_S = 30.0
_LOGS_S = 15.0  # how long to wait for the trace of a failed smoke test
_ENDS_S = 3.0  # how long to wait for the log to show how a replica ended
_LOOK_S = 0.2
_TAIL = 30


def _make(state_dir: Path) -> None:
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"state_dir {state_dir} cannot be made: {error.strerror}", hint="set MLPORT_STATE_DIR to a folder of yours"
        ) from error
    trouble = private.make_private(state_dir)
    if trouble:
        raise ConfigError(f"state_dir {state_dir} {trouble}", hint="set MLPORT_STATE_DIR to a folder of yours")


class Session:
    """A session with a target.

    Args:
        settings: The configuration.
        target: The settings of this target.
        clock: The source of time.
        redactor: Redacts secrets in logs, events and errors.
        progress: Called with each event of a change.
        random: The source of jitter and ids.
        transport: The transport that replaces the network in tests.
    """

    def __init__(
        self,
        settings: Settings,
        target: TargetSettings,
        *,
        clock: Clock,
        redactor: Redactor,
        progress: Callable[[Event], None],
        random: random.Random,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        kind = target.adapter()
        self.target = target.name
        self.settings = target
        self.owner = settings.owner.value
        self.state_dir = settings.state_dir.value
        self.clock = clock
        self.redactor = redactor
        self.options: TargetOptions = target.options(kind.Options)
        self.kind = kind
        _make(self.state_dir)
        context = AdapterContext(target.name, self.owner, self.state_dir, clock, redactor, transport)
        self.adapter: Adapter = kind(self.options, context)
        self.random = random
        self._progress = progress
        self.transport = transport
        self.bucket = bucket_of(target.name)
        self._listeners: list[Callable[[Event], None]] = []
        self._lock = threading.Lock()

    def sweep(self) -> None:
        """Remove the temporary files of processes that were killed."""
        from ..packaging import disk

        scratch.sweep(disk.roots(self.state_dir))

    @functools.cached_property
    def executor(self) -> Executor:
        """The executor, which plans and applies changes on this target."""
        return Executor(
            self.adapter,
            owner=self.owner,
            state_dir=self.state_dir,
            clock=self.clock,
            target=self.target,
            progress=self.tell,
            random=self.random,
        )

    @property
    def provider(self) -> str:
        """The provider's name."""
        return self.adapter.provider

    def new_txn(self) -> str:
        """Return a new transaction id."""
        return new_txn(self.clock, self.random)

    def deadline(self, timeout: float) -> Deadline:
        """Return a deadline that many seconds from now."""
        return Deadline(self.clock, timeout)

    def close(self) -> None:
        """Close the adapter."""
        self.adapter.close()

    # --- capabilities -------------------------------------------------------------------------------------------

    @property
    def aside(self) -> ProbesAside | None:
        """The adapter, if the target is configured to run smoke tests on a temporary copy beside the endpoint."""
        adapter = self.adapter
        return adapter if isinstance(adapter, ProbesAside) and adapter.probes_aside else None

    def can(self, capability: Capability, options: TargetOptions | None = None) -> bool:
        """Return whether the target declares a capability."""
        return self.capabilities(options)[capability].ok

    def capabilities(self, options: TargetOptions | None = None) -> Mapping[Capability, Support]:
        """Return the capabilities that the target declares, for its own settings or for the given ones."""
        return self.kind.capabilities(options or self.options)

    def require(self, capability: Capability, what: str, options: TargetOptions | None = None) -> None:
        """Refuse a request that the target does not support, before any call is made.

        Raises:
            UnsupportedError: The target does not support it; the error has the adapter's reason.
        """
        support = self.capabilities(options)[capability]
        if not support.ok:
            raise UnsupportedError(
                f"{what} is not supported on target {self.target!r} ({support.reason}): {support.text}",
                capability=capability,
                reason=support.reason,
                provider=self.provider,
            )

    def monitors(self) -> Monitors:
        """Return the adapter as one that reports metrics."""
        self.require(Capability.METRICS, "metrics")
        return cast("Monitors", self.adapter)

    def streams_logs(self) -> StreamsLogs:
        """Return the adapter as one that returns log lines."""
        self.require(Capability.LOGS, "logs")
        return cast("StreamsLogs", self.adapter)

    def trains(self) -> Trains:
        """Return the adapter as one that runs training jobs."""
        self.require(Capability.TRAIN, "training")
        return cast("Trains", self.adapter)

    # --- reading ------------------------------------------------------------------------------------------------

    def call(self, call: Callable[[float], T], deadline: Deadline) -> T:
        """Make a reading call with retries; the argument of the call is its time limit in seconds."""
        retry = Retry(self.clock, self.bucket, random=self.random)
        return retry.run(lambda: call(deadline.limit(_CALL_S)), deadline)

    def observe(self, name: str, deadline: Deadline) -> Sequence[Live]:
        """Return all live resources of an endpoint."""
        return self.call(lambda left: self.adapter.observe(name, timeout=left), deadline)

    def find(self, name: str, deadline: Deadline) -> EndpointStatus | None:
        """Return the current status of an endpoint; ``None`` when it does not exist."""
        return self.adapter.status(name, self.observe(name, deadline))

    def find_or_say_why(self, name: str, deadline: Deadline) -> EndpointStatus | None:
        """Return the status as :meth:`find` does; ``degraded`` and why if the platform's answer is unreadable."""
        try:
            return self.find(name, deadline)
        except UnreadableError as error:
            reason = self.redactor(error.message)
            return EndpointStatus(
                name, self.target, self.provider, EndpointState.DEGRADED, "unreadable", None, reason=reason
            )

    def status(self, name: str, deadline: Deadline) -> EndpointStatus:
        """Return the current status of an endpoint.

        Raises:
            NotFoundError: The endpoint does not exist.
        """
        found = self.find(name, deadline)
        if found is None:
            raise NotFoundError(
                f"there is no endpoint {name!r} on target {self.target!r}",
                provider=self.provider,
                operation="status",
                resource=name,
                hint=f"`mlport list -t {self.target}` shows those there are",
            )
        return found

    def names(self, deadline: Deadline) -> list[str]:
        """Return the names of all endpoints and jobs that mlport created on the target."""
        lives = self.call(lambda left: list(self.adapter.list(timeout=left)), deadline)
        return sorted({live.labels.endpoint for live in lives if live.labels and live.labels.endpoint})

    def metrics(self, name: str, window_s: float, deadline: Deadline) -> MetricsReport | None:
        """Return the metrics of an endpoint over a window up to now; ``None`` where the target has none."""
        if not self.can(Capability.METRICS):
            return None
        monitors = self.monitors()
        return self.call(lambda left: monitors.metrics(name, window_s=window_s, timeout=left), deadline)

    def tail(
        self, name: str, lines: int, *, deployment: str | None = None, request_id: str | None = None
    ) -> list[LogLine]:
        """Return the last log lines, or none if reading them fails: missing logs must not fail a verb."""
        if not self.can(Capability.LOGS):
            return []
        try:
            found = self.streams_logs().logs(name, deployment=deployment, tail=lines, request_id=request_id)
            return list(self.shown(found))
        except SdkError:
            return []

    def trace_of(self, name: str, deployment: str, request_id: str | None, deadline: Deadline) -> list[str]:
        """Return the log lines of a request that failed in the model; wait for them briefly, since logs arrive late."""
        if request_id is None or not self.can(Capability.LOGS):
            return []
        deadline = self.deadline(deadline.limit(_LOGS_S))
        while True:
            lines = [line.text for line in self.tail(name, _TAIL, deployment=deployment, request_id=request_id)]
            if deadline.passed or failed(lines):
                return lines
            self.clock.sleep(_LOOK_S)

    def endings(self, name: str, deployment: str | None, since: float, deadline: Deadline) -> list[str]:
        """Wait briefly until the log shows how a replica ended after a moment; return the log lines since then.

        Args:
            name: The endpoint.
            deployment: The only deployment whose lines to read; all when ``None``.
            since: The moment in Unix seconds of the local clock; an earlier end belongs to another request.
            deadline: The deadline of the verb.
        """
        since += self.adapter.server_time() - self.clock.time()  # converted to the platform's clock
        deadline = self.deadline(deadline.limit(_ENDS_S))
        while True:
            found = self.tail(name, _TAIL, deployment=deployment)
            earlier = [place for place, line in enumerate(found) if line.time < since and ended([line.text])]
            fresh = found[earlier[-1] + 1 :] if earlier else found
            lines = [line.text for line in fresh if line.time >= since or not line.text.startswith("{")]
            if deadline.passed or ended(lines):
                return lines
            self.clock.sleep(_LOOK_S)

    def shown(self, lines: Iterator[LogLine]) -> Iterator[LogLine]:
        """Yield log lines with known secrets redacted."""
        for line in lines:
            yield replace(line, text=self.redactor(line.text))

    # --- progress -----------------------------------------------------------------------------------------------

    def listen(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Add a progress listener; return the function that removes it."""
        with self._lock:
            self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def uploading(self, what: str, done: int, total: int | None) -> None:
        """Report the progress of an upload or a build."""
        share = f"{100 * done // total} %" if total else ""
        self.tell(Event(what, share))

    def tell(self, event: Event) -> None:
        """Redact known secrets in an event, log it, and send it to all listeners."""
        event = replace(event, detail=self.redactor(event.detail))
        _log.info("%s: %s", self.target, event)
        self.relay(event)

    def relay(self, event: Event) -> None:
        """Send an event to all listeners without logging it, since another session already has."""
        for listener in tuple(self._listeners):
            listener(event)
        self._progress(event)

    def __repr__(self) -> str:
        return f"<Session {self.target} ({self.provider})>"
