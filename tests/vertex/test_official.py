"""Google's own high-level client, unmodified, against the mini cloud; in another process: its settings are global."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sdk.adapter import AdapterContext, DeploymentSpec, EndpointSpec, Labels, Materials
from sdk.util.redact import Redactor
from sdk.util.waiting import SystemClock
from sdk_contract.clouds.vertex import VertexCloud
from sdk_contract.samples import Samples
from sdk_vertex import VertexAdapter
from sdk_vertex.options import VertexOptions

SCRIPT = Path(__file__).with_name("official.py")


@pytest.fixture
def image(cloud: VertexCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The image of a model, pushed with exchanged tokens into the repository that the adapter makes."""
    for name, value in cloud.env.items():
        monkeypatch.setenv(name, value)
    model = Samples().model(1)
    options = VertexOptions.model_validate({"project": "mini-project", "region": "europe-west4"})
    adapter = VertexAdapter(options, AdapterContext("official", "me", tmp_path, SystemClock(), Redactor()))
    spec = EndpointSpec(
        "any", (DeploymentSpec("d00000001", "m", model.digest, 1),), {"d00000001": 100}, Labels("any", "me", "t")
    )
    repository, wanted = adapter.resources(spec)[:2]
    made = adapter.create(repository, Materials(), timeout=60)
    for _ in iter(lambda: adapter.operation(str(made.operation), timeout=60).done, True):
        time.sleep(0.02)
    adapter.create(wanted, Materials(model=model), timeout=600)
    adapter.close()
    return f"{cloud.url.partition('//')[2]}/mini-project/mlport/model:{wanted.id}"


@pytest.fixture
def seen(cloud: VertexCloud, image: str, tmp_path: Path) -> dict[str, Any]:
    """What the script saw."""
    told = tmp_path / "seen.json"
    env = {key: value for key, value in os.environ.items() if not key.startswith(("GOOGLE_", "MLPORT_"))}
    command = [sys.executable, str(SCRIPT), image, str(told)]
    done = subprocess.run(command, env={**env, **cloud.env}, capture_output=True, text=True, timeout=600, check=False)
    assert 0 == done.returncode, done.stderr[-3000:]
    return dict(json.loads(told.read_text()))


@pytest.mark.full
def test_the_official_client_does_everything(cloud: VertexCloud, seen: dict[str, Any]) -> None:
    """Upload, deploy twice with a split, predict, list by label, undeploy, delete; a job from its start to its end."""
    served = seen["serve"]
    assert {"blue": 70, "green": 30} == served["split"]
    assert ([[3.0]] * 10, [True] * 10) == (served["answers"], served["served"])
    assert (["official"], 0, 0) == (served["listed"], served["left"], served["models"])
    trained = {"state": "JOB_STATE_SUCCEEDED", "name": True, "found": "official: gs://mini/out/model/"}
    assert trained == seen["train"]
    kept = ("repository", "image", "bucket", "object")
    assert [] == [item for item in cloud.inventory() if not item.startswith(kept)]
