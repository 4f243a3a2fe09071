"""The middle of a mini cloud: understanding, trouble, replies, and the log, over a real connection."""

import ssl
from pathlib import Path

import httpx
import pytest

from sdk_contract.clouds.app import App
from sdk_contract.clouds.faults import TRANSIENT, Faults, Kind
from sdk_contract.clouds.server import Server
from sdk_contract.clouds.tls import Tls
from tests.clouds.notes import Notes


def test_requests_are_understood_and_written_down(server: Server, app: App, notes: Notes) -> None:
    """Paths with names, verbs after a colon, queries and bodies arrive; the log says what each one was."""
    put = httpx.put(f"{server.url}/v1/notes/n1", content=b"x" * 3_000_000)
    read = httpx.post(f"{server.url}/v1/notes/n1:read", params={"page": "a b"}, json=[1, 2])
    file = httpx.get(f"{server.url}/v1/files/a%20b/c")
    assert (201, {"state": "done", "bytes": 3_000_000}) == (put.status_code, put.json())
    assert {"note": "n1", "page": "a b", "sent": [1, 2]} == read.json()
    assert {"name": "a b/c", "target": "/v1/files/a%20b/c"} == file.json()
    seen = [
        (call.service, call.operation, call.resource, call.method, call.status, call.changing) for call in app.calls
    ]
    assert [
        ("notes", "PutNote", "n1", "PUT", 201, True),
        ("notes", "ReadNote", "n1", "POST", 200, False),
        ("notes", "GetFile", "a b/c", "GET", 200, False),
    ] == seen
    assert b"x" * 3_000_000 == notes.kept["n1"]


def test_replies_can_be_streams(server: Server) -> None:
    """An iterator is sent piece by piece."""
    with httpx.stream("GET", f"{server.url}/v1/stream") as reply:
        assert "chunked" == reply.headers["transfer-encoding"]
        assert b"one two three" == reply.read()


def test_what_is_not_there_and_what_breaks(server: Server, app: App) -> None:
    """An unknown path is a 404 and no call; a bug of a handler is a 500 with its text, and kept."""
    assert 404 == httpx.get(f"{server.url}/v2/notes/n").status_code
    assert [] == app.calls.operations
    broken = httpx.get(f"{server.url}/v1/notes/none")
    assert (500, True) == (broken.status_code, "KeyError('none')" in broken.json()["message"])
    assert "KeyError: 'none'" in app.errors[0]


@pytest.mark.parametrize(
    ("kind", "status"), [("throttle", 429), ("unavailable", 503), ("denied", 403), ("slow", 201), ("fail", 201)]
)
def test_trouble_with_a_reply(server: Server, app: App, notes: Notes, kind: Kind, status: int) -> None:
    """Refusals leave nothing behind; `slow` and `fail` do what was asked; only the next call is hit."""
    app.faults.add("PutNote", kind)
    first = httpx.put(f"{server.url}/v1/notes/n", content=b"1")
    refused = status != 201
    assert (status, refused) == (first.status_code, "n" not in notes.kept)
    said = {"throttle": "throttle", "unavailable": "unavailable", "denied": "denied", "slow": "done", "fail": "failed"}
    assert said[kind] == first.json()["code" if refused else "state"]
    assert 201 == httpx.put(f"{server.url}/v1/notes/n", content=b"2").status_code
    assert [] == app.faults.pending


@pytest.mark.parametrize(("kind", "done"), [("drop_before", False), ("drop_after", True)])
def test_dropped_connections(server: Server, app: App, notes: Notes, kind: Kind, done: bool) -> None:
    """The client sees a connection that ends without a reply; the request was carried out, or was not."""
    app.faults.add("notes:Put*", kind)
    with httpx.Client() as client:
        with pytest.raises(httpx.RemoteProtocolError):
            client.put(f"{server.url}/v1/notes/n", content=b"1")
        assert (done, [0]) == ("n" in notes.kept, [call.status for call in app.calls])
        assert 201 == client.put(f"{server.url}/v1/notes/n", content=b"2").status_code


def test_a_handler_can_drop(server: Server) -> None:
    """A cloud whose own rules end a connection can do so."""
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"{server.url}/v1/drop")


def test_faults_begin_late_and_end(app: App) -> None:
    """`after` lets calls pass, `times` ends it, patterns name services; an unknown kind is refused."""
    faults = app.faults
    faults.add("s3:*", "throttle", times=2, after=1)
    seen = [bool(faults.strike("s3", "PutObject")) for _ in range(5)]
    assert ([False, True, True, False, False], None) == (seen, faults.strike("notes", "PutObject"))
    with pytest.raises(ValueError, match="kind: 'explode' is none of throttle"):
        faults.add("*", "explode")  # type: ignore[arg-type]


def test_random_trouble_is_repeatable() -> None:
    """The same seed gives the same trouble, at about the rate that was asked for, until it is cleared."""

    def drawn(seed: int) -> list[str]:
        faults = Faults()
        faults.script(seed, 0.3)
        found = [faults.strike("s", "Op") for _ in range(400)]
        faults.clear()
        assert not any(faults.strike("s", "Op") for _ in range(50))
        return [fault.kind if fault else "" for fault in found]

    one, again, other = drawn(1), drawn(1), drawn(2)
    assert (True, True) == (one == again, one != other)
    assert set(TRANSIENT) == set(one) - {""}
    assert 80 < sum(bool(kind) for kind in one) < 160


def test_calls_of_a_block(server: Server, app: App) -> None:
    """`since` holds what came inside the block, `changing` and `of` choose."""
    httpx.put(f"{server.url}/v1/notes/a", content=b"1")
    with app.calls.since() as new:
        httpx.put(f"{server.url}/v1/notes/b", content=b"1")
        httpx.get(f"{server.url}/v1/notes/b")
    assert (["PutNote", "GetNote"], ["b"]) == (new.operations, [call.resource for call in new.changing])
    assert (["a", "b"], "a") == ([call.resource for call in app.calls.of("PutNote")], app.calls[0].resource)


def test_tls_with_an_own_authority(app: App, tmp_path: Path) -> None:
    """Clients that trust the authority reach it by https, and dropped connections are dropped there as well."""
    tls = Tls(tmp_path)
    with (
        Server(app, tls=tls) as server,
        httpx.Client(verify=ssl.create_default_context(cafile=str(tls.ca_file))) as http,
    ):
        assert 201 == http.put(f"{server.url}/v1/notes/n", content=b"1").status_code
        app.faults.add("PutNote", "drop_before")
        with pytest.raises(httpx.TransportError):
            http.put(f"{server.url}/v1/notes/n", content=b"1")
        with pytest.raises(httpx.ConnectError):
            httpx.get(server.url)
