"""`mlport mock up azureml` and what its variables are good for."""

from __future__ import annotations

import json
import os
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.warm import commands

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator


def mlport(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    return commands().run(words, where=Path.cwd(), env={**os.environ, **env})


@pytest.fixture
def env(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A mini cloud in a process of its own, by the command line."""
    state = str(tmp_path / "state")
    done = mlport("mock", "up", "azureml", "--detach", "-o", "json", MLPORT_STATE_DIR=state)
    assert 0 == done.returncode, done.stderr
    yield {**json.loads(done.stdout), "MLPORT_STATE_DIR": state}
    assert "stopped azureml\n" == mlport("mock", "down", "azureml", MLPORT_STATE_DIR=state).stdout


def test_up_env_down(env: dict[str, str]) -> None:
    """The variables reach it over TLS with its own authority, and name the workspace."""
    shown = mlport("mock", "env", "azureml", MLPORT_STATE_DIR=env["MLPORT_STATE_DIR"]).stdout
    for name in ("ARM_CLOUD_METADATA_URL", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "MLPORT_MOCK_AZUREML_URL"):
        assert f"export {name}={env[name]}\n" in shown
    context = ssl.create_default_context(cafile=env["SSL_CERT_FILE"])
    with httpx.Client(verify=context, trust_env=False) as client:
        (found,) = client.get(env["ARM_CLOUD_METADATA_URL"]).json()
    assert env["MLPORT_MOCK_AZUREML_URL"] == found["resourceManager"]
