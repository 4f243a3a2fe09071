"""Predictions: one POST to the endpoint's own address, with its key or token kept in this process.

Azure wraps every container answer other than 200 in a 424 of its own; this module unwraps it.
Source: https://learn.microsoft.com/azure/machine-learning/how-to-troubleshoot-online-endpoints#http-status-codes
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, cast

import httpx

from sdk.adapter import Invoker, Limits, ModelFault, Streaming
from sdk.dataplane.intermediaries import error_of_front, is_of_front
from sdk.errors import (
    AuthError,
    NotFoundError,
    PayloadTooLargeError,
    PlatformError,
    SdkError,
    ThrottledError,
    TimedOut,
    UnavailableError,
)
from sdk.util import foreign
from sdk.util.waiting import retry_after

from ._errors import PROVIDER
from ._where import ML_SCOPE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    from sdk.adapter import Clock

    from ._arm import Arm
    from .options import AzureMLOptions

PIN = "azureml-model-deployment"
_STATUS, _REASON = "ms-azureml-model-error-statuscode", "ms-azureml-model-error-reason"
_CALL_S = 30.0
_EARLY_S = 120.0
_BUSY = frozenset({429, 503})  # the container's statuses for being busy


class EndpointAuth(httpx.Auth):
    """Authentication with the endpoint's key or token: requested once, and again when it expires or is refused.

    Args:
        ask: Returns a key or token and the Unix time at which it expires (``inf`` for never).
        clock: Source of time.
    """

    def __init__(self, ask: Callable[[bool], tuple[str, float]], clock: Clock) -> None:
        self._ask, self._clock = ask, clock
        self._lock = threading.Lock()
        self._known: tuple[str, float] | None = None

    def _secret(self, refused: str | None = None) -> str:
        with self._lock:
            known = self._known
            if known is None or known[0] == refused or known[1] - _EARLY_S <= self._clock.time():
                known = self._known = self._ask(refused is not None)
            return known[0]

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Authorise one request; if it is refused and the key has changed, send it once more."""
        secret = self._secret()
        request.headers["authorization"] = f"Bearer {secret}"
        response = yield request
        if response.status_code == 401:
            fresh = self._secret(secret)
            if fresh != secret:
                request.headers["authorization"] = f"Bearer {fresh}"
                yield request

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Authorise one request in the same way, without blocking the event loop."""
        secret = await asyncio.to_thread(self._secret)
        request.headers["authorization"] = f"Bearer {secret}"
        response = yield request
        if response.status_code == 401:
            fresh = await asyncio.to_thread(self._secret, secret)
            if fresh != secret:
                request.headers["authorization"] = f"Bearer {fresh}"
                yield request


def secret_source(arm: Arm, path: str, auth: str, name: str) -> Callable[[bool], tuple[str, float]]:
    """Return a function that requests the key or token of an endpoint from the resource manager or the directory."""

    def ask(refused: bool) -> tuple[str, float]:
        if auth == "aad":
            return arm.tokens.get(ML_SCOPE, fresh=refused), float("inf")
        if auth == "token":
            found: dict[str, Any] = arm.call(
                "POST", f"{path}/token", "get token", timeout=_CALL_S, resource=name
            ).json()
            return str(found["accessToken"]), float(found.get("refreshAfterTimeUtc") or found["expiryTimeUtc"])
        found = arm.call("POST", f"{path}/listKeys", "list keys", timeout=_CALL_S, resource=name).json()
        return str(found["primaryKey"]), float("inf")

    return ask


def limits(options: AzureMLOptions) -> Limits:
    """Return the limits of one prediction: for the body the server's own limit, since Azure documents none."""
    return Limits(request_bytes=options.max_body, timeout_s=options.deadline_s, answer_bytes=options.max_answer)


def invoker(url: str, auth: httpx.Auth, options: AzureMLOptions, ca: str | None) -> Invoker:
    """Return the client that calls the endpoint at ``url``."""
    return Invoker(
        url=url,
        limits=limits(options),
        fault=fault,
        error=error if options.public else _error_from_outside,
        auth=auth,
        pin=lambda deployment: {PIN: deployment},
        deployment=lambda response: response.headers.get(PIN),
        verify=ca or True,
        stream=Streaming(),
    )


def fault(response: httpx.Response) -> ModelFault | None:
    """Return the container's error inside a 424; ``None`` if the error is Azure's or the container is busy."""
    status = response.headers.get(_STATUS, "")
    if response.status_code != 424 or not status.isdigit() or int(status) in _BUSY:
        return None
    said = _told(response)
    reason = response.headers.get(_REASON) or response.text[:500] or "the model failed"
    return ModelFault(
        status=int(status),
        message=str(said.get("message") or reason),
        field=said.get("field"),
        request_id=said.get("request_id") or response.headers.get("x-request-id"),
        body=response.text[:10_000],
    )


_BY_STATUS: dict[int, tuple[type[PlatformError], str | None]] = {
    401: (AuthError, "check the key, or the role of your identity on the endpoint"),
    403: (AuthError, "check the key, or the role of your identity on the endpoint"),
    404: (NotFoundError, "no deployment with traffic, or none of that name"),
    413: (PayloadTooLargeError, None),
}


def error(response: httpx.Response) -> SdkError:
    """Return the SDK's error for an answer of Azure itself."""
    status = response.status_code
    if _STATUS not in response.headers and is_of_front(response):
        return error_of_front(response, {"provider": PROVIDER, "operation": "predict"})
    facts: dict[str, Any] = {
        "provider": PROVIDER,
        "operation": "predict",
        "status": status,
        "request_id": response.headers.get("x-request-id"),
    }
    message = str(_told(response).get("message") or response.text[:300] or f"the endpoint answered {status}")
    again = retry_after(response.headers)
    if status == 408:
        return TimedOut(message, hint="raise deadline_s of the target", **facts)
    if status == 429:
        return ThrottledError(message, retry_after_s=again, hint="raise concurrency or replicas", **facts)
    if status >= 500 or response.headers.get(_STATUS, "") in {"429", "503"}:
        return UnavailableError(message, sent=True, retry_after_s=again, **facts)
    kind, hint = _BY_STATUS.get(status, (PlatformError, None))
    return kind(message, hint=hint, **facts)


def _error_from_outside(response: httpx.Response) -> SdkError:
    """Return the error for an answer of an endpoint that has no public address."""
    found = error(response)
    if isinstance(found, AuthError) and found.status == 403:
        found.hint = (
            "public = false: call it from the network of the workspace's private endpoint, or set public = true"
        )
    return found


def _told(response: httpx.Response) -> dict[str, Any]:
    try:
        told = foreign.of_response(response)["error"]
    except (ValueError, KeyError, TypeError):
        return {}
    return cast("dict[str, Any]", told) if isinstance(told, dict) else {}
