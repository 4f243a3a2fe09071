"""Callers of endpoints: created from the control plane's answer, cached, and created again when outdated."""

from __future__ import annotations

import logging
import re
import threading
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ..adapter import Capability
from ..adapter.types import EndpointState
from ..dataplane.invoke import Caller, EndpointFacts
from ..errors import AuthError, DeployFailed, ModelError, SdkError, UnavailableError
from ..serving.columns import axes
from ..util.raised import ended, in_lines, spread
from .session import READ_S

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from ..adapter import DeploymentSpec, Invoker
    from ..adapter.types import DeploymentStatus, EndpointStatus
    from ..packaging.manifest import Signature
    from ..util.waiting import Deadline
    from .session import Session

PROBE_S = 120.0
_DIGEST = re.compile(r"[0-9a-f]{32,64}")
_log = logging.getLogger(__name__)
_LOOK_AGAIN_S = 0.25
_SERVES = {EndpointState.READY, EndpointState.DEGRADED}
_STARTS = {EndpointState.CREATING, EndpointState.UPDATING}
PROBE_HEADERS = {"x-mlport-probe": "1"}  # lets servers that support it leave smoke tests out of their metrics


def make_caller(
    session: Session,
    status: EndpointStatus,
    headers: Mapping[str, str] | None = None,
    find: Callable[[], Invoker] | None = None,
) -> Caller:
    """Return a caller of the endpoint, or of the invoker that ``find`` returns, with extra headers on each request."""
    look = find or partial(session.adapter.invoker, status)
    invoker = session.call(lambda _left: look(), session.deadline(READ_S))
    return Caller(
        replace(invoker, headers={**invoker.headers, **(headers or {})}),
        facts(session, status),
        clock=session.clock,
        redact=session.redactor,
        bucket=session.bucket,
        random=session.random,
        transport=session.transport,
        revive=partial(_mended, session, status.name) if invoker.revives else None,
    )


def _mended(session: Session, name: str, seconds: float) -> str | None:
    """Read the status of an endpoint, which restarts what has stopped; return why it still does not serve, if so."""
    try:
        status = session.status(name, session.deadline(min(seconds, READ_S)))
    except SdkError as error:
        return error.message
    return None if status.state in _SERVES else status.reason


def facts(session: Session, status: EndpointStatus) -> EndpointFacts:
    """Return what a caller needs to know of an endpoint; of its models only if this machine's store has them."""
    serving = [item for item in status.deployments if item.traffic]
    signatures = [signature_of(session.state_dir, item) for item in serving]
    return EndpointFacts(
        status.name,
        session.provider,
        rowwise=bool(signatures) and all(one is not None and one.rowwise for one in signatures),
        signature_known=bool(signatures) and all(one is not None and bool(one.inputs) for one in signatures),
        pinnable=session.can(Capability.PIN),
        models={item.id: item.model for item in status.deployments},
        axes=_axes(signatures),
        target=session.target,
    )


def signature_served(session: Session, status: EndpointStatus) -> Signature | None:
    """Return the signature of an endpoint, if this machine knows all its serving models and their signatures agree."""
    known = [signature_of(session.state_dir, item) for item in status.deployments if item.traffic]
    return known[0] if known and all(one == known[0] for one in known) else None


def _axes(signatures: Sequence[Signature | None]) -> Mapping[str, int] | None:
    """Return the number of axes of each input, if the signatures of all serving models are known and agree on it."""
    known = [None if one is None else axes(one) for one in signatures]
    return known[0] if known and all(one == known[0] for one in known) else None


def stored(state_dir: Path, deployment: DeploymentStatus | DeploymentSpec) -> Path | None:
    """Return the bundle of a deployed model, if this machine packed it."""
    from ..packaging import disk

    if not _DIGEST.fullmatch(deployment.model):
        return None  # a damaged label, or one of another tool
    for folder in dict.fromkeys((state_dir, disk.state_dir())):
        for found in sorted((folder / "models").glob(f"{deployment.model[:32]}*")):
            return found
    return None


def signature_of(state_dir: Path, deployment: DeploymentStatus) -> Signature | None:
    """Return the signature of a deployed model, or ``None`` if this machine did not pack it or its copy is damaged."""
    from ..packaging import bundle

    folder = stored(state_dir, deployment)
    try:
        return None if folder is None else bundle.read(folder).signature
    except SdkError as error:  # the endpoint serves without it; the next deploy of the model replaces the copy
        _log.warning("%s is damaged, so inputs are not checked before they are sent: %s", folder, error.message)
        return None


def example_of(state_dir: Path, deployment: DeploymentStatus | DeploymentSpec) -> list[Any] | None:
    """Return the example rows of a deployed model, or ``None`` if this machine does not have them."""
    from ..packaging.bundle import example_in

    folder = stored(state_dir, deployment)
    return None if folder is None else example_in(folder)


class Callers:
    """A cache of callers by target and endpoint; safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], Caller] = {}

    def get(self, session: Session, name: str) -> Caller:
        """Return the caller of an endpoint; only the first call for an endpoint asks the control plane.

        Raises:
            NotFoundError: The endpoint does not exist.
        """
        key = session.target, name
        with self._lock:
            known = self._known.get(key)
        if known is not None:
            return known
        fresh = make_caller(session, session.status(name, session.deadline(READ_S)))
        with self._lock:
            first = self._known.setdefault(key, fresh)
        if first is not fresh:  # another thread stored its caller in the meantime and may already be using it
            fresh.close()
        return first

    def renew(self, session: Session, name: str) -> Caller:
        """Replace the caller of an endpoint by a new one and return it."""
        fresh = make_caller(session, session.status(name, session.deadline(READ_S)))
        self.forget(session, name)
        with self._lock:
            self._known[session.target, name] = fresh
        return fresh

    def forget(self, session: Session, name: str) -> None:
        """Close and remove the caller of an endpoint that changed."""
        with self._lock:
            old = self._known.pop((session.target, name), None)
        if old is not None:
            old.close()

    def outdated(self, session: Session, name: str, error: Exception, deadline: Deadline) -> Caller | None:
        """Return a new caller after a refusal, if the endpoint was recreated or becomes ready before the deadline."""
        unsent = isinstance(error, UnavailableError) and not error.sent
        if not unsent and not isinstance(error, AuthError):
            return None
        url = self.get(session, name).invoker.url
        fresh = self.renew(session, name)
        if isinstance(error, AuthError) or fresh.invoker.url != url:
            return fresh
        if not isinstance(error, UnavailableError) or not error.unready:
            return None
        return fresh if _comes_back(session, name, error, deadline) else None

    def close(self) -> None:
        """Close all callers."""
        with self._lock:
            callers, self._known = list(self._known.values()), {}
        for caller in callers:
            caller.close()


def _comes_back(session: Session, name: str, error: UnavailableError, deadline: Deadline) -> bool:
    """Wait for the starting replicas of an endpoint; return whether one serves before the deadline.

    Each status read restarts what does not run, so an endpoint that was killed recovers without a further command. If
    it cannot be restarted, the reason is added to the error.
    """
    while deadline.left > 0:
        status = session.status(name, session.deadline(READ_S))
        if status.state in _SERVES:
            return True
        if status.state not in _STARTS:
            error.message = f"{error.message.rstrip('.')}: {status.reason}" if status.reason else error.message
            return False
        session.clock.sleep(min(_LOOK_AGAIN_S, deadline.left))
    return False


def is_lost(error: Exception) -> bool:
    """Return whether a replica ended while it worked on a request."""
    return isinstance(error, UnavailableError) and error.lost


def say_how(session: Session, name: str, error: SdkError, since: float, deadline: Deadline) -> None:
    """Add to an error how the replica that worked on the request ended, if its log says so."""
    if is_lost(error):
        lines = session.endings(name, None, since, deadline)
        how = in_lines(lines) or ended(lines)
        error.message = f"{error.message.rstrip('.')}: {how}" if how else error.message
        error.hint = error.hint or f"show the log with: mlport logs {name}"


class SmokeTest:
    """The smoke test of a new deployment: it must answer the model's example before it gets traffic.

    A model without an example is ready when its server says so. The same applies to a model whose bundle is not on this
    machine, for example when this machine continues a change that another one started.

    Args:
        session: The target.
        name: The endpoint.
        deadline: The deadline of the verb.
    """

    def __init__(self, session: Session, name: str, deadline: Deadline) -> None:
        self._session = session
        self._name = name
        self._deadline = deadline

    def __call__(self, deployment: str) -> None:
        """Send the example to the deployment.

        Raises:
            DeployFailed: The deployment did not answer with a prediction.
        """
        session = self._session
        status = session.status(self._name, self._deadline)
        probed = [item for item in status.deployments if item.id == deployment]
        example = example_of(session.state_dir, probed[0]) if probed else None
        if example is None:
            return
        caller = self._caller(status, deployment)
        since = session.clock.time()
        try:
            pinned = deployment if session.can(Capability.DARK_PROBE) else None
            caller.predict(example, deployment=pinned, timeout=self._deadline.limit(PROBE_S))
        except SdkError as error:
            raise self._failure(deployment, error, since) from error
        finally:
            caller.close()

    def _failure(self, deployment: str, error: SdkError, since: float) -> DeployFailed:
        """Return the error for a failed smoke test, with the model's exception from the log, which still exists now."""
        session = self._session
        asked = isinstance(error, ModelError) and error.status is not None and error.status >= 500
        request_id = error.request_id if asked else None
        lines = session.trace_of(self._name, deployment, request_id, self._deadline)
        if is_lost(error):
            lines = session.endings(self._name, deployment, since, self._deadline)
        raised, end = in_lines(lines), ended(lines)
        return DeployFailed(
            f"deployment {deployment} failed its smoke test: {raised or end or error.message}",
            reason=raised.error if raised else end or error.message,
            logs=[part for line in lines for part in spread(line)],
            provider=session.provider,
            operation="probe",
            resource=self._name,
            status=error.status,
            request_id=error.request_id,
            hint="the model must answer the example it was packed with",
        )

    def _caller(self, status: EndpointStatus, deployment: str) -> Caller:
        """Return a caller of the endpoint, or of the deployment's temporary copy while it has no traffic."""
        aside = self._session.aside
        share = next((item.traffic for item in status.deployments if item.id == deployment), 0)
        find = None
        if not share and aside is not None:
            find = partial(aside.aside, status.name, deployment)
        return make_caller(self._session, status, PROBE_HEADERS, find)
