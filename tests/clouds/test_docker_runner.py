"""The docker runner: the stub image in real containers."""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from sdk.errors import NotFoundError, PlatformError
from sdk.packaging import disk
from sdk.packaging.image import Image, Registries, open_store, push_image
from sdk.packaging.image.bases import from_debian
from sdk.packaging.image.engine import Engine
from sdk.packaging.image.engine_images import tag
from sdk.packaging.image.manifests import Platform
from sdk_contract.clouds.app import App
from sdk_contract.clouds.registry import Registry
from sdk_contract.clouds.runners import Launch, StartFailed
from sdk_contract.clouds.runners.docker import DockerRunner
from sdk_contract.clouds.server import Server
from sdk_contract.clouds.stub import stub_image
from tests.clouds.test_runners import ask

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine() as made:
        try:
            _ = made.version
        except PlatformError as error:
            if os.environ.get("MLPORT_REQUIRE_DOCKER"):
                pytest.fail(f"MLPORT_REQUIRE_DOCKER is set, but there is no engine: {error}")
            pytest.skip(f"no Docker Engine: {error}")
        yield made


@pytest.fixture(scope="module")
def registry(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry with the stub image on a real base; the engine keeps nothing of it."""
    folder = tmp_path_factory.mktemp("registry")
    made, store = Registry(folder / "registry"), open_store()
    base = from_debian(store, disk.cache_dir() / "debs", Platform(), "3.11")
    image = stub_image(store, base=Image(base.config.document(base.layers), base.layers))
    app = App([made])
    with Server(app) as server:
        host = server.url.removeprefix("http://")
        push_image(image, f"{host}/stub:v1", store=store, registries=Registries(lambda _: None))
    yield made
    app.close()
    with suppress(NotFoundError):
        engine.call("DELETE", f"/images/{tag(image)}", params={"force": "1"})


def mocks(engine: Engine) -> list[str]:
    found = engine.call(
        "GET", "/containers/json", params={"all": "1", "filters": json.dumps({"label": ["dev.mlport.mock"]})}
    )
    return [item["Labels"]["dev.mlport.mock.name"] for item in found]


def test_servers_and_jobs_are_containers(engine: Engine, registry: Registry, tmp_path: Path) -> None:
    """The same launches as for processes: folders, variables, ports, output, exit codes; nothing is left."""
    runner = DockerRunner(tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "blue.bin").touch()
    server = runner.start(
        Launch(
            "cloudkit-blue", registry, "stub:v1", ["serve"], port=8080, env={"STUB_NAME": "blue"},
            mounts={"/opt/ml/model": tmp_path / "model"}, memory_gib=0.25, cpu=64,
        )
    )  # fmt: skip
    seen = ask(server)
    assert ("blue", ["blue.bin"]) == (seen["who"], seen["model"])
    assert ["cloudkit-blue"] == runner.alive()
    cpu, memory = server.usage()
    assert cpu > 0
    assert 0 < memory < 2**28
    server.stop(10)
    assert (0, ["stub: blue listens", "stub: stops"]) == (server.exit_code, [line for _, line in server.logs()])
    job = runner.start(Launch("cloudkit-job", registry, "stub:v1", ["echo one; exit 7"], shell=True))
    assert (7, ["one"]) == (job.wait(30), [line for _, line in job.logs()])
    with pytest.raises(StartFailed, match="no image stub:v2"):
        runner.start(Launch("x", registry, "stub:v2"))
    runner.start(Launch("cloudkit-left", registry, "stub:v1", port=8080))
    runner.close()
    assert [] == [name for name in mocks(engine) if name.startswith("cloudkit-")]
