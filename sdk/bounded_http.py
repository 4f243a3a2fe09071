"""Reading within bounds for connections of `http.client`, and for the cloud libraries, which are built upon them.

Those libraries (botocore, requests) use urllib3, whose time-out of reading is one for each ``recv``: a server that
sends a byte now and then holds them for ever. Here their sockets get one time for a whole answer, and their bodies a
number of bytes.
"""

from __future__ import annotations

import http.client
import io
from contextlib import closing
from typing import TYPE_CHECKING, Any, cast

from .bounded import ANSWER, Body, Bound, Patience
from .exchanges import Exchange

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Mapping


_BLOCK = 1 << 16


class _Raw(io.RawIOBase):
    """The bytes that a socket receives, as long as there is time."""

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
    """What an answer of the standard library needs of a socket."""

    def __init__(self, sock: socket.socket, patience: Patience) -> None:
        self._raw = _Raw(sock, patience)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self._raw)


class Answer(http.client.HTTPResponse):
    """An answer that must be whole, its head included, within the time-out of its socket."""

    large = False

    def __init__(self, sock: socket.socket, *args: Any, **rest: Any) -> None:
        seconds = sock.gettimeout()
        if seconds is not None:
            sock = cast("socket.socket", _Socket(sock, Patience(seconds, large=self.large)))
        super().__init__(sock, *args, **rest)


class LargeAnswer(Answer):
    """The same with a time that grows with what has arrived."""

    large = True


def read(answer: http.client.HTTPResponse, bound: Bound, what: str) -> bytes:
    """The body of an answer of the standard library.

    Raises:
        UnreadableError: It has too many bytes.
    """
    parts: list[bytes] = []
    with closing(answer):
        body = Body({name.lower(): text for name, text in answer.getheaders()}, bound, what)
        while piece := answer.read(_BLOCK):
            parts += body.take(piece)
        if answer.length:
            raise http.client.IncompleteRead(b"", answer.length)
        parts += body.end()
    return b"".join(parts)


class Stream:
    """An answer of urllib3 whose body is read within a bound; everything else is that of the answer.

    Args:
        answer: Not yet read.
        bound: What its body may take.
        what: What it is, for the error.
        head: Whether the request was HEAD.
        exchange: Told to listeners; see :class:`sdk.bounded.Body`.
    """

    def __init__(
        self, answer: Any, bound: Bound, what: str, *, head: bool = False, exchange: Exchange | None = None
    ) -> None:
        self._answer = answer
        given = cast("Mapping[str, str]", {} if head else answer.headers)  # the head of HEAD tells of another body
        headers = {name.lower(): text for name, text in given.items()}
        self._body = Body(headers, bound, what, exchange)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._answer, name)

    def stream(self, amt: int = _BLOCK, decode_content: bool | None = None) -> Iterator[bytes]:
        """The body piece by piece; it is decompressed here rather than in the library, which would do so at once."""
        del decode_content
        for piece in self._answer.stream(amt, decode_content=False):
            yield from self._body.take(piece)
        yield from self._body.end()

    def read(self, amt: int | None = None, **_: Any) -> bytes:
        """So much of the body, or all of it."""
        if amt is None:
            return b"".join(self.stream())
        return b"".join(self._body.take(self._answer.read(amt, decode_content=False)))


def watch(manager: Any, answer: type[Answer] = Answer) -> None:
    """Let the connections that a pool manager of urllib3 makes read their answers within their time-outs."""
    kinds: dict[str, Any] = manager.pool_classes_by_scheme
    manager.pool_classes_by_scheme = {scheme: _watching(kind, answer) for scheme, kind in kinds.items()}


def _watching(pool: type[Any], answer: type[Answer]) -> type[Any]:
    made = type(pool.ConnectionCls.__name__, (pool.ConnectionCls,), {"response_class": answer})
    return type(pool.__name__, (pool,), {"ConnectionCls": made})


def limit_requests(session: Any, bound: Bound = ANSWER) -> None:
    """Let a session of the library `requests` read each answer within a bound."""

    def limited(response: Any, **_: Any) -> None:
        own = bound.of_status(response.status_code)
        method, seconds = response.request.method, response.elapsed.total_seconds()
        told = Exchange(method, response.url, response.status_code, seconds=seconds)
        what = f"the answer of {response.url.partition('?')[0]}"
        response.raw = Stream(response.raw, own, what, head=method == "HEAD", exchange=told)
        response.headers.pop("content-encoding", None)

    session.hooks["response"].append(limited)
    session.headers["accept-encoding"] = "gzip, deflate"
    for adapter in session.adapters.values():
        watch(adapter.poolmanager)
