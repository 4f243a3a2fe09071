"""Translation of Azure's answers to errors of mlport."""

from __future__ import annotations

import json
import re
from itertools import islice
from typing import TYPE_CHECKING, Any, cast
from xml.sax.saxutils import unescape

import httpx

from sdk import errors
from sdk.util import foreign
from sdk.util.waiting import retry_after

from . import _rights

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PROVIDER = "azureml"
_MESSAGE = re.compile(r"<Message>(.*?)</Message>", re.DOTALL)

_BY_STATUS: dict[int, type[errors.PlatformError]] = {
    400: errors.InvalidRequestError,
    401: errors.AuthError,
    403: errors.AuthError,
    404: errors.NotFoundError,
    409: errors.ConflictError,
    412: errors.ConflictError,
    413: errors.PayloadTooLargeError,
    429: errors.ThrottledError,
}
# Codes are more specific than the status: the result of a failed operation is read with status 200.
# Source: https://learn.microsoft.com/azure/machine-learning/how-to-troubleshoot-online-endpoints
_BY_CODE: dict[str, type[errors.PlatformError]] = {
    "OutOfQuota": errors.QuotaError,
    "OutOfCapacity": errors.QuotaError,
    "QuotaExceeded": errors.QuotaError,
    "BadArgument": errors.InvalidRequestError,
    "BadRequest": errors.InvalidRequestError,
    "ValidationError": errors.InvalidRequestError,
    "UserError": errors.InvalidRequestError,
    "ResourceNotFound": errors.NotFoundError,
    "ResourceNotReady": errors.PlatformError,
    "ImageBuildFailure": errors.PlatformError,
    "OperationCanceled": errors.PlatformError,
    "InternalServerError": errors.UnavailableError,
    "AuthorizationFailed": errors.AuthError,
    "ACRAuthenticationError": errors.AuthError,
    "AuthorizationFailure": errors.AuthError,
    "KeyBasedAuthenticationNotPermitted": errors.AuthError,
    "RequestDisallowedByPolicy": errors.AuthError,
    "ResourceBusy": errors.ConflictError,
}
# A refusal often says only "The request is invalid." and has the cause in its details, under codes of inner services.
# Sources: https://github.com/Azure/azureml-examples/pull/1635 (certain), questions to Microsoft's support (likely).
_BY_TEXT: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"not enough quota|quota reached|current usage/limit", re.IGNORECASE), "OutOfQuota"),
    (re.compile(r"out of capacity|not enough capacity|does not have enough capacity", re.IGNORECASE), "OutOfCapacity"),
    (re.compile(r"does not have pull permission|permission to pull", re.IGNORECASE), "ACRAuthenticationError"),
    # Source: https://github.com/Azure/azure-sdk-for-net/issues/36961 (certain)
    (re.compile(r"because it is in \w+ provisioning state"), "ResourceBusy"),
)
_MOST_CAUSES, _DEEPEST = 50, 12  # limits for reading one refusal, which may be nested without end
_HINTS: dict[str, str] = {
    "OutOfQuota": "ask for more quota of this instance type (20 % more than runs is needed), or name another",
    "OutOfCapacity": "name another instance type or region",
    "ResourceNotReady": "the container did not become ready; its last lines say why",
    "AuthorizationFailed": _rights.advice(_rights.READ_WORKSPACE),
    "ACRAuthenticationError": f"{_rights.advice(_rights.PULL, 'the identity of the endpoint')}; Azure gives it by "
    "itself to an identity of the endpoint's own only, and it takes minutes until it is in force",
    "KeyBasedAuthenticationNotPermitted": "the storage account takes no keys: let the datastore use identities "
    f"(az ml workspace update --system-datastores-auth-mode identity), and {_rights.advice(_rights.WRITE_BLOBS)}",
    "AuthorizationFailure": "the network rules of the storage account refuse this machine: run mlport where they let "
    "it in, or allow its address",
    "RequestDisallowedByPolicy": "a policy of your organization forbids it: its administrators know which settings it "
    "asks for, such as public = false or certain tags",
}
_RETRYABLE_CONFLICTS = frozenset({"Conflict", "ResourceBusy", "TransientError", "OperationInProgress", "ResourceInUse"})


def told(response: httpx.Response) -> dict[str, Any]:
    """Return the ``error`` object of an answer; empty if it has none."""
    try:
        found = foreign.of_response(response)["error"]
    except (ValueError, KeyError, TypeError):
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def from_answer(response: httpx.Response, operation: str, resource: str | None = None) -> errors.PlatformError:
    """Return the SDK's error for a refusal."""
    found = told(response)
    facts: dict[str, Any] = {
        "operation": operation,
        "resource": resource,
        "status": response.status_code,
        "request_id": response.headers.get("x-ms-request-id") or response.headers.get("x-request-id"),
        "retry_after_s": retry_after(response.headers),
    }
    code, message = understood(found)
    message = message or _xml_message(response.text) or response.text[:300] or response.reason_phrase
    code = code or response.headers.get("x-ms-error-code", "")  # storage has it there, and its body is XML
    return made(code, f"{operation} was refused: {message}", **facts)


def _xml_message(text: str) -> str:
    r"""Return the message of an error of the storage, whose body is XML, without the lines about the request.

    Source: https://learn.microsoft.com/rest/api/storageservices/status-and-error-codes2 (certain)

    Example:
        >>> _xml_message("\ufeff<?xml version='1.0'?><Error><Message>Not &lt;you&gt;.\nRequestId:1</Message></Error>")
        'Not <you>.'
    """
    found = _MESSAGE.search(text)
    return unescape(found[1]).strip().partition("\n")[0].strip() if found else ""


def understood(error: Mapping[str, Any]) -> tuple[str, str]:
    """Return the most specific code of an error, and all its messages, details included."""
    found = list(islice(_causes(error), _MOST_CAUSES))
    texts = list(dict.fromkeys(text for _, text in found if text))
    texts = [text for text in texts if not any(text != other and text in other for other in texts)]
    message = texts[0] + (f" ({'; '.join(texts[1:])})" if texts[1:] else "") if texts else ""
    by_text = next((code for pattern, code in _BY_TEXT if pattern.search(message)), None)
    known = next((code for code, _ in found if code in _HINTS), None)
    return by_text or known or (found[0][0] if found else ""), message


def _causes(error: Any, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Yield codes and messages from the outside in; a message may hold another service's error as JSON."""
    if depth > _DEEPEST:
        return
    if isinstance(error, list):
        for item in cast("list[object]", error):
            yield from _causes(item, depth + 1)
    elif isinstance(error, str):
        inner = _json_in(error)
        if inner is None:
            yield "", error
        else:
            yield from _causes(inner, depth + 1)
    elif isinstance(error, dict):
        told = cast("dict[str, Any]", error)
        message = str(told.get("message") or "")
        inner = _json_in(message)
        yield str(told.get("code") or ""), "" if inner else message
        yield from _causes(inner, depth + 1)
        for key in ("error", "details", "innererror", "innerError"):
            yield from _causes(told.get(key), depth + 1)
        errors_by_field: Any = told.get("errors")
        for one in cast("dict[str, Any]", errors_by_field).values() if isinstance(errors_by_field, dict) else ():
            yield from _causes(one, depth + 1)


def _json_in(text: str) -> Any:
    """Return the object that a text holds as JSON; ``None`` for plain text."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        return json.loads(text)
    except ValueError:
        return None


def made(
    code: str, message: str, *, status: int | None = None, retry_after_s: float | None = None, **facts: Any
) -> errors.PlatformError:
    """Return the SDK's error for a code of Azure, or for the status if the code is unknown."""
    kind = _kind(code, status)
    more: dict[str, Any] = {"provider": PROVIDER, "status": status, "hint": _HINTS.get(code), **facts}
    if kind is errors.AuthError and (code == "AuthorizationFailed" or (status == 403 and more["hint"] is None)):
        more["hint"] = _rights.hint_of(str(facts.get("operation") or ""), message) or more["hint"]
    if kind is errors.ConflictError:
        more["retryable"] = code in _RETRYABLE_CONFLICTS
    if issubclass(kind, errors.ThrottledError | errors.UnavailableError):
        more["retry_after_s"] = retry_after_s
    if kind is errors.AuthError and more["hint"] is None:
        more["hint"] = "sign in with `az login`, and check your roles on the workspace"
    return kind(message, **more)


def _kind(code: str, status: int | None) -> type[errors.PlatformError]:
    if status is not None and status >= 500:
        return errors.UnavailableError
    if code in _BY_CODE and status not in {401, 403, 404, 409, 412, 429}:
        return _BY_CODE[code]
    return _BY_CODE[code] if code.startswith(("OutOf", "Quota")) else _BY_STATUS.get(status or 0, errors.PlatformError)


def of_operation(error: Mapping[str, Any], name: str) -> errors.PlatformError:
    """Return why a long-running operation failed, from its code, since the answer that reports it has status 200."""
    code, message = understood(error)
    said = str(error.get("code") or "Unknown")
    return made(code or said, f"{said}: {message or 'no reason was given'}", operation="operation", resource=name)


def from_transport(error: httpx.TransportError, operation: str, resource: str | None = None) -> errors.UnavailableError:
    """Return the error for a failed connection: only one that was never established proves that nothing was sent."""
    sent = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
    said = str(error) or type(error).__name__
    return errors.UnavailableError(
        f"{operation}: {said}", sent=sent, provider=PROVIDER, operation=operation, resource=resource
    )


def gone(kind: str, name: str) -> errors.NotFoundError:
    """Return the error for a resource that the workspace does not have."""
    return errors.NotFoundError(
        f"{kind} {name} is not there", provider=PROVIDER, operation=f"read {kind}", resource=name
    )


def exists(kind: str, name: str) -> errors.ConflictError:
    """Return the error for an id that is already taken."""
    return errors.ConflictError(
        f"{kind} {name} exists already", provider=PROVIDER, operation=f"create {kind}", resource=name
    )


def unsupported(capability: str, message: str, *, reason: str = "not_implemented") -> errors.UnsupportedError:
    """Return the error for a feature that this target does not support."""
    return errors.UnsupportedError(message, capability=capability, reason=reason, provider=PROVIDER)
