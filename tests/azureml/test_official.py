"""Azure's own client, unmodified, against the mini cloud: all it gets are the variables of `mlport mock env`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sdk.adapter import DeploymentSpec, EndpointSpec, Labels, Materials

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdk_azureml import AzureMLAdapter
    from sdk_contract.clouds.azureml import AzureMLCloud
    from sdk_contract.samples import Samples

SCRIPT = Path(__file__).with_name("official.py")


@pytest.fixture
def image(cloud: AzureMLCloud, make_adapter: Callable[..., AzureMLAdapter], samples: Samples) -> str:
    """The image of a model in the registry of the workspace, pushed through the exchange of tokens."""
    model = samples.model(1)
    adapter = make_adapter(cloud)
    deployment = DeploymentSpec("d00000001", "m", model.digest, 1, instance="Standard_DS2_v2")
    spec = EndpointSpec("any", (deployment,), {"d00000001": 100}, Labels("any", "me", "t"))
    wanted = adapter.resources(spec)[0]
    adapter.create(wanted, Materials(model=model), timeout=600)
    live = adapter.read(wanted.ref, timeout=60)
    assert live is not None
    return str(live.details["reference"])


@pytest.fixture
def seen(cloud: AzureMLCloud, image: str, samples: Samples, tmp_path: Path) -> tuple[dict[str, Any], str]:
    folder = samples.model(1).path
    assert folder is not None
    shutil.copytree(folder, tmp_path / "model")
    env = {key: value for key, value in os.environ.items() if not key.startswith(("AZURE_", "MLPORT_"))}
    command = [sys.executable, str(SCRIPT), image, str(tmp_path)]
    done = subprocess.run(command, env={**env, **cloud.env}, capture_output=True, text=True, timeout=600, check=False)
    assert 0 == done.returncode, done.stderr[-3000:]
    return json.loads((tmp_path / "seen.json").read_text()), done.stdout


@pytest.mark.full
def test_the_official_client_does_everything(cloud: AzureMLCloud, seen: tuple[dict[str, Any], str]) -> None:
    """Register, deploy twice, split, mirror, keys, invoke, logs, download; a job on both kinds of compute.

    An update in place loses no call, and deletes find names in any case.
    """
    told, printed = seen
    served = told["serve"]
    assert cloud.world.place.region == told["region"]
    assert ("Succeeded", "Succeeded") == (served["blue"], served["green"])
    assert {"blue": 90, "green": 10} == served["split"]
    assert [{"blue": 100}, {"green": 50}] == served["mirror"]
    assert [True, False] == served["keys"]
    assert [[3.0], [3.0]] == [json.loads(answer)["predictions"] for answer in served["answers"]]
    assert "request" in served["log"], served["log"]
    assert ["mlport.json"] == served["downloaded"]
    assert [[3.0]] == [json.loads(answer)["predictions"] for answer in served["busy"]]
    assert (["blue"], []) == (served["deployments"], served["endpoints"])
    for kind in ("serverless", "cluster"):
        assert {"state": "Completed", "found": ["2"]} == told[kind]
    assert 2 == printed.count("official: 2 rows, lr=0.1")
    assert [] == [item for item in cloud.inventory() if item.startswith(("endpoint", "deployment", "process"))]
