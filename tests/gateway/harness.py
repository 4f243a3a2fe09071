"""One endpoint for a test: a real gateway process with real replicas behind it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import httpx

from sdk.serving.gateway import client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

TOKEN = "a-token-for-the-tests"
JSON = {"content-type": "application/json"}
COMMAND = [sys.executable, "-m", "sdk.serving", "gateway"]
BACKEND = str(Path(__file__).with_name("backend.py"))
FAST: dict[str, float] = {"probe_s": 0.1, "backoff_s": 0.1, "stop_s": 2.0, "drain_s": 5.0}


def until(condition: Callable[[], Any], timeout_s: float = 30.0) -> Any:
    """Wait for something to become true, and give it."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
    return value


def lives(pid: int) -> bool:
    """Tell whether a process still runs; one that only waits for its parent to take note does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Endpoint:
    """A gateway folder and short ways to use it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="gw"))  # short: socket paths are
        (self.folder / "token").write_text(TOKEN)
        (self.folder / "token").chmod(0o600)
        self.generation = 0

    def start(self, *options: str, before: Sequence[str] = ()) -> dict[str, Any]:
        state = client.ensure_gateway(self.folder, [*before, *COMMAND, *options])
        self.port = int(state["address"]["port"])
        self.url = f"http://127.0.0.1:{self.port}"
        return state

    def close(self) -> None:
        with contextlib.suppress(client.GatewayError):
            pid = self.status()["gateway"]["pid"]
            try:
                client.stop(self.folder, timeout_s=20)
            except client.GatewayError:
                os.kill(pid, signal.SIGKILL)
                raise
        log = self.folder / "logs" / "gateway.log"
        trouble = log.read_text() if log.exists() else ""
        shutil.rmtree(self.folder)
        assert trouble == "", trouble

    def status(self) -> dict[str, Any]:
        return client.status(self.folder)

    def replica(self, replica_id: str) -> dict[str, Any]:
        return next(
            deployment["replicas"][replica_id]
            for deployment in self.status()["deployments"].values()
            if replica_id in deployment["replicas"]
        )

    def deployment(
        self, name: str, weight: int = 100, replicas: int = 1, *arguments: str, **spawn: Any
    ) -> dict[str, Any]:
        """Describe a deployment of test backends."""
        members = []
        for index in range(replicas):
            replica_id = f"{name}-{index}"
            address = f"unix:{self.folder}/b-{replica_id}.sock"
            program = {"argv": [sys.executable, BACKEND, address, name, *arguments], "env": dict(os.environ)} | spawn
            members.append({"id": replica_id, "address": address, "spawn": program})
        return {"weight": weight, "replicas": members}

    def put(self, *, limits: dict[str, float] | None = None, wait_drained: bool = False, **deployments: Any) -> None:
        """Put the next generation in force."""
        self.generation += 1
        table = {"generation": self.generation, "deployments": deployments, "limits": FAST | (limits or {})}
        client.put_table(self.folder, table, timeout_s=20, wait_drained=wait_drained)

    def http(self, **headers: str) -> httpx.Client:
        return httpx.Client(
            base_url=self.url, headers={"authorization": f"Bearer {TOKEN}"} | JSON | headers, timeout=20, verify=False
        )

    def post(self, path: str = "/predict", content: bytes = b"{}", **headers: str) -> httpx.Response:
        with self.http() as http:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return http.post(path, content=content, headers=named)

    def connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def head(self, line: str = "POST /predict HTTP/1.1", *headers: str, auth: bool = True) -> bytes:
        """Write a well-formed request head, plus the given header lines."""
        lines = [line, f"Host: 127.0.0.1:{self.port}", "Content-Type: application/json", *headers]
        return "\r\n".join([*lines, *([f"Authorization: Bearer {TOKEN}"] if auth else []), "", ""]).encode()

    def raw(self, data: bytes, *, patience_s: float = 3.0) -> tuple[list[int], bool]:
        """Send bytes; give the statuses answered and whether the gateway then closed the connection."""
        with self.connect() as connection:
            connection.settimeout(patience_s)
            with contextlib.suppress(OSError):
                connection.sendall(data)
            received, closed = receive(connection)
        return statuses(received), closed


def receive(connection: socket.socket) -> tuple[bytes, bool]:
    """Read until the other side closes or has nothing more to say."""
    pieces: list[bytes] = []
    closed = True
    try:
        while data := connection.recv(1024 * 1024):
            pieces.append(data)
    except TimeoutError:
        closed = False
    except ConnectionError:
        pass
    return b"".join(pieces), closed


def statuses(received: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"^HTTP/1\.1 (\d{3}) ", received, re.MULTILINE)]


class Load:
    """Clients that call the endpoint without pause, and what they were told."""

    def __init__(self, endpoint: Endpoint, clients: int = 8, path: str = "/predict", *, fresh: bool = False) -> None:
        self.answers: Counter[str] = Counter()
        self._path = path
        self._fresh = fresh
        self._stop = threading.Event()
        self._endpoint = endpoint
        self._threads = [threading.Thread(target=self._call) for _ in range(clients)]

    def _call(self) -> None:
        headers = {"connection": "close"} if self._fresh else {}
        with self._endpoint.http(**headers) as http:
            while not self._stop.is_set():
                self._once(http)

    def _once(self, http: httpx.Client) -> None:
        body = os.urandom(8).hex()
        try:
            response = http.post(self._path, content=f'"{body}"')
        except httpx.HTTPError as error:
            self.answers[type(error).__name__] += 1
            return
        if response.status_code == 200 and response.json()["size"] != len(body) + 2:
            self.answers["wrong answer"] += 1
        self.answers[str(response.status_code)] += 1

    def wait(self, more: int) -> None:
        """Wait for some more answers."""
        goal = self.answers.total() + more
        until(lambda: self.answers.total() >= goal)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


@contextlib.contextmanager
def endpoint(*options: str) -> Iterator[Endpoint]:
    """Run a gateway for the length of a with block."""
    value = Endpoint()
    try:
        value.start(*options)
        yield value
    finally:
        value.close()
