"""Starting and stopping: sockets, readiness, and no request lost by SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import uvloop

from sdk.serving.serve import bind
from sdk.serving.settings import Bind

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ASK = (
    b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 19\r\n\r\n"
    b'{"instances":[[1]]}'
)


class SlowToLoad:
    """Loads when its file appears."""

    def load(self, path: str) -> None:
        import time as clock
        from pathlib import Path

        go = Path(Path(path, "go.txt").read_text())
        while not go.exists():
            clock.sleep(0.01)

    def predict(self, rows: Any) -> Any:
        return rows


def test_liveness_answers_before_the_model_is_loaded(
    bundles: Any, start: Callable[..., Any], tools: Any, tmp_path: Path
) -> None:
    """While loading: live 200, ready and predictions 503 with Retry-After; afterwards 200. SIGTERM ends a load too."""
    go = tmp_path / "go"
    bundle = bundles({"model/model.pkl": tools.by_value(SlowToLoad), "model/go.txt": str(go).encode()}, flavour="class")
    server = start(bundle)
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        assert 200 == client.get("/v2/health/live").status_code
        for answer in (client.get("/ping"), client.post("/invocations", json={"instances": [1]})):
            assert (503, "1") == (answer.status_code, answer.headers["retry-after"])
        loading = start(bundle)
        assert loading.port
        assert 0 == loading.terminate()
        go.touch()
        server.ready()
        assert 200 == client.get("/ping").status_code
        assert [1] == client.post("/invocations", json={"instances": [1]}).json()["predictions"]


def test_unix_sockets_are_private_and_stale_ones_replaced(
    bundles: Any, start: Callable[..., Any], tools: Any, tmp_path: Path
) -> None:
    """The socket file has mode 0600, survives a killed predecessor, and goes when the server stops."""
    path = tmp_path / "b.sock"
    bundle = bundles.function(tools.total)
    first = start(bundle, MLPORT_BIND=f"unix:{path}").ready()
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    second = start(bundle, MLPORT_BIND=f"unix:{path}")
    assert 2 == second.wait()
    assert "in use" in second.events("start_failed")[0]["message"]
    first.process.kill()
    first.wait()
    third = start(bundle, MLPORT_BIND=f"unix:{path}").ready()
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://localhost") as client:
        assert {"predictions": [6.0]} == client.post("/invocations", json={"instances": [[1, 2, 3]]}).json()
    assert 0 == third.terminate()
    assert not path.exists()


def test_a_taken_port_is_a_sentence(bundles: Any, start: Callable[..., Any], tools: Any) -> None:
    """Exit code 2, with the address and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = start(bundles.function(tools.total), MLPORT_BIND=f"tcp:127.0.0.1:{port}")
        assert 2 == server.wait()
    line = server.events("start_failed")[0]
    assert f"cannot listen on 127.0.0.1:{port}" in line["message"]
    assert "MLPORT_BIND" in line["mend"]


def test_an_inherited_descriptor_is_served(bundles: Any, tools: Any) -> None:
    """`fd:N` takes a listening socket from the parent, so that nothing has to be raced for."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        env = {"PATH": os.environ["PATH"], "MLPORT_BIND": f"fd:{listener.fileno()}", "MLPORT_DRAIN_S": "0"}
        env["MLPORT_MODEL_DIR"] = str(bundles.function(tools.total))
        process = subprocess.Popen(
            [sys.executable, "-m", "sdk.serving"],
            env=env,
            cwd=tools.REPOSITORY,
            pass_fds=[listener.fileno()],
            stderr=subprocess.DEVNULL,
        )
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/ping"
        try:
            tools.eventually(lambda: httpx.get(url, timeout=20).status_code == 200)
        finally:
            process.terminate()
            assert 0 == process.wait(20)


class _Options(asyncio.Protocol):
    """Notes the socket option of an accepted connection."""

    def __init__(self, found: asyncio.Future[int]) -> None:
        self._found = found

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        connection = transport.get_extra_info("socket")
        self._found.set_result(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        transport.close()


def test_accepted_connections_have_nodelay() -> None:
    """Under the event loop the server runs on, its listening socket yields connections without Nagle's delay."""

    async def run() -> int:
        listener = bind(Bind("127.0.0.1", 0))
        loop = asyncio.get_running_loop()
        found: asyncio.Future[int] = loop.create_future()
        server = await loop.create_server(lambda: _Options(found), sock=listener)
        with socket.create_connection(listener.getsockname()):
            option = await found
        server.close()
        return option

    assert uvloop.run(run())


def quick(rows: Any) -> Any:
    import time as clock

    clock.sleep(0.002)
    return [sum(row) for row in rows]


class Caller(threading.Thread):
    """Calls until told to end; half of the callers use a new connection for each request.

    A request counts as lost when its connection ended without an answer although the server had taken it: a refused
    connection, or a reused connection closed before any byte of the answer (which a client repeats), are not.
    """

    def __init__(self, port: int, *, fresh: bool) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.fresh = fresh
        self.answered = 0
        self.wrong: list[str] = []
        self.end = threading.Event()

    def run(self) -> None:
        while not self.end.is_set():
            try:
                connection = socket.create_connection(("127.0.0.1", self.port), timeout=20)
            except OSError:
                return  # nobody listens any more
            with connection:
                self._use(connection)

    def _use(self, connection: socket.socket) -> None:
        reused = False
        while not self.end.is_set():
            answer = b""
            try:
                connection.sendall(ASK)
                while part := connection.recv(65536):
                    answer += part
                    if b"}" in part:
                        break
            except ConnectionError as error:
                if not reused or answer:
                    self.wrong.append(repr(error))
                return
            if not answer and reused:
                return
            if not answer.startswith(b"HTTP/1.1 200 OK") or b'{"predictions":[1]}' not in answer:
                self.wrong.append(repr(answer))
                return
            self.answered += 1
            reused = True
            if self.fresh or b"connection: close" in answer:
                return


@pytest.mark.parametrize("count", [5, pytest.param(200, marks=pytest.mark.full)])
def test_sigterm_under_load_loses_no_request(bundles: Any, start: Callable[..., Any], tools: Any, count: int) -> None:
    """Every accepted request is answered, and the exit code is 0, whenever the signal comes."""
    bundle = bundles.function(quick)
    for number in range(count):
        server = start(bundle, MLPORT_DRAIN_S="0.2").ready()
        callers = [Caller(server.port, fresh=bool(index % 2)) for index in range(8)]
        for one in callers:
            one.start()
        tools.eventually(lambda callers=callers: all(one.answered for one in callers))
        time.sleep(0.01 * (number % 7))
        assert 0 == server.terminate()
        for one in callers:
            one.end.set()
            one.join(20)
        assert [] == [problem for one in callers for problem in one.wrong]
        server.close()


def test_the_drain_protocol_in_order(bundles: Any, start: Callable[..., Any], tools: Any) -> None:
    """After SIGTERM: readiness 503 and `Connection: close` while still serving, then the door closes, then exit 0."""
    server = start(bundles.function(quick), MLPORT_DRAIN_S="1.5").ready()
    port = server.port
    with httpx.Client(base_url=server.url) as client:
        client.get("/ping")  # what a client needs at first takes long on a busy machine
        server.process.send_signal(signal.SIGTERM)
        server.wait_event("draining")
        ready = client.get("/ping")
        answer = client.post("/invocations", json={"instances": [[1, 2]]})
        live = client.get("/v2/health/live")
    assert (503, "draining", "close") == (ready.status_code, ready.json()["status"], ready.headers["connection"])
    assert (200, "close", 200) == (answer.status_code, answer.headers["connection"], live.status_code)
    assert 0 == server.wait()
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), timeout=1):
        pass


def test_half_a_request_cannot_hold_the_exit(bundles: Any, start: Callable[..., Any], tools: Any) -> None:
    """A body that never ends and a silent connection are cut; the exit code is still 0."""
    server = start(bundles.function(quick), MLPORT_DRAIN_S="0", MLPORT_GRACE_S="60").ready()
    with server.connect() as half, server.connect():
        half.sendall(ASK[:-5])
        assert 0 == server.terminate(15)


def hang(rows: Any) -> Any:
    import time as clock

    clock.sleep(600)
    return rows


def test_a_hung_model_cannot_hold_the_exit(bundles: Any, start: Callable[..., Any], tools: Any) -> None:
    """When the patience ends, the running and the waiting request get 503, and the exit code is 0."""
    server = start(bundles.function(hang), MLPORT_DRAIN_S="0", MLPORT_GRACE_S="0.5").ready()
    with server.connect() as first, server.connect() as second:
        first.sendall(ASK)
        second.sendall(ASK)
        time.sleep(0.3)
        assert 0 == server.terminate(15)
        for one in (first, second):
            assert one.recv(65536).startswith(b"HTTP/1.1 503")
    assert 2 == server.events("stopped")[0]["rejected"]


def test_the_second_signal_stops_at_once(bundles: Any, start: Callable[..., Any], tools: Any) -> None:
    """An impatient operator is obeyed: no drain time, no grace time."""
    server = start(bundles.function(hang), MLPORT_DRAIN_S="300", MLPORT_GRACE_S="300").ready()
    server.process.send_signal(signal.SIGTERM)
    server.wait_event("draining")
    assert 0 == server.terminate(15)


@pytest.mark.parametrize(
    ("argv", "word"),
    [(["fly"], "unknown role 'fly'"), (["serve", "now"], "takes no arguments"), (["train"], "MLPORT_TRAIN")],
)
def test_unknown_roles_are_rejected_with_a_sentence(tools: Any, argv: list[str], word: str) -> None:
    """Exit code 2 and the usage; SageMaker's `serve`, `train` and no argument at all are the known roles."""
    done = subprocess.run(
        [sys.executable, "-m", "sdk.serving", *argv],
        cwd=tools.REPOSITORY,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert 2 == done.returncode
    assert word in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_stopped_reading_the_log_does_not_stop_the_server(bundles: Any, tools: Any) -> None:
    """With the log pipe full, requests and health are still answered."""
    reader, writer = os.pipe()
    with contextlib.suppress(AttributeError):
        import fcntl

        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        env = {"PATH": os.environ["PATH"], "MLPORT_BIND": f"fd:{listener.fileno()}"}
        env["MLPORT_MODEL_DIR"] = str(bundles.function(tools.total))
        process = subprocess.Popen(
            [sys.executable, "-m", "sdk.serving"],
            env=env,
            cwd=tools.REPOSITORY,
            pass_fds=[listener.fileno()],
            stderr=writer,
        )
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            with httpx.Client(base_url=url, trust_env=False, timeout=20) as client:
                tools.eventually(lambda: client.get("/ping").status_code == 200)
                for _ in range(300):
                    assert 200 == client.post("/invocations", json={"instances": [[1]]}).status_code
        finally:
            process.kill()
            process.wait()
            os.close(reader)
            os.close(writer)


def test_the_folder_alone_is_the_whole_server(bundles: Any, tools: Any, tmp_path: Path) -> None:
    """Copied under its own name the folder serves, and imports nothing of the rest of sdk and no large library."""
    source = tools.REPOSITORY / "sdk" / "serving"
    shutil.copytree(source, tmp_path / "mlport_serving", ignore=shutil.ignore_patterns("__pycache__"))
    log = tmp_path / "log"
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(tmp_path),
        "MLPORT_MODEL_DIR": str(bundles.function(quick)),
        "MLPORT_BIND": f"unix:{tmp_path / 's.sock'}",
        "MLPORT_DRAIN_S": "0",
    }
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-X", "importtime", "-m", "mlport_serving"], env=env, cwd=tmp_path, stderr=file
        )
    try:
        tools.eventually(lambda: b'"ready"' in log.read_bytes(), seconds=60)
    finally:
        process.terminate()
        assert 0 == process.wait(60)
    imported = {line.rpartition("|")[2].strip() for line in log.read_text().splitlines() if "|" in line}
    assert "mlport_serving.serve" in imported
    assert set() == imported & {"sdk", "pandas", "rich", "pydantic", "httpx", "sklearn"}


def log_things(rows: Any) -> Any:
    import logging

    logging.getLogger("mine").warning("careful with %s", rows[0])
    try:
        rows[0].nothing()
    except AttributeError:
        logging.getLogger("mine").exception("it failed")
    return rows


def test_what_user_code_logs_becomes_structured_lines(bundles: Any, start: Callable[..., Any]) -> None:
    """Records of Python's logging, exceptions with their trace included, are JSON lines like all others."""
    server = start(bundles.function(log_things)).ready()
    assert 200 == httpx.post(f"{server.url}/invocations", json={"instances": [5]}).status_code
    server.wait_event("log", count=2)
    warning, error = server.events("log")
    assert ("warning", "mine", "careful with 5") == (warning["level"], warning["logger"], warning["message"])
    assert ("error", "it failed") == (error["level"], error["message"])
    assert "AttributeError" in error["trace"]
    assert [] == server.unparsed
