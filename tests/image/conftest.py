"""A real registry from Debian's `docker-registry`, or a visible skip."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest


@pytest.fixture(scope="session")
def registry_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a running registry, empty at the start."""
    program = shutil.which("docker-registry")
    if program is None:
        if os.environ.get("MLPORT_REQUIRE_DOCKER"):
            pytest.fail("MLPORT_REQUIRE_DOCKER is set, but docker-registry is not installed")
        pytest.skip("docker-registry is not installed")
    folder = tmp_path_factory.mktemp("registry")
    config = folder / "config.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
        "http: {addr: '127.0.0.1:0'}\n"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, "serve", config], stdout=log, stderr=log)
        try:
            yield _address(process.pid, folder / "log")
        finally:
            process.terminate()
            process.wait(10)


def _address(pid: int, log: Path) -> str:
    import psutil

    for _ in range(200):
        listening = [c.laddr.port for c in psutil.Process(pid).net_connections("tcp") if c.status == "LISTEN"]
        if listening and httpx.get(f"http://127.0.0.1:{listening[0]}/v2/").status_code == 200:
            return f"127.0.0.1:{listening[0]}"
        time.sleep(0.05)
    pytest.fail(f"the registry did not start: {log.read_text()}")
