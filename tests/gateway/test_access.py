"""Who may reach a model, and who may not."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import httpx
import pytest

from tests.gateway.harness import TOKEN, Endpoint, receive, statuses

HOST = "Host: 127.0.0.1:{port}"
AUTH = f"Authorization: Bearer {TOKEN}"
KIND = "Content-Type: application/json"

FOREIGN = {
    "no token": (401, [HOST]),
    "wrong token": (401, [HOST, "Authorization: Bearer wrong"]),
    "other scheme": (401, [HOST, f"Authorization: Basic {TOKEN}"]),
    "token in the query": (401, [HOST]),
    "two tokens": (400, [HOST, AUTH, "Authorization: Bearer b"]),
    "foreign host": (421, ["Host: evil.example", AUTH]),
    "foreign host with our port": (421, ["Host: evil.example:{port}", AUTH]),
    "our host with another port": (421, ["Host: 127.0.0.1:1", AUTH]),
    "host with a user": (421, ["Host: 127.0.0.1:{port}@evil.example", AUTH]),
    "no host": (400, [AUTH]),
    "two hosts": (400, [HOST, HOST, AUTH]),
    "empty host": (421, ["Host: ", AUTH]),
    "foreign origin": (403, [HOST, AUTH, "Origin: http://evil.example"]),
    "origin null": (403, [HOST, AUTH, "Origin: null"]),
    "origin of another port": (403, [HOST, AUTH, "Origin: http://localhost:3000"]),
    "cross-site": (403, [HOST, AUTH, "Sec-Fetch-Site: cross-site"]),
    "same-site": (403, [HOST, AUTH, "Sec-Fetch-Site: same-site"]),
    "text/plain": (415, [HOST, AUTH, "Content-Type: text/plain"]),
    "form": (415, [HOST, AUTH, "Content-Type: application/x-www-form-urlencoded"]),
    "multipart": (415, [HOST, AUTH, "Content-Type: multipart/form-data; boundary=a"]),
    "csv with a label": (415, [HOST, AUTH, "Content-Type: text/csv; label=yes"]),
    "no type": (415, [HOST, AUTH]),
    "json with a boundary": (415, [HOST, AUTH, "Content-Type: application/json; boundary=a"]),
    "json in another charset": (415, [HOST, AUTH, "Content-Type: application/json; charset=utf-16"]),
}


@pytest.mark.parametrize("repeat", range(9))
def test_strangers_do_not_reach_the_model(served: Endpoint, repeat: int) -> None:
    """Every sort of foreign request is refused, again and again, on one connection or on many."""
    before = served.replica("d1-0")["served"]
    refused = 0
    for status, headers in FOREIGN.values():
        lines = ["POST /predict HTTP/1.1", *headers, "Content-Length: 2"]
        if status != 415:
            lines.append(KIND)
        text = "\r\n".join([*lines, "", "{}"]).replace("{port}", str(served.port))
        with served.connect() as connection:
            connection.sendall(text.encode())
            connection.shutdown(socket.SHUT_WR)
            assert [status] == statuses(receive(connection)[0])
        refused += 1
    assert (len(FOREIGN), before) == (refused, served.replica("d1-0")["served"])


def test_refused_requests_keep_the_connection(served: Endpoint) -> None:
    """A short refused request does not cost the client its connection, and does not let the next one in."""
    with served.connect() as connection:
        for auth, status in ((False, 401), (True, 200), (False, 401)):
            connection.sendall(served.head("POST / HTTP/1.1", "Content-Length: 2", auth=auth) + b"{}")
            assert [status] == statuses(connection.recv(65536))


def test_own_pages_and_names_are_served(served: Endpoint) -> None:
    """Every loopback name of the gateway is a Host, and its own pages may call it."""
    for host in ("localhost", "127.0.0.1", "[::1]", "LOCALHOST"):
        answer = served.post(Host=f"{host}:{served.port}", Origin=f"http://localhost:{served.port}")
        assert 200 == answer.status_code
    for kind in (
        "application/json; charset=utf-8",
        "application/octet-stream",
        "application/x-npy",
        "Application/JSON",
    ):
        assert 200 == served.post(Content_Type=kind).status_code


def test_health_needs_no_token(served: Endpoint) -> None:
    """GET /healthz is open to those who know the host, and tells only whether requests can be answered."""
    answer = httpx.get(f"{served.url}/healthz")
    assert (200, {"status": "ready"}) == (answer.status_code, answer.json())
    assert 421 == httpx.get(f"{served.url}/healthz", headers={"host": "evil.example"}).status_code
    assert 401 == httpx.get(f"{served.url}/healthz/../predict").status_code


def test_open_endpoint_is_explicit() -> None:
    """`--auth none` lets everybody in but keeps the gates against web pages."""
    value = Endpoint()
    try:
        value.start("--auth", "none", "--allow-host", "box:*")
        value.put(d1=value.deployment("d1"))
        assert ([200], False) == value.raw(value.head("GET / HTTP/1.1", auth=False), patience_s=0.3)
        assert 200 == value.post(Host="box:1").status_code
        assert 421 == value.post(Host="evil.example").status_code
        assert "none" == value.status()["auth"]
    finally:
        value.close()


OTHER_USER = """
import encodings.idna, os, socket, sys
os.setgid(65534)
os.setuid(65534)
refused = 0
for name in ("control.sock", "b-d1-0.sock"):
    try:
        socket.socket(socket.AF_UNIX).connect(sys.argv[1] + "/" + name)
    except PermissionError:
        refused += 1
try:
    os.open(sys.argv[1] + "/token", os.O_RDONLY)
except PermissionError:
    refused += 1
head = "POST / HTTP/1.1\\r\\nHost: 127.0.0.1:%s\\r\\nContent-Type: application/json\\r\\nContent-Length: 0\\r\\n\\r\\n"
for _ in range(200):
    connection = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
    connection.sendall((head % sys.argv[2]).encode())
    refused += connection.recv(100).startswith(b"HTTP/1.1 401 ")
    connection.close()
print(refused)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_other_users_are_refused(served: Endpoint) -> None:
    """Another user of the machine cannot open the sockets or the token, and 200 of 200 calls are a 401."""
    before = served.replica("d1-0")["served"]
    command = [sys.executable, "-S", "-c", OTHER_USER, str(served.folder), str(served.port)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "" == result.stderr
    assert ("203\n", before) == (result.stdout, served.replica("d1-0")["served"])
