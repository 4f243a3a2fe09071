"""What an ordinary user of Azure's own client writes, from the first registration to the last delete.

Run by test_official.py in a process of its own, with the variables that `mlport mock env azureml` prints and nothing
else: ``python official.py IMAGE FOLDER``. Prints one JSON object with what it saw.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from azure.ai.ml import Input, MLClient, Output, command
from azure.ai.ml.entities import Environment, ManagedOnlineDeployment, ManagedOnlineEndpoint, Model
from azure.identity import DefaultAzureCredential

IMAGE, FOLDER = sys.argv[1], Path(sys.argv[2])
MOCK = "MLPORT_MOCK_AZUREML_"
ROUTES = {
    "liveness_route": {"port": 8080, "path": "/v2/health/live"},
    "readiness_route": {"port": 8080, "path": "/v2/health/ready"},
    "scoring_route": {"port": 8080, "path": "/score"},
}
SCRIPT = """
import pathlib, sys
rows = (pathlib.Path(sys.argv[1]) / "rows.csv").read_text().split()
print(f"official: {len(rows)} rows, lr={sys.argv[3]}")
pathlib.Path(sys.argv[2], "count.txt").write_text(str(len(rows)))
"""


def serve(client: Any) -> dict[str, Any]:
    """Register, deploy twice, split and mirror, call, read, delete."""
    seen: dict[str, Any] = {}
    model = client.models.create_or_update(
        Model(name="iris", version="1", path=str(FOLDER / "model"), type="custom_model")
    )
    environment = client.environments.create_or_update(
        Environment(name="srv", version="1", image=IMAGE, inference_config=ROUTES)
    )
    endpoint = client.online_endpoints.begin_create_or_update(
        ManagedOnlineEndpoint(name="my-ep", auth_mode="key")
    ).result()
    for name in ("blue", "green"):
        deployment = ManagedOnlineDeployment(
            name=name,
            endpoint_name="my-ep",
            model=model,
            environment=environment,
            instance_type="Standard_DS2_v2",
            instance_count=1,
        )
        made = client.online_deployments.begin_create_or_update(deployment).result()
        seen[name] = made.provisioning_state
    endpoint.traffic = {"blue": 90, "green": 10}
    seen["split"] = dict(client.online_endpoints.begin_create_or_update(endpoint).result().traffic)
    endpoint.traffic, endpoint.mirror_traffic = {"blue": 100}, {"green": 50}
    mirrored = client.online_endpoints.begin_create_or_update(endpoint).result()
    seen["mirror"] = [dict(mirrored.traffic), dict(mirrored.mirror_traffic)]
    keys = client.online_endpoints.get_keys("my-ep")
    client.online_endpoints.begin_regenerate_keys("my-ep", key_type="secondary").result()
    fresh = client.online_endpoints.get_keys("my-ep")
    seen["keys"] = [fresh.primary_key == keys.primary_key, fresh.secondary_key == keys.secondary_key]
    request = FOLDER / "request.json"
    request.write_text(json.dumps({"instances": [[0.0, 2.0]]}))
    ask = client.online_endpoints.invoke
    seen["answers"] = [ask("my-ep", request_file=str(request), deployment_name=name) for name in ("blue", "green")]
    for _ in range(40):  # a log knows a line a moment later
        seen["log"] = client.online_deployments.get_logs("blue", "my-ep", lines=20)
        if "request" in seen["log"]:
            break
        time.sleep(0.25)
    client.models.download("iris", "1", download_path=str(FOLDER / "downloaded"))
    seen["downloaded"] = sorted(path.name for path in (FOLDER / "downloaded").rglob("mlport.json"))
    endpoint.mirror_traffic = {}
    client.online_endpoints.begin_create_or_update(endpoint).result()
    seen["busy"] = update_while_busy(client, client.online_deployments.get("blue", "my-ep"), str(request))
    client.online_deployments.begin_delete("GREEN", "MY-EP").result()
    seen["deployments"] = [one.name for one in client.online_deployments.list("My-Ep")]
    client.online_endpoints.begin_delete("My-eP").result()
    seen["endpoints"] = [one.name for one in client.online_endpoints.list()]
    return seen


def update_while_busy(client: Any, deployment: Any, request: str) -> list[str]:
    """Update a deployment in place while its endpoint is called again and again; all that the calls gave."""
    answers: list[str] = []
    enough = threading.Event()

    def ask() -> None:
        while not enough.is_set():
            try:
                answers.append(client.online_endpoints.invoke("my-ep", request_file=request))
            except Exception as error:  # noqa: BLE001  # whatever a user would see
                answers.append(repr(error))

    asking = threading.Thread(target=ask)
    asking.start()
    deployment.environment_variables = {"COLOUR": "new"}
    client.online_deployments.begin_create_or_update(deployment).result()
    seen = len(answers)
    while len(answers) < seen + 3 and asking.is_alive():
        enough.wait(0.1)
    enough.set()
    asking.join()
    return sorted(set(answers))


def train(client: Any, compute: str | None) -> dict[str, Any]:
    """A command job with code, data, a literal, its log and its output."""
    (FOLDER / "code").mkdir(exist_ok=True)
    (FOLDER / "code" / "count.py").write_text(SCRIPT)
    (FOLDER / "data").mkdir(exist_ok=True)
    (FOLDER / "data" / "rows.csv").write_text("1,2\n3,4\n")
    job = command(
        name=f"count-{compute or 'serverless'}",
        code=str(FOLDER / "code"),
        command="python count.py ${{inputs.data}} ${{outputs.found}} ${{inputs.lr}}",
        environment="azureml:srv:1",
        inputs={"data": Input(type="uri_folder", path=str(FOLDER / "data")), "lr": 0.1},
        outputs={"found": Output(type="uri_folder")},
        compute=compute,
        instance_type=None if compute else "Standard_DS2_v2",
    )
    made = client.jobs.create_or_update(job)
    client.jobs.stream(made.name)  # prints the log
    client.jobs.download(made.name, download_path=str(FOLDER / made.name), output_name="found")
    found = [path.read_text() for path in (FOLDER / made.name).rglob("count.txt")]
    return {"state": client.jobs.get(made.name).status, "found": found}


def main() -> None:
    place = [os.environ[MOCK + name] for name in ("SUBSCRIPTION", "RESOURCE_GROUP", "WORKSPACE")]
    client = MLClient(DefaultAzureCredential(), *place, enable_telemetry=False, show_progress=False)
    seen = {"region": client.workspaces.get(place[2]).location, "serve": serve(client)}
    seen |= {"serverless": train(client, None), "cluster": train(client, "mini-cluster")}
    (FOLDER / "seen.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    main()
