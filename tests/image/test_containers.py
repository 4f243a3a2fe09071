"""One image as real containers, with the mounts, variables, users and commands of each platform."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import sdk
from sdk.errors import PackagingError, UnsupportedError
from sdk.packaging import training
from sdk.packaging.image import Image, Registries, build_image, published, pull_image, push_image
from sdk.packaging.image.dockerfiles import build_dockerfile
from sdk.packaging.image.engine import Engine
from sdk.packaging.image.engine_images import export, find, load
from sdk.packaging.image.manifests import ImageConfig, Platform
from sdk.packaging.image.store import BlobStore

pytestmark = pytest.mark.docker

BODY = {"instances": [[1.0, 2.0, 3.5]]}
ANSWER = b'{"predictions":[[2.0,4.0,7.0]]}'
HARDENED = {
    "ReadonlyRootfs": True,
    "Tmpfs": {"/tmp": "rw,noexec,nosuid,size=64m"},
    "CapDrop": ["ALL"],
    "SecurityOpt": ["no-new-privileges"],
    "PidsLimit": 100,
}


def _posted(url: str, path: str) -> bytes:
    return httpx.post(f"{url}{path}", json=BODY).content


def test_sagemaker_starts_it_as_root(world: Any, start: Callable[..., Any]) -> None:
    """`serve`, an empty /opt/ml/model, /ping and /invocations; root is given up, and SIGTERM ends it with 0."""
    container = start(world.image.id, Cmd=["serve"], Env=["MLPORT_DRAIN_S=0"], host={"Tmpfs": {"/opt/ml/model": ""}})
    assert ANSWER == _posted(container.address(8080), "/invocations")
    assert {"65532"} == container.users()
    container.stop()
    assert 0 == container.wait()


def test_sagemaker_gives_the_port(world: Any, start: Callable[..., Any]) -> None:
    """Behind an inference pipeline the port comes from SAGEMAKER_BIND_TO_PORT, and the image says it obeys."""
    container = start(world.image.id, port=9001, Cmd=["serve"], Env=["SAGEMAKER_BIND_TO_PORT=9001"])
    assert ANSWER == _posted(container.address(9001), "/invocations")
    assert "true" == world.image.labels["com.amazonaws.sagemaker.capabilities.accept-bind-to-port"]


def test_vertex_gives_port_and_routes(world: Any, start: Callable[..., Any]) -> None:
    """AIP_* variables add the port and routes of Vertex AI; nothing else changes."""
    predict = "/v1/endpoints/1/deployedModels/2:predict"
    env = ["AIP_HTTP_PORT=7080", "AIP_HEALTH_ROUTE=/v1/endpoints/1/deployedModels/2", f"AIP_PREDICT_ROUTE={predict}"]
    container = start(world.image.id, port=7080, Env=[*env, "AIP_STORAGE_URI=", "AIP_MODE=PREDICTION"])
    url = container.address(7080)
    assert 200 == httpx.get(f"{url}/v1/endpoints/1/deployedModels/2").status_code
    assert ANSWER == _posted(url, predict) == _posted(url, "/invocations")


def test_azure_mounts_the_model(world: Any, start: Callable[..., Any]) -> None:
    """No arguments, a nested folder under AZUREML_MODEL_DIR, /score."""
    mount = f"{world.model.path}:/var/azureml-app/azureml-models/double/1/double:ro"
    env = ["AZUREML_MODEL_DIR=/var/azureml-app/azureml-models/double/1"]
    container = start(world.image.id, Env=env, host={"Binds": [mount]})
    url = container.address(8080)
    assert ANSWER == _posted(url, "/score")
    assert 200 == httpx.get(f"{url}/v2/health/ready").status_code
    assert any("/var/azureml-app/azureml-models/double/1/double" in line for line in container.logs())


@pytest.mark.parametrize("user", ["65532:65532", "0", "4711:4711"])
def test_hardened(world: Any, start: Callable[..., Any], user: str) -> None:
    """Read-only root, no capability, no new privileges: any user can serve, root without the right to give root up."""
    container = start(world.image.id, User=user, host=HARDENED)
    assert ANSWER == _posted(container.address(8080), "/invocations")
    assert ("still_root" in "".join(container.logs())) == (user == "0")


def test_stale_mount_is_refused(world: Any, start: Callable[..., Any]) -> None:
    """Another model under /opt/ml/model does not silently replace the one in the image."""
    other = sdk.model(_triple, name="triple", example=np.ones((2, 3)))
    assert other.path is not None
    container = start(world.image.id, Cmd=["serve"], host={"Binds": [f"{other.path}:/opt/ml/model:ro"]})
    assert 3 == container.wait()
    assert other.digest in "".join(container.logs())
    wanted = start(
        world.image.id, Env=["MLPORT_MODEL_DIGEST="], Cmd=["serve"], host={"Binds": [f"{other.path}:/opt/ml/model:ro"]}
    )
    assert b'{"predictions":[[3.0,6.0,10.5]]}' == _posted(wanted.address(8080), "/invocations")


def _triple(rows: Any) -> Any:
    return rows * 3


@pytest.fixture
def trainer(world: Any, engine: Engine, tmp_path: Path) -> str:
    """The id of an image that trains, on top of the one that serves."""
    script = tmp_path / "train.py"
    script.write_text(
        "import argparse, os, pathlib\n"
        "parser = argparse.ArgumentParser()\n"
        "for name in ('train', 'depth', 'output'):\n"
        "    parser.add_argument('--' + name)\n"
        "given = parser.parse_args()\n"
        "rows = (pathlib.Path(given.train) / 'rows.csv').read_text().strip()\n"
        "(pathlib.Path(given.output) / 'model.txt').write_text(f'{rows} {given.depth}')\n"
        'print(\'{"mlport_metric": {"loss": 0.5}}\')\n'
    )
    program = training.job_bundle(script, {"requirements": ["cloudpickle"]})
    return load(engine, build_image(program, base=world.image, store=world.store), world.store)


def _data(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "rows.csv").write_text("7\n")


def test_sagemaker_trains(trainer: str, start: Callable[..., Any], tmp_path: Path) -> None:
    """`train` with SageMaker's folders: channels and hyperparameters come in, the model goes to /opt/ml/model."""
    _data(tmp_path / "ml" / "input" / "data" / "train")
    config = tmp_path / "ml" / "input" / "config"
    config.mkdir()
    (config / "hyperparameters.json").write_text('{"depth": "3"}')
    container = start(trainer, Cmd=["train"], host={"Binds": [f"{tmp_path / 'ml'}:/opt/ml"]})
    assert 0 == container.wait(), container.logs()
    assert "7 3" == (tmp_path / "ml" / "model" / "model.txt").read_text()
    assert {"loss": 0.5} == json.loads((tmp_path / "ml" / "model" / "metrics.json").read_text())


def test_azure_trains_through_bash(trainer: str, start: Callable[..., Any], tmp_path: Path) -> None:
    """A command job: bash runs our module from the folder of the user's code."""
    _data(tmp_path / "in")
    (tmp_path / "out").mkdir()
    command = (
        "cd /mnt && MLPORT_DATA_TRAIN=/mnt/in MLPORT_PARAMS='{\"depth\": 4}' MLPORT_OUTPUT_DIR=/mnt/out "
        "python -m mlport_serving train"
    )
    container = start(trainer, Entrypoint=["/bin/bash", "-c", command], Cmd=[], host={"Binds": [f"{tmp_path}:/mnt"]})
    assert 0 == container.wait(), container.logs()
    assert "7 4" == (tmp_path / "out" / "model.txt").read_text()


# --- engine, registry and skopeo agree --------------------------------------------------------------------------


def test_everybody_agrees_on_digests(world: Any, engine: Engine, registry_host: str, tmp_path: Path) -> None:
    """The engine and skopeo see the digest, image id and layers that the builder says; pulled again it is the same."""
    place = push_image(world.image, f"{registry_host}/team/double:v1", store=world.store)
    assert f"{registry_host}/team/double@{world.image.digest}" == place
    with engine.stream("POST", "/images/create", params={"fromImage": place}) as pieces:
        said = b"".join(pieces)
    about = engine.call("GET", f"/images/{place}/json")
    assert world.image.id == about["Id"], said
    assert [layer.diff_id for layer in world.image.layers] == about["RootFS"]["Layers"]
    engine.call("DELETE", f"/images/{place}")
    assert world.image.id == pull_image(place, store=BlobStore(tmp_path / "fresh")).id
    skopeo = shutil.which("skopeo")
    if skopeo is not None:
        command = [skopeo, "inspect", "--tls-verify=false", f"docker://{place}"]
        seen = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
        assert (world.image.digest, [layer.digest for layer in world.image.layers]) == (seen["Digest"], seen["Layers"])
        copied = f"{registry_host}/team/skopeo"
        command = [skopeo, "copy", "--src-tls-verify=false", "--dest-tls-verify=false", "--preserve-digests"]
        subprocess.run([*command, f"docker://{place}", f"docker://{copied}:v1"], capture_output=True, check=True)
        found = published(f"{copied}:v1")
        assert found is not None
        assert f"{copied}@{world.image.digest}" == found.reference


def test_only_new_layers_are_loaded(world: Any, engine: Engine, tmp_path: Path) -> None:
    """A changed model is loaded although this store has none of the layers that the engine has."""
    other = sdk.model(_triple, name="triple", example=np.ones((2, 3)))
    image = build_image(other, base="debian-packages", store=world.store)
    thin = BlobStore(tmp_path)
    last = image.layers[-1].digest
    shutil.copyfile(world.store.path(last), thin.path(last))
    assert image.id == load(engine, image, thin)
    engine.call("DELETE", f"/images/{image.id}", params={"force": "1"})


def test_layer_damaged_on_this_disk_is_told(world: Any, engine: Engine, tmp_path: Path) -> None:
    """What the engine cannot unpack is found to be damaged, removed, and made again by the next build."""
    other = sdk.model(_quadruple, name="quadruple", example=np.ones((2, 3)))
    image = build_image(other, base="debian-packages", store=world.store)
    path = world.store.path(image.layers[-1].digest)
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(PackagingError, match="damaged on this disk; build the image again"):
        load(engine, image, world.store)
    assert image == build_image(other, base="debian-packages", store=world.store)
    assert image.id == load(engine, image, world.store)
    engine.call("DELETE", f"/images/{image.id}", params={"force": "1"})


def _quadruple(rows: Any) -> Any:
    return rows * 4


def test_debian_packages_stand_in_without_a_network(world: Any) -> None:
    """When the public image's registry cannot be reached the base is made of packages, and progress says so."""

    def cut(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no network", request=request)

    said: list[str] = []
    image = build_image(
        world.model,
        store=world.store,
        labels=world.labels,
        registries=Registries(lambda _: None, transport=httpx.MockTransport(cut)),
        progress=lambda what, _done, _total: said.append(what),
    )
    assert (world.image.id, "base debian-packages") == (image.id, said[0])


@pytest.mark.full
def test_image_is_the_same_from_an_empty_cache(world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Base, packages and model, all fetched and made again from nothing, give the id of the first build."""
    monkeypatch.setenv("MLPORT_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("MLPORT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "wheels"))
    assert (
        world.image.id
        == build_image(world.model, base="debian-packages", store=BlobStore(tmp_path / "store"), labels=world.labels).id
    )


def test_image_of_another_processor_is_refused(engine: Engine, tmp_path: Path) -> None:
    """Loading what cannot run is an error that says how to build it."""
    foreign = "arm64" if engine.platform.architecture == "amd64" else "amd64"
    image = Image(ImageConfig(Platform(foreign)).document([]), ())
    with pytest.raises(UnsupportedError, match=f'build it with platform="{engine.platform}"'):
        load(engine, image, BlobStore(tmp_path))


@pytest.mark.full
def test_dockerfile_is_built_by_the_engine(
    world: Any, engine: Engine, registry_host: str, start: Callable[..., Any], tmp_path: Path
) -> None:
    """A user's Dockerfile on our image: built by the engine, exported, pushed by us; what is ignored stays out."""
    (tmp_path / "Dockerfile").write_text(f"FROM {world.image.id}\nCOPY . /extra/\nENV MLPORT_DRAIN_S=0\n")
    (tmp_path / "kept.txt").write_text("kept")
    (tmp_path / "secret.key").write_text("secret")
    (tmp_path / ".dockerignore").write_text("*.key\n")
    built = build_dockerfile(engine, tmp_path)
    container = start(built, Entrypoint=["ls", "-A", "/extra"], Cmd=[])
    assert 0 == container.wait()
    assert {".dockerignore", "Dockerfile", "kept.txt"} == set(container.logs())
    image = export(engine, built, world.store)
    assert built == image.id == find(engine, image)
    place = push_image(image, f"{registry_host}/team/custom", store=world.store, registries=Registries(lambda _: None))
    ready = sdk.Model.from_image(place, name="custom")
    assert image.id == build_image(ready, store=world.store).id


def test_failing_dockerfile_shows_its_last_lines(world: Any, engine: Engine, tmp_path: Path) -> None:
    """The step that failed and what it said are in the error."""
    (tmp_path / "Dockerfile").write_text(f'FROM {world.image.id}\nRUN ["bash", "-c", "echo missing-thing; exit 7"]\n')
    with pytest.raises(PackagingError, match="missing-thing"):
        build_dockerfile(engine, tmp_path)
