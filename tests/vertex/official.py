"""What an ordinary user of Google's own high-level client writes, from the upload of a model to the last delete.

Run by test_official.py in a process of its own with the variables that `mlport mock env vertex` prints:
``python official.py IMAGE SEEN``. Writes one JSON object with what it saw into the file SEEN.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from google.cloud import aiplatform

IMAGE, SEEN = sys.argv[1:]
MACHINE, TRAINER = "n1-standard-2", "e2-standard-4"  # training takes none with two processors
PROGRAM = "import os, pathlib; pathlib.Path(os.environ['FOUND']).write_text('official: ' + os.environ['AIP_MODEL_DIR'])"


def upload(name: str) -> Any:
    """A model that any image with these routes serves."""
    return aiplatform.Model.upload(
        display_name=name,
        serving_container_image_uri=IMAGE,
        serving_container_predict_route="/invocations",
        serving_container_health_route="/ping",
        serving_container_ports=[8080],
        labels={"made-by": "official"},
    )


def serve() -> dict[str, Any]:
    """Upload, deploy twice, split, call, undeploy, delete."""
    models = [upload("blue"), upload("green")]
    endpoint: Any = aiplatform.Endpoint.create(display_name="official", labels={"made-by": "official"})
    endpoint.deploy(models[0], deployed_model_display_name="blue", machine_type=MACHINE, traffic_percentage=100)
    endpoint.deploy(models[1], deployed_model_display_name="green", machine_type=MACHINE, traffic_percentage=30)
    split = {one.display_name: endpoint.traffic_split.get(one.id, 0) for one in endpoint.list_models()}
    asked = [endpoint.predict(instances=[[0.0, 2.0]]) for _ in range(10)]
    listed = aiplatform.Endpoint.list(filter='labels."made-by"="official"')
    seen: dict[str, Any] = {
        "split": split,
        "answers": [one.predictions for one in asked],
        "served": sorted(one.model_resource_name in {model.resource_name for model in models} for one in asked),
        "listed": [one.display_name for one in listed],
    }
    endpoint.undeploy_all()
    seen["left"] = len(endpoint.list_models())
    endpoint.delete()
    for model in models:
        model.delete()
    return {**seen, "models": len(aiplatform.Model.list())}


def train(found: Path) -> dict[str, Any]:
    """A job in a container."""
    container = {
        "image_uri": IMAGE,
        "command": ["python", "-c", PROGRAM],
        "env": [{"name": "FOUND", "value": str(found)}],
    }
    pool = {"machine_spec": {"machine_type": TRAINER}, "replica_count": 1, "container_spec": container}
    job: Any = aiplatform.CustomJob("official", [pool], base_output_dir="gs://mini/out", staging_bucket="gs://mini")
    job.run(timeout=600)
    state, name = job.state.name, job.resource_name
    job.delete()
    return {"state": state, "name": "/customJobs/" in name, "found": found.read_text()}


def main() -> None:
    """Everything, and what was seen of it."""
    aiplatform.init(
        project="mini-project",
        location="europe-west4",
        api_endpoint=os.environ["MLPORT_MOCK_VERTEX_URL"],
        api_transport="rest",
    )
    seen = {"serve": serve(), "train": train(Path(SEEN).with_name("found.txt"))}
    Path(SEEN).write_text(json.dumps(seen))


if __name__ == "__main__":
    main()
