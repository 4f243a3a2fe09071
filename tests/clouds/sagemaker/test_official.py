"""Amazon's own SageMaker SDKs, in environments of their own, live a whole life on the mini cloud."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clouds.sagemaker.account import BUCKET, ROLE, Account

SCRIPTS = Path(__file__).with_name("official")
SDKS = {"v2": "sagemaker>=2.250,<3", "v3": "sagemaker>=3.2,<4"}


@pytest.mark.full
@pytest.mark.parametrize("version", sorted(SDKS))
def test_official_sdk(account: Account, tmp_path: Path, version: str) -> None:
    """It trains, deploys, predicts, updates and deletes, and what answered was what it deployed."""
    uv = [sys.executable, "-m", "uv"]
    environment = tmp_path / "venv"
    subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, environment], check=True)
    python = environment / "bin" / "python"
    subprocess.run([*uv, "pip", "install", "--quiet", "--python", python, SDKS[version]], check=True)
    config = tmp_path / "config.yaml"
    config.write_text("SchemaVersion: '1.0'\nSageMaker: {PythonSDK: {Modules: {TelemetryOptOut: true}}}\n")
    env = {
        **{name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ},
        **account.cloud.env,
        "SAGEMAKER_SUPPRESS_V2_WARNING": "1",
        "SAGEMAKER_ADMIN_CONFIG_OVERRIDE": str(config),
        "SAGEMAKER_USER_CONFIG_OVERRIDE": str(config),
    }
    done = subprocess.run(
        [
            python,
            SCRIPTS / f"{version}.py",
            account.push(f"blue-{version}"),
            account.push(f"green-{version}"),
            ROLE,
            BUCKET,
        ],
        env=env,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert 0 == done.returncode, done.stdout[-3000:] + done.stderr[-6000:]
    assert [f"blue-{version}", ["seen.json"], f"green-{version}"] == json.loads(done.stdout.splitlines()[-1])
    account.wait_gone(f"{version}-endpoint")
    left = [line for line in account.cloud.inventory() if line.startswith(("endpoint ", "process "))]
    assert [] == left, "2.x forgets configurations, as it does on the real cloud; but nothing may run"
    operations = set(account.cloud.calls.operations)
    assert {"CreateTrainingJob", "CreateEndpoint", "UpdateEndpoint", "DeleteEndpoint", "InvokeEndpoint"} <= operations
