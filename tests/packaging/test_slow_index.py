"""A package index that answers slowly or without end costs neither all memory nor all time."""

from __future__ import annotations

import socketserver
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from sdk.errors import PackagingError
from sdk.packaging import uvrun
from sdk.packaging.uvrun import UvLimits

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
        self.url = f"http://127.0.0.1:{self.server_address[1]}/simple/"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()


class _Answer(socketserver.StreamRequestHandler):
    server: Index

    def handle(self) -> None:
        self.rfile.readline()
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
