"""The one place where what Azure says becomes an error of mlport."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import httpx

from sdk import errors, foreign

if TYPE_CHECKING:
    from collections.abc import Mapping

PROVIDER = "azureml"

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
# Codes say more than the status: a failed operation is read with status 200.
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
}
_HINTS: dict[str, str] = {
    "OutOfQuota": "ask for more quota of this instance type (20 % more than runs is needed), or name another",
    "OutOfCapacity": "name another instance type or region",
    "ResourceNotReady": "the container did not become ready; its last lines say why",
    "AuthorizationFailed": "give your identity the role AzureML Data Scientist on the workspace",
    "ACRAuthenticationError": "give the endpoint's identity the role AcrPull on the workspace's registry",
}
_RETRYABLE_CONFLICTS = frozenset({"Conflict", "ResourceBusy", "TransientError", "OperationInProgress", "ResourceInUse"})


def told(response: httpx.Response) -> dict[str, Any]:
    """The ``error`` object of an answer; empty when there is none."""
    try:
        found = foreign.of_response(response)["error"]
    except (ValueError, KeyError, TypeError):
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def from_answer(response: httpx.Response, operation: str, resource: str | None = None) -> errors.PlatformError:
    """The error that a refusal stands for."""
    found = told(response)
    facts: dict[str, Any] = {
        "operation": operation,
        "resource": resource,
        "status": response.status_code,
        "request_id": response.headers.get("x-ms-request-id") or response.headers.get("x-request-id"),
        "retry_after_s": seconds(response.headers.get("retry-after")),
    }
    message = str(found.get("message") or response.text[:300] or response.reason_phrase)
    return made(str(found.get("code") or ""), f"{operation} was refused: {message}", **facts)


def made(
    code: str, message: str, *, status: int | None = None, retry_after_s: float | None = None, **facts: Any
) -> errors.PlatformError:
    """The error for a code of Azure, or for the status of an answer without a known one."""
    kind = _kind(code, status)
    more: dict[str, Any] = {"provider": PROVIDER, "status": status, "hint": _HINTS.get(code), **facts}
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
    """Why a long-running operation failed, by its code: the answer that tells it has status 200."""
    code = str(error.get("code") or "Unknown")
    details = cast("list[dict[str, Any]]", error.get("details") or [])
    more = "; ".join(str(item["message"]) for item in details if item.get("message"))
    message = f"{code}: {error.get('message') or 'no reason was given'}" + (f" ({more})" if more else "")
    return made(code, message, operation="operation", resource=name)


def from_transport(error: httpx.TransportError, operation: str, resource: str | None = None) -> errors.UnavailableError:
    """The error that a broken connection stands for: only one that was never made proves that nothing was sent."""
    sent = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
    said = str(error) or type(error).__name__
    return errors.UnavailableError(
        f"{operation}: {said}", sent=sent, provider=PROVIDER, operation=operation, resource=resource
    )


def gone(kind: str, name: str) -> errors.NotFoundError:
    """The error for what the workspace does not have."""
    return errors.NotFoundError(
        f"{kind} {name} is not there", provider=PROVIDER, operation=f"read {kind}", resource=name
    )


def exists(kind: str, name: str) -> errors.ConflictError:
    """The error for an id that is taken."""
    return errors.ConflictError(
        f"{kind} {name} exists already", provider=PROVIDER, operation=f"create {kind}", resource=name
    )


def unsupported(capability: str, message: str, *, reason: str = "not_implemented") -> errors.UnsupportedError:
    """The error for what this target does not do."""
    return errors.UnsupportedError(message, capability=capability, reason=reason, provider=PROVIDER)


def seconds(text: str | None) -> float | None:
    """The value of a Retry-After header in seconds."""
    return float(text) if text and text.isascii() and text.replace(".", "", 1).isdigit() else None
