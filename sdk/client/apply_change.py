"""The execution of a change: observe, plan, apply, and add the container's last log lines to errors."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ..adapter import Capability, Materials, change_times
from ..adapter.registry import extra_of
from ..errors import ConfigError, DeployFailed, ModelError, PlanStale, SdkError, TrainFailed
from ..executor import Event, lifecycle
from ..util.raised import in_lines, spread
from ..util.waiting import Deadline
from .base import seconds_of
from .callers import SmokeTest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from ..adapter.types import EndpointStatus, LogLine
    from ..executor import Applied, Plan
    from ..executor.change import Change
    from ..util.raised import Raised
    from .session import Session

_REPLANS = 3
_LAST_LINES = 30


def change_deadline(session: Session, timeout: str | float | None) -> Deadline:
    """Return the deadline of a verb that changes something: its time limit plus the time reserved for undoing.

    The adapter declares the default limit. It is doubled if the smoke test of a new model needs a temporary endpoint,
    since the model is then deployed twice.

    Raises:
        ConfigError: The timeout is not a duration, or longer than any change of the platform takes.
    """
    times = change_times(session.adapter)
    seconds = seconds_of(timeout, times.deploy_s * (1 if session.aside is None else 2))
    if seconds > times.longest_s:
        hours = times.longest_s / 3600
        longest = "an hour" if hours == 1 else f"{hours:.3g} hours"
        raise ConfigError(f"timeout = {timeout!r} is more than {longest}", hint="use wait=False, and wait for it later")
    return Deadline(session.clock, seconds + times.undo_s, undo_s=times.undo_s)


@dataclass(frozen=True, slots=True)
class Task:
    """One change of one endpoint.

    Args:
        session: The target.
        name: The endpoint.
        make: Computes the change from the live state.
        deadline: The deadline of the change.
        materials: The bytes and secrets that the change may need.
        expires_at: Unix seconds after which ``gc --expired`` may remove the endpoint; 0 for never.
        tags: The user's tags.
        notes: Texts to show with the plan.
        warnings: Texts to show with a plan that changes something, and when it is applied.
        smoke_test: Whether there is an example to ask a new deployment for.
    """

    session: Session
    name: str
    make: Callable[[EndpointStatus | None, lifecycle.ChangeContext], Change]
    deadline: Deadline
    materials: Materials = field(default_factory=Materials)
    expires_at: int = 0
    tags: dict[str, str] | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    smoke_test: bool = True

    def plan(self) -> Plan:
        """Compute the plan of the change.

        Raises:
            PlanStale: The endpoint's traffic changed in the meantime.
        """
        session = self.session
        live = session.find(self.name, self.deadline)
        context = lifecycle.ChangeContext(
            name=self.name,
            owner=session.owner,
            txn=session.new_txn(),
            split=session.can(Capability.TRAFFIC),
            dark=session.can(Capability.DARK_PROBE),
            aside=session.aside is not None,
            smoke_test=self.smoke_test,
            tags=self.tags or {},
            expires_at=self.expires_at,
            target=session.target,
        )
        change = self.make(live, context)
        plan = session.executor.plan(replace(change, notes=(*change.notes, *self.notes)))
        seen = session.adapter.status(self.name, plan.observed)
        if (seen.traffic if seen else None) != (live.traffic if live else None):
            raise PlanStale(f"endpoint {self.name!r} changed while it was looked at", resource=self.name)
        if plan.changes and self.warnings:
            return replace(plan, change=replace(plan.change, notes=(*plan.change.notes, *self.warnings)))
        return plan

    def run(self, *, wait: bool = True) -> Applied:
        """Plan and apply the change; plan again when the target's state changed between plan and apply.

        Raises:
            DeployFailed: The deployment failed; the error has the platform's reason and the container's last lines.
            SdkError: The change failed for another reason.
        """
        for turn in range(_REPLANS):
            try:
                plan = self.plan()
                # Without changes, the notes explain why the request makes no difference.
                for note in self.warnings if plan.changes else plan.change.notes:
                    self.session.tell(Event("note", note))
                return self._apply(plan, wait=wait)
            except PlanStale:
                if turn == _REPLANS - 1:
                    raise
        raise AssertionError

    def _apply(self, plan: Plan, *, wait: bool) -> Applied:
        probe = SmokeTest(self.session, self.name, self.deadline)
        with attaching_logs(self.session, self.name, plan.change.new):
            return self.session.executor.apply(plan, self.materials, probe=probe, deadline=self.deadline, wait=wait)


@contextlib.contextmanager
def attaching_logs(session: Session, name: str, deployment: str | None) -> Generator[None]:
    """Save the container's last log lines before a roll-back removes them, and attach them to the error.

    Raises:
        DeployFailed: The deployment failed, or its smoke test raised a :class:`ModelError`.
    """
    lines: list[str] = []

    def listen(event: Event) -> None:
        if event.stage == "roll back" and not lines:
            lines.extend(line.text for line in session.tail(name, _LAST_LINES, deployment=deployment))

    stop = session.listen(listen)
    try:
        yield
    except (DeployFailed, TrainFailed) as error:
        _complete(error, lines)
        raise
    except ModelError as error:
        raise DeployFailed(
            f"deployment {deployment} of {name!r} failed its smoke test: {error.message}",
            reason=error.message,
            logs=lines,
            provider=session.provider,
            operation="probe",
            resource=deployment,
            status=error.status,
            request_id=error.request_id,
        ) from error
    finally:
        stop()


def _complete(error: DeployFailed | TrainFailed, lines: Sequence[str]) -> None:
    """Attach the last log lines to an error, and add to its message the exception that the model raised."""
    if error.logs:  # a failed smoke test has already attached its own
        return
    error.logs = tuple(part for line in lines for part in spread(line))
    raised = in_lines(lines)
    if raised is None:
        return
    error.message = _with(error.message, raised)
    error.args = (error.message,)
    error.reason = _with(error.reason or "", raised)


def _with(text: str, raised: Raised) -> str:
    """Return the text with the model's exception, or with its location only if the text has the exception already."""
    if raised.error not in text:
        return f"{text}: {raised}" if text else str(raised)
    return f"{text} ({'; '.join(raised.frames)})" if raised.frames else text


@contextlib.contextmanager
def redacting_errors(session: Session) -> Generator[None]:
    """Redact known secrets in every error that leaves the block, and record the provider in it."""
    try:
        with extra_of(session.provider):
            yield
    except SdkError as error:
        redact = session.redactor
        error.message = redact(error.message)
        error.args = (error.message,)
        error.provider = error.provider or session.provider
        error.hint = redact(error.hint) if error.hint else error.hint
        if isinstance(error, DeployFailed | TrainFailed):
            error.reason = redact(error.reason) if error.reason else error.reason
            error.logs = tuple(redact(line) for line in error.logs)
        raise


def redacted_lines(session: Session, lines: Iterator[LogLine]) -> Generator[LogLine]:
    """Yield log lines as they arrive, with known secrets redacted; errors between them are redacted in the same way."""
    with redacting_errors(session):
        yield from session.shown(lines)
