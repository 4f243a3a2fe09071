"""The clouds' own local modes start our image and get the model's answers, through the official clients.

Each client lives in a virtual environment that `uv` makes for the test, as none of them shares its pins with us. A
local mode is no proof of what a cloud does; it is the nearest thing to one that runs without an account.
"""

import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from sdk.errors import NotFoundError
from sdk.packaging import training, uvrun
from sdk.packaging.image import build_image
from sdk.packaging.image.engine import Engine
from sdk.packaging.image.engine_images import load, tag

pytestmark = [pytest.mark.docker, pytest.mark.full]

ROWS = [[1.0, 2.0, 3.5], [0.0, -1.0, 1e-9]]
ANSWER = [[2.0, 4.0, 7.0], [0.0, -2.0, 2e-9]]

Run = Callable[..., Any]


@pytest.fixture
def containers(engine: Engine) -> Iterator[None]:
    """What a local mode leaves behind is gone at the end: containers it forgot and networks it made."""
    before = {item["Id"] for item in engine.call("GET", "/containers/json", params={"all": "1"})}
    networks = {item["Id"] for item in engine.call("GET", "/networks")}
    ours = {"localhost/mlport/double", "localhost/mlport/train"}
    yield
    for item in engine.call("GET", "/containers/json", params={"all": "1"}):
        if item["Id"] not in before and item["Image"].rpartition(":")[0] in ours:
            engine.call("DELETE", f"/containers/{item['Id']}", params={"force": "1", "v": "1"})
    for item in engine.call("GET", "/networks"):
        if item["Id"] not in networks and item["Name"].startswith("sagemaker-"):
            with suppress(NotFoundError):
                engine.call("DELETE", f"/networks/{item['Id']}")


@pytest.fixture
def run(tmp_path: Path, containers: None) -> Run:
    """Run a script with a client's packages; gives the last line of JSON that it prints."""

    def run_script(packages: list[str], script: str, *arguments: object, **env: str) -> Any:
        home = tmp_path / "home"
        home.mkdir(exist_ok=True)
        uv, python = uvrun.uv_binary(), tmp_path / "client" / "bin" / "python"
        if not python.exists():
            subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, tmp_path / "client"], check=True)
            subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *packages], check=True)
        done = subprocess.run(
            [python, "-W", "ignore", "-c", textwrap.dedent(script), *map(str, arguments)],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "HOME": str(home), **env},
            capture_output=True,
            text=True,
            check=False,
            timeout=540,
        )
        assert 0 == done.returncode, done.stderr[-4000:]
        said = [line for line in done.stdout.splitlines() if line.startswith(("{", "[", '"'))]
        return json.loads(said[-1])  # compose may say more after it

    return run_script


VERTEX = """
    import json, sys
    from google.cloud.aiplatform.prediction import LocalModel
    image, folder = sys.argv[1:]
    model = LocalModel(
        serving_container_image_uri=image, serving_container_predict_route="/v1/double:predict",
        serving_container_health_route="/v1/double", serving_container_ports=[8085],
    )
    with model.deploy_to_local_endpoint(
        artifact_uri=folder or None, container_ready_timeout=120, container_ready_check_interval=1
    ) as endpoint:
        answer = endpoint.predict(
            request=json.dumps({"instances": %r}), headers={"Content-Type": "application/json"}
        )
        wrong = endpoint.predict(request='{"instances": 1}', headers={"Content-Type": "application/json"})
        health = endpoint.run_health_check()
        found = [answer.json(), wrong.status_code, health.status_code]
    print(json.dumps(found))
"""


@pytest.mark.parametrize("artifact", [False, True], ids=["baked", "artifact"])
def test_vertex_local_model(world: Any, run: Run, artifact: bool) -> None:
    """`LocalModel.deploy_to_local_endpoint`, with the model in the image and with the same one as its artifact."""
    packages = ["google-cloud-aiplatform[prediction]>=1.100,<2", "docker>=7"]
    folder = world.model.path if artifact else ""
    found = run(packages, VERTEX % ROWS, tag(world.image), folder)
    assert [{"predictions": ANSWER}, 400, 200] == found


AZURE = """
    import json, sys
    from azure.ai.ml import MLClient, load_online_deployment, load_online_endpoint

    class Nobody:
        def get_token(self, *scopes, **rest):
            raise SystemExit("a local endpoint asked for a token")

    client = MLClient(Nobody(), "00000000-0000-0000-0000-000000000000", "group", "workspace")
    client.online_endpoints.begin_create_or_update(load_online_endpoint("endpoint.yml"), local=True)
    client.online_deployments.begin_create_or_update(load_online_deployment("deployment.yml"), local=True)
    try:
        answer = client.online_endpoints.invoke("double-local", request_file="rows.json", local=True)
        state = client.online_endpoints.get("double-local", local=True).provisioning_state
        logs = client.online_deployments.get_logs("blue", "double-local", lines=50, local=True)
    finally:
        client.online_endpoints.begin_delete("double-local", local=True)
    print(json.dumps([json.loads(answer) if isinstance(answer, str) else answer, state, logs]))
"""


def test_azure_local_deployment(world: Any, run: Run, tmp_path: Path) -> None:
    """`online_deployments.begin_create_or_update(local=True)`: a nested model folder, and /score."""
    shutil.copytree(world.model.path, tmp_path / "mounted" / "double")
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "score.py").write_text("# the client wants one; the image has its own server\n")
    (tmp_path / "rows.json").write_text(json.dumps({"instances": ROWS}))
    (tmp_path / "endpoint.yml").write_text("name: double-local\nauth_mode: key\n")
    routes = "\n".join(
        f"    {name}_route: {{port: 8080, path: {path}}}"
        for name, path in (("liveness", "/v2/health/live"), ("readiness", "/v2/health/ready"), ("scoring", "/score"))
    )
    (tmp_path / "deployment.yml").write_text(
        "name: blue\nendpoint_name: double-local\nmodel: {name: double, version: '1', path: ./mounted/double}\n"
        "code_configuration: {code: ./code, scoring_script: score.py}\n"
        f"environment:\n  image: {tag(world.image)}\n  inference_config:\n{routes}\n"
        "instance_type: Standard_DS2_v2\ninstance_count: 1\n"
    )
    answer, state, logs = run(["azure-ai-ml>=1.30,<2", "docker>=7"], AZURE)
    assert ({"predictions": ANSWER}, "Succeeded") == (answer, state)
    assert "/var/azureml-app/azureml-models/double/1/double" in logs, "the mounted model was not the one that served"


SAGEMAKER = """
    import json, logging, sys
    import boto3
    from sagemaker.local import LocalSession
    from sagemaker.model import Model
    from sagemaker.deserializers import JSONDeserializer
    from sagemaker.serializers import JSONSerializer
    from sagemaker.predictor import Predictor
    image, folder = sys.argv[1:]
    session = LocalSession(boto3.Session(region_name="eu-west-1"), default_bucket="unused")
    session.config = {"local": {"local_code": True}}
    role = "arn:aws:iam::123456789012:role/unused"
    model = Model(image_uri=image, model_data=f"file://{folder}", role=role, sagemaker_session=session,
                  predictor_cls=Predictor)
    predictor = model.deploy(1, "local", serializer=JSONSerializer(), deserializer=JSONDeserializer())
    try:
        print("", json.dumps(predictor.predict({"instances": %r})), sep="\\n", flush=True)
    finally:
        predictor.delete_endpoint()
        sys.stdout.flush()
"""

TRAINING = """
    import json, sys
    import boto3
    from sagemaker.estimator import Estimator
    from sagemaker.inputs import TrainingInput
    from sagemaker.local import LocalSession
    image, data, out = sys.argv[1:]
    session = LocalSession(boto3.Session(region_name="eu-west-1"), default_bucket="unused")
    estimator = Estimator(image_uri=image, role="arn:aws:iam::123456789012:role/unused", instance_count=1,
                          instance_type="local", sagemaker_session=session, output_path=f"file://{out}",
                          hyperparameters={"depth": 3})
    estimator.fit({"train": TrainingInput(f"file://{data}")}, job_name="mlport-local")
    print("", json.dumps(estimator.model_data), sep="\\n")
"""


def _has_compose() -> bool:
    """Whether there is Compose, as a program or as a part of Docker's command line."""
    docker = shutil.which("docker")
    plugin = docker and subprocess.run([docker, "compose", "version"], capture_output=True, check=False)
    return shutil.which("docker-compose") is not None or bool(plugin and plugin.returncode == 0)


@pytest.fixture
def sagemaker(run: Run, tmp_path: Path) -> Run:
    """Run a script with version 2 of SageMaker's SDK, which sends nothing home."""
    if not _has_compose():
        pytest.skip("SageMaker's local mode needs Compose: install the Debian package docker-compose")
    config = tmp_path / "config.yml"
    config.write_text("SchemaVersion: '1.0'\nSageMaker: {PythonSDK: {Modules: {TelemetryOptOut: true}}}\n")
    env = {
        "AWS_ACCESS_KEY_ID": "unused",
        "AWS_SECRET_ACCESS_KEY": "unused",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "SAGEMAKER_ADMIN_CONFIG_OVERRIDE": str(config),
        "SAGEMAKER_USER_CONFIG_OVERRIDE": str(config),
        "SAGEMAKER_SUPPRESS_V2_WARNING": "1",
        "TMPDIR": str(tmp_path),
    }
    return lambda script, *arguments: run(["sagemaker>=2.240,<3"], script, *arguments, **env)


def test_sagemaker_local_endpoint(world: Any, sagemaker: Run, tmp_path: Path) -> None:
    """`Model.deploy(instance_type="local")`: `serve`, the model's files in /opt/ml/model, /invocations."""
    # A folder, not an archive: local mode unpacks one where it lies and mounts it along, which no cloud does.
    folder = world.model.save(tmp_path / "model")
    folder.chmod(0o755)  # the server is not root when it reads it
    assert {"predictions": ANSWER} == sagemaker(SAGEMAKER % ROWS, tag(world.image), folder)


def test_sagemaker_local_training(world: Any, engine: Engine, sagemaker: Run, tmp_path: Path) -> None:
    """`Estimator.fit` with `instance_type="local"`: `train`, channels and hyperparameters in, the model archive out."""
    script = tmp_path / "train.py"
    script.write_text(
        "import argparse, pathlib\n"
        "parser = argparse.ArgumentParser()\n"
        "for name in ('train', 'depth', 'output'):\n    parser.add_argument('--' + name)\n"
        "given = parser.parse_known_args()[0]\n"
        "rows = (pathlib.Path(given.train) / 'rows.csv').read_text().strip()\n"
        "(pathlib.Path(given.output) / 'model.txt').write_text(f'{rows} {given.depth}')\n"
    )
    program = training.job_bundle(script, {"requirements": ["cloudpickle"]})
    image = build_image(program, base=world.image, store=world.store)
    load(engine, image, world.store)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows.csv").write_text("7\n")
    (tmp_path / "out").mkdir()
    made = Path(sagemaker(TRAINING, tag(image), tmp_path / "data", tmp_path / "out").removeprefix("file://"))
    shutil.unpack_archive(made, tmp_path / "unpacked")
    assert "7 3" == (tmp_path / "unpacked" / "model.txt").read_text()
