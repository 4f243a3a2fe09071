"""The translation of Shelf's answers into mlport's errors, all in one place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx

from sdk import errors
from sdk.adapter import ModelFault

if TYPE_CHECKING:
    from sdk.adapter import Ref

PROVIDER = "shelf"
_CLASSES: dict[int, type[errors.PlatformError]] = {
    400: errors.InvalidRequestError,
    401: errors.AuthError,
    403: errors.AuthError,
    404: errors.NotFoundError,
    409: errors.ConflictError,
    412: errors.ConflictError,
    413: errors.PayloadTooLargeError,
    429: errors.ThrottledError,
}


def from_answer(answer: httpx.Response, operation: str, ref: Ref | None = None) -> errors.PlatformError:
    """Return the error for a refusal by the platform."""
    facts: dict[str, Any] = {
        "provider": PROVIDER,
        "operation": operation,
        "resource": None if ref is None else str(ref),
        "status": answer.status_code,
        "request_id": answer.headers.get("x-request-id"),
    }
    message = f"{operation} was refused: {answer.text[:200]}"
    if answer.status_code >= 500:
        return errors.UnavailableError(message, **facts)
    if operation == "delete" and answer.status_code == 409:
        return errors.ConflictError(message, retryable=True, **facts)  # in use now; may be deletable later
    return _CLASSES.get(answer.status_code, errors.PlatformError)(message, **facts)


def from_transport(error: httpx.TransportError, operation: str) -> errors.UnavailableError:
    """Return the error for a broken connection: only a refused connection proves that nothing was sent."""
    sent = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
    return errors.UnavailableError(f"{operation}: {error}", sent=sent, provider=PROVIDER, operation=operation)


def model_fault(answer: httpx.Response) -> ModelFault | None:
    """Return the model's own error; ``None`` if the platform answered. Shelf marks answers that it only passes on."""
    if answer.headers.get("x-shelf-origin") != "model":
        return None
    try:
        error = answer.json()["error"]
    except (ValueError, KeyError, TypeError):
        return ModelFault(answer.status_code, answer.text[:500], body=answer.text)
    return ModelFault(answer.status_code, error["message"], error.get("field"), error.get("request_id"), answer.text)
