"""The connections of predictions, against a server that says whatever it is told to, byte by byte."""

from __future__ import annotations

import socket
import ssl
import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trustme

from sdk.dataplane.connections import ConnectionPool, is_broken
from sdk.dataplane.invoke import _by_proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIMITS = {"connect": 5.0, "read": 5.0, "write": 5.0}
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Scripted:
    """Gives each connection the next list of replies; one reply to each request, then it closes."""

    def __init__(self, *connections: list[list[bytes]], tls: ssl.SSLContext | None = None) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.asked: list[bytes] = []
        self.accepted = 0
        self._tls = tls
        self._thread = threading.Thread(target=self._serve, args=(connections,), daemon=True)
        self._thread.start()

    def _serve(self, connections: tuple[list[list[bytes]], ...]) -> None:
        for replies in connections:
            plain, _ = self.socket.accept()
            self.accepted += 1
            with self._tls.wrap_socket(plain, server_side=True) if self._tls else plain as client:
                for pieces in replies:
                    self.asked.append(_request(client))
                    for piece in pieces:
                        client.sendall(piece)

    def close(self) -> None:
        self._thread.join(5)
        self.socket.close()


def _request(client: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += client.recv(1 << 16)
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    while len(body) < length:
        body += client.recv(1 << 16)
    return head + b"\r\n\r\n" + body


@pytest.fixture
def serve() -> Iterator[Callable[..., tuple[Scripted, ConnectionPool]]]:
    made: list[Any] = []

    def build(*connections: list[list[bytes]]) -> tuple[Scripted, ConnectionPool]:
        server = Scripted(*connections)
        wire = ConnectionPool(httpx.URL(f"http://127.0.0.1:{server.port}/x"), None)
        made.extend((wire, server))
        return server, wire

    yield build
    for one in made:
        one.close()


def ask(wire: ConnectionPool, server: Scripted, body: bytes = b"{}", events: list[str] | None = None) -> httpx.Response:
    request = httpx.Request("POST", f"http://127.0.0.1:{server.port}/x?a=b", content=body, headers={"x-a": "1"})
    trace = (lambda event, _: events.append(event)) if events is not None else None
    request.extensions = {"timeout": LIMITS, **({"trace": trace} if trace else {})}
    return wire.send(request)


def test_requests_leave_as_httpx_writes_them(serve: Any) -> None:
    """Method, target with its query, host, length and headers are on the wire; a large body arrives whole."""
    server, wire = serve([[OK], [OK]])
    large = b"x" * 3_000_000
    answers = [ask(wire, server), ask(wire, server, large)]
    assert [(200, b"ok"), (200, b"ok")] == [(one.status_code, one.content) for one in answers]
    head, _, body = server.asked[0].partition(b"\r\n\r\n")
    assert b"POST /x?a=b HTTP/1.1" == head.split(b"\r\n")[0]
    assert {f"host: 127.0.0.1:{server.port}".encode(), b"x-a: 1", b"content-length: 2"} <= set(
        head.lower().split(b"\r\n")
    )
    assert b"{}" == body
    assert server.asked[1].endswith(large)
    assert 1 == server.accepted, "the connection is used again"


def test_a_small_request_is_one_packet() -> None:
    """Head and body leave together, so that the server is woken once."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        wire = ConnectionPool(httpx.URL(f"http://127.0.0.1:{listening.getsockname()[1]}/x"), None)
        request = httpx.Request("POST", f"http://127.0.0.1:{listening.getsockname()[1]}/x", content=b"{}")
        request.extensions = {"timeout": LIMITS}
        asking = threading.Thread(target=wire.send, args=(request,))
        asking.start()
        client, _ = listening.accept()
        with client:
            assert client.recv(1 << 16).endswith(b"\r\n\r\n{}")
            client.sendall(OK)
            asking.join(5)
        wire.close()


def test_closed_while_a_request_is_under_way(serve: Any) -> None:
    """The request is answered, and its connection is not kept."""
    server, wire = serve([[OK]], [[OK]])
    wire.close()
    assert [b"ok", b"ok"] == [ask(wire, server).content for _ in range(2)]
    assert 2 == server.accepted


@pytest.mark.parametrize(
    "pieces",
    [
        [bytes([one]) for one in OK],
        [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\no\r\n", b"1\r\nk\r\n0\r\n\r\n"],
        [b"HTTP/1.1 100 Continue\r\n\r\n", OK],
        [b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nok"],
    ],
    ids=["bytewise", "chunked", "continue", "until it closes"],
)
def test_answers_are_read_whole(serve: Any, pieces: list[bytes]) -> None:
    """However an answer is framed and cut, its status, headers and body are the same."""
    server, wire = serve([pieces])
    answer = ask(wire, server)
    assert (200, b"ok") == (answer.status_code, answer.content)


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (b"", httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nok", httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nok", httpx.RemoteProtocolError),
        (b"SSH-2.0-OpenSSH\r\n\r\n", httpx.RemoteProtocolError),
        (b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK, httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 201 + b"\r\n", httpx.RemoteProtocolError),
    ],
    ids=["nothing", "short", "short chunk", "not http", "hints that nobody asked for", "too many headers"],
)
def test_a_broken_answer_is_an_error(serve: Any, reply: bytes, error: type[Exception]) -> None:
    """What is cut short or is no HTTP is never taken for an answer."""
    server, wire = serve([[reply]])
    with pytest.raises(error):
        ask(wire, server)


def test_a_connection_that_was_closed_meanwhile_is_not_used(serve: Any) -> None:
    """A kept connection that the server has closed is replaced before anything is sent on it."""
    server, wire = serve([[OK]], [[OK]])
    ask(wire, server)
    while not is_broken(wire._idle[0]):
        threading.Event().wait(0.01)
    events: list[str] = []
    assert b"ok" == ask(wire, server, events=events).content
    assert 2 == server.accepted
    assert ["connection.connect_tcp.started", "http11.send_request_headers.started"] == events[:2]
    assert "http11.receive_response_headers.complete" == events[-1]


def test_nobody_listens() -> None:
    """A refused connection proves that nothing was sent."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    wire = ConnectionPool(httpx.URL(f"http://127.0.0.1:{port}/x"), None)
    with pytest.raises(httpx.ConnectError):
        wire.send(httpx.Request("POST", f"http://127.0.0.1:{port}/x", content=b"{}"))


def test_a_silent_server_is_given_up(serve: Any) -> None:
    """The read time-out is the caller's."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        wire = ConnectionPool(httpx.URL(f"http://127.0.0.1:{port}/x"), None)
        request = httpx.Request("POST", f"http://127.0.0.1:{port}/x", content=b"{}")
        request.extensions = {"timeout": {**LIMITS, "read": 0.05}}
        with pytest.raises(httpx.ReadTimeout):
            wire.send(request)


def test_certificates_are_checked() -> None:
    """A certificate of a trusted authority for this host is taken; that of a stranger ends before anything is sent."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting, doubting = ssl.create_default_context(), ssl.create_default_context()
    authority.configure_trust(trusting)
    server = Scripted([[OK]], tls=context)
    url = f"https://127.0.0.1:{server.port}/x"
    wire = ConnectionPool(httpx.URL(url), trusting)
    assert b"ok" == wire.send(httpx.Request("POST", url, content=b"{}")).content
    wire.close()
    server.close()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/x"
        thread = threading.Thread(target=_shake, args=(listener, context))
        thread.start()
        with pytest.raises(httpx.ConnectError):
            ConnectionPool(httpx.URL(url), doubting).send(httpx.Request("POST", url, content=b"{}"))
        thread.join(5)


def _shake(listener: socket.socket, context: ssl.SSLContext) -> None:
    client, _ = listener.accept()
    with client, pytest.raises(ssl.SSLError, match="alert"):
        context.wrap_socket(client, server_side=True)


def test_proxies_are_for_other_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a proxy in the environment the general client goes through it, except to this machine."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert not _by_proxy("https://runtime.sagemaker.us-east-1.amazonaws.com/x")
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    assert _by_proxy("https://runtime.sagemaker.us-east-1.amazonaws.com/x")
    assert not _by_proxy("https://127.0.0.1:1/x")
    monkeypatch.setenv("no_proxy", "amazonaws.com")
    assert not _by_proxy("https://runtime.sagemaker.us-east-1.amazonaws.com/x")
