"""A state directory of its own for each test, and the real model server for what was packed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from sdk.packaging import venv

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from sdk.packaging.model import Model


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    monkeypatch.setenv("MLPORT_STATE_DIR", str(folder))
    return folder


@pytest.fixture
def own_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make everything in the test's own state folder, not in the cache that all tests share."""
    monkeypatch.delenv("MLPORT_CACHE_DIR")


@pytest.fixture
def serve(tmp_path: Path) -> Callable[..., Any]:
    """Run the model server on a unix socket; gives a client for it."""

    @contextmanager
    def running(model: Model, python: str | Path = sys.executable) -> Generator[httpx.Client]:
        path = tmp_path / "server.sock"
        env = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(venv.runtime()),
            "MLPORT_MODEL_DIR": str(model.path),
            "MLPORT_BIND": f"unix:{path}",
            "MLPORT_DRAIN_S": "0",
        }
        log = tmp_path / "server.log"
        with log.open("wb") as output:
            command = [str(python), "-m", "mlport_serving", "serve"]
            process = subprocess.Popen(command, env=env, stdout=output, stderr=output, cwd=tmp_path)
        try:
            with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://model") as client:
                _wait_until_ready(client, process, path, log)
                yield client
        finally:
            process.terminate()
            process.wait(30)

    return running


def _listens(path: Path) -> bool:
    """Whether somebody accepts connections; a socket is in the file system before it listens."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def _wait_until_ready(client: httpx.Client, process: subprocess.Popen[bytes], path: Path, log: Path) -> None:
    for _ in range(600):
        if process.poll() is not None:
            break
        if _listens(path) and client.get("/v2/health/ready").status_code == 200:
            return
        time.sleep(0.1)
    pytest.fail(f"the server did not become ready:\n{log.read_text()}")
