"""What listens on a gateway's socket may answer anything: a control call ends in its own error, within a limit."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from sdk.serving.gateway.client import GatewayError, call, get_table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def answering(folder: Path, status: int, body: bytes, *, length: int | None = None) -> Iterator[None]:
    """A server that answers one request on the control socket and ends the connection."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "control.sock"))
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                head = f"HTTP/1.1 {status} X\r\ncontent-length: {len(body) if length is None else length}\r\n\r\n"
                connection.sendall(head.encode() + body)

        thread = threading.Thread(target=answer)
        thread.start()
        yield
        thread.join(10)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"[]"),
        (200, b"7"),
        (200, b"<html>"),
        (200, b"[" * 100_000),
        (404, b"{}"),
        (404, b'{"error": "gone"}'),
        (404, b'{"error": {"code": "gone"}}'),
        (404, b'{"message": "page not found"}'),
        (500, b"null"),
    ],
)
def test_an_answer_of_another_form(tmp_path: Path, status: int, body: bytes) -> None:
    with answering(tmp_path, status, body), pytest.raises(GatewayError, match="gave no answer") as refused:
        call(tmp_path, "GET", "/status")
    assert (0, "unreachable") == (refused.value.status, refused.value.code)


@pytest.mark.parametrize("body", [b"{}", b'{"table": 7}', b'{"table": []}'])
def test_a_table_of_another_form(tmp_path: Path, body: bytes) -> None:
    with answering(tmp_path, 200, body), pytest.raises(GatewayError, match="gave no answer"):
        get_table(tmp_path)


def test_no_table_yet(tmp_path: Path) -> None:
    with answering(tmp_path, 200, b'{"table": null}'):
        assert get_table(tmp_path) is None


def test_an_answer_that_is_too_long(tmp_path: Path) -> None:
    body = b'{"a": "' + b"x" * (32 << 20) + b'"}'
    with answering(tmp_path, 200, body), pytest.raises(GatewayError, match="more than 33554432 bytes"):
        call(tmp_path, "GET", "/status")


def test_a_refusal_keeps_its_fields(tmp_path: Path) -> None:
    body = b'{"error": {"code": "conflict", "message": "It changed.", "log": ["a"]}}'
    with answering(tmp_path, 409, body), pytest.raises(GatewayError, match=r"It changed\.") as refused:
        call(tmp_path, "GET", "/status")
    assert (409, "conflict", ["a"]) == (refused.value.status, refused.value.code, refused.value.details["log"])
