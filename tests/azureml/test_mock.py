"""`mlport mock up azureml` and what its variables are good for."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = Path(__file__).parents[2] / "examples"
CONFIG = """
[target.azure]
provider = "azureml"
subscription = "{SUBSCRIPTION}"
resource_group = "{RESOURCE_GROUP}"
workspace = "{WORKSPACE}"
region = "westeurope"
instance = "Standard_DS2_v2"
"""


def mlport(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    command = [sys.executable, "-m", "sdk", *words]
    return subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, timeout=300, check=False)


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


@pytest.mark.full
@pytest.mark.parametrize("example", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_examples_run_unchanged(env: dict[str, str], tmp_path: Path, example: str) -> None:
    """With nothing but the target switched an example ends well on Azure, and leaves nothing behind."""
    pytest.importorskip("sklearn")
    place = {name: env[f"MLPORT_MOCK_AZUREML_{name}"] for name in ("SUBSCRIPTION", "RESOURCE_GROUP", "WORKSPACE")}
    (tmp_path / "mlport.toml").write_text(CONFIG.format(**place))
    given = {**os.environ, **env, "MLPORT_TARGET": "azure"}
    command = [sys.executable, str(EXAMPLES / example)]
    done = subprocess.run(command, env=given, cwd=tmp_path, capture_output=True, text=True, timeout=900, check=False)
    assert 0 == done.returncode, done.stderr[-3000:]
    gc = [sys.executable, "-m", "sdk", "gc", "--check"]
    left = subprocess.run(gc, env=given, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert 0 == left.returncode, left.stdout + left.stderr
