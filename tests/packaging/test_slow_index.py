"""A package index that answers slowly or without end costs neither all memory nor all time."""

from __future__ import annotations

import os
import socketserver
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from sdk.errors import PackagingError
from sdk.packaging import uvrun
from sdk.packaging.uvrun import UvLimits
from sdk.util import scratch
from tests.waits import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\n\r\n<html><body>"
LINKS = b'<a href="own-1.0-py3-none-any.whl#sha256=%s">own-1.0-py3-none-any.whl</a>\n' % (b"a" * 64) * 20_000


class Index(socketserver.ThreadingTCPServer):
    """Answers each request with a body of one kind."""

    daemon_threads = True

    def __init__(self, piece: bytes, pause_s: float) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.piece, self.pause_s, self.ended = piece, pause_s, False
        self.asked = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/simple/"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()


class _Answer(socketserver.StreamRequestHandler):
    server: Index

    def handle(self) -> None:
        self.rfile.readline()
        self.server.asked.set()
        self.wfile.write(HEAD)
        while not self.server.ended:
            try:
                self.wfile.write(self.server.piece)
            except OSError:
                return
            time.sleep(self.server.pause_s)


@pytest.fixture
def index() -> Iterator[Callable[..., Index]]:
    made: list[Index] = []

    def build(piece: bytes, pause_s: float) -> Index:
        made.append(Index(piece, pause_s))
        return made[-1]

    yield build
    for one in made:
        one.ended = True
        one.shutdown()
        one.server_close()


def resolve(index: Index, folder: Path, limits: UvLimits) -> Any:
    wanted = folder / "requirements.in"
    wanted.write_text("own\n")
    command: list[str | Path] = ["pip", "compile", wanted, "--no-cache", "--default-index", index.url, "--quiet"]
    return uvrun.run(command, what="lock the requirements", limits=limits)


def test_an_index_that_answers_without_end_does_not_take_all_memory(index: Any, tmp_path: Path) -> None:
    with pytest.raises(PackagingError, match="memory allocation of") as caught:
        resolve(index(LINKS, 0.0), tmp_path, UvLimits(memory=1 << 30))
    assert "larger than any that is meant" in str(caught.value.hint)


def test_an_index_that_sends_byte_by_byte_is_given_up(index: Any, tmp_path: Path) -> None:
    with pytest.raises(PackagingError, match="uv had not ended after 1 s") as caught:
        resolve(index(b" ", 0.1), tmp_path, UvLimits(seconds=1.0))
    assert caught.value.retryable


CLIENT = """
import sys
from sdk.packaging.lock import compile_lock
from sdk.packaging.manifest import Sources
compile_lock(["own"], python="3.11", sources=Sources(index=sys.argv[1]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends programs of killed processes")
def test_uv_ends_with_a_client_that_is_killed(index: Any, tmp_path: Path) -> None:
    """It would wait for the index, and write into a folder that the next verb removes."""
    slow = index(b" ", 0.1)
    env = {**os.environ, "MLPORT_STATE_DIR": str(tmp_path / "state"), "MLPORT_CACHE_DIR": str(tmp_path / "state")}
    with subprocess.Popen([sys.executable, "-c", CLIENT, slow.url], env=env) as client:
        assert slow.asked.wait(60)
        (uv,) = psutil.Process(client.pid).children()
        client.kill()
    until(lambda: not uv.is_running() or uv.status() == psutil.STATUS_ZOMBIE)
    (left,) = (tmp_path / "state" / "tmp").glob(".new-*")
    assert [left] == [one.path for one in scratch.sweep([tmp_path / "state"])]
