"""What the public side refuses, and how it passes on the rest."""

from __future__ import annotations

import hashlib
import json
import random
import re
import socket
import time
from collections import Counter

import httpx
import pytest

from tests.gateway.harness import TOKEN, Endpoint, receive, statuses, until

CHUNKED = "Transfer-Encoding: chunked"
HOST = "Host: 127.0.0.1:{port}"
AUTH = f"Authorization: Bearer {TOKEN}"
KIND = "Content-Type: application/json"

# Everything here could be read in two ways by two parsers, or asks for something a gateway must not do. The second
# request, hidden in the body of the first, must never be answered.
HIDDEN = "GET /hidden HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n" + AUTH + "\r\n\r\n"
SMUGGLING = {
    "length and chunked": (["Content-Length: 4", CHUNKED], "0\r\n\r\n"),
    "chunked and length": ([CHUNKED, "Content-Length: 4"], "0\r\n\r\n"),
    "two lengths": (["Content-Length: 0", "Content-Length: 40"], ""),
    "two equal lengths": (["Content-Length: 2", "Content-Length: 2"], "{}"),
    "list of lengths": (["Content-Length: 4, 4"], "{}{}"),
    "signed length": (["Content-Length: +2"], "{}"),
    "negative length": (["Content-Length: -2"], "{}"),
    "length past 64 bits": (["Content-Length: 18446744073709551617"], "{}"),
    "hexadecimal length": (["Content-Length: 0x2"], "{}"),
    "empty length": (["Content-Length: "], "{}"),
    "length with a comma": (["Content-Length: 2,"], "{}"),
    "length with a space inside": (["Content-Length: 1 0"], "{}"),
    "unknown coding": (["Transfer-Encoding: gzip"], ""),
    "coding before chunked": (["Transfer-Encoding: gzip, chunked"], "0\r\n\r\n"),
    "chunked twice": (["Transfer-Encoding: chunked, chunked"], "0\r\n\r\n"),
    "two codings": ([CHUNKED, "Transfer-Encoding: identity"], "0\r\n\r\n"),
    "chunked with a prefix": (["Transfer-Encoding: xchunked"], "0\r\n\r\n"),
    "chunked with a vertical tab": (["Transfer-Encoding: \x0bchunked"], "0\r\n\r\n"),
    "quoted chunked": (['Transfer-Encoding: "chunked"'], "0\r\n\r\n"),
    "chunked with a semicolon": (["Transfer-Encoding: chunked;a=b"], "0\r\n\r\n"),
    "space before the colon": (["Content-Length : 2"], "{}"),
    "space before the coding's colon": (["Transfer-Encoding : chunked"], "0\r\n\r\n"),
    "folded coding": (["X-A: b", " Transfer-Encoding: chunked"], "0\r\n\r\n"),
    "folded value": (["Transfer-Encoding:", "\tchunked"], "0\r\n\r\n"),
    "bare line feed": (["X-A: b\nContent-Length: 40"], ""),
    "bare carriage return": (["X-A: b\rContent-Length: 40"], ""),
    "NUL in a value": (["X-A: b\0c"], ""),
    "NUL in a name": (["X-\0A: b"], ""),
    "control character in a value": (["X-A: b\x01c"], ""),
    "no colon": (["Nonsense"], ""),
    "empty name": ([": b"], ""),
    "name with a bracket": (["X(A): b"], ""),
    "name with a high byte": (["X\xe9: b"], ""),
    "upgrade": (["Connection: Upgrade", "Upgrade: websocket"], ""),
    "upgrade to h2c": (["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AA"], ""),
    "chunk size not a number": ([CHUNKED], "zz\r\n{}\r\n0\r\n\r\n"),
    "chunk size signed": ([CHUNKED], "+2\r\n{}\r\n0\r\n\r\n"),
    "chunk size 0x": ([CHUNKED], "0x2\r\n{}\r\n0\r\n\r\n"),
    "chunk size past 48 bits": ([CHUNKED], "1000000000002\r\n{}\r\n0\r\n\r\n"),
    "chunk line feed only": ([CHUNKED], "2\n{}\n0\n\n"),
    "chunk longer than it says": ([CHUNKED], "1\r\n{}\r\n0\r\n\r\n"),
    "chunk extension with a line feed": ([CHUNKED], "2;a\nb\r\n{}\r\n0\r\n\r\n"),
    "endless chunk extension": ([CHUNKED], "2;" + "a" * 2000 + "\r\n{}\r\n0\r\n\r\n"),
}
LINES = {
    "absolute target": "POST http://127.0.0.1/predict HTTP/1.1",
    "connect": "CONNECT 127.0.0.1:80 HTTP/1.1",
    "trace": "TRACE / HTTP/1.1",
    "no version": "POST /predict",
    "version 2": "POST /predict HTTP/2.0",
    "version 1.2": "POST /predict HTTP/1.2",
    "version 9.1": "POST /predict HTTP/9.1",
    "two spaces": "POST  /predict HTTP/1.1",
    "tab": "POST\t/predict HTTP/1.1",
    "lower-case method": "post /predict HTTP/1.1",
    "target with a space": "POST /pre dict HTTP/1.1",
    "target with a fragment": "POST /predict#x HTTP/1.1",
    "target with a high byte": "POST /\xe9 HTTP/1.1",
    "asterisk": "OPTIONS * HTTP/1.1",
    "leading space": " POST /predict HTTP/1.1",
    "request in the target": "GET /x HTTP/1.1\rHost: a HTTP/1.1",
}


def is_refused(served: Endpoint, data: bytes) -> None:
    before = served.replica("d1-0")["served"]
    answers, closed = served.raw(data)
    assert ([True], True) == ([400 <= status < 500 for status in answers], closed)
    assert before == served.replica("d1-0")["served"]


@pytest.mark.parametrize("name", SMUGGLING)
def test_ambiguous_framing_is_refused(served: Endpoint, name: str) -> None:
    """A request that could be read in two ways gets one 4xx and a closed connection, and reaches no replica."""
    headers, body = SMUGGLING[name]
    lines = ["POST /predict HTTP/1.1", HOST, AUTH, KIND, *headers, "", body + HIDDEN]
    is_refused(served, "\r\n".join(lines).replace("{port}", str(served.port)).encode("latin-1"))


@pytest.mark.parametrize("name", LINES)
def test_odd_request_lines_are_refused(served: Endpoint, name: str) -> None:
    """A request line other than METHOD /path HTTP/1.x gets one 4xx and a closed connection."""
    lines = [LINES[name], HOST, AUTH, KIND, "", HIDDEN]
    is_refused(served, "\r\n".join(lines).replace("{port}", str(served.port)).encode("latin-1"))


def test_large_heads_are_refused(served: Endpoint) -> None:
    """Headers over 16 KiB or 100 lines and URLs over 8 KiB are refused with their own status."""
    cases = {
        431: [served.head("GET / HTTP/1.1", "X-A: " + "b" * 17_000), served.head("GET / HTTP/1.1", *["X-A: b"] * 101)],
        414: [served.head(f"GET /{'a' * 9000} HTTP/1.1")],
    }
    cases[431].append(b"GET / HTTP/1.1\r\nX-A: " + b"b" * 1_000_000)
    for status, requests in cases.items():
        for data in requests:
            assert ([status], True) == served.raw(data)


def test_body_limit_holds_for_declared_and_counted_bodies(served: Endpoint) -> None:
    """A body over the limit is a 413, whether its length is declared or found out while it comes in."""
    assert ([413], True) == served.raw(served.head("POST / HTTP/1.1", "Content-Length: 100001"))
    chunks = b"fff0\r\n" + b"x" * 0xFFF0 + b"\r\n"
    assert ([413], True) == served.raw(served.head("POST / HTTP/1.1", CHUNKED) + chunks * 20)
    assert 200 == served.post(content=b"x" * 100_000).status_code


def test_streamed_body_over_the_limit_is_a_413(endpoint: Endpoint) -> None:
    """The limit also ends a body that has begun to be passed on."""
    endpoint.put(d1=endpoint.deployment("d1"), limits={"max_body": 2_000_000})
    chunk = b"fff0\r\n" + b"x" * 0xFFF0 + b"\r\n"
    assert ([413], True) == endpoint.raw(endpoint.head("POST / HTTP/1.1", CHUNKED) + chunk * 40)
    until(lambda: 0 == endpoint.replica("d1-0")["inflight"])


def test_requests_are_rebuilt(served: Endpoint) -> None:
    """What belongs to the connection or the gateway does not reach the replica; the rest does, as sent."""
    headers = ["Connection: close, X-Hop", "X-Hop: 1", "Keep-Alive: timeout=5", "TE: trailers", "X-Keep: a  b"]
    headers += ["Proxy-Connection: x", "X-Mlport-Deployment: d1", "X-Request-Id: my.id-1", "Content-Length: 2"]
    with served.connect() as connection:
        connection.sendall(served.head("POST /a?b=%20 HTTP/1.1", *headers) + b"{}")
        received, closed = receive(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    echo = json.loads(body)
    assert (b"x-request-id: my.id-1" in head.split(b"\r\n"), b"connection: close" in head.split(b"\r\n"), closed) == (
        True,
    ) * 3
    assert ("POST", "/a?b=%20") == (echo["method"], echo["target"])
    assert [
        ["host", f"127.0.0.1:{served.port}"],
        ["content-type", "application/json"],
        ["x-keep", "a  b"],
        ["content-length", "2"],
        ["x-request-id", "my.id-1"],
    ] == echo["headers"]


@pytest.mark.parametrize(
    "kind", ["text/csv; header=present", "text/csv;charset=utf-8", "application/x-ndjson", "application/x-parquet"]
)
def test_forms_of_other_clients_pass(served: Endpoint, kind: str) -> None:
    """The content type and what is wanted back reach the replica as sent."""
    wanted = "text/csv;q=0.9, application/json;q=0.1"
    with served.connect() as connection:
        head = served.head("POST / HTTP/1.1", "Content-Length: 2", f"Accept: {wanted}", "Connection: close")
        connection.sendall(head.replace(b"application/json\r\n", kind.encode() + b"\r\n", 1) + b"1\n")
        received, _ = receive(connection)
    seen = dict(json.loads(received.partition(b"\r\n\r\n")[2])["headers"])
    assert (kind, wanted) == (seen["content-type"], seen["accept"])


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "a\x1b[31m", "\xfc"])
def test_bad_request_ids_are_replaced(served: Endpoint, given: str) -> None:
    """A request id that could spoil a log never comes through."""
    with served.connect() as connection:
        connection.sendall(served.head("GET / HTTP/1.1", f"X-Request-Id: {given}", "Connection: close"))
        received, _ = receive(connection)
    ids = re.findall(rb"^x-request-id: (.*)\r$", received, re.MULTILINE)
    assert [True] == [re.fullmatch(rb"[0-9a-f]{10}-[0-9a-f]+", value) is not None for value in ids]


@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_arrive_whole(served_large: Endpoint, *, chunked: bool) -> None:
    """Bodies of any size and framing reach the replica byte for byte, over one connection."""
    with served_large.http() as http:
        for size in (0, 1, 70_000, 300_000, 5_000_000, 3):
            body = random.Random(size).randbytes(size)
            pieces = (body[at : at + 9999] for at in range(0, size, 9999))
            echo = http.post("/predict", content=pieces if chunked else body).json()
            assert (size, hashlib.sha256(body).hexdigest()) == (echo["size"], echo["sha256"])


def test_answers_arrive_whole(served: Endpoint) -> None:
    """Answers of any framing reach the client byte for byte, over one connection where that is possible."""
    with served.http() as http:
        assert 3_000_000 == len(http.get("/big?n=3000000").content)
        assert 200 * 201 // 2 == len(http.get("/chunked?n=200").content)
        assert 200_000 == len(http.get("/until-close?n=200000").content)
        assert (200, b"") == ((answer := http.head("/big?n=5")).status_code, answer.content)
        assert 200 == http.get("/predict").status_code


def test_old_clients_are_served(served: Endpoint) -> None:
    """An HTTP/1.0 client gets an answer without chunks, ended by closing."""
    with served.connect() as connection:
        connection.sendall(served.head("GET /chunked?n=3 HTTP/1.0"))
        received, closed = receive(connection)
    assert (b"yyyyyy", True) == (received.partition(b"\r\n\r\n")[2], closed)
    assert b"transfer-encoding" not in received


def test_pipelined_requests_are_answered_in_order(served: Endpoint) -> None:
    """Requests sent without waiting are answered one after the other."""
    ids = [f"p{index}" for index in range(20)]
    data = b"".join(served.head(f"GET /{name} HTTP/1.1", f"X-Request-Id: {name}") for name in ids[:-1])
    data += served.head("GET /last HTTP/1.1", f"X-Request-Id: {ids[-1]}", "Connection: close")
    with served.connect() as connection:
        connection.sendall(data)
        received, closed = receive(connection)
    assert closed
    assert ids == [line[14:].decode() for line in received.split(b"\r\n") if line.startswith(b"x-request-id: ")]


def test_expect_continue_is_answered(served: Endpoint) -> None:
    """A client that asks before it sends is told to go on; any other expectation is a 417."""
    with served.connect() as connection:
        connection.sendall(
            served.head("POST / HTTP/1.1", "Expect: 100-continue", "Content-Length: 2", "Connection: close")
        )
        assert b"HTTP/1.1 100 Continue\r\n\r\n" == connection.recv(100)
        connection.sendall(b"{}")
        assert [200] == statuses(receive(connection)[0])
    assert ([417], True) == served.raw(served.head("POST / HTTP/1.1", "Expect: more", "Content-Length: 2"))


def test_requests_may_come_in_any_pieces(served: Endpoint) -> None:
    """A request cut anywhere is the same request."""
    data = served.head("POST /predict HTTP/1.1", "Content-Length: 5", "Connection: close") + b"12345"
    for cut in range(1, len(data), 7):
        with served.connect() as connection:
            connection.sendall(data[:cut])
            time.sleep(0.002)
            connection.sendall(data[cut:])
            assert [200] == statuses(receive(connection)[0])


@pytest.mark.parametrize(
    "path",
    [
        "/raw?text=nonsense%0D%0A%0D%0A",
        "/drop",
        "/raw?text=HTTP/1.1%20200%20OK%0D%0AContent-Length:%201%0D%0AContent-Length:%202%0D%0A%0D%0Axx",
    ],
)
def test_bad_answers_are_a_502(served: Endpoint, path: str) -> None:
    """A replica that answers nonsense or nothing is a 502 with the request id, and the connection goes on."""
    with served.http() as http:
        answer = http.get(path)
        assert 502 == answer.status_code
        assert answer.headers["x-request-id"] == answer.json()["error"]["request_id"]
        assert 200 == http.get("/predict").status_code


def test_cut_answers_are_not_completed(served: Endpoint) -> None:
    """An answer that breaks off breaks the client's connection too, so that it cannot pass for whole."""
    with served.http() as http, pytest.raises(httpx.HTTPError):
        http.get("/cut")
    assert 200 == served.post().status_code


def fuzz(endpoint: Endpoint, count: int) -> Counter[int]:
    """Send mutated requests and count what is answered."""
    chance = random.Random(20260101)
    seeds = [endpoint.head("POST /predict HTTP/1.1", *headers) + body.encode() for headers, body in SMUGGLING.values()
             for body in (body, "{}")]  # fmt: skip
    seeds += [endpoint.head("POST /predict HTTP/1.1", "Content-Length: 2") + b"{}"] * 20
    seeds += [endpoint.head("POST / HTTP/1.1", CHUNKED) + b"2\r\n{}\r\n0\r\n\r\n"] * 20
    found: Counter[int] = Counter()
    for _ in range(count):
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.randrange(4)):
            at = chance.randrange(len(data))
            match chance.randrange(4):
                case 0:
                    data[at] = chance.choice(b"\r\n\0 :;,\tA0\xff")
                case 1:
                    del data[at : at + chance.randrange(1, 9)]
                case 2:
                    data[at:at] = data[at : at + chance.randrange(1, 30)]
                case _:
                    data[at:at] = bytes([chance.randrange(256)])
        with endpoint.connect() as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)  # what is not whole by now never will be
            received, closed = receive(connection)
        assert closed
        found.update(statuses(received))
    return found


def check_fuzz(endpoint: Endpoint, count: int) -> None:
    found = fuzz(endpoint, count)
    assert [] == [status for status in found if status >= 500]
    assert found.total() > count / 3
    assert 0 == sum(part["inflight"] for part in endpoint.status()["deployments"].values())
    assert 200 == endpoint.post().status_code


def test_fuzzed_requests_give_no_server_error(served: Endpoint) -> None:
    """Mutated requests are answered 2xx or 4xx, or the connection is closed; the gateway goes on."""
    check_fuzz(served, 2000)


@pytest.mark.full
def test_200000_fuzzed_requests_give_no_server_error(served: Endpoint) -> None:
    """The same for two hundred thousand, and the gateway's memory stays within 20 MB of what it was."""
    before = served.status()["gateway"]["rss_bytes"]
    check_fuzz(served, 200_000)
    assert served.status()["gateway"]["rss_bytes"] < before + 20_000_000
