"""Conversion of Google's errors to mlport errors, all in one place.

Over REST the client library only knows the HTTP status. The status name that distinguishes errors with the same code
(``FAILED_PRECONDITION`` and ``INVALID_ARGUMENT`` are both 400) is in the body, and is read from there.
"""

from __future__ import annotations

import contextlib
import re
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from sdk.errors import (
    AuthError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    PayloadTooLargeError,
    PlatformError,
    QuotaError,
    SdkError,
    ThrottledError,
    TimedOut,
    UnavailableError,
    UnreadableError,
    UnsupportedError,
)
from sdk.util import foreign
from sdk.util.hosts import on_this_machine
from sdk.util.waiting import retry_after

from ._rights import hint_of, reason_of

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    import httpx

PROVIDER = "vertex"
WAKING_S = 10.0
_QUOTA = re.compile(
    r"custom_model_(serving|training)_|CustomModel(Serving|Training)|exceed quota limits|quotas are exceeded",
    re.IGNORECASE,
)
_NO_ROOM = re.compile(
    r"Resources are insufficient|does not have enough resources|stockout|resource pool exhausted"
    r"|machine type.{0,80}temporarily unavailable",
    re.IGNORECASE,
)
# At the first use of a project, Google creates its service agents there, which takes 1 to 5 minutes.
# Source of the wording (certain): https://github.com/GoogleCloudPlatform/generative-ai/issues/1308
_FIRST_USE = re.compile(r"service agents? (are|is) being (provisioned|created)", re.IGNORECASE)
# Another change of the resource is running (likely; the wording is not documented): the call can be repeated later.
_RACE = re.compile(
    r"\betag\b|being[- ](deployed|undeployed|updated|deleted|created)|(an)?other operations?\b"
    r"|operations? .{0,60}(in progress|running|pending)|concurrent",
    re.IGNORECASE,
)
# A rule of the organisation forbids it. Source of the wording (certain): https://github.com/google/agents-cli/issues/83
_RULE = re.compile(r"violated .{0,20}Org Policies|\bconstraints/\w+\.\w+", re.IGNORECASE)
_WAKING = re.compile(r"not yet ready for inference", re.IGNORECASE)
_TOO_LARGE = re.compile(r"payload size exceeds|response size too large", re.IGNORECASE)
_WORDS = {
    1: "CANCELLED", 3: "INVALID_ARGUMENT", 4: "DEADLINE_EXCEEDED", 5: "NOT_FOUND", 6: "ALREADY_EXISTS",
    7: "PERMISSION_DENIED", 8: "RESOURCE_EXHAUSTED", 9: "FAILED_PRECONDITION", 10: "ABORTED", 13: "INTERNAL",
    14: "UNAVAILABLE", 16: "UNAUTHENTICATED",
}  # fmt: skip
_BY_STATUS = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 408: "UNAVAILABLE",
    409: "ABORTED", 412: "CONDITION", 413: "TOO_LARGE", 429: "RESOURCE_EXHAUSTED", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip
_PLAIN: dict[str, type[PlatformError]] = {
    "UNAUTHENTICATED": AuthError,
    "PERMISSION_DENIED": AuthError,
    "NOT_FOUND": NotFoundError,
    "ALREADY_EXISTS": ConflictError,
    "INVALID_ARGUMENT": InvalidRequestError,
    "FAILED_PRECONDITION": InvalidRequestError,
    "OUT_OF_RANGE": InvalidRequestError,
    "CONDITION": ConflictError,
    "TOO_LARGE": PayloadTooLargeError,
}
_UNCERTAIN = {"INTERNAL", "UNAVAILABLE", "DEADLINE_EXCEEDED", "UNKNOWN", "CANCELLED"}
_HINTS = {
    "UNAUTHENTICATED": "log in with `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS",
}


def gone(kind: str, name: str) -> NotFoundError:
    """Return the error for a resource that does not exist."""
    return NotFoundError(f"{kind} {name} is not there", provider=PROVIDER, operation=f"Read{kind}", resource=name)


def exists(kind: str, name: str) -> ConflictError:
    """Return the error for an ID that is taken."""
    return ConflictError(f"{kind} {name} exists", provider=PROVIDER, operation=f"Create{kind}", resource=name)


def unsupported(capability: str, message: str, *, reason: str = "not_implemented") -> UnsupportedError:
    """Return the error for a capability that this target does not have."""
    return UnsupportedError(message, capability=capability, reason=reason, provider=PROVIDER)


def refusal(word: str, message: str, *, pause_s: float | None = None, **facts: Any) -> SdkError:
    """Return the error for a refusal, chosen by the platform's status name and message.

    Args:
        word: A name of google.rpc.Code.
        message: The platform's message.
        pause_s: Seconds that the platform asks to wait.
        **facts: The fields of :class:`~sdk.errors.SdkError`.

    Example:
        >>> type(refusal("RESOURCE_EXHAUSTED", "exceed quota limits: aiplatform.googleapis.com/x")).__name__
        'QuotaError'
        >>> type(refusal("RESOURCE_EXHAUSTED", "Model is not yet ready for inference.")).__name__
        'UnavailableError'
    """
    known: dict[str, Any] = {"provider": PROVIDER, "hint": _HINTS.get(word), **facts}
    if _NO_ROOM.search(message):
        return QuotaError(message, **known)
    later = _for_now(word, message)
    if later is not None:
        return ConflictError(message, **(known | later))
    if word == "RESOURCE_EXHAUSTED":
        return _exhausted(message, pause_s, known)
    if word in _UNCERTAIN:
        return UnavailableError(message, retry_after_s=pause_s, **known)
    if _TOO_LARGE.search(message):
        known["hint"] = "send fewer rows at once, or set dedicated = true (10 MB each way) before the endpoint is made"
        return PayloadTooLargeError(message, **known)
    if _RULE.search(message):
        known["hint"] = _hint_of_rule(message)
    return _PLAIN.get(word, PlatformError)(message, **known)


def _hint_of_rule(message: str) -> str:
    """Return what helps against a rule of the organisation: the setting it asks for, if there is one."""
    if "restrictNonCmekServices" in message:
        return "set kms_key of the target: your organisation allows only resources with a customer-managed key"
    return "ask the administrator of your organisation's policies for an exception, or use another project"


def _for_now(word: str, message: str) -> dict[str, Any] | None:
    """Return details for a call that is refused now but will be accepted later; ``None`` for any other."""
    if _FIRST_USE.search(message):
        return {"hint": "the project is new to Vertex AI; it is ready within some minutes", "retryable": True}
    if word == "ABORTED" or (word == "FAILED_PRECONDITION" and _RACE.search(message)):
        return {"retryable": True}  # another client changed it, or is changing it: try again
    return None


def _exhausted(message: str, pause_s: float | None, facts: dict[str, Any]) -> SdkError:
    """Return the error for a 429: an account's quota, too many calls, or a model that is starting from zero."""
    if _WAKING.search(message):
        facts["hint"] = "the model was scaled to zero and is starting; the request was not kept, send it again"
        return UnavailableError(message, retry_after_s=pause_s or WAKING_S, **facts)
    if _QUOTA.search(message):
        facts["hint"] = "ask for more quota in the console, or use a smaller instance"
        return QuotaError(message, **facts)
    return ThrottledError(message, retry_after_s=pause_s, **facts)


def from_response(response: httpx.Response, operation: str, resource: str = "") -> SdkError:
    """Return the error for a failed answer of one of Google's REST APIs."""
    told = _told(response.content)
    return _judged(told, response.status_code, response.headers, operation, resource)


def _judged(
    told: Mapping[str, Any], status: int, headers: Mapping[str, str], operation: str, resource: str
) -> SdkError:
    facts: dict[str, Any] = {"operation": operation, "resource": resource or None, "status": status}
    if status == 403:
        facts["hint"] = hint_of(operation, told)
    word = str(told.get("status") or _BY_STATUS.get(status) or ("INTERNAL" if status >= 500 else "UNKNOWN"))
    if status == 412:
        word = "CONDITION"
    return refusal(
        word,
        str(told.get("message") or f"Google answered {status} to {operation}"),
        pause_s=retry_after(headers),
        request_id=_request_id(told) or headers.get("x-goog-request-id"),
        **facts,
    )


def why_refused(response: httpx.Response) -> str:
    """Return the ``reason`` that Google gives for a refusal, such as ``SERVICE_DISABLED``; empty if there is none."""
    return reason_of(_told(response.content))[0]


def _told(content: bytes) -> dict[str, Any]:
    try:
        told = foreign.parse(content)["error"]
    except (ValueError, KeyError, TypeError):
        return {}
    return cast("dict[str, Any]", told) if isinstance(told, dict) else {"message": str(told)}


def _request_id(told: Mapping[str, Any]) -> str | None:
    for detail in told.get("details") or ():
        if isinstance(detail, dict) and "requestId" in detail:
            return str(cast("dict[str, Any]", detail)["requestId"])
    return None


def of_operation(code: int, message: str, name: str) -> SdkError:
    """Return the error with which a long-running operation ended."""
    return refusal(_WORDS.get(code, "UNKNOWN"), message, operation="operation", resource=name)


def refused_for_now(error: SdkError) -> SdkError:
    """Convert a delete's 400 to a retryable error: the platform will accept the delete when the state has changed.

    Example:
        >>> refused_for_now(refusal("FAILED_PRECONDITION", "has deployed DeployedModel(s)", status=400)).retryable
        True
    """
    if type(error) is not InvalidRequestError or error.status != 400:
        return error
    facts = {name: getattr(error, name) for name in ("provider", "operation", "resource", "status", "request_id")}
    later = ConflictError(error.message, retryable=True, **facts)
    later.__cause__ = error.__cause__
    return later


def _parse_error() -> type[Exception]:
    """Return the error class of Google's libraries for an answer of unexpected form; they have no type stubs."""
    found: type[Exception] = import_module("google.protobuf.json_format").ParseError
    return found


@contextlib.contextmanager
def border(operation: str, resource: str = "") -> Generator[None]:
    """Convert all exceptions of Google's libraries to mlport errors, with the original as the cause.

    Raises:
        SdkError: The call failed.
    """
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth.exceptions import GoogleAuthError
    from requests.exceptions import RequestException

    try:
        yield
    except _parse_error() as error:
        said = f"{operation} {resource}: the answer has another form than expected: {error}"
        raise UnreadableError(said, provider=PROVIDER, operation=operation, resource=resource) from error
    except GoogleAPICallError as error:
        raise _from_call(error, operation, resource) from error
    except GoogleAuthError as error:
        raise from_auth(error, operation) from error
    except RequestException as error:
        raise _from_transport(error, operation, resource) from error
    except RecursionError as error:  # from the library's parser
        said = f"{operation} {resource}: the answer is nested without end"
        raise UnreadableError(said, provider=PROVIDER, operation=operation, resource=resource) from error


def _from_call(error: Any, operation: str, resource: str) -> SdkError:
    response = getattr(error, "response", None)
    content = getattr(response, "content", b"") or b""
    told = _told(content) or {"message": str(getattr(error, "message", error))}
    headers = {name.lower(): text for name, text in getattr(response, "headers", {}).items()}
    return _judged(told, int(error.code or 500), headers, operation, resource)


def from_auth(error: Exception, operation: str) -> SdkError:
    """Return the error for credentials that are missing, wrong, or cannot be refreshed now."""
    from google.auth.exceptions import TransportError

    facts: dict[str, Any] = {"provider": PROVIDER, "operation": operation}
    if isinstance(error, TransportError):
        return UnavailableError(f"Google's token service cannot be reached: {error}", sent=False, **facts)
    return AuthError(f"no usable Google credentials: {error}", hint=_HINTS["UNAUTHENTICATED"], **facts)


def _from_transport(error: Any, operation: str, resource: str) -> SdkError:
    from requests.exceptions import ConnectTimeout, ReadTimeout
    from urllib3.exceptions import NewConnectionError

    facts: dict[str, Any] = {"provider": PROVIDER, "operation": operation, "resource": resource or None}
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    if isinstance(error, ConnectTimeout) or isinstance(reason, NewConnectionError):
        return _unconnected(str(getattr(error.request, "url", "")), reason or error, facts)
    if isinstance(error, ReadTimeout):
        return UnavailableError(f"{operation}: no answer in time", **facts)
    return UnavailableError(f"{operation}: the connection to Google Cloud broke: {error}", **facts)


def from_httpx(error: httpx.HTTPError, operation: str, resource: str = "") -> SdkError:
    """Return the error for a request that got no answer."""
    import httpx

    facts: dict[str, Any] = {"provider": PROVIDER, "operation": operation, "resource": resource or None}
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
        return _unconnected(str(error.request.url), error, facts)
    what = "no answer in time" if isinstance(error, httpx.TimeoutException) else "broke"
    return UnavailableError(f"{operation}: {what}: {error or type(error).__name__}", **facts)


def _unconnected(url: str, error: Exception, facts: dict[str, Any]) -> SdkError:
    """Return the error for a failed connection; quote only the system's message, without the libraries' additions."""
    place, why = urlsplit(url), str(error).rpartition(": ")[2] or type(error).__name__
    mini = on_this_machine(place.hostname)
    where = f"the mini cloud at {place.scheme}://{place.netloc}" if mini else place.netloc or "Google Cloud"
    facts["hint"] = (
        "start it with `mlport mock up vertex`, or unset MLPORT_MOCK_VERTEX_URL" if mini else "check the network"
    )
    return UnavailableError(f"{facts['operation']}: cannot connect to {where}: {why}", sent=False, **facts)


def out_of_time(what: str, waited_s: float) -> TimedOut:
    """Return the error for an operation that did not finish in time."""
    return TimedOut(f"{what}: not done after {waited_s:g} s", waited_s=waited_s, provider=PROVIDER, operation=what)
