"""The attempts of one predict call, without I/O, so that the blocking and the asynchronous client share them.

A request is sent again, within one deadline, in three cases: its connection could not be made; a *reused* connection
was reset before the first byte of the answer (once only); or it got a 503 or 429 with ``Retry-After``. A request whose
answer did not come in time is never sent twice.

If a process ends before it has read everything that arrived on a connection, the system resets that connection;
otherwise it only closes it. So without an intermediary between client and server, a reset proves the same as a refused
connection: the request is sent again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import httpx

from ..errors import InvalidInputError, ModelError, SdkError, TimedOut, UnavailableError, UnreadableError
from ..util import foreign
from ..util.bounded import Bound
from ..util.waiting import LONGEST_RETRY_AFTER_S, retry_after
from .health_checks import Standstill

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Generator, Mapping

    from ..adapter import Invoker, ModelFault
    from ..util.waiting import Deadline, TokenBucket

REQUEST_ID = "x-request-id"
WAITED = "mlport.waited"
"""The trace event for a health check of the gateway: a connection that breaks after it was not idle."""
DEADLINE_HEADER = "x-mlport-deadline-ms"
_ATTEMPTS = 3
_FIRST_PAUSE_S = 0.1
_CONNECT_S = 10.0
_LEAST_STATUS = 100  # the lowest HTTP status; a platform reports a lower one if the container returned none
_AGAIN = frozenset({429, 503})

Outcome: TypeAlias = "httpx.Response | httpx.TransportError | UnreadableError"
Steps: TypeAlias = "Generator[httpx.Request | float, Outcome | None, httpx.Response]"


@dataclass(slots=True)
class ConnectionTrace:
    """Events on the connection during one attempt, as reported by the trace of the HTTP library."""

    sent: bool = False
    fresh: bool = False
    answered: bool = False
    waited: bool = False

    def see(self, event: str, _info: Mapping[str, Any]) -> None:
        """Record one event of a blocking client."""
        self.fresh |= event.startswith("connection.connect_")
        self.sent |= event == "http11.send_request_headers.started"
        self.answered |= event == "http11.receive_response_headers.complete"
        self.waited |= event == WAITED

    async def asee(self, event: str, info: Mapping[str, Any]) -> None:
        """Record one event of an asynchronous client."""
        self.see(event, info)

    @property
    def stale(self) -> bool:
        """Whether the request was sent on a connection that the server had already closed."""
        return self.sent and not self.fresh and not self.answered and not self.waited


@dataclass(slots=True)
class Attempts:
    """The attempts to send one request until it is answered, is refused for good, or the deadline passes.

    The generator ``steps`` yields the next action, a request to send or seconds to wait, and receives the outcome.
    """

    invoker: Invoker
    provider: str
    name: str
    redact: Callable[[str], str]
    bucket: TokenBucket
    random: random.Random
    deadline: Deadline
    asynchronous: bool = False
    target: str = ""
    most: int | None = None
    wire: ConnectionTrace = field(default_factory=ConnectionTrace)
    made: int = 0
    stale_used: bool = False

    def steps(self, request: httpx.Request) -> Steps:
        """Yield requests and pauses until an attempt succeeds, and return its answer.

        Raises:
            InvalidInputError: The model refused the input.
            ModelError: The model failed.
            TimedOut: The deadline passed.
            UnavailableError: The connection could not be made, or it broke.
            PlatformError: The platform gave any other failed answer.
        """
        while True:
            outcome = yield self._prepared(request)
            if isinstance(outcome, httpx.Response) and outcome.is_success:
                self.bucket.give(1.0)
                return outcome
            if outcome is None:
                raise TypeError("an attempt has an outcome")
            pause = self._pause(outcome)
            if pause is None or pause >= self.deadline.left:
                raise self._failure(request, outcome)
            if pause:
                yield pause

    def _prepared(self, request: httpx.Request) -> httpx.Request:
        left = self.deadline.left
        if left <= 0:
            raise self._timed_out(request)
        self.made += 1
        self.wire = ConnectionTrace()
        request.headers[DEADLINE_HEADER] = str(max(1, int(left * 1000)))
        request.extensions = {
            "timeout": {"connect": min(left, _CONNECT_S), "read": left, "write": left, "pool": left},
            "trace": self.wire.asee if self.asynchronous else self.wire.see,
            **Bound(self.invoker.limits.answer_bytes if self.most is None else self.most).extensions,
        }
        return request

    def _pause(self, outcome: Outcome) -> float | None:
        """Return the seconds until the next attempt; ``None`` if there must not be one."""
        broken = isinstance(outcome, httpx.NetworkError | httpx.RemoteProtocolError)
        if broken and self.wire.stale and not self.stale_used:
            self.stale_used = True
            return 0.0
        wait: float | None = None
        if isinstance(outcome, httpx.Response):
            wait = _asked_wait(outcome) if outcome.status_code in _AGAIN else None
        elif self._was_unread(outcome):
            wait = self.random.uniform(0, _FIRST_PAUSE_S * 2**self.made)
        if wait is None or self.made >= _ATTEMPTS or self.bucket.take(throttled=False) is None:
            return None
        return wait

    def _was_unread(self, outcome: Outcome) -> bool:
        """Check whether a failed attempt certainly did not reach a model."""
        if isinstance(outcome, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
            return True
        return self.invoker.direct and not self.wire.answered and _is_reset(outcome)

    def _failure(self, request: httpx.Request, outcome: Outcome) -> Exception:
        if isinstance(outcome, httpx.Response):
            return self._refused(request, outcome)
        if isinstance(outcome, UnreadableError):
            hint = "if the model's answers are that large, set max_answer of the target"
            return _caused(UnreadableError(outcome.message, hint=hint, **self._facts(request)), outcome)
        if isinstance(outcome, httpx.ReadTimeout | httpx.WriteTimeout):
            return _caused(self._timed_out(request), outcome)
        if isinstance(outcome, Standstill):
            return _caused(self._stands_still(request, outcome), outcome)
        sent = not self._was_unread(outcome)
        what = "the connection broke" if self.wire.sent else "cannot connect"
        error = UnavailableError(
            self.redact(f"endpoint {self.name!r}: {what}: {outcome or type(outcome).__name__}"),
            sent=sent,
            unready=not sent and self.invoker.revives,
            hint="`mlport status` shows whether it is running",
            **self._facts(request),
        )
        return _caused(error, outcome)

    def _refused(self, request: httpx.Request, response: httpx.Response) -> Exception:
        what = f"the refusal of endpoint {self.name!r} ({response.status_code})"
        with foreign.understood(what):
            fault = self.invoker.fault(response)
        if fault is not None and response.status_code not in _AGAIN:
            facts = {**self._facts(request), **_given(response)}
            if fault.status < _LEAST_STATUS:  # the platform waited for the container in vain
                return self._gave_no_answer(fault, facts)
            return model_error(fault, self.redact, facts, self.target)
        with foreign.understood(what):
            error = self.invoker.error(response)
        if isinstance(error, SdkError):
            error.operation = error.operation or "predict"
            error.resource = error.resource or self.name
            error.request_id = error.request_id or response.headers.get(REQUEST_ID)
        return error

    def _gave_no_answer(self, fault: ModelFault, facts: dict[str, Any]) -> UnavailableError:
        return UnavailableError(
            self.redact(f"endpoint {self.name!r}: the container gave no answer: {fault.message}"),
            hint="the model took too long, and may still be working on the request; or it ended: see `mlport logs`",
            **facts,
        )

    def _stands_still(self, request: httpx.Request, outcome: Standstill) -> UnavailableError:
        return UnavailableError(
            self.redact(f"endpoint {self.name!r}: {outcome}"),
            hint="`mlport status` starts it again; the request was not repeated, as the model may be working on it",
            **self._facts(request),
        )

    def _timed_out(self, request: httpx.Request) -> TimedOut:
        return TimedOut(
            f"endpoint {self.name!r} gave no answer within {self.deadline.seconds:g} s",
            waited_s=self.deadline.seconds,
            hint="give it more time with timeout=; it was not sent again, as the model may be working on it",
            **self._facts(request),
        )

    def _facts(self, request: httpx.Request) -> dict[str, Any]:
        return {
            "provider": self.provider,
            "operation": "predict",
            "resource": self.name,
            "request_id": request.headers.get(REQUEST_ID),
        }


def model_error(
    fault: ModelFault, redact: Callable[[str], str], facts: Mapping[str, Any], target: str = ""
) -> ModelError:
    """Return the error for an answer of the model itself: 400 and 422 mean that the input is wrong.

    Args:
        fault: The model's answer.
        redact: Hides secrets.
        facts: Fields of the error.
        target: Name of the target, for the command that shows the log.
    """
    known: dict[str, Any] = {**facts, "status": fault.status, "body": redact(fault.body)}
    if fault.request_id:
        known["request_id"] = fault.request_id
    if fault.status in {400, 422} or fault.field:
        return InvalidInputError(redact(fault.message), field=fault.field, **known)
    only = f" --request-id {known['request_id']}" if known.get("request_id") else ""
    show = f"mlport logs {facts['resource']}{f' -t {target}' if target else ''}{only}"
    return ModelError(redact(fault.message), hint=f"show the log with: {show}", **known)


def _given(response: httpx.Response) -> dict[str, Any]:
    request_id = response.headers.get(REQUEST_ID)
    return {"request_id": request_id} if request_id else {}


def _is_reset(outcome: Outcome) -> bool:
    """Check whether the other side reset the connection, from the causes of the HTTP library's error."""
    cause: BaseException | None = outcome if isinstance(outcome, httpx.NetworkError) else None
    while cause is not None and not isinstance(cause, ConnectionResetError | BrokenPipeError):
        cause = cause.__cause__ or cause.__context__
    return cause is not None


def _caused(error: SdkError, cause: Exception) -> SdkError:
    error.__cause__ = cause
    return error


def _asked_wait(response: httpx.Response) -> float | None:
    """Return the seconds that the server asks to wait, within the longest wait."""
    wait = retry_after(response.headers)
    return None if wait is None else min(wait, LONGEST_RETRY_AFTER_S)
