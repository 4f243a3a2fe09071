"""A real registry from Debian's `docker-registry` and a real Docker Engine, or a visible skip."""

import importlib.util
import json
import os
import shutil
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
import trustme

import sdk
from sdk.errors import NotFoundError, PlatformError
from sdk.packaging.image import BlobStore, Image, build_image, open_store
from sdk.packaging.image.engine import Engine
from sdk.packaging.image.engine_images import load
from sdk.packaging.model import Model


@pytest.fixture(autouse=True)
def state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is kept in the home of whoever runs the tests; the compiled runtime is made once."""
    monkeypatch.setenv("MLPORT_STATE_DIR", str(tmp_path_factory.getbasetemp() / "image-state"))


@pytest.fixture(scope="session")
def bundles() -> ModuleType:
    """Maker of small bundles."""
    spec = importlib.util.spec_from_file_location("image_bundles", Path(__file__).with_name("bundles.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def missing(what: str) -> None:
    """Skips, unless whoever runs the tests says that everything is there."""
    if os.environ.get("MLPORT_REQUIRE_DOCKER"):
        pytest.fail(f"MLPORT_REQUIRE_DOCKER is set, but {what}")
    pytest.skip(what)


class OwnRegistry:
    """A registry process that can be killed and started again on the same port and data."""

    def __init__(self, program: str, folder: Path, *, tls: bool = False) -> None:
        self._program, self._folder = program, folder
        self.ca = self._certified() if tls else None
        self._port = 0
        self.start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._port}"

    def _certified(self) -> Path:
        authority = trustme.CA()
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(self._folder / "server.pem")
        authority.cert_pem.write_to_path(self._folder / "ca.pem")
        return self._folder / "ca.pem"

    def start(self) -> None:
        config, pem = self._folder / "config.yml", self._folder / "server.pem"
        tls = f", tls: {{certificate: {pem}, key: {pem}}}" if self.ca else ""
        config.write_text(
            "version: 0.1\nlog: {level: error}\n"
            f"storage: {{filesystem: {{rootdirectory: {self._folder}/data}}, delete: {{enabled: true}}}}\n"
            f"http: {{addr: '127.0.0.1:{self._port}'{tls}}}\n"
        )
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen([self._program, "serve", config], stdout=log, stderr=log)
        self._port = self._listening()

    def blob(self, digest: str) -> Path:
        """Where the registry keeps a blob on its disk."""
        name = digest.removeprefix("sha256:")
        return self._folder / "data/docker/registry/v2/blobs/sha256" / name[:2] / name / "data"

    def record(self, repository: str, digest: str) -> Path:
        """Where the registry notes that a repository has a blob."""
        name = digest.removeprefix("sha256:")
        return self._folder / f"data/docker/registry/v2/repositories/{repository}/_layers/sha256" / name / "link"

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(10)

    def _listening(self) -> int:
        for _ in range(200):
            ports = [
                c.laddr.port for c in psutil.Process(self._process.pid).net_connections("tcp") if c.status == "LISTEN"
            ]
            if ports and self._answers(ports[0]):
                return ports[0]
            time.sleep(0.05)
        pytest.fail(f"the registry did not start: {(self._folder / 'log').read_text()}")

    def _answers(self, port: int) -> bool:
        if self.ca is None:
            return httpx.get(f"http://127.0.0.1:{port}/v2/").status_code == 200
        context = ssl.create_default_context(cafile=self.ca)
        return httpx.get(f"https://127.0.0.1:{port}/v2/", verify=context).status_code == 200


def _own_registry(folder: Path, *, tls: bool = False) -> Iterator[OwnRegistry]:
    program = shutil.which("docker-registry")
    if program is None:
        missing("docker-registry is not installed")
        return
    registry = OwnRegistry(program, folder, tls=tls)
    try:
        yield registry
    finally:
        registry.kill()


@pytest.fixture(scope="session")
def registry_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a running registry, empty at the start."""
    for registry in _own_registry(tmp_path_factory.mktemp("registry")):
        yield registry.host


@pytest.fixture(scope="session")
def tls_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnRegistry]:
    """A running registry that speaks TLS with a certificate of an authority of its own (``.ca``)."""
    yield from _own_registry(tmp_path_factory.mktemp("tls-registry"), tls=True)


@pytest.fixture
def own_registry(tmp_path: Path) -> Iterator[OwnRegistry]:
    """A registry for one test, which may kill it."""
    (tmp_path / "registry").mkdir()
    yield from _own_registry(tmp_path / "registry")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with 8 MiB."""
    folder = tmp_path / "small-disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], check=False).returncode:
        pytest.skip("no right to mount a small file system")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """The Docker Engine of this machine."""
    engine = Engine()
    try:
        _ = engine.version
    except PlatformError as error:
        missing(f"no Docker Engine: {error}")
    with engine:
        yield engine


@dataclass
class World:
    """A model that doubles, its image in the engine, and the store of its layers.

    The labels make it an image of this run alone: another run on the same engine must not take it away.
    """

    model: Model
    image: Image
    store: BlobStore
    labels: dict[str, str]


@pytest.fixture(scope="session")
def world(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Built once, as dependencies take some seconds; the engine keeps nothing of it."""
    if shutil.which("apt-get") is None:
        missing("no apt-get for the base image")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLPORT_STATE_DIR", str(tmp_path_factory.getbasetemp() / "image-state"))
        model = sdk.model(_double, name="double", example=np.ones((2, 3)), rowwise=True)
        store = open_store()
        labels = {"test.run": str(tmp_path_factory.getbasetemp())}
        image = build_image(model, base="debian-packages", store=store, labels=labels)
    load(engine, image, store)
    try:
        yield World(model, image, store, labels)
    finally:
        label = f"test.run={labels['test.run']}"
        for item in engine.call("GET", "/images/json", params={"filters": json.dumps({"label": [label]})}):
            with suppress(NotFoundError):
                engine.call("DELETE", f"/images/{item['Id']}", params={"force": "1"})


def _double(rows: Any) -> Any:
    return rows * 2


class Container:
    """A container that has been started."""

    def __init__(self, engine: Engine, container: str) -> None:
        self._engine, self.id = engine, container

    def inspect(self) -> dict[str, Any]:
        found: dict[str, Any] = self._engine.call("GET", f"/containers/{self.id}/json")
        return found

    def address(self, port: int) -> str:
        """Where a published port is on this machine, once the model is ready."""
        url = f"http://127.0.0.1:{self.inspect()['NetworkSettings']['Ports'][f'{port}/tcp'][0]['HostPort']}"
        for _ in range(1200):
            with suppress(httpx.HTTPError):
                if httpx.get(f"{url}/ping").status_code == 200:
                    return url
            if not self.inspect()["State"]["Running"]:
                break
            time.sleep(0.05)
        pytest.fail("not ready: " + "\n".join(self.logs()))

    def wait(self) -> int:
        """Exit code."""
        code: int = self._engine.call("POST", f"/containers/{self.id}/wait", timeout_s=120)["StatusCode"]
        return code

    def stop(self) -> None:
        self._engine.call("POST", f"/containers/{self.id}/stop", params={"t": "20"})

    def logs(self) -> list[str]:
        return self._engine.logs(self.id)

    def users(self) -> set[str]:
        """Who runs the processes in it."""
        return {row[0] for row in self._engine.call("GET", f"/containers/{self.id}/top")["Processes"]}


@pytest.fixture
def start(engine: Engine) -> Iterator[Callable[..., Container]]:
    """Start containers, as a platform would: `start(image id, engine's options)`; they are gone at the end."""
    started: list[str] = []

    def run(image: str, *, host: dict[str, Any] | None = None, port: int = 8080, **options: Any) -> Container:
        published = {"PortBindings": {f"{port}/tcp": [{"HostIp": "127.0.0.1", "HostPort": "0"}]}}
        options |= {"Image": image, "ExposedPorts": {f"{port}/tcp": {}}, "HostConfig": published | (host or {})}
        started.append(engine.call("POST", "/containers/create", json=options)["Id"])
        engine.call("POST", f"/containers/{started[-1]}/start")
        return Container(engine, started[-1])

    yield run
    for container in started:
        engine.call("DELETE", f"/containers/{container}", params={"force": "1", "v": "1"}, timeout_s=300)
