"""The end of a live run: delete everything whatever happens, and prove that nothing is left."""

from __future__ import annotations

import contextlib
import signal
from collections import Counter
from typing import TYPE_CHECKING

from sdk.adapter import Capability, Nature
from sdk.errors import NotFoundError, SdkError
from sdk.executor.lease import holder_of

from .report import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from sdk.adapter import Live

    from .life import Life
    from .report import Report

_TRIES = 5
_PAUSE_S = 15.0
_READ_S = 120.0
_GONE_S = 900.0  # how long deleted resources may still be listed


class Ending:
    """Deletes what a life created.

    Args:
        life: The life.
        say: Shows a line to the user.
    """

    def __init__(self, life: Life, say: Callable[[str], None]) -> None:
        self._life, self._say = life, say
        self._client, self._session = life.client, life.session
        self._names = life.endpoint, life.job
        self._pause_s = _PAUSE_S * min(1.0, float(getattr(self._session.adapter, "poll_s", 1.0)))

    def clean(self, report: Report) -> None:
        """Delete everything, and record in the report whether that is proved."""
        meter, clock = self._life.meter, self._life.clock
        meter.spent = True  # the budget does not stop the following steps
        begin, usd = clock.monotonic(), meter.usd
        for name, remove in zip(self._names, (self._delete_endpoint, self._delete_job), strict=True):
            self._insist(name, remove)
        try:
            report.left = self._left()
            report.proved = True
        except SdkError as error:
            self._say(f"it is not proved that nothing is left: {error}")
        step = Step("clean up", "ok" if report.proved and not report.left else "failed")
        step.seconds, step.usd = clock.monotonic() - begin, meter.usd - usd
        report.steps.append(step)
        if step.outcome == "ok":
            self._say("nothing is left: reads, the list, gc and the leases show nothing of this run")
        else:
            left = ", ".join(report.left) or "unknown"
            self._say(f"LEFT: {left}; run `mlport gc --apply --target {self._session.target}`, then look again")

    def shared(self) -> Counter[str]:
        """Return the kinds of the shared resources on the target, with their numbers; they stay on purpose."""
        kinds = self._session.adapter.kinds
        return Counter(live.kind for live in self._listed() if kinds[live.kind].nature is Nature.SHARED)

    def _insist(self, name: str, remove: Callable[[], None]) -> None:
        """Try several times, because platforms refuse to delete resources that are busy."""
        for turn in range(_TRIES):
            try:
                remove()
                self._life.meter.set(name, 0.0)
            except SdkError as error:
                self._say(f"not deleted yet: {error}")
                if turn < _TRIES - 1:
                    self._life.clock.sleep(self._pause_s)
            else:
                return

    def _delete_endpoint(self) -> None:
        with contextlib.suppress(NotFoundError):
            self._client.delete(self._life.endpoint)

    def _delete_job(self) -> None:
        if not self._session.can(Capability.TRAIN):
            return
        job = self._life.job
        with contextlib.suppress(NotFoundError):
            if not self._client.job_status(job).state.finished:
                self._client.stop_job(job)
                self._client.await_job(job, timeout=_GONE_S)
            self._client.delete(job)

    def _left(self) -> list[str]:
        """Return the kinds that still exist; wait for a while, since lists are late and deletes take time."""
        clock = self._life.clock
        end = clock.monotonic() + _GONE_S
        while (left := self._seen()) and clock.monotonic() < end:
            clock.sleep(self._pause_s)
        return left

    def _seen(self) -> list[str]:
        session, deadline = self._session, self._session.deadline(_READ_S)
        found = [live for name in self._names for live in session.observe(name, deadline)]
        found += [live for live in self._listed() if live.labels and live.labels.endpoint in self._names]
        left = sorted({live.ref: live.kind for live in found if self._counts(live)}.values())
        leases = [name for name in self._names if holder_of(session.adapter, name, deadline) is not None]
        orphans = [one.kind for one in self._client.gc().orphans if any(name in one.id for name in self._names)]
        listed = [status for status in self._client.list() if status.name == self._life.endpoint]
        return [
            *left,
            *("lease" for _ in leases),
            *("endpoint in the list" for _ in listed),
            *(f"{kind} that gc finds" for kind in orphans),
        ]

    def _listed(self) -> list[Live]:
        adapter = self._session.adapter
        return self._session.call(lambda left: list(adapter.list(timeout=left)), self._session.deadline(_READ_S))

    def _counts(self, live: Live) -> bool:
        """Return whether a resource must be deleted: shared resources and free records of the platform may stay."""
        kind = self._session.adapter.kinds[live.kind]
        return kind.nature is not Nature.SHARED and kind.purgeable


@contextlib.contextmanager
def shielded(say: Callable[[str], None]) -> Generator[None]:
    """Keep deleting whatever signal arrives."""

    def refuse(_number: int, _frame: object) -> None:
        say("deleting first: nothing may stay behind; what SIGKILL leaves is found by `mlport gc`")

    before = {number: signal.signal(number, refuse) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
