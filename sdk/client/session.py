"""One target, opened: its adapter, what it can do, and what every verb on it needs."""

from __future__ import annotations

import functools
import logging
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar, cast

from .. import private, scratch
from ..adapter import AdapterContext, Capability, Monitors, ProbesAside, StreamsLogs, Trains
from ..errors import ConfigError, NotFoundError, SdkError, UnreadableError, UnsupportedError
from ..executor import Event, Executor, new_txn
from ..raised import ended, failed
from ..types import EndpointState, EndpointStatus
from ..waiting import Deadline, Retry, bucket_of

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    import httpx

    from ..adapter import Adapter, Clock, Live, Support, TargetOptions
    from ..config import Settings, TargetSettings
    from ..metrics import MetricsReport
    from ..redact import Redactor
    from ..types import LogLine

T = TypeVar("T")
_log = logging.getLogger(__name__)

READ_S = 60.0  # for a verb that only looks
_CALL_S = 30.0
_LOGS_S = 15.0  # how long the trace of a failed smoke test is waited for
_ENDS_S = 3.0  # how long its log is asked how a replica ended
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
    """A target in use.

    Args:
        settings: The configuration.
        target: Its part for this target.
        clock: The source of time.
        redactor: Hides secrets in everything that leaves.
        progress: Told what happens during a change.
        random: The source of jitter and ids.
        transport: Used instead of the network, in tests.
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
        """Plans and applies changes here."""
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
        """A fresh transaction id."""
        return new_txn(self.clock, self.random)

    def deadline(self, timeout: float) -> Deadline:
        """A deadline so many seconds from now."""
        return Deadline(self.clock, timeout)

    def close(self) -> None:
        """Closes the adapter."""
        self.adapter.close()

    # --- what it can do -----------------------------------------------------------------------------------------

    @property
    def aside(self) -> ProbesAside | None:
        """The adapter, if the target is set to try new deployments beside the endpoint."""
        adapter = self.adapter
        return adapter if isinstance(adapter, ProbesAside) and adapter.probes_aside else None

    def can(self, capability: Capability, options: TargetOptions | None = None) -> bool:
        """Whether the target declares to be able to do it."""
        return self.capabilities(options)[capability].ok

    def capabilities(self, options: TargetOptions | None = None) -> Mapping[Capability, Support]:
        """What the target declares, judged on its settings or on these."""
        return self.kind.capabilities(options or self.options)

    def require(self, capability: Capability, what: str, options: TargetOptions | None = None) -> None:
        """Refuses what the target cannot do, before any call is made.

        Raises:
            UnsupportedError: With the adapter's reason.
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
        """The adapter as one that measures."""
        self.require(Capability.METRICS, "metrics")
        return cast("Monitors", self.adapter)

    def streams_logs(self) -> StreamsLogs:
        """The adapter as one that gives log lines."""
        self.require(Capability.LOGS, "logs")
        return cast("StreamsLogs", self.adapter)

    def trains(self) -> Trains:
        """The adapter as one that trains."""
        self.require(Capability.TRAIN, "training")
        return cast("Trains", self.adapter)

    # --- looking ------------------------------------------------------------------------------------------------

    def call(self, call: Callable[[float], T], deadline: Deadline) -> T:
        """Makes a reading call, patiently; it is given the seconds it may take."""
        retry = Retry(self.clock, self.bucket, random=self.random)
        return retry.run(lambda: call(deadline.limit(_CALL_S)), deadline)

    def observe(self, name: str, deadline: Deadline) -> Sequence[Live]:
        """Everything of an endpoint."""
        return self.call(lambda left: self.adapter.observe(name, timeout=left), deadline)

    def find(self, name: str, deadline: Deadline) -> EndpointStatus | None:
        """The endpoint as it is now; ``None`` when it is not there."""
        return self.adapter.status(name, self.observe(name, deadline))

    def find_or_say_why(self, name: str, deadline: Deadline) -> EndpointStatus | None:
        """The endpoint as it is now; a degraded one with the reason when the platform's answer cannot be read."""
        try:
            return self.find(name, deadline)
        except UnreadableError as error:
            reason = self.redactor(error.message)
            return EndpointStatus(
                name, self.target, self.provider, EndpointState.DEGRADED, "unreadable", None, reason=reason
            )

    def status(self, name: str, deadline: Deadline) -> EndpointStatus:
        """The endpoint as it is now.

        Raises:
            NotFoundError: It is not there.
        """
        found = self.find(name, deadline)
        if found is None:
            raise NotFoundError(
                f"there is no endpoint {name!r} on target {self.target!r}",
                provider=self.provider,
                operation="status",
                resource=name,
                hint="`mlport list` shows those there are",
            )
        return found

    def names(self, deadline: Deadline) -> list[str]:
        """The names of everything of ours here, endpoints and jobs."""
        lives = self.call(lambda left: list(self.adapter.list(timeout=left)), deadline)
        return sorted({live.labels.endpoint for live in lives if live.labels and live.labels.endpoint})

    def metrics(self, name: str, window_s: float, deadline: Deadline) -> MetricsReport | None:
        """What an endpoint did in the last so many seconds; ``None`` where nothing is measured."""
        if not self.can(Capability.METRICS):
            return None
        monitors = self.monitors()
        return self.call(lambda left: monitors.metrics(name, window_s=window_s, timeout=left), deadline)

    def tail(
        self, name: str, lines: int, *, deployment: str | None = None, request_id: str | None = None
    ) -> list[LogLine]:
        """The last log lines, as far as they can be had: they are a help, never a reason to fail."""
        if not self.can(Capability.LOGS):
            return []
        try:
            found = self.streams_logs().logs(name, deployment=deployment, tail=lines, request_id=request_id)
            return list(self.shown(found))
        except SdkError:
            return []

    def trace_of(self, name: str, deployment: str, request_id: str | None, deadline: Deadline) -> list[str]:
        """What the log says about a request that the model failed; waits for it a little, as logs come late."""
        if request_id is None or not self.can(Capability.LOGS):
            return []
        deadline = self.deadline(deadline.limit(_LOGS_S))
        while True:
            lines = [line.text for line in self.tail(name, _TAIL, deployment=deployment, request_id=request_id)]
            if deadline.passed or failed(lines):
                return lines
            self.clock.sleep(_LOOK_S)

    def endings(self, name: str, deployment: str | None, since: float, deadline: Deadline) -> list[str]:
        """The last log lines once they say how a replica ended since a moment; waits for that a little.

        Args:
            name: The endpoint.
            deployment: Lines of this one only.
            since: Unix seconds by our clock; an earlier end was another request's.
            deadline: Of the verb.
        """
        since += self.adapter.server_time() - self.clock.time()  # as the platform's clock showed it
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
        """Log lines without the secrets we know of."""
        for line in lines:
            yield replace(line, text=self.redactor(line.text))

    # --- progress -----------------------------------------------------------------------------------------------

    def listen(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Tells also this one what happens; gives back the function that ends it."""
        with self._lock:
            self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def uploading(self, what: str, done: int, total: int | None) -> None:
        """Tells how far an upload or a build is."""
        share = f"{100 * done // total} %" if total else ""
        self.tell(Event(what, share))

    def tell(self, event: Event) -> None:
        """Tells everybody who wants to know what happens, without the secrets we know of."""
        event = replace(event, detail=self.redactor(event.detail))
        _log.info("%s: %s", self.target, event)
        self.relay(event)

    def relay(self, event: Event) -> None:
        """Tells the same of an event that another session has told, and so logged, as its own."""
        for listener in tuple(self._listeners):
            listener(event)
        self._progress(event)

    def __repr__(self) -> str:
        return f"<Session {self.target} ({self.provider})>"
