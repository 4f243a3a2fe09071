"""Calls to an endpoint behind mlport's gateway: plain HTTP with the endpoint's own token."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

import httpx

from ...errors import AuthError, NotFoundError, PayloadTooLargeError, PlatformError, UnavailableError
from ...util import foreign
from ...util.waiting import retry_after
from ..interface import Invoker, Limits, ModelFault, Streaming

if TYPE_CHECKING:
    from collections.abc import Generator

    from .gateway_options import GatewayOptions

PIN = "x-mlport-deployment"
_UNREADY = {"not_ready", "connect_failed"}  # no replica was available to take the request
_LOST = "replica_lost"
_GATEWAY_CODES = {*_UNREADY, _LOST, "overloaded", "bad_response", "response_timeout"}


class TokenAuth(httpx.Auth):
    """Authentication with the endpoint's bearer token, which is never shown."""

    def __init__(self, token: str) -> None:
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Authorise one request."""
        request.headers["authorization"] = f"Bearer {self._token}"
        yield request


def limits(options: GatewayOptions) -> Limits:
    """Return the limits of one prediction."""
    return Limits(request_bytes=options.max_body, timeout_s=options.deadline_s, answer_bytes=options.max_answer)


def invoker(url: str, token: str, options: GatewayOptions, provider: str, *, direct: bool = False) -> Invoker:
    """Return the way to call the endpoint at ``url``; ``direct`` means without an intermediary before the gateway."""
    return Invoker(
        url=url,
        limits=limits(options),
        fault=fault,
        error=partial(error, provider=provider),
        auth=TokenAuth(token),
        pin=lambda deployment: {PIN: deployment},
        deployment=lambda response: response.headers.get(PIN),
        revives=True,
        direct=direct,
        stream=Streaming(),
        health=str(httpx.URL(url).copy_with(path="/healthz", query=None)),
    )


def fault(response: httpx.Response) -> ModelFault | None:
    """Return the model's error; ``None`` if the gateway itself answered."""
    told = _told(response)
    if PIN not in response.headers or told.get("code") in _GATEWAY_CODES:
        return None
    return ModelFault(
        status=response.status_code,
        message=str(told.get("message") or response.text[:500] or response.reason_phrase),
        field=told.get("field"),
        request_id=told.get("request_id") or response.headers.get("x-request-id"),
        body=response.text[:10_000],
    )


def error(response: httpx.Response, *, provider: str) -> PlatformError:
    """Return the error for an answer of the gateway itself."""
    told = _told(response)
    facts: dict[str, Any] = {
        "provider": provider,
        "operation": "predict",
        "status": response.status_code,
        "request_id": response.headers.get("x-request-id"),
    }
    message = str(told.get("message") or f"the gateway answered {response.status_code}")
    if response.status_code in {401, 403, 421}:
        return AuthError(message, **facts)
    if response.status_code == 404:
        return NotFoundError(message, **facts)
    if response.status_code == 413:
        return PayloadTooLargeError(message, **facts)
    if response.status_code >= 500:
        unready = told.get("code") in _UNREADY
        sent = not unready and told.get("code") != "overloaded"
        again = retry_after(response.headers)
        lost = told.get("code") == _LOST
        return UnavailableError(message, sent=sent, unready=unready, lost=lost, retry_after_s=again, **facts)
    return PlatformError(message, **facts)


def _told(response: httpx.Response) -> dict[str, Any]:
    try:
        told = foreign.of_response(response)["error"]
    except (ValueError, KeyError, TypeError):
        return {}
    return cast("dict[str, Any]", told) if isinstance(told, dict) else {}
