"""Fixtures: hand-written bundles, and real server processes on sockets of their own."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle  # type: ignore[import-untyped]  # it ships no types
import httpx
import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
from functools import cached_property

REPOSITORY = Path(__file__).parents[2]

SINGLE = {
    "inputs": [{"name": "input", "dtype": "float64", "shape": [-1, 3]}],
    "columns": None,
    "outputs": [{"name": "predict", "dtype": "int64", "shape": [-1]}],
    "rowwise": True,
    "allow_nan": False,
}
FREE: dict[str, Any] = {"inputs": [], "columns": None, "outputs": [], "rowwise": False, "allow_nan": False}


class BundleMaker:
    """Writes bundles as the manifest format of the runtime says, without any code of the packager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def __call__(self, files: dict[str, bytes], /, **changes: Any) -> Path:
        self._count += 1
        folder = self._folder / f"bundle-{self._count}"
        for name, data in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        manifest: dict[str, Any] = {
            "schema": 1,
            "name": "churn",
            "flavour": "function",
            "format": "cloudpickle",
            "entry": next(iter(files)),
            "trust": None,
            "python": f"{sys.version_info.major}.{sys.version_info.minor}",
            "libraries": {},
            "lock_sha256": "0" * 64,
            "signature": FREE,
            "method": "predict",
            "options": {},
            "files": {
                name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)} for name, data in files.items()
            },
            **changes,
        }
        (folder / "mlport.json").write_text(json.dumps(manifest, sort_keys=True, separators=(",", ":")))
        return folder

    def function(self, function: Callable[..., Any], **changes: Any) -> Path:
        """Bundle of a function that travels by value."""
        return self({"model/model.pkl": by_value(function)}, **changes)

    def sklearn(self, model: Any, **changes: Any) -> Path:
        """Bundle of a fitted estimator."""
        return self(
            {"model/model.pkl": cloudpickle.dumps(model)},
            **{
                "flavour": "sklearn",
                "libraries": {"scikit-learn": version("scikit-learn")},
                "signature": SINGLE,
                **changes,
            },
        )


def by_value(value: Any) -> bytes:
    """Pickle a function or class of a test module by value, since the server cannot import the module."""
    module = sys.modules[value.__module__]
    cloudpickle.register_pickle_by_value(module)
    try:
        return bytes(cloudpickle.dumps(value))
    finally:
        cloudpickle.unregister_pickle_by_value(module)


class Server:
    """A running server process; `log` holds its parsed log lines."""

    def __init__(self, bundle: Path, **env: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sdk.serving", "serve"],
            cwd=REPOSITORY,
            env={
                "PATH": os.environ["PATH"],
                "MLPORT_MODEL_DIR": str(bundle),
                "MLPORT_BIND": "tcp:127.0.0.1:0",
                "MLPORT_DRAIN_S": "0.1",
                **env,
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self.log: list[dict[str, Any]] = []
        self.unparsed: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                try:
                    self.log.append(json.loads(line))
                except ValueError:
                    self.unparsed.append(line.decode(errors="replace"))
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def events(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.log if line["event"] == event]

    def wait_event(self, event: str, count: int = 1, seconds: float = 90.0) -> dict[str, Any]:
        with self._changed:
            found = self._changed.wait_for(
                lambda: len(self.events(event)) >= count or not self._reader.is_alive(), seconds
            )
            lines = self.events(event)
        assert found, f"no {event} in time; log ends {self.log[-5:]}"
        assert len(lines) >= count, f"no {event} in {self.log[-5:]} {self.unparsed[-5:]}"
        return lines[count - 1]

    @cached_property
    def address(self) -> str:
        return str(self.wait_event("listening")["address"])

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ready(self) -> Server:
        self.wait_event("ready")
        return self

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def raw(self, data: bytes) -> bytes:
        """Send bytes and return everything that comes back until the server closes."""
        with self.connect() as connection:
            connection.sendall(data)
            return read_all(connection)

    def terminate(self, seconds: float = 60.0) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.wait(seconds)

    def wait(self, seconds: float = 90.0) -> int:
        code = self.process.wait(seconds)
        self._reader.join(5)
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()


def read_all(connection: socket.socket) -> bytes:
    """Return what the peer sends until it closes or resets."""
    parts: list[bytes] = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def eventually(check: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Return the first true value of `check`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := check():
            return value
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


@pytest.fixture
def bundles(tmp_path: Path) -> BundleMaker:
    return BundleMaker(tmp_path)


@pytest.fixture
def start() -> Iterator[Callable[..., Server]]:
    """Starter of server processes that are ended with the test."""
    servers: list[Server] = []

    def run(bundle: Path, **env: str) -> Server:
        servers.append(Server(bundle, **env))
        return servers[-1]

    yield run
    for server in servers:
        server.close()


def total(rows: Any) -> list[float]:
    return [float(sum(row)) for row in rows]


def array_sum(rows: Any) -> Any:
    return rows.sum(axis=1)


@pytest.fixture(scope="module")
def tensor_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of a numpy function with the signature `[rows, 3]` float64 -> `[rows]` float64."""
    signature = {**SINGLE, "outputs": [{"name": "predict", "dtype": "float64", "shape": [-1]}]}
    bundle = BundleMaker(tmp_path_factory.mktemp("tensor")).function(array_sum, signature=signature)
    server = Server(bundle, MLPORT_DEPLOYMENT="d1", MLPORT_ENDPOINT="churn", MLPORT_MAX_BODY="1000000")
    try:
        yield server.ready()
    finally:
        server.close()


@pytest.fixture
def client(tensor_server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=tensor_server.url, trust_env=False) as one:
        yield one


@pytest.fixture(scope="session")
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def tools() -> Any:
    """The helpers of this module, for test modules (they cannot import a conftest)."""
    return sys.modules[__name__]
