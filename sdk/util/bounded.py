"""Bounded reading of answers from other machines: limits on bytes and time, both checked while reading.

The time runs from the moment the request was sent until the body is complete, the head included, so a server that
sends a byte now and then cannot block a call for ever. Bytes are counted after decompression. All HTTP clients of
mlport are made here; :mod:`sdk.util.bounded_http` does the same for connections of the standard library and of
libraries that the clouds provide. The threat and the tests are in docs/security.md.
"""

from __future__ import annotations

import time
import zlib
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import httpcore
import httpx

from ..errors import UnreadableError
from . import exchanges

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

KEY = "mlport.bound"  # in the extensions of a request
_BEGUN = "mlport.begun"  # likewise, for listeners: when the request was sent
ENCODINGS = "gzip, deflate"
_STEP = 1 << 16  # bytes that are decompressed at once
_SLOWEST = 32 << 10  # bytes per second of a large body: a slower transfer counts as stalled
_ERROR_BYTES = 1 << 20  # of the body of an error
LIST_S = 3600.0
"""The most seconds for fetching all pages of a list."""


@dataclass(frozen=True, slots=True)
class Bound:
    """The limits for reading one answer.

    Args:
        most: The most bytes of the body, after decompression.
        seconds: The time until the body is complete; ``None`` for the request's read time-out.
        large: Whether the time grows with the bytes that have arrived, as files need.
        raw: Whether to return the body as it was sent, without decompression.
    """

    most: int
    seconds: float | None = None
    large: bool = False
    raw: bool = False

    @property
    def extensions(self) -> dict[str, Any]:
        """The request extensions that apply this bound."""
        return {KEY: self}

    def of_status(self, status: int) -> Bound:
        """Return the bound for this status; an error may have up to 1 MiB even if the known size is smaller."""
        most = _ERROR_BYTES if self.large else min(self.most, _ERROR_BYTES)
        return self if status < 400 else Bound(most, self.seconds)


ANSWER = Bound(64 << 20)
"""An answer of a control plane: a JSON document, or one page of a list."""
SMALL = Bound(4 << 20)
"""A manifest, the configuration of an image, or a lease."""
TOKEN = Bound(1 << 20)
"""The answer of a token service."""
PRICES = Bound(256 << 20, 300.0)
"""A price list; those of whole regions are large."""
LINES = Bound(256 << 20, 600.0, large=True)
"""The lines of a log, or the messages of a long operation."""


FILE = Bound(1 << 40, large=True, raw=True)
"""A file of a job; its size is known from the answer only."""
IMAGE = Bound(1 << 36, 600.0, large=True)
"""An image that a Docker Engine exports."""


def of_size(size: int, *, raw: bool = False) -> Bound:
    """Return the bound for a body of exactly this size."""
    return Bound(size, large=True, raw=raw)


class Patience(float):
    """Seconds until an answer must be complete, used as the time-out of each read of it.

    Args:
        seconds: The time allowed, from when the request was sent.
        large: Whether that time grows with the bytes that have arrived.
        now: The source of monotonic time.
    """

    __slots__ = ("_begin", "_got", "_large", "_now")

    def __new__(cls, seconds: float, *, large: bool = False, now: Callable[[], float] = time.monotonic) -> Self:
        """Make the float with its state, because the value of a float is set here and not in ``__init__``."""
        made = super().__new__(cls, seconds)
        made._begin, made._got, made._large, made._now = None, 0, large, now
        return made

    _begin: float | None
    _got: int
    _large: bool
    _now: Callable[[], float]

    def restart(self) -> None:
        """Restart the time, because more of the request was sent."""
        self._begin = None

    def took(self, count: int) -> None:
        """Count bytes that have arrived."""
        self._got += count

    @property
    def left(self) -> float:
        """The seconds for the next read.

        Raises:
            TimeoutError: No time is left.
        """
        if self._begin is None:
            self._begin = self._now()
        allowed = float(self) + (self._got / _SLOWEST if self._large else 0.0)
        left = self._begin + allowed - self._now()
        if left <= 0:
            raise TimeoutError(f"the answer was not whole after {allowed:.0f} s ({self._got:,} bytes arrived)")
        return min(left, float(self))


class BodyCounter:
    """Counter and decompressor for one body, fed piece by piece.

    Args:
        headers: The headers of the answer, by lower-case name.
        bound: The limits for the body.
        what: The name of the body, for the error.
        exchange: The exchange that is published to listeners, with the body, once that is complete.
    """

    def __init__(
        self, headers: Mapping[str, str], bound: Bound, what: str, exchange: exchanges.ControlExchange | None = None
    ) -> None:
        self._left, self._most, self._what = bound.most, bound.most, what
        self._exchange, self._kept = exchange if exchanges.has_listener() else None, bytearray()
        self._unpack: Any = None if bound.raw else _unpacker(headers.get("content-encoding", ""), what)
        self._begun = False
        claimed = headers.get("content-length", "")
        if claimed.isascii() and claimed.isdigit() and int(claimed) > bound.most:
            raise self._too_large(f"it claims {int(claimed):,}")

    def take(self, piece: bytes) -> Iterator[bytes]:
        """Yield the content of one piece.

        Raises:
            UnreadableError: With this piece the body has too many bytes, or it cannot be decompressed.
        """
        self._begun = self._begun or bool(piece)
        while piece:
            part = piece
            if self._unpack is None:
                piece = b""
            else:
                part, piece = self._unpacked(piece)
            if part:
                yield self._counted(part)

    def end(self) -> Iterator[bytes]:
        """Yield the remaining content after the last piece.

        Raises:
            UnreadableError: The compressed body ends too early.
        """
        if self._unpack is not None and self._begun:
            while not self._unpack.eof and (part := self._unpacked(b"")[0]):
                yield self._counted(part)
            if not self._unpack.eof:
                raise UnreadableError(f"{self._what} cannot be read: its compressed body ends too early")
        if self._exchange is not None:
            exchanges.publish(replace(self._exchange, body=bytes(self._kept)))
            self._exchange = None

    def _counted(self, part: bytes) -> bytes:
        self._left -= len(part)
        if self._left < 0:
            raise self._too_large("it was not read further")
        if self._exchange is not None and len(self._kept) < exchanges.LARGEST:
            self._kept += part
        return part

    def _unpacked(self, piece: bytes) -> tuple[bytes, bytes]:
        if self._unpack.eof and piece:
            raise UnreadableError(f"{self._what} cannot be read: more follows its compressed body")
        try:
            part: bytes = self._unpack.decompress(piece, _STEP)
        except zlib.error as error:
            raise UnreadableError(f"{self._what} cannot be read: it cannot be decompressed: {error}") from error
        return part, self._unpack.unused_data if self._unpack.eof else self._unpack.unconsumed_tail

    def _too_large(self, detail: str) -> UnreadableError:
        return UnreadableError(f"{self._what} cannot be read: it has more than {self._most:,} bytes ({detail})")


def _unpacker(encoding: str, what: str) -> Any:
    """Return a decompressor for an encoding; refuse an encoding that was not asked for."""
    names = [name for part in encoding.lower().split(",") if (name := part.strip()) not in {"", "identity"}]
    if not names:
        return None
    if len(names) == 1 and names[0] in {"gzip", "x-gzip", "deflate"}:
        return zlib.decompressobj(zlib.MAX_WBITS | 32)  # handles both, which it recognises by their headers
    raise UnreadableError(f"{what} cannot be read: its encoding {encoding!r} was not asked for")


class Waited:
    """A stopwatch for the pages of a list: it runs while a page is fetched, not while its content is used."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.seconds = 0.0
        self._now, self._begun = now, 0.0

    def __enter__(self) -> None:
        self._begun = self._now()

    def __exit__(self, *_: object) -> None:
        self.seconds += self._now() - self._begun


def turns(
    what: str, most: int = 10_000, *, seconds: float = LIST_S, now: Callable[[], float] = time.monotonic
) -> Iterator[Waited]:
    """Yield a stopwatch for each page of a list, to fetch the page in; a server can make a list endless.

    Args:
        what: The list, for the error.
        most: The most pages.
        seconds: The most seconds for fetching all pages together.
        now: The source of monotonic time, for tests.

    Raises:
        UnreadableError: There are more pages than any real list has, or fetching them took too long.

    Example:
        >>> for fetching in turns("the list"):
        ...     with fetching:
        ...         page = {"items": [1], "next": ""}
        ...     if not page["next"]:
        ...         break
    """
    waited = Waited(now)
    for count in range(most):
        if waited.seconds > seconds:
            raise UnreadableError(
                f"{what} cannot be read: fetching {count:,} pages took {waited.seconds:,.0f} s, and there are more"
            )
        yield waited
    raise UnreadableError(f"{what} cannot be read: it has more than {most:,} pages")


# --- clients of httpx ---------------------------------------------------------------------------------------------


def client(bound: Bound = ANSWER, *, now: Callable[[], float] = time.monotonic, **settings: Any) -> httpx.Client:
    """Return an HTTP client that reads each answer within a bound, including redirects and errors.

    Args:
        bound: The bound of requests whose extensions do not set another.
        now: The source of monotonic time, for tests.
        **settings: Passed to :class:`httpx.Client`.
    """
    more = settings.pop("event_hooks", {}).get("response", [])
    headers: dict[str, str] = {"accept-encoding": ENCODINGS, **(settings.pop("headers", None) or {})}
    hooks = {"request": [partial(_begin, bound=bound, now=now)], "response": [_limit, *more]}
    made = httpx.Client(headers=headers, event_hooks=hooks, max_redirects=5, **settings)
    for transport in (vars(made)["_transport"], *vars(made)["_mounts"].values()):
        pool = getattr(transport, "_pool", None)
        if isinstance(pool, httpcore.ConnectionPool):
            vars(pool)["_network_backend"] = _Network(vars(pool)["_network_backend"])
    return made


def async_client(bound: Bound = ANSWER, **settings: Any) -> httpx.AsyncClient:
    """Return an asynchronous client like :func:`client`; the caller limits the time with :func:`asyncio.timeout`."""
    begin: Callable[[httpx.Request], None] = partial(_begin, bound=bound, now=None)

    async def abegin(request: httpx.Request) -> None:
        begin(request)

    async def alimit(response: httpx.Response) -> None:
        _limit(response)

    hooks: Any = {"request": [abegin], "response": [alimit]}
    return httpx.AsyncClient(headers={"accept-encoding": ENCODINGS}, event_hooks=hooks, **settings)


def _begin(request: httpx.Request, *, bound: Bound, now: Callable[[], float] | None) -> None:
    """Put the bound and the time of a request into its extensions, where the lower layers read them."""
    bound = request.extensions.setdefault(KEY, bound)
    timeouts: dict[str, float | None] = dict(request.extensions.get("timeout") or {})
    seconds = timeouts.get("read") if bound.seconds is None else bound.seconds
    if seconds is not None and now is not None:
        patience = Patience(seconds, large=bound.large, now=now)
        timeouts["read"] = patience
        timeouts["write"] = _Sending(timeouts.get("write"), patience)
    request.extensions["timeout"] = timeouts
    if exchanges.has_listener():
        request.extensions[_BEGUN] = time.monotonic()


def _limit(response: httpx.Response) -> None:
    """Wrap the body, which has not been read yet, in the bound."""
    request = response.request
    begun = request.extensions.get(_BEGUN)
    seconds = None if begun is None else time.monotonic() - begun
    exchange = exchanges.ControlExchange(request.method, str(request.url), response.status_code, seconds=seconds)
    if request.method == "HEAD":
        exchanges.publish(exchange)
        return  # a HEAD answer has no body, although its headers describe one
    bound: Bound = request.extensions[KEY].of_status(response.status_code)
    what = f"the answer of {request.url.host} to {request.method} {request.url.path}"
    body = BodyCounter(response.headers, bound, what, exchange)
    if not bound.raw:
        response.headers.pop("content-encoding", None)
    stream = response.stream
    response.stream = _Stream(stream, body) if isinstance(stream, httpx.SyncByteStream) else _AsyncStream(stream, body)


class _Stream(httpx.SyncByteStream):
    def __init__(self, stream: httpx.SyncByteStream, body: BodyCounter) -> None:
        self._stream, self._body = stream, body

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._stream:
            yield from self._body.take(piece)
        yield from self._body.end()

    def close(self) -> None:
        self._stream.close()


class _AsyncStream(httpx.AsyncByteStream):
    def __init__(self, stream: Any, body: BodyCounter) -> None:
        self._stream, self._body = stream, body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._stream:
            for part in self._body.take(piece):
                yield part
        for part in self._body.end():
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


# --- the network layer below the clients ---------------------------------------------------------------------------


class _Sending(float):
    """The time-out of a write; it holds the :class:`Patience` that starts when the write is done."""

    patience: Patience

    def __new__(cls, seconds: float | None, patience: Patience) -> Self:
        made = super().__new__(cls, float("inf") if seconds is None else seconds)
        made.patience = patience
        return made


class _Network(httpcore.NetworkBackend):
    """A network backend whose connections stop reading when the :class:`Patience` of the request ends."""

    def __init__(self, inner: httpcore.NetworkBackend) -> None:
        self._inner = inner

    def connect_tcp(self, *args: Any, **rest: Any) -> httpcore.NetworkStream:
        return _Connection(self._inner.connect_tcp(*args, **rest))

    def connect_unix_socket(self, *args: Any, **rest: Any) -> httpcore.NetworkStream:
        return _Connection(self._inner.connect_unix_socket(*args, **rest))

    def sleep(self, seconds: float) -> None:
        self._inner.sleep(seconds)


class _Connection(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if not isinstance(timeout, Patience):
            return self._inner.read(max_bytes, timeout)
        try:
            left = timeout.left
        except TimeoutError as error:
            raise httpcore.ReadTimeout(str(error)) from error
        data = self._inner.read(max_bytes, left)
        timeout.took(len(data))
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if isinstance(timeout, _Sending):
            timeout.patience.restart()
            timeout = None if timeout == float("inf") else timeout
        self._inner.write(buffer, timeout)

    def close(self) -> None:
        self._inner.close()

    def start_tls(self, *args: Any, **rest: Any) -> httpcore.NetworkStream:
        return _Connection(self._inner.start_tls(*args, **rest))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)
