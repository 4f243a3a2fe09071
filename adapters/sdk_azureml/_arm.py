"""Calls to Azure's resource manager: one request, then its answer or one error of mlport; nothing is retried here."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import httpx

from sdk.adapter import Operation
from sdk.errors import NotFoundError, PlatformError
from sdk.util import bounded, foreign
from sdk.util.waiting import retry_after, seconds_ahead

from ._errors import PROVIDER, from_answer, from_transport, gone, of_operation
from ._json import rows
from ._names import group_path, workspace_path
from ._where import HISTORY, MANAGEMENT, OLD_HISTORY, Tokens, place_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sdk.adapter import AdapterContext

    from .options import AzureMLOptions

ML_API = "2024-10-01"  # every call to Microsoft.MachineLearningServices
_NO_PLACE = re.compile(  # Azure's texts for this, in 404s with different codes
    r"subscription '[^']*' could not be found|resource group '[^']*' could not be found"
    r"|Microsoft\.MachineLearningServices/workspaces/[^'/]+' under resource group",
    re.IGNORECASE,
)
_CALL_S = 120.0  # the longest that one call may take; anything longer is a long-running operation


class Arm:
    """The calls of one target to the resource manager.

    Args:
        options: The target's settings.
        context: Provides clock and transport.
    """

    def __init__(self, options: AzureMLOptions, context: AdapterContext) -> None:
        self.place = place_of(options)
        self.http = self.place.client(context.transport)
        self.tokens = Tokens(self.place, self.http, context.clock)
        self.workspace_path = workspace_path(options)
        self.group_path = group_path(options)
        self._subscription = options.subscription
        self._clock = context.clock
        self._skew = 0.0

    def close(self) -> None:
        """Close the connections, also those to the directory that issues tokens."""
        self.tokens.close()
        self.http.close()

    def server_time(self) -> float:
        """Return Unix seconds by Azure's clock, estimated from its last answer."""
        return self._clock.time() + self._skew

    # --- one call

    def call(
        self,
        method: str,
        path: str,
        operation: str,
        *,
        timeout: float,
        resource: str | None = None,
        api: str = ML_API,
        body: Any = None,
        params: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Make one call; ``path`` starts with the subscription.

        Raises:
            PlatformError: The call was refused or got no answer; the class says what is known about its effect.
        """
        query = {"api-version": api, **(params or {})}
        return self.send(
            method, f"{self.place.arm}{path}", operation, timeout=timeout, resource=resource, params=query, json=body
        )

    def send(
        self, method: str, url: str, operation: str, *, timeout: float, resource: str | None = None, **what: Any
    ) -> httpx.Response:
        """Make one call to a full URL of the resource manager or of the run history.

        Raises:
            SecurityError: The URL has another host, which must not get the token.
        """
        self.place.check(operation, url, MANAGEMENT, HISTORY, OLD_HISTORY)
        headers = {"authorization": f"Bearer {self.tokens.arm}"}
        try:
            response = self.http.request(method, url, headers=headers, timeout=min(timeout, _CALL_S), **what)
        except httpx.TransportError as error:
            raise from_transport(error, operation, resource) from error
        self._see(response)
        if response.is_success:
            if response.headers.get("content-type", "").startswith("application/json") and response.content:
                foreign.of_response(response, f"the answer to {operation}")  # so callers can rely on it
            return response
        try:
            response.raise_for_status()
        except httpx.HTTPStatusError as error:
            raise from_answer(response, operation, resource) from error
        raise from_answer(response, operation, resource)  # a redirect, which no call here follows

    def find(
        self, path: str, operation: str, *, timeout: float, resource: str | None = None, api: str = ML_API
    ) -> dict[str, Any] | None:
        """Return the resource at a path, ``None`` if Azure says that it does not exist.

        Raises:
            NotFoundError: The workspace, its group or its subscription does not exist.
        """
        try:
            found: dict[str, Any] = self.call(
                "GET", path, operation, timeout=timeout, resource=resource, api=api
            ).json()
        except NotFoundError as error:
            if path != self.workspace_path and _misses_place(error):
                raise
            return None
        return found

    def values(
        self,
        path: str,
        operation: str,
        *,
        timeout: float,
        api: str = ML_API,
        params: Mapping[str, str] | None = None,
        of: str | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Yield all items of a list, page by page; if ``of`` names a parent that no longer exists, the list is empty.

        Raises:
            NotFoundError: The workspace, its group or its subscription does not exist.
            PlatformError: The next page is on another host, which must not get the token.
        """
        try:
            page: dict[str, Any] = self.call("GET", path, operation, timeout=timeout, api=api, params=params).json()
        except NotFoundError as error:
            if of is None or _misses_place(error):
                raise
            return
        for fetching in bounded.turns(f"the list of {operation!r}"):
            yield from rows(page.get("value"))
            link = str(page.get("nextLink") or "")
            if not link:
                return
            if _host(link) != _host(self.place.arm):
                raise PlatformError(f"{operation}: the next page is on another host", provider=PROVIDER)
            with fetching:
                page = self.send("GET", link, operation, timeout=timeout).json()

    def _see(self, response: httpx.Response) -> None:
        ahead = seconds_ahead(response.headers.get("date"), self._clock.time())
        self._skew = self._skew if ahead is None else ahead

    # --- the workspace

    @functools.cached_property
    def workspace(self) -> dict[str, Any]:
        """The workspace, read once.

        Raises:
            NotFoundError: No workspace of this name exists.
        """
        found = self.find(self.workspace_path, "read workspace", timeout=30.0)
        if found is None:
            raise gone("workspace", self.workspace_path)
        return found

    @property
    def location(self) -> str:
        """The region of the workspace and of everything in it."""
        return str(self.workspace["location"])

    # --- long-running operations

    def started(self, response: httpx.Response) -> str | None:
        """Return the name of the operation that an answer started: its path, without the signature in the query."""
        url = str(response.headers.get("azure-asyncoperation") or "")
        return unquote(urlsplit(url).path).removeprefix("/") if url else None

    def operation(self, name: str, *, timeout: float) -> Operation:
        """Return the state of a long-running operation.

        Raises:
            NotFoundError: Azure no longer knows the operation.
        """
        if not name.lower().startswith(f"subscriptions/{self._subscription}/".lower()):
            raise gone("operation", name)
        response = self.call("GET", f"/{name}", "read operation", timeout=timeout, resource=name)
        found: dict[str, Any] = response.json()
        state = str(found.get("status"))
        wait = retry_after(response.headers)
        if state == "Succeeded":
            return Operation(name, done=True)
        if state in {"Failed", "Canceled"}:
            reason = found.get("error") or {"code": "OperationCanceled", "message": f"the operation is {state}"}
            return Operation(name, done=True, error=of_operation(reason, name))
        return Operation(name, done=False, retry_after_s=wait)


def _host(url: str) -> tuple[str, str, int | None]:
    """Return scheme, host and port of a URL; a missing port becomes the default one of the scheme."""
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or {"https": 443, "http": 80}.get(parts.scheme)


def _misses_place(error: NotFoundError) -> bool:
    """Check whether the workspace or its parents are missing, not the resource itself."""
    return _NO_PLACE.search(error.message) is not None
