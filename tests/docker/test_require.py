"""Without an engine the tests skip visibly, unless whoever runs them says that there must be one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("required", "code", "told"), [({}, 0, "SKIPPED"), ({"MLPORT_REQUIRE_DOCKER": "1"}, 1, "no Docker Engine")]
)
def test_no_engine(tmp_path: Path, required: dict[str, str], code: int, told: str) -> None:
    """A skip names the engine that was looked for; with the variable set it is a failure."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MLPORT_", "PYTEST_"))}
    environment |= {"DOCKER_HOST": f"unix://{tmp_path}/no.sock", **required}
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider"]
    command += ["tests/docker/test_hardening.py", "-k", "published"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (code, True) == (done.returncode, told in done.stdout), done.stdout
    assert "no.sock" in done.stdout
