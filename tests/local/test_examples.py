"""The examples run as they stand, each in a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.full
@pytest.mark.parametrize("example", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_example(example: str, state: Path) -> None:
    """An example ends well and leaves no endpoint behind."""
    pytest.importorskip("sklearn")
    env = {name: value for name, value in os.environ.items() if name != "MLPORT_TARGET"}
    command = [sys.executable, str(EXAMPLES / example)]
    done = subprocess.run(command, env=env, cwd=state, capture_output=True, text=True, timeout=600, check=False)
    assert 0 == done.returncode, done.stderr[-3000:]
    assert [] == [path.name for path in (state / "endpoints").glob("*") if not path.name.startswith("test-")]
    for job in (state / "jobs").glob("train-*"):  # a job that has ended stays, with what it made
        shutil.rmtree(job)
