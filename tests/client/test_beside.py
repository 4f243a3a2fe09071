"""A request that waits asks whether the gateway lives: slow models are waited for, dead gateways are not."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import httpx
import pytest

from sdk.dataplane.attempts import WAITED
from sdk.dataplane.connections import ConnectionPool
from sdk.dataplane.health_checks import IN_PART, HealthWatch, Standstill, ask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Server:
    """Takes connections as a kernel does for a process that is stopped; what it says is for the test to decide."""

    def __init__(self) -> None:
        self.well: bytes | None = None
        """The answer of the health path; none while the server stands still."""
        self.asked: list[bytes] = []
        self.answer = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            line = connection.recv(1 << 20).partition(b"\r\n")[0]
            self.asked.append(line.split(b" ")[1])
            if b"/healthz" in line and self.well is not None:
                connection.sendall(self.well)
            elif b"/healthz" not in line and self.answer.wait(20):
                connection.sendall(OK)
            else:
                connection.recv(1)  # until the other side leaves

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def send(server: Server, revive: Callable[[float], str | None], events: list[str], size: int = 2) -> httpx.Response:
    wire = ConnectionPool(
        httpx.URL(server.url), None, HealthWatch(f"{server.url}/healthz", revive, pauses=(0.05,), answers_s=0.3)
    )
    request = httpx.Request("POST", f"{server.url}/predict", content=b"x" * size)
    limits = {"connect": 20.0, "read": 20.0, "write": 20.0}

    def trace(event: str, _info: object) -> None:
        events.append(event)

    request.extensions = {"timeout": limits, "trace": trace}
    try:
        return wire.send(request)
    finally:
        wire.close()


def test_a_slow_model_is_waited_for(server: Server) -> None:
    server.well = OK
    events: list[str] = []

    def look(_left: float) -> None:
        raise AssertionError("the gateway is well")

    waiter = threading.Timer(0.5, server.answer.set)
    waiter.start()
    assert 200 == send(server, look, events).status_code
    assert 1 == server.asked.count(b"/predict")
    assert WAITED in events


def test_what_was_revived_answers_the_request_that_waits(server: Server) -> None:
    looks: list[float] = []

    def look(left: float) -> None:
        looks.append(left)
        server.well = OK
        server.answer.set()

    assert 200 == send(server, look, []).status_code
    assert (1, 1) == (len(looks), server.asked.count(b"/predict"))


def test_replicas_that_do_not_answer_are_looked_at(server: Server) -> None:
    server.well = OK.replace(b"2\r\n\r\nok", b"%d\r\n\r\n%s" % (len(IN_PART), IN_PART.encode()))
    assert 200 == send(server, lambda _left: server.answer.set(), []).status_code
    assert 1 == server.asked.count(b"/predict")


@pytest.mark.parametrize("size", [2, 50_000_000])
def test_a_standstill_that_stays_ends_with_the_reason(server: Server, size: int) -> None:
    """Also while a large body is still being sent."""
    with pytest.raises(Standstill, match="its gateway does not answer: it was taken away"):
        send(server, lambda _left: "it was taken away", [], size)
    assert 1 == server.asked.count(b"/predict")


def test_many_requests_share_one_look(server: Server) -> None:
    looks: list[float] = []
    watch = HealthWatch(f"{server.url}/healthz", looks.append, answers_s=0.3)
    begin = threading.Barrier(8)

    def ask_one() -> None:
        begin.wait()
        with pytest.raises(Standstill):
            watch.look(20.0)

    threads = [threading.Thread(target=ask_one) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert 1 == len(looks)


def test_a_refused_connection_is_no_standstill(server: Server) -> None:
    """A gateway that ends takes no connections, and answers what it has."""
    free = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{free.getsockname()[1]}/healthz"
    free.close()
    assert "unknown" == ask(url, 1.0)
    server.well = b"HTTP/1.1 503 Unavailable\r\ncontent-length: 0\r\n\r\n"
    assert "ailing" == ask(f"{server.url}/healthz", 5.0)
