"""The mini cloud, and the official clients pointed at it."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sdk.adapter import AdapterContext, Clock
from sdk.client import Client
from sdk.util.redact import Redactor
from sdk.util.waiting import SystemClock
from sdk_contract.clouds.vertex import VertexCloud
from sdk_contract.samples import Samples

SETTINGS = {"provider": "vertex", "project": "mini-project", "region": "europe-west4", "instance": "n1-standard-2"}
PARENT = "projects/mini-project/locations/europe-west4"


@pytest.fixture
def runner() -> str:
    """How models and jobs run behind the mini cloud."""
    return "process"


@pytest.fixture
def cloud(tmp_path: Path, runner: str) -> Iterator[VertexCloud]:
    with VertexCloud(tmp_path, runner) as made:
        yield made
    assert [] == made.app.errors


@pytest.fixture
def official(cloud: VertexCloud) -> Iterator[Callable[..., Any]]:
    """Makes an unmodified generated client that speaks to the mini cloud."""
    # Imported here, since the package takes seconds and every test process reads this file.
    from google.cloud import aiplatform_v1
    from google.oauth2.credentials import Credentials

    made: list[Any] = []

    def make(name: str) -> Any:
        credentials = Credentials(token=cloud.world.token)  # type: ignore[no-untyped-call]
        kind: Any = getattr(aiplatform_v1, name)
        client = kind(credentials=credentials, transport="rest", client_options={"api_endpoint": cloud.url})
        made.append(client)
        return client

    yield make
    for client in made:
        client.transport.close()


class Place:
    """A mini cloud for a test file, and clients of it."""

    def __init__(self, cloud: VertexCloud, folder: Path) -> None:
        self.cloud, self.folder, self.samples = cloud, folder, Samples()
        self._made: list[Client] = []

    def client(self, *, clock: Clock | None = None, **settings: Any) -> Client:
        """A client with one `vertex` target."""
        target = {**SETTINGS, **settings}
        config = {"default": "gcp", "owner": "me", "state_dir": str(self.folder / "client"), "target": {"gcp": target}}
        self._made.append(Client(config, clock=clock))
        return self._made[-1]

    def running(self) -> list[str]:
        """What endpoints consist of, as far as it is there."""
        kinds = ("deployed", "endpoint", "model", "process")
        return [item for item in self.cloud.inventory() if item.startswith(kinds)]

    def close(self) -> None:
        for client in self._made:
            client.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("place")
    with pytest.MonkeyPatch.context() as patch, VertexCloud(folder / "cloud", "fork") as cloud:
        for name, value in {"MLPORT_STATE_DIR": str(folder / "state"), **os.environ, **cloud.env}.items():
            patch.setenv(name, value)
        made = Place(cloud, folder)
        yield made
        made.close()
        assert [] == cloud.app.errors


@pytest.fixture
def adapter(place: Place, tmp_path: Path) -> Iterator[Any]:
    """The adapter of a `vertex` target, as the core gets it."""
    from sdk_vertex import VertexAdapter
    from sdk_vertex.options import VertexOptions

    options = VertexOptions(project="mini-project", region="europe-west4")
    made = VertexAdapter(options, AdapterContext("gcp", "me", tmp_path, SystemClock(), Redactor()))
    yield made
    made.close()
    assert [] == place.cloud.app.errors
