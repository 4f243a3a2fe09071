"""Google's generated clients over REST, created on first use, without global state or retries of their own.

Long-running operations are read as plain JSON. Google's parser refuses an operation whose metadata or response has a
field or type that this version of the library does not know, so one new field would end every deploy.
"""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Any

from sdk.adapter import Operation
from sdk.errors import NotFoundError
from sdk.util import bounded
from sdk.util.bounded_http import limit_requests

from ._errors import border, gone, of_operation
from ._library import client_class
from ._names import parent
from ._operations import tolerate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import httpx

    from ._access import Access

_PAGE = 100
_MOST = 1_000_000  # entries of a list
_OPERATION = re.compile(r"projects/[^/]+/locations/[^/]+/([a-zA-Z]+/[^/]+/)?operations/[^/]+")


class Control:
    """The control plane of Vertex AI in one project and region.

    Args:
        access: The access to Google's services.
    """

    def __init__(self, access: Access) -> None:
        self.access = access
        self.parent = parent(access.options)
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()

    def client(self, service: str) -> Any:
        """Return the generated client of ``endpoints``, ``models`` or ``jobs``."""
        with self._lock:
            if service not in self._clients:
                self._clients[service] = self._made(service)
            return self._clients[service]

    def _made(self, service: str) -> Any:
        options = {"api_endpoint": self.access.url("aiplatform")}
        if not self.access.mock:
            options["api_endpoint"] = options["api_endpoint"].removeprefix("https://")
        kind = client_class(service)
        made = kind(credentials=self.access.credentials, transport="rest", client_options=options)
        limit_requests(vars(made.transport)["_session"])
        tolerate(vars(made.transport)["_session"])
        return made

    def call(self, service: str, method: str, request: Mapping[str, Any], *, timeout: float, about: str = "") -> Any:
        """Make one call and return the result of the client library.

        Args:
            service: ``endpoints``, ``models`` or ``jobs``.
            method: The name of the method, such as ``deploy_model``.
            request: The fields of the request, in snake case.
            timeout: The timeout in seconds.
            about: The resource that errors name.

        Raises:
            PlatformError: The call was refused or not answered.
        """
        operation = "".join(word.capitalize() for word in method.split("_"))
        with border(operation, about):
            return getattr(self.client(service), method)(dict(request), timeout=max(timeout, 0.001), retry=None)

    def read(self, service: str, method: str, name: str, *, timeout: float) -> Any | None:
        """Return the resource with a name, or ``None`` if there is none."""
        try:
            return self.call(service, method, {"name": name}, timeout=timeout, about=name)
        except NotFoundError:
            return None

    def every(self, service: str, method: str, filter_: str, *, timeout: float) -> Iterator[Any]:
        """Yield all resources that match a filter, page by page."""
        request = {"parent": self.parent, "filter": filter_, "page_size": _PAGE}
        found = iter(self.call(service, method, request, timeout=timeout))
        operation = "".join(word.capitalize() for word in method.split("_"))
        with border(operation):
            for fetching in bounded.turns(f"the list of {operation}", _MOST):
                with fetching:
                    one = next(found, None)
                if one is None:
                    return
                yield one

    def operation(self, name: str, *, timeout: float) -> Operation:
        """Return the state of a long-running operation.

        Raises:
            NotFoundError: The platform does not know the operation, or no longer knows it.
        """
        if not _OPERATION.fullmatch(name):
            raise gone("Operation", name)
        found = self._get(name, "GetOperation", timeout).json()
        failed: dict[str, Any] = found.get("error") or {}
        error = of_operation(int(failed.get("code") or 0), str(failed.get("message")), name) if failed else None
        return Operation(name, bool(found.get("done")), error)

    def unfinished(self, holder: str, *, timeout: float) -> Sequence[str]:
        """Return the types of a resource's unfinished operations."""
        params: dict[str, Any] = {"filter": "done=false", "pageSize": _PAGE}
        types: list[str] = []
        for fetching in bounded.turns(f"the list of operations of {holder}"):
            with fetching:
                page: dict[str, Any] = self._get(f"{holder}/operations", "ListOperations", timeout, params).json()
            going: list[dict[str, Any]] = [one for one in page.get("operations") or () if not one.get("done")]
            about: list[dict[str, Any]] = [one.get("metadata") or {} for one in going]
            types += [str(one.get("@type", "")).rpartition(".")[2] for one in about]
            if not page.get("nextPageToken"):
                break
            params["pageToken"] = page["nextPageToken"]
        return types

    def _get(
        self, name: str, operation: str, timeout: float, params: Mapping[str, Any] | None = None
    ) -> httpx.Response:
        url = f"{self.access.url('aiplatform')}/v1/{name}"
        return self.access.send("GET", url, operation, timeout=timeout, resource=name, params=params)

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            client.transport.close()
