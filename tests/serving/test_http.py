"""The HTTP border: ambiguous, oversized, slow and broken requests never reach the model."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import struct
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

BODY = b'{"instances":[[1,2,3]]}'
GOOD = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 23\r\n\r\n" + BODY


def _post(*headers: bytes, body: bytes = BODY, line: bytes = b"POST /invocations HTTP/1.1") -> bytes:
    return b"\r\n".join([line, *headers, b"Connection: close", b"", b""]) + body


HOST = b"Host: x"
TYPE = b"Content-Type: application/json"
LENGTH = b"Content-Length: 23"
CHUNKED = b"Transfer-Encoding: chunked"
CHUNKS = b"17\r\n" + BODY + b"\r\n0\r\n\r\n"

AMBIGUOUS = {
    "both lengths": _post(HOST, TYPE, LENGTH, CHUNKED, body=CHUNKS),
    "both lengths, other order": _post(HOST, TYPE, CHUNKED, LENGTH, body=CHUNKS),
    "two lengths": _post(HOST, TYPE, LENGTH, b"Content-Length: 24"),
    "the same length twice": _post(HOST, TYPE, LENGTH, LENGTH),
    "list of lengths": _post(HOST, TYPE, b"Content-Length: 23, 23"),
    "signed length": _post(HOST, TYPE, b"Content-Length: +23"),
    "negative length": _post(HOST, TYPE, b"Content-Length: -1"),
    "hexadecimal length": _post(HOST, TYPE, b"Content-Length: 0x17"),
    "length beyond 64 bits": _post(HOST, TYPE, b"Content-Length: 18446744073709551639"),
    "empty length": _post(HOST, TYPE, b"Content-Length: "),
    "length with space inside": _post(HOST, TYPE, b"Content-Length: 2 3"),
    "length with underscore": _post(HOST, TYPE, b"Content-Length: 2_3"),
    "unknown transfer coding": _post(HOST, TYPE, b"Transfer-Encoding: gzip", body=CHUNKS),
    "chunked not last": _post(HOST, TYPE, b"Transfer-Encoding: chunked, gzip", body=CHUNKS),
    "chunked twice": _post(HOST, TYPE, CHUNKED, CHUNKED, body=CHUNKS),
    "gzip, chunked": _post(HOST, TYPE, b"Transfer-Encoding: gzip, chunked", body=CHUNKS),
    "misspelt chunked": _post(HOST, TYPE, b"Transfer-Encoding: xchunked", body=CHUNKS),
    "vertical tab chunked": _post(HOST, TYPE, b"Transfer-Encoding: \x0bchunked", body=CHUNKS),
    "bare line feeds": GOOD.replace(b"\r\n", b"\n"),
    "bare carriage return": _post(HOST, b"X: a\rb", TYPE, LENGTH),
    "folded header": _post(HOST, TYPE, b"X: a\r\n b", LENGTH),
    "space before colon": _post(HOST, TYPE, b"Content-Length : 23"),
    "space before name": _post(b" Host: x", TYPE, LENGTH),
    "NUL in value": _post(HOST, TYPE, b"X: a\0b", LENGTH),
    "control character in name": _post(HOST, TYPE, b"X\x01: a", LENGTH),
    "header without colon": _post(HOST, TYPE, b"nonsense", LENGTH),
    "no host": _post(TYPE, LENGTH),
    "empty host": _post(b"Host:", TYPE, LENGTH),
    "two hosts": _post(HOST, b"Host: y", TYPE, LENGTH),
    "two content types": _post(HOST, TYPE, b"Content-Type: text/plain", LENGTH),
    "absolute target": _post(HOST, TYPE, LENGTH, line=b"POST http://evil/invocations HTTP/1.1"),
    "authority target": _post(HOST, line=b"CONNECT evil:80 HTTP/1.1", body=b""),
    "asterisk target": _post(HOST, line=b"OPTIONS * HTTP/1.1", body=b""),
    "upgrade": _post(HOST, TYPE, LENGTH, b"Upgrade: h2c"),
    "websocket": _post(HOST, b"Connection: Upgrade", b"Upgrade: websocket", line=b"GET /ping HTTP/1.1", body=b""),
    "HTTP/0.9": b"GET /ping\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/3.7": _post(HOST, TYPE, LENGTH, line=b"POST /invocations HTTP/3.7"),
    "HTTP/1.0 chunked": _post(HOST, TYPE, CHUNKED, line=b"POST /invocations HTTP/1.0", body=CHUNKS),
    "unknown method": _post(HOST, line=b"SMUGGLE / HTTP/1.1", body=b""),
    "TLS": bytes.fromhex("16030100a5010000a10303") + b"\0" * 100,
    "bad chunk size": _post(HOST, TYPE, CHUNKED, body=b"zz\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "negative chunk size": _post(HOST, TYPE, CHUNKED, body=b"-17\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "chunk size beyond 64 bits": _post(HOST, TYPE, CHUNKED, body=b"fffffffffffffffff\r\n" + BODY),
    "chunk with another length": _post(HOST, TYPE, CHUNKED, body=b"5\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "bare line feed chunks": _post(HOST, TYPE, CHUNKED, body=CHUNKS.replace(b"\r\n", b"\n")),
    "trailers after an expectation": _post(
        HOST, TYPE, CHUNKED, b"Expect: 100-continue", body=CHUNKS[:-2] + b"X: y\r\n\r\n"
    ),
    "trailers": _post(HOST, TYPE, CHUNKED, body=CHUNKS[:-2] + b"Content-Type: text/plain\r\n\r\n"),
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_ambiguous_requests_are_refused_and_close(tensor_server: Any, name: str) -> None:
    """What two parsers could read in two ways gets one 4xx and no second answer."""
    before = len(tensor_server.events("request"))
    answer = tensor_server.raw(AMBIGUOUS[name] + GOOD)
    assert 1 == answer.count(b"HTTP/1.1 "), answer
    assert answer.startswith(b"HTTP/1.1 4"), answer
    assert b"connection: close" in answer
    assert [] == [one for one in tensor_server.events("request")[before:] if one["status"] == 200]
    assert [] == [one for one in tensor_server.log if one["level"] == "error"]


TOO_MUCH = {
    "long header": (_post(HOST, TYPE, b"X: " + b"a" * 17_000, LENGTH), 431),
    "long header name": (_post(HOST, TYPE, b"a" * 17_000 + b": b", LENGTH), 431),
    "endless header": (b"GET /ping HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 2_000_000, 431),
    "many headers": (_post(HOST, TYPE, *[b"X%d: a" % n for n in range(101)], LENGTH), 431),
    "five thousand headers": (_post(HOST, TYPE, *[b"X%d: a" % n for n in range(5000)], LENGTH), 431),
    "long URL": (_post(HOST, TYPE, LENGTH, line=b"POST /" + b"a" * 9000 + b" HTTP/1.1"), 414),
    "long query": (_post(HOST, TYPE, LENGTH, line=b"POST /ping?" + b"a" * 9000 + b" HTTP/1.1"), 414),
    "endless method": (b"A" * 100_000, 400),
    "announced body": (_post(HOST, TYPE, b"Content-Length: 1000001"), 413),
    "announced petabyte": (_post(HOST, TYPE, b"Content-Length: 999999999999999999", body=b""), 413),
    "chunked body": (_post(HOST, TYPE, CHUNKED, body=(b"ffff\r\n" + b"[" * 65535 + b"\r\n") * 40), 413),
    "gzip bomb": (_post(HOST, TYPE, LENGTH, b"Content-Encoding: gzip"), 415),
    "brotli": (_post(HOST, TYPE, LENGTH, b"Content-Encoding: br"), 415),
    "gzip, identity": (_post(HOST, TYPE, LENGTH, b"Content-Encoding: gzip, identity"), 415),
    "expectation": (_post(HOST, TYPE, LENGTH, b"Expect: a-miracle"), 417),
}


@pytest.mark.parametrize("name", TOO_MUCH)
def test_oversized_requests_are_refused_while_reading(tensor_server: Any, name: str) -> None:
    """Each limit has its own status, and the answer arrives although the client is still sending."""
    data, status = TOO_MUCH[name]
    with tensor_server.connect() as connection:
        connection.settimeout(10)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(data)
        answer = b""
        while b"\r\n\r\n" not in answer:
            part = connection.recv(65536)
            assert part, f"closed without an answer after {answer!r}"
            answer += part
    assert answer.startswith(b"HTTP/1.1 %d" % status), answer


BOMBS = {
    "deep arrays": b'{"instances":' + b"[" * 400_000,
    "deep closed arrays": b'{"instances":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "deep objects": b'{"a":' * 150_000,
    "wide empty arrays": b'{"instances":[' + b"[]," * 300_000 + b"[]]}",
    "wide empty objects": b'{"instances":[' + b"{}," * 300_000 + b"{}]}",
    "many digits": b'{"instances":[[1,2,' + b"9" * 900_000 + b"]]}",
    "many decimals": b'{"instances":[[1,2,0.' + b"9" * 900_000 + b"e]]}",
    "exponent": b'{"instances":[[1,2,1e999999999]]}',
    "same key": b"{" + b'"instances":[],' * 60_000 + b'"instances":[]}',
    "many keys": b"{" + b",".join(b'"%d":1' % n for n in range(90_000)) + b"}",
    "long key": b'{"' + b"a" * 900_000 + b'":1}',
    "long string": b'{"instances":[["' + b"a" * 900_000 + b'"]]}',
    "escapes": b'{"instances":[["' + b"\\u0000" * 150_000 + b'"]]}',
    "lone surrogates": b'{"instances":[["' + b"\\ud800" * 1000 + b'"]]}',
    "spaces": b" " * 900_000,
    "zeros": b"\0" * 900_000,
    "one row of many": b'{"instances":[[' + b"1," * 400_000 + b"1]]}",
    "many short rows": b'{"instances":[' + b"[1]," * 200_000 + b"[1]]}",
    "ragged at the end": b'{"instances":[' + b"[1,2,3]," * 100_000 + b"[1]]}",
    "null at the end": b'{"instances":[' + b"[1,2,3]," * 100_000 + b"[1,2,null]]}",
    "mixed": b'{"instances":[' + b'[1,"a",null],' * 60_000 + b"[1,2,3]]}",
}


def _bomb(body: bytes, *headers: bytes, path: bytes = b"/invocations", kind: bytes = b"application/json") -> bytes:
    lines = [HOST, b"Content-Type: " + kind, b"Content-Length: %d" % len(body), *headers]
    return _post(*lines, body=body, line=b"POST " + path + b" HTTP/1.1")


def _npy(header: bytes) -> bytes:
    return _bomb(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header, kind=b"application/x-npy")


def _tensor(shape: bytes, size: bytes) -> bytes:
    """A V2 request whose one tensor comes behind the JSON as 24 bytes, whatever its sizes say."""
    about = b'{"inputs":[{"name":"input","datatype":"FP64","shape":%b,"parameters":{"binary_data_size":%b}}]}'
    head = about % (shape, size)
    length = b"Inference-Header-Content-Length: %d" % len(head)
    return _bomb(head + bytes(24), length, path=b"/v2/models/churn/infer", kind=b"application/octet-stream")


COMPRESSED = gzip.compress(b'{"instances":[' + b"[1,2,3]," * 5_000_000 + b"[1,2,3]]}", 9)
BOMB_REQUESTS = {
    **{name: _bomb(body) for name, body in BOMBS.items()},
    "compressed": _bomb(COMPRESSED, b"Content-Encoding: gzip"),
    "npy of 727 TiB": _npy(b"{'descr': '<f8', 'fortran_order': False, 'shape': (100000000000000, 1), }\n"),
    "npy of objects": _npy(b"{'descr': '|O', 'fortran_order': False, 'shape': (1, 3), }\n"),
    "deep npy header": _npy(b"(" * 60_000 + b"\n"),
    "binary tensor of exbibytes": _tensor(b"[1,3]", b"4611686018427387904"),
    "binary shape that overflows": _tensor(b"[4294967296,4294967296,3]", b"24"),
}


@pytest.mark.parametrize("name", BOMB_REQUESTS)
def test_bombs_are_4xx_and_cost_little_memory(tensor_server: Any, name: str) -> None:
    """A body made to explode is refused; the process's memory stays within a few bodies."""
    assert len(BOMB_REQUESTS[name]) <= 1_000_300
    answer = tensor_server.raw(BOMB_REQUESTS[name])
    assert answer.startswith(b"HTTP/1.1 4"), answer[:300]
    assert _resident(tensor_server) < 150e6


def test_there_are_enough_bombs() -> None:
    """At least 25 different ones are tried every time."""
    assert len(set(BOMB_REQUESTS.values())) >= 25


def _resident(server: Any) -> float:
    text = server.raw(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").decode()
    return float(text.rpartition("process_resident_memory_bytes ")[2].split()[0])


def test_requests_in_any_pieces_get_the_same_answer(tensor_server: Any) -> None:
    """Byte by byte, chunked, pipelined and with 100-continue: the framing does not change the prediction."""
    with tensor_server.connect() as connection:
        for number in range(len(GOOD)):
            connection.send(GOOD[number : number + 1])
        assert _one_answer(connection).endswith(b'{"predictions":[6.0]}')
        connection.sendall(_post(HOST, TYPE, CHUNKED, body=CHUNKS).replace(b"Connection: close", b"X: y"))
        assert _one_answer(connection).endswith(b'{"predictions":[6.0]}')
        head, _, body = GOOD.partition(b"\r\n\r\n")
        connection.sendall(head + b"\r\nExpect: 100-continue\r\n\r\n")
        assert b"HTTP/1.1 100 Continue\r\n\r\n" == connection.recv(1000)
        connection.sendall(body)
        assert _one_answer(connection).endswith(b'{"predictions":[6.0]}')
        connection.sendall(GOOD * 5 + GOOD.replace(b"[1,2,3]", b"[1,2,x]"))
        answers = [_one_answer(connection) for _ in range(6)]
    assert [b"200"] * 5 + [b"400"] == [one.split()[1] for one in answers]


_left: dict[int, bytes] = {}


def _one_answer(connection: socket.socket) -> bytes:
    data = _left.pop(id(connection), b"")
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, rest = data.partition(b"\r\n\r\n")
    size = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    while len(rest) < size:
        rest += connection.recv(65536)
    _left[id(connection)] = rest[size:]
    return head + b"\r\n\r\n" + rest[:size]


def test_garbage_behind_a_good_request_does_not_hurt_its_answer(tensor_server: Any) -> None:
    """The running answer is finished; the garbage gets none; the connection closes."""
    answer = tensor_server.raw(GOOD + b"\0\1\2 garbage\r\n\r\n")
    assert 1 == answer.count(b"HTTP/1.1 ")
    assert answer.endswith(b'{"predictions":[6.0]}')


def test_proxy_headers_are_not_believed(tensor_server: Any, tools: Any) -> None:
    """X-Forwarded-* changes nothing: the server has no use for a client address."""
    forged = GOOD.replace(b"Host: x", b"Host: x\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https")
    assert b"200 OK" in tensor_server.raw(forged.replace(b"Host: x", b"Host: x\r\nConnection: close"))
    assert "6.6.6.6" not in str(tensor_server.log)


def blow_up(rows: Any) -> Any:
    return ["x" * rows[0]]


@pytest.fixture(scope="module")
def hasty_server(tmp_path_factory: pytest.TempPathFactory, tensor_server: Any) -> Any:
    """A server with short deadlines and few connections."""
    import sys

    tools = sys.modules[type(tensor_server).__module__]
    bundle = tools.BundleMaker(tmp_path_factory.mktemp("hasty")).function(blow_up)
    limits = {"HEADER_S": "0.7", "BODY_S": "1.5", "KEEP_ALIVE_S": "1.0", "WRITE_S": "1", "MAX_CONNECTIONS": "40"}
    server = tools.Server(bundle, **{f"MLPORT_{name}": value for name, value in limits.items()}).ready()
    yield server
    server.close()


@pytest.mark.parametrize(
    ("start", "drip", "expected"),
    [
        (b"", b"", b""),
        (b"GET /ping HTTP/1.1\r\nHost: x\r\n", b"X: y\r\n", b"HTTP/1.1 408"),
        (GOOD[:-10], b"", b"HTTP/1.1 408"),
        (_post(HOST, TYPE, b"Content-Length: 9999", body=b""), b" ", b"HTTP/1.1 408"),
    ],
    ids=["silent", "dripping head", "half a body", "dripping body"],
)
def test_slow_clients_are_closed(hasty_server: Any, start: bytes, drip: bytes, expected: bytes) -> None:
    """A head or body that does not come in time ends in 408; a silent connection just closes."""
    with hasty_server.connect() as connection:
        connection.settimeout(0.1)
        connection.sendall(start)
        answer = b""
        for _ in range(100):
            try:
                if drip:
                    connection.sendall(drip)
                part = connection.recv(1000)
                if not part:
                    break
                answer += part
            except TimeoutError:
                continue
            except (BrokenPipeError, ConnectionResetError):
                break
        else:
            pytest.fail("the connection stayed open")
    assert answer.startswith(expected)
    assert bool(answer) == bool(expected)


def test_clients_that_do_not_read_are_closed(hasty_server: Any, tools: Any) -> None:
    """A large answer that nobody takes is thrown away with its connection; others are served."""
    body = b'{"instances":[50000000]}'
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", hasty_server.port))
        connection.sendall(_post(HOST, TYPE, b"Content-Length: %d" % len(body), body=body))
        tools.eventually(lambda: _resident(hasty_server) > 80e6)
        tools.eventually(lambda: not _established(hasty_server, connection))
    assert b"200 OK" in hasty_server.raw(b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")


def _established(server: Any, connection: socket.socket) -> bool:
    """Return whether the server still holds its end of a connection."""
    port = connection.getsockname()[1]
    return any(one.raddr and one.raddr.port == port for one in psutil.Process(server.process.pid).net_connections())


def test_too_many_pipelined_requests_are_refused(tensor_server: Any) -> None:
    """Sixteen may wait behind the running one; they are answered, the flood is not, and memory stays."""
    before = _resident(tensor_server)
    answer = tensor_server.raw(GOOD * 5000)
    assert 17 == answer.count(b"HTTP/1.1 200 OK")
    assert 17 == answer.count(b"HTTP/1.1 ")
    assert _resident(tensor_server) - before < 20e6


def test_idle_connections_are_shed_for_new_ones(hasty_server: Any) -> None:
    """With all places taken by silent connections an honest client is still served."""
    silent = [hasty_server.connect() for _ in range(60)]
    try:
        for _ in range(20):
            assert b"200 OK" in hasty_server.raw(b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    finally:
        for one in silent:
            one.close()


def test_an_idle_keep_alive_connection_is_closed_in_time(hasty_server: Any) -> None:
    """After its first answer an idle connection lives for the keep-alive time and then ends cleanly."""
    with hasty_server.connect() as connection:
        connection.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in _one_answer(connection)
        assert b"" == connection.recv(10)
    _left.clear()


def test_an_early_refusal_is_readable_by_a_client_that_sends_on(tensor_server: Any) -> None:
    """405 to a large POST is not destroyed by a reset."""
    body = b"x" * 900_000
    answer = tensor_server.raw(
        _post(HOST, TYPE, b"Content-Length: %d" % len(body), line=b"POST /ping HTTP/1.1", body=body)
    )
    assert answer.startswith(b"HTTP/1.1 405")
    assert "method_not_allowed" == json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"]


def test_a_client_that_leaves_is_not_predicted_for(
    bundles: Any, start: Callable[..., Any], tools: Any, tmp_path: Any
) -> None:
    """A request whose client has gone while it waited never reaches the model."""
    seen = tmp_path / "seen"
    server = start(bundles.function(_slow_and_counted(str(seen)))).ready()
    body = b'{"instances":["first"]}'
    request = _post(HOST, TYPE, b"Content-Length: %d" % len(body), body=body)
    with server.connect() as first:
        first.sendall(request)
        tools.eventually(seen.exists)
        with server.connect() as second:
            second.sendall(request.replace(b"first", b"2nd!!"))
            time.sleep(0.2)
        assert b"200 OK" in tools.read_all(first)
    third = server.raw(request.replace(b"first", b"third"))
    assert b"200 OK" in third
    assert "first third " == seen.read_text()


def _slow_and_counted(path: str) -> Callable[[Any], Any]:
    def predict(rows: Any) -> Any:
        import time as clock
        from pathlib import Path

        with Path(path).open("a") as file:
            file.write(f"{rows[0]} ")
        clock.sleep(0.8)
        return rows

    return predict
