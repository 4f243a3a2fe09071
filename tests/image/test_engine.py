"""Finding an engine, and engines that are missing, too old, refuse thin loads or fail half-way."""

import hashlib
import io
import json
import os
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest

from sdk.errors import (
    AuthError,
    ConfigError,
    ConflictError,
    NotFoundError,
    QuotaError,
    UnavailableError,
    UnsupportedError,
)
from sdk.packaging.image import BlobStore, Image, build_image
from sdk.packaging.image.engine import Engine
from sdk.packaging.image.engine_address import Address, find_address
from sdk.packaging.image.engine_images import load

Answer = tuple[int, Any]


@contextmanager
def _engine(answer: Callable[[str, str, bytes], Answer]) -> Iterator[Engine]:
    """A server that speaks as much of the engine's API as a test wants."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            body = b"".join(iter(self._chunk, b"")) if "chunked" in self.headers.get("transfer-encoding", "") else b""
            status, value = answer(self.command, self.path.split("?")[0], body)
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _chunk(self) -> bytes:
            data = self.rfile.read(int(self.rfile.readline(), 16))
            self.rfile.readline()
            return data

        do_GET = do_POST = do_DELETE = _any  # noqa: N815  names that http.server looks for

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        with Engine(Address(f"tcp://127.0.0.1:{server.server_port}")) as engine:
            yield engine
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _version(newest: str = "1.41", least: str = "1.12") -> dict[str, str]:
    return {"ApiVersion": newest, "MinAPIVersion": least, "Arch": "amd64", "Os": "linux"}


@pytest.fixture
def image(bundles: ModuleType, tmp_path: Path) -> tuple[Image, BlobStore]:
    store = BlobStore(tmp_path / "store")
    return build_image(bundles.model(tmp_path / "a"), base=bundles.base(store), store=store), store


# --- which engine -----------------------------------------------------------------------------------------------


def test_docker_host_wins(tmp_path: Path) -> None:
    """DOCKER_HOST comes before a context, with TLS when Docker would use it."""
    env = {"DOCKER_HOST": "tcp://box:2376", "DOCKER_CONTEXT": "other", "HOME": str(tmp_path)}
    assert Address("tcp://box:2376") == find_address(env)
    secured = find_address({**env, "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/certs"})
    assert ("https://box:2376", Path("/certs")) == (secured.url, secured.certificates)


def test_current_context_is_used(tmp_path: Path) -> None:
    """The context that `docker context use` chose, and the one in DOCKER_CONTEXT before it."""
    contexts = tmp_path / ".docker" / "contexts" / "meta"
    for name in ("box", "lab"):
        folder = contexts / hashlib.sha256(name.encode()).hexdigest()
        folder.mkdir(parents=True)
        (folder / "meta.json").write_text(json.dumps({"Endpoints": {"docker": {"Host": f"tcp://{name}:2375"}}}))
    (tmp_path / ".docker" / "config.json").write_text('{"currentContext": "box"}')
    assert Address("tcp://box:2375") == find_address({"HOME": str(tmp_path)})
    assert Address("tcp://lab:2375") == find_address({"HOME": str(tmp_path), "DOCKER_CONTEXT": "lab"})
    with pytest.raises(ConfigError, match="'gone' does not exist"):
        find_address({"HOME": str(tmp_path), "DOCKER_CONTEXT": "gone"})


def test_an_address_of_another_kind_says_what_to_use() -> None:
    """What is not spoken names what is."""
    with pytest.raises(ConfigError, match="ssh://"):
        Engine(Address("spdy://box"))


def test_a_named_engine_counts_more_than_the_environment(tmp_path: Path) -> None:
    """An address, or the name of a context, given in the settings."""
    env = {"DOCKER_HOST": "tcp://elsewhere:2375", "HOME": str(tmp_path)}
    assert Address("tcp://box:2375") == find_address(env, named="tcp://box:2375")
    with pytest.raises(ConfigError, match="'lab' does not exist"):
        find_address(env, named="lab")


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("unix:///var/run/docker.sock", True),
        ("tcp://127.0.0.1:2375", True),
        ("tcp://box:2376", False),
        ("ssh://box", False),
    ],
)
def test_an_address_tells_whether_the_engine_is_here(host: str, here: bool) -> None:
    """Only what is on this machine can be reached by the ports it publishes."""
    assert here == Address(host).is_here


STAND_IN = """#!{python}
import socket, sys, threading
here, there = sys.argv[sys.argv.index("-L") + 1].split(":")
if sys.argv[-1] == "refused":
    sys.exit("refused: Permission denied (publickey).")
listener = socket.socket(socket.AF_UNIX)
listener.bind(here)
listener.listen()
def carry(a, b):
    while data := a.recv(65536):
        b.sendall(data)
    b.shutdown(socket.SHUT_WR)
while True:
    client, _ = listener.accept()
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(there)
    for pair in ((client, peer), (peer, client)):
        threading.Thread(target=carry, args=pair, daemon=True).start()
"""


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program `ssh` that forwards a socket of this very machine, or is refused."""
    (tmp_path / "ssh").write_text(STAND_IN.replace("{python}", sys.executable))
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)


@pytest.mark.usefixtures("ssh")
def test_an_engine_behind_ssh(engine: Engine) -> None:
    """Its socket is forwarded by the user's own ssh, which ends with the client."""
    with Engine(Address("ssh://me@box:2222")) as behind:
        assert engine.about["Version"] == behind.about["Version"]
        children = psutil.Process().children()
        assert 1 == len([child for child in children if "2222" in child.cmdline()])
    assert [] == [child for child in psutil.Process().children() if "2222" in child.cmdline()]


@pytest.mark.usefixtures("ssh")
def test_an_ssh_that_does_not_get_there() -> None:
    """The error holds what ssh said, and nothing was sent."""
    with pytest.raises(UnavailableError, match="Permission denied") as caught:
        Engine(Address("ssh://refused"))
    assert not caught.value.sent


@pytest.mark.parametrize("host", ["ssh://-oProxyCommand=id", "ssh://", "ssh://me:secret@box", "ssh://a b"])
def test_an_ssh_address_cannot_hold_options(host: str) -> None:
    """Nothing in an address becomes an option of ssh, and a password has no place in it."""
    with pytest.raises(ConfigError, match="USER@HOST"):
        Engine(Address(host))


# --- engines that do not do what is wanted ----------------------------------------------------------------------


def test_stopped_engine_is_told_apart(tmp_path: Path) -> None:
    """Nobody listens: nothing was sent, and the error says to start Docker."""
    with Engine(Address(f"unix://{tmp_path}/no.sock")) as engine, pytest.raises(UnavailableError) as caught:
        engine.call("GET", "/containers/json")
    assert (False, True) == (caught.value.sent, "start Docker" in str(caught.value))


@pytest.mark.parametrize(("newest", "least", "spoken"), [("1.41", "1.12", "1.41"), ("1.52", "1.44", "1.44")])
def test_oldest_common_version_is_spoken(newest: str, least: str, spoken: str) -> None:
    """Every engine is asked in the oldest version that both sides know."""
    seen: list[str] = []

    def answer(_method: str, path: str, _body: bytes) -> Answer:
        seen.append(path)
        return 200, _version(newest, least) if path == "/version" else []

    with _engine(answer) as engine:
        assert [] == engine.call("GET", "/containers/json")
    assert ["/version", f"/v{spoken}/containers/json"] == seen


def test_too_old_engine_is_refused() -> None:
    """Below API 1.41 nothing is tried."""
    with (
        _engine(lambda *_: (200, _version("1.40"))) as engine,
        pytest.raises(UnsupportedError, match=r"update it to 20\.10"),
    ):
        engine.call("GET", "/containers/json")


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (404, "no such image", NotFoundError),
        (409, "name in use", ConflictError),
        (503, "starting", UnavailableError),
        (500, "write /x: no space left on device", QuotaError),
    ],
)
def test_refusals_have_their_own_classes(status: int, said: str, kind: type[Exception]) -> None:
    """What the engine says is in the error, and its kind is told by the class."""
    with (
        _engine(lambda _, path, __: (200, _version()) if path == "/version" else (status, {"message": said})) as engine,
        pytest.raises(kind, match=said),
    ):
        engine.call("POST", "/containers/create", json={})


class _Forbidden(Address):
    """A socket that the kernel does not let us use; root is let, so a real one would prove nothing there."""

    def probe(self) -> None:
        raise PermissionError(13, "Permission denied")


def test_no_right_to_the_socket_is_told() -> None:
    """The kernel's refusal becomes a hint about the group docker."""
    with Engine(_Forbidden("unix:///docker.sock")) as engine, pytest.raises(AuthError, match="group docker"):
        engine.call("GET", "/containers/json")


def test_engine_that_wants_all_layers_gets_them(image: tuple[Image, BlobStore]) -> None:
    """When a load without known layers is refused, everything is sent."""
    wanted, store = image
    have: dict[str, Any] = {"Id": "sha256:other", "RootFS": {"Layers": [wanted.layers[0].diff_id]}}
    loads: list[int] = []

    def answer(_method: str, path: str, body: bytes) -> Answer:
        if path.endswith("/images/load"):
            with tarfile.open(fileobj=io.BytesIO(body)) as archive:
                loads.append(sum(name.endswith(".tar.gz") for name in archive.getnames()))
            return 200, {"error": "missing layer"} if loads[-1] < len(wanted.layers) else {"stream": "Loaded"}
        if path.endswith(f"{wanted.id}/json") and loads and loads[-1] == len(wanted.layers):
            return 200, {"Id": wanted.id, "RootFS": {"Layers": [layer.diff_id for layer in wanted.layers]}}
        answers = {"/version": _version(), "/v1.41/images/json": [have], "/v1.41/images/sha256:other/json": have}
        return (200, answers[path]) if path in answers else (404, {"message": "no such image"})

    with _engine(answer) as engine:
        assert wanted.id == load(engine, wanted, store)
    assert [len(wanted.layers) - 1, len(wanted.layers)] == loads


@pytest.mark.parametrize(
    "said",
    [
        {"error": "write /layer: no space left on device"},
        {"errorDetail": {"message": "write /layer: no space left on device"}},  # newer engines say no more than that
    ],
)
def test_full_engine_is_told(image: tuple[Image, BlobStore], said: dict[str, Any]) -> None:
    """An engine without space says so after its 200; that is an error all the same."""
    wanted, store = image

    def answer(_method: str, path: str, body: bytes) -> Answer:
        if path.endswith("/images/load"):
            return 200, said
        answers = {"/version": _version(), "/v1.41/images/json": []}
        return (200, answers[path]) if path in answers else (404, {"message": "no such image"})

    with _engine(answer) as engine, pytest.raises(QuotaError, match="no space left"):
        load(engine, wanted, store)
