"""The request handling that all mini clouds share: find the operation, apply planned faults, handle, and log the call.

A cloud consists of *services*. Each looks at a request and returns the operation, if the request is one of its own;
the first service that returns one handles it. Handlers are plain functions from a request to a response and run in
threads; those on a fast path may be coroutines instead.
"""

from __future__ import annotations

import asyncio
import inspect
import io
import json
import re
import tempfile
import time
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, TypeAlias, cast
from urllib.parse import parse_qsl, unquote

from sdk.util.foreign import parse

from .calls import Call, CallLog
from .faults import HANDLED, Faults

if TYPE_CHECKING:
    from .faults import Fault

Handler: TypeAlias = "Callable[[Request], Response | Awaitable[Response]]"
Body: TypeAlias = "bytes | Iterator[bytes] | AsyncGenerator[bytes]"

_IN_MEMORY = 1 << 20
_BLOCK = 1 << 18
_THREADS = 32
_LIMIT = 8 << 30


@dataclass
class Request:
    """A request that has been read completely; large bodies are in a file.

    Attributes:
        method: HTTP method, in capitals.
        path: The decoded path.
        target: The path as it was sent, still encoded, without the query.
        query: First value of each parameter; ``query_string`` is the query as it was sent.
        headers: By lower-case name; the last value of a repeated header.
        content: The body, positioned at its beginning.
        params: Parameters that the route read from the path.
        fault: A fault that the handler has to apply: ``stuck``, ``late`` or ``fail``.
        base_url: Scheme, host and port by which the client reached the server.
    """

    method: str
    path: str
    target: str = ""
    query_string: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    content: BinaryIO | None = None
    params: Mapping[str, str] = field(default_factory=dict[str, str])
    fault: Fault | None = None
    base_url: str = ""
    _query: Mapping[str, str] | None = None

    @property
    def query(self) -> Mapping[str, str]:
        """The query parameters."""
        if self._query is None:
            self._query = dict(parse_qsl(self.query_string, keep_blank_values=True))
        return self._query

    @property
    def body(self) -> bytes:
        """The whole body."""
        if self.content is None:
            return b""
        self.content.seek(0)
        return self.content.read()

    def json(self) -> Any:
        """Parse the body as JSON; an empty body is an empty object.

        Raises:
            ValueError: It is not JSON, or is nested too deeply.
        """
        return parse(self.body or b"{}", "the body")

    def rewrite(self, body: Any, query: Mapping[str, str]) -> None:
        """Replace the query, and the body by another JSON body if there is one."""
        self._query = query
        if self.content is not None and self.body:
            self.content.close()
            self.content = io.BytesIO(json.dumps(body).encode())

    def hit_by(self, kind: str) -> bool:
        """Return whether a fault of this kind is planned for this request."""
        return self.fault is not None and self.fault.kind == kind


@dataclass
class Response:
    """A reply. The body may be a synchronous or asynchronous iterator, whose blocks are sent as they come."""

    status: int = 200
    body: Body = b""
    headers: dict[str, str] = field(default_factory=dict[str, str])

    @classmethod
    def of_json(cls, value: Any, status: int = 200, **headers: str) -> Response:
        """Return a JSON reply; underscores in the names of headers become hyphens."""
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        return cls(status, json.dumps(value).encode(), {"content-type": "application/json", **named})


@dataclass(frozen=True)
class Match:
    """The operation that a request was matched with."""

    service: str
    operation: str
    handler: Handler
    resource: str = ""
    changing: bool = False
    params: Mapping[str, str] = field(default_factory=dict[str, str])


class Service(Protocol):
    """One of the services of a cloud."""

    def find(self, request: Request) -> Match | None:
        """Return the operation that a request means, or ``None`` when it is not one of this service."""
        ...

    def trouble(self, request: Request, match: Match, fault: Fault) -> Response:
        """Return the reply to a ``throttle``, ``unavailable`` or ``denied`` fault, in the cloud's format."""
        ...


class Dropped(Exception):
    """Raised by a handler, or by the iterator of a body, to cut the connection."""


class App:
    """An ASGI application made of services.

    Args:
        services: The services, asked in this order.
        calls: The log of requests.
        faults: The planned faults.
        missing: Makes the reply to a request that no service knows.
        broken: Makes the reply when a handler raised; it should carry the exception's text, to help debug a mini cloud.
    """

    def __init__(
        self,
        services: list[Service],
        *,
        calls: CallLog | None = None,
        faults: Faults | None = None,
        missing: Callable[[Request], Response] | None = None,
        broken: Callable[[Request, BaseException], Response] | None = None,
    ) -> None:
        self.services = services
        self.calls = calls if calls is not None else CallLog()
        self.faults = faults or Faults()
        self.errors: list[str] = []  # tracebacks of handlers that raised, which is a bug of the mini cloud
        self._missing = missing or _not_here
        self._broken = broken or _broken
        self.guard: Callable[[Request, Match], Response | None] | None = None  # refuses calls that lack a right
        self.watch: Callable[[str, Match], bool] | None = None  # gets "before" and "after"; True cuts the connection
        self.at_end: list[Callable[[], Awaitable[None]]] = []  # close what handlers opened in the server's event loop
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="mini-cloud")

    def close(self) -> None:
        """Release the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def finish(self) -> None:
        """Run the clean-up functions of ``at_end``; the server calls this in its event loop, after the last request."""
        for end in self.at_end:
            await end()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle one request of an ASGI server."""
        if scope["type"] != "http":
            raise ValueError(f"{scope['type']} connections are not offered")
        at = time.time()
        try:
            request = await _read(scope, receive)
        except ConnectionError:
            return
        try:
            match, response = await self._answer(request)
            status = response.status if response else 0
            if match:
                self.calls.add(
                    Call(
                        match.service, match.operation, match.resource, request.method, request.path, status, at,
                        match.changing,
                    )
                )  # fmt: skip
            if response is None:
                scope["state"]["connection"].cut()
            else:
                await _send(send, response, self._threads, scope["state"]["connection"])
        except Dropped:  # by the iterator of a body
            scope["state"]["connection"].cut()
        finally:
            if request.content is not None:
                request.content.close()

    async def _answer(self, request: Request) -> tuple[Match | None, Response | None]:
        understood = self._find(request)
        if understood is None:
            return None, self._missing(request)
        service, found = understood
        request.params = found.params
        if self.watch is not None and self.watch("before", found):
            return found, None
        fault = self.faults.strike(found.service, found.operation)
        response = await self._troubled(service, found, request, fault)
        cut = self.watch is not None and self.watch("after", found)
        return found, None if cut else response

    def _find(self, request: Request) -> tuple[Service, Match] | None:
        for service in self.services:
            if match := service.find(request):
                return service, match
        return None

    async def _troubled(self, service: Service, match: Match, request: Request, fault: Fault | None) -> Response | None:
        kind = fault.kind if fault else ""
        if fault and kind in HANDLED:
            request.fault = fault
        if fault and kind in {"throttle", "unavailable", "denied"}:
            return service.trouble(request, match, fault)
        if kind == "drop_before":
            return None
        response = await self._handled(match, request)
        if fault and kind == "slow":
            await asyncio.sleep(fault.seconds)
        return None if kind == "drop_after" else response

    async def _handled(self, match: Match, request: Request) -> Response | None:
        try:
            if self.guard is not None and (refusal := self.guard(request, match)) is not None:
                return refusal
            if inspect.iscoroutinefunction(match.handler):
                quick: Response = await match.handler(request)
                return quick
            loop = asyncio.get_running_loop()
            done: Any = await loop.run_in_executor(self._threads, match.handler, request)
            return cast("Response", done)
        except Dropped:
            return None
        except Exception as error:  # noqa: BLE001  # a bug of the mini cloud must reach its client as a reply
            self.errors.append(traceback.format_exc())
            return self._broken(request, error)


class Routes:
    """A service of REST paths, such as ``/v1/projects/{project}/models/{model}:copy``.

    A name in braces stands for one segment (without ``/`` and ``:``); ``{name:path}`` for the rest of the path.

    Args:
        service: The name under which calls are logged.
        trouble: Formats refusals.
        prefix: Prepended to each path.
        ignore_case: Whether the fixed parts of paths are compared without case.

    Example:
        >>> routes = Routes("models", lambda request, match, fault: Response(503))
        >>> @routes.add("DELETE", "/v1/models/{model}", "DeleteModel")
        ... def delete(request: Request) -> Response:
        ...     return Response.of_json({"deleted": request.params["model"]})
        >>> routes.find(Request("DELETE", "/v1/models/m1")).params
        {'model': 'm1'}
    """

    def __init__(
        self,
        service: str,
        trouble: Callable[[Request, Match, Fault], Response],
        *,
        prefix: str = "",
        ignore_case: bool = False,
    ) -> None:
        self.service, self._trouble, self._prefix = service, trouble, prefix
        self._flags = re.IGNORECASE if ignore_case else re.NOFLAG
        self._routes: list[tuple[str, re.Pattern[str], str, bool, Handler]] = []

    def add(
        self, method: str, path: str, operation: str, *, changing: bool | None = None
    ) -> Callable[[Handler], Handler]:
        """Register the handler of a path; ``changing`` depends on the HTTP method when it is left out."""
        pattern = re.compile(_pattern(self._prefix + path), self._flags)
        changes = method not in {"GET", "HEAD", "OPTIONS"} if changing is None else changing

        def register(handler: Handler) -> Handler:
            self._routes.append((method, pattern, operation, changes, handler))
            return handler

        return register

    def find(self, request: Request) -> Match | None:
        """Return the first route that matches."""
        for method, pattern, operation, changing, handler in self._routes:
            found = pattern.fullmatch(request.path) if method == request.method else None
            if found:
                params = found.groupdict()
                resource = next(reversed(params.values()), "")
                return Match(self.service, operation, handler, resource, changing, params)
        return None

    def trouble(self, request: Request, match: Match, fault: Fault) -> Response:
        """Return a refusal in the cloud's format."""
        return self._trouble(request, match, fault)


def _pattern(path: str) -> str:
    parts = re.split(r"(\{[A-Za-z_]+(?::path)?\})", path)
    return "".join(_part(part) for part in parts)


def _part(text: str) -> str:
    if not text.startswith("{"):
        return re.escape(text)
    name, _, kind = text[1:-1].partition(":")
    return f"(?P<{name}>{'.+' if kind else '[^/:]+'})"


async def _read(scope: Any, receive: Any) -> Request:
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    raw = scope.get("raw_path") or scope["path"].encode()
    content: BinaryIO = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # type: ignore[assignment]  # noqa: SIM115  # closed after the reply
    size, more = 0, True
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            content.close()
            raise ConnectionError("the client went away")
        size += len(event.get("body", b""))
        if size > _LIMIT:
            content.close()
            raise ConnectionError("the body is too large")
        content.write(event.get("body", b""))
        more = event.get("more_body", False)
    content.seek(0)
    target = raw.decode("latin-1").partition("?")[0]
    host = headers.get("host", "")
    return Request(
        scope["method"].upper(),
        unquote(target),
        target,
        scope["query_string"].decode("latin-1"),
        headers,
        content,
        base_url=f"{scope['scheme']}://{host}",
    )


async def _send(send: Any, response: Response, threads: ThreadPoolExecutor, connection: Any) -> None:
    headers = [(name.lower().encode("latin-1"), text.encode("latin-1")) for name, text in response.headers.items()]
    body = response.body
    if isinstance(body, bytes):
        if not any(name == b"content-length" for name, _ in headers) and response.status not in {204, 304}:
            headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        return
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    async with aclosing(body if isinstance(body, AsyncGenerator) else _in_thread(body, threads)) as blocks:
        async for block in blocks:
            if connection.transport.is_closing():
                return  # the client went away, and so must the request to the container
            await send({"type": "http.response.body", "body": block, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _in_thread(blocks: Iterator[bytes], threads: ThreadPoolExecutor) -> AsyncGenerator[bytes]:
    loop = asyncio.get_running_loop()
    try:
        while (block := await loop.run_in_executor(threads, next, blocks, None)) is not None:
            yield block
    finally:
        if isinstance(blocks, Generator):
            blocks.close()


def _not_here(request: Request) -> Response:
    return Response.of_json({"message": f"this mini cloud has no {request.method} {request.path}"}, 404)


def _broken(request: Request, error: BaseException) -> Response:
    return Response.of_json({"message": f"the mini cloud broke on {request.path}: {error!r}"}, 500)
