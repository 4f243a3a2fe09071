"""Bounded reading for connections of `http.client` and for the cloud libraries that are built upon it.

Those libraries (botocore, requests) use urllib3, whose read time-out applies to each ``recv``: a server that sends a
byte now and then blocks them for ever. Here their sockets get one time limit for a whole answer, and their bodies a
limit on bytes.
"""

from __future__ import annotations

import http.client
import io
from contextlib import closing
from typing import TYPE_CHECKING, Any, cast

from .bounded import ANSWER, BodyCounter, Bound, Patience
from .exchanges import ControlExchange

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Mapping


_BLOCK = 1 << 16


class _Raw(io.RawIOBase):
    """The bytes that a socket receives, readable as long as time is left."""

    def __init__(self, sock: socket.socket, patience: Patience) -> None:
        self._sock, self._patience = sock, patience
        self._file = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._patience.left)
        count = self._file.readinto(buffer)
        self._patience.took(count or 0)
        return count

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


class _Socket:
    """The part of a socket's interface that ``http.client.HTTPResponse`` needs."""

    def __init__(self, sock: socket.socket, patience: Patience) -> None:
        self._raw = _Raw(sock, patience)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self._raw)


class BoundedResponse(http.client.HTTPResponse):
    """An answer that must be complete, including its head, within the time-out of its socket."""

    large = False

    def __init__(self, sock: socket.socket, *args: Any, **rest: Any) -> None:
        seconds = sock.gettimeout()
        if seconds is not None:
            sock = cast("socket.socket", _Socket(sock, Patience(seconds, large=self.large)))
        super().__init__(sock, *args, **rest)


class LargeAnswer(BoundedResponse):
    """An answer whose time limit grows with the bytes that have arrived."""

    large = True


def read(answer: http.client.HTTPResponse, bound: Bound, what: str) -> bytes:
    """Return the whole body of an answer of the standard library.

    Raises:
        UnreadableError: The body has too many bytes.
    """
    parts: list[bytes] = []
    with closing(answer):
        body = BodyCounter({name.lower(): text for name, text in answer.getheaders()}, bound, what)
        while piece := answer.read(_BLOCK):
            parts += body.take(piece)
        if answer.length:
            raise http.client.IncompleteRead(b"", answer.length)
        parts += body.end()
    return b"".join(parts)


class BoundedAnswer:
    """An answer of urllib3 with a bounded body; every other attribute is passed through.

    Args:
        answer: The answer, not yet read.
        bound: The limits for its body.
        what: The name of the body, for the error.
        head: Whether the request was HEAD.
        exchange: The exchange that is published to listeners; see :class:`sdk.util.bounded.BodyCounter`.
    """

    def __init__(
        self, answer: Any, bound: Bound, what: str, *, head: bool = False, exchange: ControlExchange | None = None
    ) -> None:
        self._answer = answer
        given = cast("Mapping[str, str]", {} if head else answer.headers)  # HEAD has headers of a body not sent
        headers = {name.lower(): text for name, text in given.items()}
        self._body = BodyCounter(headers, bound, what, exchange)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._answer, name)

    def stream(self, amt: int = _BLOCK, decode_content: bool | None = None) -> Iterator[bytes]:
        """Yield the body piece by piece; decompressed here, as the library would decompress a whole piece at once."""
        del decode_content
        for piece in self._answer.stream(amt, decode_content=False):
            yield from self._body.take(piece)
        yield from self._body.end()

    def read(self, amt: int | None = None, **_: Any) -> bytes:
        """Return the content of the next ``amt`` bytes of the body, or the whole body."""
        if amt is None:
            return b"".join(self.stream())
        return b"".join(self._body.take(self._answer.read(amt, decode_content=False)))


def watch(manager: Any, answer: type[BoundedResponse] = BoundedResponse) -> None:
    """Make connections of a urllib3 pool manager read each answer within its time-out."""
    kinds: dict[str, Any] = manager.pool_classes_by_scheme
    manager.pool_classes_by_scheme = {scheme: _watching(kind, answer) for scheme, kind in kinds.items()}


def _watching(pool: type[Any], answer: type[BoundedResponse]) -> type[Any]:
    made = type(pool.ConnectionCls.__name__, (pool.ConnectionCls,), {"response_class": answer})
    return type(pool.__name__, (pool,), {"ConnectionCls": made})


def limit_requests(session: Any, bound: Bound = ANSWER) -> None:
    """Make a session of the `requests` library read each answer within a bound."""

    def limited(response: Any, **_: Any) -> None:
        own = bound.of_status(response.status_code)
        method, seconds = response.request.method, response.elapsed.total_seconds()
        told = ControlExchange(method, response.url, response.status_code, seconds=seconds)
        what = f"the answer of {response.url.partition('?')[0]}"
        response.raw = BoundedAnswer(response.raw, own, what, head=method == "HEAD", exchange=told)
        response.headers.pop("content-encoding", None)

    session.hooks["response"].append(limited)
    session.headers["accept-encoding"] = "gzip, deflate"
    for adapter in session.adapters.values():
        watch(adapter.poolmanager)
