"""Streamed answers on the client: every way to cut the bytes, every way to end, and what each failure means."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdk.adapter.interface import Limits, Streaming
from sdk.dataplane.invoke import Caller, EndpointFacts
from sdk.dataplane.streams import ItemParser
from sdk.errors import ModelError, SdkError, TimedOut, UnavailableError, UnreadableError, UnsupportedError
from sdk.util.waiting import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EVENTS = "text/event-stream"
END = b"event: end\ndata: {}\n\n"
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3),
)


def parsed(parser: ItemParser, body: bytes, cuts: set[int]) -> list[Any]:
    """Return all items of a body that arrives in pieces."""
    edges = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    found = [one for begin, end in pairwise(edges) for one in parser.feed(body[begin:end])]
    return [*found, *parser.end()]


@given(st.lists(values, max_size=6), st.sets(st.integers(0, 10_000), max_size=6), st.sampled_from([b"\n", b"\r\n"]))
def test_pieces_need_not_be_events(items: list[Any], cuts: set[int], newline: bytes) -> None:
    """Platforms cut the bytes anywhere, inside a character too, and join several events in one piece.

    Sources: github.com/strands-agents/harness-sdk/issues/4035, github.com/BerriAI/litellm/issues/9165.
    """
    texts = [json.dumps(one, ensure_ascii=False).encode() for one in items]
    events = b"".join(newline.join([b": a comment", b"id: 1", b"data: " + one, b"", b""]) for one in texts)
    parser = ItemParser(f"{EVENTS}; charset=utf-8", 100_000)
    assert parsed(parser, events + END.replace(b"\n", newline), cuts) == items
    assert parser.ended
    cut_off = ItemParser(EVENTS, 100_000)
    assert parsed(cut_off, events, cuts) == items
    assert not cut_off.ended
    assert parsed(ItemParser("application/x-ndjson", 100_000), newline.join(texts), cuts) == items
    whole = json.dumps({"predictions": items}).encode()
    assert parsed(ItemParser("application/json", 100_000), whole, cuts) == items


@pytest.mark.parametrize(
    ("kind", "body", "items"),
    [
        (EVENTS, b"data: [1,\ndata: 2]\n\ndata: [DONE]\n\n", [[1, 2]]),
        (EVENTS, b"data:no JSON\n\ndata: {\n\nevent: end\n\n", ["no JSON", "{"]),
        (EVENTS, b"event: ping\ndata: 1\n\n\n\nretry: 5\n\nevent: end\ndata:\n\ndata: 2\n\n", [1]),
        ("application/jsonlines", b'\n1\n\n"\xc3\xa4"', [1, "ä"]),
        ("application/json", b'{"predictions": {"a": [1]}}', [{"a": [1]}]),
    ],
)
def test_streams_of_other_servers(kind: str, body: bytes, items: list[Any]) -> None:
    """Data on several lines, text without JSON, named events, `[DONE]`, empty lines, one JSON document."""
    parser = ItemParser(kind, 1000)
    assert parsed(parser, body, set()) == items
    assert parser.ended


@pytest.mark.parametrize("kind", [EVENTS, "application/x-ndjson", "application/json"])
@pytest.mark.parametrize("body", [b"x" * 2000, b"data: x\n" * 2000])
def test_an_item_without_end_is_given_up(kind: str, body: bytes) -> None:
    """Memory is limited like that of a whole answer."""
    if kind == "application/x-ndjson" and b"\n" in body:
        body = body.replace(b"\n", b"")
    with pytest.raises(UnreadableError, match="more than 1,000 bytes"):
        parsed(ItemParser(kind, 1000), body, set(range(0, 16_000, 100)))


@pytest.mark.parametrize("kind", [EVENTS, "application/x-ndjson"])
def test_a_long_item_is_split_once(kind: str) -> None:
    """The work must not grow with the square of its size."""
    splits: list[int] = []

    class Counted(bytearray):
        def split(self, *how: Any) -> list[bytearray]:
            splits.append(len(self))
            return super().split(*how)

        def __iadd__(self, piece: Any) -> Self:  # type: ignore[misc]  # else the result would be a bytearray
            self.extend(piece)
            return self

    parser = ItemParser(kind, 10_000_000)
    parser._rest = Counted()
    begin = b'data: "' if kind == EVENTS else b'"'
    found = [one for piece in (begin, *[b"x" * 1000] * 1000, b'"\n\n') for one in parser.feed(piece)]
    assert found == ["x" * 1_000_000]
    assert len(splits) == 1


class Sending:
    """A server that sends the given pieces as a chunked body, then ends it, cuts it or keeps silent."""

    def __init__(self, *pieces: bytes, kind: str = EVENTS, then: str = "end") -> None:
        self.request = b""
        self.closed = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/invocations"
        self._thread = threading.Thread(target=self._serve, args=(pieces, kind, then), daemon=True)
        self._thread.start()

    def _serve(self, pieces: tuple[bytes, ...], kind: str, then: str) -> None:
        connection, _ = self._listener.accept()
        with connection, suppress(OSError):
            while b',"stream":true}' not in self.request:
                self.request += connection.recv(65536)
            head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\nx-mlport-deployment: d1\r\n"
            connection.sendall(f"{head}transfer-encoding: chunked\r\n\r\n".encode())
            for piece in pieces:
                connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
            if then == "end":
                connection.sendall(b"0\r\n\r\n")
            if then != "cut":
                connection.recv(1)
                self.closed.set()

    def close(self) -> None:
        self._listener.close()
        self._thread.join(5)


@pytest.fixture
def ask(scripted: Any) -> Iterator[Callable[..., tuple[Caller, Sending]]]:
    opened: list[Any] = []

    def run(*pieces: bytes, way: Streaming | None = Streaming(), **more: Any) -> tuple[Caller, Sending]:  # noqa: B008
        server = Sending(*pieces, **more)
        invoker = scripted.invoker(server.url, stream=way, limits=Limits(1000, 5.0, 1000))
        caller = Caller(invoker, EndpointFacts("churn", "fake"), clock=SystemClock(), redact=str)
        opened.extend((caller, server))
        return caller, server

    yield run
    for one in opened:
        one.close()


def items_of(caller: Caller, *, blocking: bool, timeout: float | None = None) -> tuple[list[Any], SdkError | None]:
    """Return the items and the error of a stream, from either kind of client."""
    found: list[Any] = []

    async def run() -> None:
        async with await caller.astream([[1]], seconds=timeout) as items:
            async for item in items:
                found.append(item)  # noqa: PERF401  # those before an error are wanted, too
        await caller.aclose()

    try:
        if blocking:
            with caller.stream([[1]], timeout=timeout) as items:
                found.extend(items)
        else:
            asyncio.run(run())
    except SdkError as error:
        return found, error
    return found, None


both = pytest.mark.parametrize("blocking", [True, False])


@both
def test_a_whole_stream(ask: Any, *, blocking: bool) -> None:
    """The request asks for it in its header and body; the items keep their order."""
    caller, server = ask(b"data: 1\n\nda", b"ta: 2\n\n" + END)
    assert items_of(caller, blocking=blocking) == ([1, 2], None)
    assert b"accept: text/event-stream" in server.request.lower()
    assert server.request.endswith(b'{"instances":[[1]],"stream":true}')


@both
@pytest.mark.parametrize(
    ("last", "kind", "said"),
    [
        ({"code": "model_error", "message": "broken", "request_id": "r1"}, ModelError, "broken"),
        ({"code": "deadline_exceeded", "message": "late"}, TimedOut, "no further item within 5 s, after 1"),
        ({"code": "overloaded", "message": "the server is stopping"}, UnavailableError, "the server is stopping"),
        ({}, ModelError, "the model failed"),
    ],
)
def test_the_server_says_why_it_ends(ask: Any, last: Any, kind: type[SdkError], said: str, *, blocking: bool) -> None:
    """Items in the same piece are not lost; the error has the type of the cause."""
    event = b"data: 1\n\nevent: error\ndata: " + json.dumps({"error": last}).encode() + b"\n\n"
    found, error = items_of(ask(event)[0], blocking=blocking)
    assert found == [1]
    assert type(error) is kind
    assert said in str(error)
    assert error.resource == "churn"
    assert error.operation == "stream"


@both
@pytest.mark.parametrize("then", ["end", "cut"])
def test_a_stream_that_is_cut_off(ask: Any, then: str, *, blocking: bool) -> None:
    """It never looks complete, even if a proxy ends it in order; it is not repeated."""
    found, error = items_of(ask(b"data: 1\n\n", then=then)[0], blocking=blocking)
    assert found == [1]
    assert isinstance(error, UnavailableError)
    assert error.sent
    assert "after 1 items" in str(error)


@both
def test_a_silent_server(ask: Any, *, blocking: bool) -> None:
    """The time limit applies to each item; the connection ends with it."""
    caller, server = ask(b"data: 1\n\n", then="silence")
    found, error = items_of(caller, blocking=blocking, timeout=0.3)
    assert (found, type(error)) == ([1], TimedOut)
    assert server.closed.wait(10)


@both
def test_leaving_early_ends_the_connection(ask: Any, *, blocking: bool) -> None:
    """The server sees it, and can stop the model."""
    caller, server = ask(b"data: 1\n\n", then="silence")

    async def run() -> None:
        async with await caller.astream([[1]]) as items:
            assert await anext(items) == 1
            assert items.deployment == "d1"
        await caller.aclose()

    if blocking:
        with caller.stream([[1]]) as items:
            assert next(items) == 1
            assert items.deployment == "d1"
    else:
        asyncio.run(run())
    assert server.closed.wait(10)


def test_an_abandoned_stream_ends_the_connection(ask: Any) -> None:
    """Without `with` and `close` too, once nothing refers to it."""
    caller, server = ask(b"data: 1\n\n", then="silence")
    assert next(caller.stream([[1]])) == 1
    assert server.closed.wait(10)


def test_what_is_no_stream(ask: Any) -> None:
    """An answer of an unknown form, and a platform without streams."""
    _, error = items_of(ask(b"<html>", kind="text/html")[0], blocking=True)
    assert isinstance(error, UnreadableError)
    assert "neither a stream nor" in str(error)
    caller, server = ask(way=None)
    with pytest.raises(UnsupportedError, match="fake cannot stream an answer"):
        caller.stream([[1]])
    assert server.request == b""
    socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2].partition("/")[0]))).close()
