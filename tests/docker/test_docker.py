"""The `docker` target on a real engine, called as a third party's adapter is: by its import string."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import sdk
from sdk.client import Client
from sdk.errors import PlatformError
from sdk_docker._engine import Host
from sdk_docker._train import job_name

pytestmark = [pytest.mark.docker, pytest.mark.full]
SCRIPT = """
import os
from pathlib import Path

Path(os.environ["MLPORT_OUTPUT_DIR"], "answer").write_text(os.environ["MLPORT_PARAM_C"])
"""


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A client of the engine here; skipped without one."""
    host = Host()
    try:
        _ = host.engine.version
    except PlatformError as error:
        if os.environ.get("MLPORT_REQUIRE_DOCKER"):
            pytest.fail(f"MLPORT_REQUIRE_DOCKER is set, but there is no engine: {error}")
        pytest.skip(f"no Docker Engine: {error}")
    finally:
        host.close()
    monkeypatch.setenv("MLPORT_STATE_DIR", str(tmp_path))
    target = {"provider": "sdk_docker:DockerAdapter", "base": "debian-packages"}
    client = Client(config={"target": {"box": target}}, target="box")
    yield client
    client.close()


def test_deploy_canary_promote_delete(client: Client) -> None:
    """An endpoint answers, splits its traffic exactly, follows a promotion, and leaves no container or network."""
    name = f"t{uuid.uuid4().hex[:8]}"
    example = np.ones((2, 3))
    endpoint = client.deploy(sdk.model(lambda x: x * 2, name="double", example=example, rowwise=True), name=name)
    try:
        assert [[2.0, 2.0, 2.0]] == endpoint.predict(np.ones((1, 3))).values
        triple = sdk.model(lambda x: x * 3, name="triple", example=example, rowwise=True)
        endpoint = client.deploy(triple, name=name, traffic=50)
        answers = [endpoint.predict(np.ones((1, 3))).values[0][0] for _ in range(10)]
        assert [2.0] * 5 + [3.0] * 5 == sorted(answers)
        endpoint.promote()
        assert [[3.0, 3.0, 3.0]] == endpoint.predict(np.ones((1, 3))).values
    finally:
        endpoint.delete()
    host = Host()
    assert [] == host.containers(30.0, endpoint=name)
    host.close()


def test_train(client: Client, tmp_path: Path) -> None:
    """A script runs in its image with its parameters, and what it leaves comes back."""
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    name = f"j{uuid.uuid4().hex[:8]}"
    job = client.train(script, name=name, params={"C": 7})
    try:
        job.wait()
        out = tmp_path / "out"
        job.output(out)
        assert "7" == (out / "answer").read_text()
    finally:
        host = Host()
        host.remove(job_name(name), 30.0)
        host.close()
