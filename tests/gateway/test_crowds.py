"""Hundreds of slow clients at once, of every sort, while honest ones are served."""

from __future__ import annotations

import contextlib
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.gateway import harness
from tests.gateway.harness import Endpoint, Load, statuses

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SMALL = 2304  # the least that Linux gives as a receive buffer
# an honest client on a busy machine needs more than the two seconds that are enough for the slow ones
LIMITS = {"header_s": 4.0, "body_s": 4.0, "write_s": 2.0, "idle_s": 2.0, "probe_s": 1.0}


@pytest.fixture
def hasty() -> Iterator[Endpoint]:
    """A gateway with short deadlines."""
    with harness.endpoint() as value:
        value.put(d1=value.deployment("d1"), limits=LIMITS)
        yield value


def modes(served: Endpoint) -> Mapping[str, tuple[bytes, bytes, set[int]]]:
    """What each sort of client sends at once, what it drips, and the statuses it may see."""
    body = served.head("POST /predict HTTP/1.1", "Content-Length: 9999")
    ranges = "Range: bytes=0-," + ",".join(f"5-{end}" for end in range(1300))
    return {
        "slow heads": (body[:-2], b"X-More: 1\r\n", {408}),
        "slow bodies": (body, b"x", {408}),
        "many ranges": (served.head("GET /predict HTTP/1.1", ranges), b"", {200}),
        "slow readers": (served.head("GET /flood?n=150 HTTP/1.1"), b"", {200}),
    }


class Attacker:
    """One slow client: drips what it sends, or reads a few bytes at a time, until the other side has had enough."""

    def __init__(self, port: int, opening: bytes, drip: bytes, *, reads: int) -> None:
        self.socket = socket.socket()
        if reads < SMALL:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setblocking(False)
        self.socket.send(opening)
        self._drip = drip
        self._reads = reads
        self.received = b""
        self.closed = False

    def turn(self) -> None:
        """Sends and reads a little."""
        try:
            if self._drip:
                self.socket.send(self._drip)
            part = self.socket.recv(self._reads)
            self.received += part[:200]
            self.closed = not part
        except BlockingIOError:
            pass
        except ConnectionError:
            self._last_words()

    def _last_words(self) -> None:
        self.closed = True
        with contextlib.suppress(OSError):
            self.received += self.socket.recv(self._reads)


def cut_off(served: Endpoint) -> int:
    """How many clients the gateway has given up on because they read too slowly."""
    return int(served.status()["gateway"]["refusals"].get("slow_reader", 0))


def unsent(port: int) -> int:
    """Bytes that the kernel holds for clients of this port, gone ones included."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]]
    return sum(int(row[4].partition(":")[0], 16) for row in rows if int(row[1].partition(":")[2], 16) == port)


def attack(served: Endpoint, name: str, number: int) -> list[Attacker]:
    """Lets them all go on until the gateway has closed every connection."""
    opening, drip, _ = modes(served)[name]
    reads = 50 if name == "slow readers" else 65_536
    crowd = [Attacker(served.port, opening, drip, reads=reads) for _ in range(number)]
    give_up = time.monotonic() + 120
    while left := [one for one in crowd if not one.closed]:
        if name == "slow readers" and cut_off(served) == number:  # what the kernel has buffered may still come
            break
        assert time.monotonic() < give_up, f"{len(left)} connections are still open"
        for one in left:
            one.turn()
        time.sleep(0.2)
    held = unsent(served.port)
    assert held < 1_000_000, f"the kernel still holds {held} bytes for clients that were cut off"
    for one in crowd:
        one.socket.close()
    return crowd


CROWDS = ("slow heads", "slow bodies", "slow readers", "many ranges")
MANY = [pytest.param(name, 500, marks=pytest.mark.full) for name in CROWDS]


@pytest.mark.parametrize(("name", "number"), [*((name, 20) for name in CROWDS), *MANY])
def test_crowds_of_slow_clients_are_shed(hasty: Endpoint, name: str, number: int) -> None:
    """Every one of them is closed, with the status that says why, and no honest client fails meanwhile."""
    with Load(hasty, 4) as honest:
        crowd = attack(hasty, name, number)
        honest.wait(20)
    assert {"200"} == set(honest.answers)
    expected = modes(hasty)[name][2]
    told = [set(statuses(one.received)) for one in crowd]
    if name == "slow readers":  # one that is cut off may lose what it had not read, its status too
        told = [one or expected for one in told]
    assert number == told.count(expected)
    assert hasty.status()["gateway"]["rss_bytes"] < 200_000_000
