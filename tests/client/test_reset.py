"""A server that ends before it has read a request resets the connection, which proves that no model got the request."""

from __future__ import annotations

import asyncio
import random
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from sdk.adapter import Invoker, Limits
from sdk.dataplane.invoke import Caller, EndpointFacts
from sdk.errors import SdkError, UnavailableError
from sdk.util.waiting import SystemClock, TokenBucket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BODY = b'{"predictions":[2]}'
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY)
CLOSE_S = 5.0
_READS = {"unread": (1, socket.MSG_PEEK), "in part": (20, 0)}


def whole(client: socket.socket) -> None:
    """Read a request to its end; its head and its body may arrive apart."""
    with client.makefile("rb") as stream:
        head = list(iter(stream.readline, b"\r\n"))
        stream.read(next(int(line.split(b":")[1]) for line in head if line.lower().startswith(b"content-length:")))


class Dying:
    """A server that ends connections in one of three ways, then answers; counts the requests that it has read.

    Args:
        deaths: ``unread`` ends with the request unread, ``in part`` after its first bytes, ``read`` after all of it.
    """

    def __init__(self, *deaths: str) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.read = 0
        self._thread = threading.Thread(target=self._serve, args=(deaths,), daemon=True)
        self._thread.start()

    def _serve(self, deaths: tuple[str, ...]) -> None:
        for death in (*deaths, "answers"):
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client:
                if death in _READS:
                    client.recv(*_READS[death])
                    continue
                whole(client)
                self.read += 1
                if death == "answers":
                    client.sendall(ANSWER)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(CLOSE_S)


@pytest.fixture
def dying() -> Iterator[Callable[..., Dying]]:
    made: list[Dying] = []

    def build(*deaths: str) -> Dying:
        made.append(Dying(*deaths))
        return made[-1]

    yield build
    for one in made:
        one.close()


def ask(server: Dying, *, direct: bool, blocking: bool) -> Any:
    invoker = Invoker(
        f"http://127.0.0.1:{server.port}/predict",
        Limits(1_000, 5.0, 1_000),
        fault=lambda _: None,
        error=lambda response: SdkError(f"refused with {response.status_code}"),
        direct=direct,
    )
    rest = {"clock": SystemClock(), "redact": str, "bucket": TokenBucket(), "random": random.Random(0)}
    caller = Caller(invoker, EndpointFacts("churn", "local"), **rest)  # type: ignore[arg-type]
    if blocking:
        try:
            return caller.predict([[1]]).values
        finally:
            caller.close()

    async def alone() -> Any:
        try:
            return (await caller.apredict([[1]])).values
        finally:
            await caller.aclose()

    return asyncio.run(alone())


@pytest.mark.parametrize("blocking", [True, False])
@pytest.mark.parametrize("death", ["unread", "in part"])
def test_a_request_that_was_not_read_is_sent_again(dying: Callable[..., Dying], death: str, blocking: bool) -> None:
    server = dying(death)
    assert [2] == ask(server, direct=True, blocking=blocking)
    assert 1 == server.read


@pytest.mark.parametrize("blocking", [True, False])
@pytest.mark.parametrize(("death", "direct"), [("read", True), ("unread", False), ("in part", False)])
def test_a_request_that_may_have_been_read_is_not(
    dying: Callable[..., Dying], death: str, direct: bool, blocking: bool
) -> None:
    """Also where something stands between both sides, as it resets connections for reasons of its own."""
    server = dying(death)
    with pytest.raises(UnavailableError, match="the connection broke") as caught:
        ask(server, direct=direct, blocking=blocking)
    assert (True, int(death == "read")) == (caught.value.sent, server.read)


@pytest.mark.parametrize("blocking", [True, False])
def test_a_server_that_never_reads_is_given_up(dying: Callable[..., Dying], blocking: bool) -> None:
    """As one that cannot be reached: the error says that nothing was sent."""
    with pytest.raises(UnavailableError, match="the connection broke") as caught:
        ask(dying("unread", "unread", "unread"), direct=True, blocking=blocking)
    assert not caught.value.sent
