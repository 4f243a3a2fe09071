"""A small client of the Docker Engine's HTTP API, with one connection pool and uniform errors.

It uses the oldest version that both sides know, so that every engine from 1.41 to the newest answers alike.
Source: https://docs.docker.com/reference/api/engine/
"""

from __future__ import annotations

import json as json_module
import struct
from contextlib import ExitStack, contextmanager, suppress
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import httpx

from sdk.errors import (
    AuthError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    PlatformError,
    QuotaError,
    UnavailableError,
    UnsupportedError,
)
from sdk.util import bounded, foreign

from .engine_address import Address, find_address
from .engine_ssh import Forward
from .manifests import Platform

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

OLDEST = (1, 41)
_TIMEOUT = httpx.Timeout(60, connect=10)
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_FRAME = struct.Struct(">BxxxL")
_PROVIDER = "docker"


class Engine:
    """A client of one Docker Engine.

    Args:
        address: The address of the engine; the one that Docker's own command line would use if omitted.

    Example:
        >>> with Engine() as engine:  # doctest: +SKIP
        ...     engine.call("GET", "/containers/json", params={"all": "1"})
    """

    def __init__(self, address: Address | None = None) -> None:
        self.address = address or find_address()
        self._forward = Forward(self.address.host) if self.address.host.startswith("ssh:") else None
        way = self.address if self._forward is None else Address(f"unix://{self._forward.socket}")
        self.watch: Callable[[str, str], None] = lambda _when, _what: None
        """Called with ``before`` or ``after`` around each call that may change something; tests stop a client there."""
        self.date: float | None = None
        """The engine's clock at its last answer, in Unix seconds."""
        self._http = bounded.client(
            base_url=way.url,
            transport=way.transport(),
            timeout=_TIMEOUT,
            event_hooks={"response": [self._note_date]},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()
        if self._forward is not None:
            self._forward.close()

    def _note_date(self, response: httpx.Response) -> None:
        with suppress(KeyError, ValueError):
            self.date = parsedate_to_datetime(response.headers["date"]).timestamp()

    @cached_property
    def about(self) -> dict[str, Any]:
        """The engine's description of itself, such as ``Version`` and ``Arch``."""
        try:
            self.address.probe()
        except OSError as error:
            raise self._lost("GET", "/version", error) from error
        response = self._answered("GET", "/version", self._request("GET", "/version"))
        about: dict[str, Any] = foreign.table(response.content, "the engine's answer")
        return about

    @property
    def platform(self) -> Platform:
        """The platform of its containers."""
        arch = str(self.about.get("Arch", ""))
        return Platform(_ARCHITECTURES.get(arch, arch), str(self.about.get("Os", "linux")))

    @cached_property
    def version(self) -> str:
        """The API version in use, such as ``"1.41"``.

        Raises:
            UnsupportedError: The engine is too old.
        """
        newest, least = _numbers(self.about["ApiVersion"]), _numbers(self.about.get("MinAPIVersion", "1.12"))
        if newest < OLDEST:
            raise UnsupportedError(
                f"the Docker Engine speaks API {self.about['ApiVersion']}, 1.41 is needed",
                provider=_PROVIDER,
                hint="update it to 20.10 or newer",
            )
        spoken = max(OLDEST, least)
        return f"{spoken[0]}.{spoken[1]}"

    # --- calls --------------------------------------------------------------------------------------------------

    def call(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        params: dict[str, str] | None = None,
        content: Iterable[bytes] | None = None,
        headers: dict[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> Any:
        """Send one request and return the JSON of the answer, ``None`` if it has none.

        Args:
            method: HTTP method.
            path: The path after the version, such as ``/containers/json``.
            json: Body as plain values.
            params: Query.
            content: Body as bytes.
            headers: More headers.
            timeout_s: Longest wait for the answer, in seconds.

        Raises:
            PlatformError: The engine refused; the class depends on the status.
            UnavailableError: The engine is not running, or the connection was lost.
        """
        rest: dict[str, Any] = {"json": json} if json is not None else {"content": content} if content else {}
        if timeout_s is not None:
            rest["timeout"] = httpx.Timeout(timeout_s, connect=10)
        with self.watched(method, path):
            response = self._request(method, f"/v{self.version}{path}", params=params, headers=headers, **rest)
            self._answered(method, path, response)
        if not response.headers.get("content-type", "").startswith("application/json"):
            return None
        return foreign.of_response(response, f"the engine's answer to {method} {path}")

    @contextmanager
    def watched(self, method: str, path: str) -> Generator[None]:
        """Report a call that may change something to the watcher, before it and after it succeeded."""
        changes = method != "GET"
        if changes:
            self.watch("before", f"{method} {path}")
        yield
        if changes:
            self.watch("after", f"{method} {path}")

    @contextmanager
    def stream(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, str] | None = None,
        content: Iterable[bytes] | None = None,
        headers: dict[str, str] | None = None,
        bound: bounded.Bound = bounded.LINES,
    ) -> Generator[Iterator[bytes]]:
        """Send one request whose answer comes in pieces; ``bound`` limits its size and duration."""
        timeout = httpx.Timeout(None, connect=10)
        with ExitStack() as stack:
            stack.enter_context(self.watched(method, path))
            try:
                response = stack.enter_context(
                    self._http.stream(
                        method,
                        f"/v{self.version}{path}",
                        params=params,
                        content=content,
                        headers=headers,
                        timeout=timeout,
                        extensions=bound.extensions,
                    )
                )
                if response.is_error:
                    response.read()
            except httpx.HTTPError as error:
                raise self._lost(method, path, error) from error
            yield self._pieces(method, path, self._answered(method, path, response))

    def upgrade(self, path: str, body: dict[str, Any]) -> tuple[ExitStack, Any]:
        """Send one request that becomes a two-way connection, such as that of a command inside a container.

        Returns:
            The exit stack that closes it, and the connection: ``read(max_bytes, timeout)``, ``write(data, timeout)``.

        Raises:
            PlatformError: The engine refused; the class depends on the status.
        """
        data = json_module.dumps(body).encode()
        headers = {"content-type": "application/json", "connection": "Upgrade", "upgrade": "tcp"}
        with ExitStack() as stack:
            try:
                answer = self._http.stream("POST", f"/v{self.version}{path}", content=data, headers=headers)
                response = stack.enter_context(answer)
                if response.is_error:
                    response.read()
            except httpx.HTTPError as error:
                raise self._lost("POST", path, error) from error
            self._answered("POST", path, response)
            return stack.pop_all(), response.extensions["network_stream"]

    def logs(
        self, container: str, *, tail: int | None = 50, since: str | None = None, stamped: bool = False
    ) -> list[str]:
        """Return the last lines that a container wrote to standard output and standard error, in order.

        Args:
            container: Name or id.
            tail: The number of lines; ``None`` for all.
            since: Unix seconds, with up to nine decimals; lines at that exact time are included.
            stamped: Whether each line begins with its time and a space.
        """
        params = {"stdout": "1", "stderr": "1", "tail": "all" if tail is None else str(tail)}
        params |= {"since": since} if since else {}
        params |= {"timestamps": "1"} if stamped else {}
        with self.stream("GET", f"/containers/{container}/logs", params=params) as pieces:
            data = b"".join(pieces)
        return [line.decode("utf-8", "replace") for line in b"".join(_frames(data)).split(b"\n") if line]

    def _pieces(self, method: str, path: str, response: httpx.Response) -> Iterator[bytes]:
        try:
            yield from response.iter_raw()
        except httpx.HTTPError as error:
            raise self._lost(method, path, error) from error

    def _request(self, method: str, path: str, **rest: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **rest)
        except httpx.HTTPError as error:
            raise self._lost(method, path, error) from error

    def _lost(self, method: str, path: str, error: httpx.HTTPError | OSError) -> PlatformError:
        where = self.address.host
        if isinstance(error, PermissionError):
            return AuthError(
                f"no right to use the Docker Engine at {where}",
                provider=_PROVIDER,
                hint="ask to be put into the group docker, or use rootless Docker",
            )
        unsent = isinstance(error, OSError | httpx.ConnectError | httpx.ConnectTimeout)
        return UnavailableError(
            f"cannot reach the Docker Engine at {where}: {error}"
            if unsent
            else f"lost the Docker Engine at {where}: {error or type(error).__name__}",
            provider=_PROVIDER,
            operation=f"{method} {path}",
            sent=not unsent,
            hint="start Docker, or set DOCKER_HOST to an engine that runs" if unsent else None,
        )

    @staticmethod
    def _answered(method: str, path: str, response: httpx.Response) -> httpx.Response:
        if not response.is_error:
            return response
        said = message_of(response)
        raise kind_of(response.status_code, said)(
            f"the Docker Engine answered {response.status_code} to {method} {path}: {said}",
            provider=_PROVIDER,
            operation=f"{method} {path}",
            status=response.status_code,
            hint="free some with `docker system prune`" if is_full(said) else None,
        )


def message_of(response: httpx.Response) -> str:
    """Return the engine's error message."""
    try:
        return str(foreign.of_response(response)["message"])
    except (ValueError, KeyError, TypeError):
        return response.text[:500]


def is_full(said: str) -> bool:
    """Check whether this message means that the engine's disk is full."""
    return "no space left on device" in said


def kind_of(status: int, said: str) -> type[PlatformError]:
    """Return the class of error for an answer of the engine."""
    if is_full(said):
        return QuotaError
    kinds: dict[int, type[PlatformError]] = {
        400: InvalidRequestError,
        401: AuthError,
        403: AuthError,
        404: NotFoundError,
        409: ConflictError,
    }
    return kinds.get(status, UnavailableError if status in {502, 503, 504} else PlatformError)


def _numbers(version: str) -> tuple[int, int]:
    major, _, minor = version.partition(".")
    return int(major), int(minor)


def _frames(data: bytes) -> Iterator[bytes]:
    """Iterate over the contents of the engine's frames (8-byte headers); a container with a terminal has none."""
    if not data[:1] or data[0] > 2 or data[1:4] != b"\0\0\0":
        yield data
        return
    position = 0
    while position + _FRAME.size <= len(data):
        _, size = _FRAME.unpack_from(data, position)
        yield data[position + _FRAME.size : position + _FRAME.size + size]
        position += _FRAME.size + size
