"""The examples as they stand, each in a process of its own, with only its target switched."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

EXAMPLES = Path(__file__).parents[1] / "examples"

each = pytest.mark.parametrize(
    "example",
    ["canary.py", *(pytest.param(name, marks=pytest.mark.full) for name in ("demo.py", "train_and_deploy.py"))],
)


def run(example: str, folder: Path, config: str, env: Mapping[str, str], *, timeout: float) -> str:
    """Runs one in a folder with this project file; it must end well. Gives what it said on stderr."""
    (folder / "mlport.toml").write_text(config)
    trusted = hashlib.sha256(config.encode()).hexdigest()
    told = {"MLPORT_STATE_DIR": str(folder / "state"), **os.environ, "MLPORT_TRUST": trusted, **env}
    command = [sys.executable, str(EXAMPLES / example)]
    done = subprocess.run(command, env=told, cwd=folder, capture_output=True, text=True, timeout=timeout, check=False)
    assert 0 == done.returncode, done.stderr[-3000:]
    return done.stderr
