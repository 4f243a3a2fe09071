"""The examples on the mini cloud, as they stand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(
    "example",
    [
        "canary.py",
        *(pytest.param(name, marks=pytest.mark.full) for name in ("demo.py", "train_and_deploy.py")),
    ],
)
def test_examples_run_unchanged(place: Any, tmp_path: Path, example: str) -> None:
    """With only ``MLPORT_TARGET`` switched an example ends well, says once where it ran, and leaves nothing."""
    (tmp_path / "mlport.toml").write_text(f'[target.sagemaker]\nprovider = "sagemaker"\nbase = "{place.base}"\n')
    env = {**os.environ, "MLPORT_TARGET": "sagemaker"}
    command = [sys.executable, str(EXAMPLES / example)]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
    assert 0 == done.returncode, done.stderr[-3000:]
    assert 1 == done.stderr.count("use the mini cloud at")
    assert [] == [one for one in place.cloud.inventory() if one.startswith(("endpoint", "model", "process"))]
