"""The examples on the mini cloud, as they stand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sdk_contract.clouds.vertex.cloud import PROJECT, REGION

if TYPE_CHECKING:
    from sdk_contract.clouds.vertex import VertexCloud

EXAMPLES = Path(__file__).parents[2] / "examples"
CONFIG = f"""
[target.gcp]
provider = "vertex"
project = "{PROJECT}"
region = "{REGION}"
instance = "n1-standard-2"
"""
KINDS = ("deployed", "endpoint", "model", "process")


@pytest.fixture
def runner() -> str:
    """The quickest one."""
    return "fork"


@pytest.mark.parametrize(
    "example",
    [
        "canary.py",
        *(pytest.param(name, marks=pytest.mark.full) for name in ("demo.py", "train_and_deploy.py")),
    ],
)
def test_examples_run_unchanged(cloud: VertexCloud, tmp_path: Path, example: str) -> None:
    """With only ``MLPORT_TARGET`` switched an example ends well, says once where it ran, and leaves nothing."""
    (tmp_path / "mlport.toml").write_text(CONFIG)
    env = {"MLPORT_STATE_DIR": str(tmp_path / "state"), **os.environ, **cloud.env, "MLPORT_TARGET": "gcp"}
    command = [sys.executable, str(EXAMPLES / example)]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=900, check=False)
    assert 0 == done.returncode, done.stderr[-3000:]
    assert 1 == done.stderr.count("the mini cloud at")
    assert [] == [one for one in cloud.inventory() if one.startswith(KINDS)]
