"""The generator's process against real servers."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import psutil
import pytest

from sdk.compare.load import Aim, Arrivals, Generator, Shot, WindowPlan
from sdk.errors import SdkError
from tests.compare.servers import LatencyServer

if TYPE_CHECKING:
    from collections.abc import Iterator

SHOTS = [Shot({"content-type": "application/json", "authorization": "Bearer t"}, b"%d" % n) for n in range(3)]


@pytest.fixture(scope="module")
def generator() -> Iterator[Generator]:
    with Generator() as one:
        yield one


def _aimed(generator: Generator, server: LatencyServer, timeout_s: float = 60.0) -> None:
    generator.aim(Aim("one", server.url, direct=True, timeout_s=timeout_s))


def test_sends_the_payloads_in_order_with_their_headers(generator: Generator) -> None:
    """The same bodies in the same order, as they were signed."""
    with LatencyServer() as server:
        _aimed(generator, server)
        found = generator.fire(WindowPlan("one", SHOTS, 30, None))
    assert [b"%d" % (n % 3) for n in range(30)] == server.bodies[1:]  # the first one opened the connection
    assert {"Bearer t"} == {headers["authorization"] for headers in server.headers}
    assert [200] * 30 == list(found.statuses())


def test_open_window(generator: Generator) -> None:
    """All are sent and timed; none of them is faster than the server."""
    with LatencyServer(lambda _n: 0.02) as server:
        _aimed(generator, server)
        found = generator.fire(WindowPlan("one", SHOTS, 200, Arrivals(400.0), lanes=32))
    assert found.count == 200
    assert min(found.seconds("took")) >= 0.02
    assert len(found.seconds("lag")) == 200
    assert found.cpu_s > 0


def test_connections_are_opened_before_the_window(generator: Generator) -> None:
    """One in flight at a time uses the connection that is there."""
    with LatencyServer() as server:
        _aimed(generator, server)
        found = generator.fire(WindowPlan("one", SHOTS, 50, None))
        assert 1 == server.connections
    assert 0 == found.opened


def test_a_stall_of_the_server_is_seen_by_all_who_were_due(generator: Generator) -> None:
    """Nobody is spared by waiting: more than a hundred requests are due in the first half of a second's stall."""
    with LatencyServer(freeze=(150, 1.0)) as server:
        _aimed(generator, server)
        found = generator.fire(WindowPlan("one", SHOTS, 600, Arrivals(300.0, "constant"), lanes=50))
    assert sum(one > 0.5 for one in found.seconds("took")) > 100


@pytest.mark.parametrize(("status", "seen"), [(500, 500), (429, 429), (302, 302)])
def test_answers_are_not_repeated_or_followed(generator: Generator, status: int, seen: int) -> None:
    """Every request is sent once, whatever the answer says."""
    with LatencyServer(status=lambda _n: status) as server:
        _aimed(generator, server)
        found = generator.fire(WindowPlan("one", SHOTS, 10, None))
        assert 11 == len(server.bodies)
    assert [seen] * 10 == list(found.statuses())


def test_no_answer_is_status_0(generator: Generator) -> None:
    """A connection that is dropped, and a time-out."""
    with LatencyServer(lambda n: -1.0 if n == 3 else 30.0 if n == 5 else 0.0) as server:
        _aimed(generator, server, timeout_s=0.5)
        found = generator.fire(WindowPlan("one", SHOTS, 8, None))
    assert [200, 200, 0, 200, 0, 200, 200, 200] == list(found.statuses())


def test_touch(generator: Generator) -> None:
    """The time of a TCP connect, and nothing where nobody listens."""
    with LatencyServer() as server:
        _aimed(generator, server)
        assert (generator.touch("one") or 0) > 0
    assert generator.touch("one") is None


def test_failures_are_told(generator: Generator) -> None:
    """A bad order is an error with its reason, and the generator goes on."""
    with pytest.raises(SdkError, match="KeyError: 'nobody'"):
        generator.touch("nobody")
    with LatencyServer() as server:
        _aimed(generator, server)
        assert 1 == generator.fire(WindowPlan("one", SHOTS, 1, None)).count


def test_the_generator_ends_with_its_owner() -> None:
    """An owner that is killed leaves no process behind."""
    code = "import sys; from sdk.compare.load import Generator; print(Generator().pid, flush=True); sys.stdin.read()"
    owner = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    child = psutil.Process(int(owner.stdout.readline()))
    owner.kill()
    owner.communicate()
    child.wait(30)
    assert not child.is_running()


def test_a_generator_that_died_is_an_error() -> None:
    """Whoever asks a dead one is told."""
    generator = Generator()
    psutil.Process(generator.pid).kill()
    with pytest.raises(SdkError, match="died with exit code -9"):
        generator.touch("one")
    generator.close()
    with pytest.raises(SdkError, match="is closed"):
        generator.touch("one")


def test_an_answer_without_end_takes_no_more_memory_than_is_allowed() -> None:
    """The limit is lowered here, so that the test fills less of this machine."""
    with Generator() as generator, socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_endless, args=(listener,), daemon=True).start()
        generator.aim(Aim("one", f"http://127.0.0.1:{listener.getsockname()[1]}/", direct=True))
        process = psutil.Process(generator.pid)
        assert process.rlimit(psutil.RLIMIT_DATA)[0] == 4 << 30
        process.rlimit(psutil.RLIMIT_DATA, (512 << 20, psutil.RLIM_INFINITY))
        with pytest.raises(SdkError, match="ran out of memory") as failed:
            generator.fire(WindowPlan("one", SHOTS, 1))
    assert "have no end" in str(failed.value.hint)


def _endless(listener: socket.socket) -> None:
    link, _ = listener.accept()
    with link, contextlib.suppress(OSError):
        link.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            link.sendall(b"100000\r\n" + b"x" * 0x100000 + b"\r\n")
