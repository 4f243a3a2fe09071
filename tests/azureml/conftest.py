"""A mini Azure, an adapter in it, and clients of it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from sdk.adapter import AdapterContext, Clock
from sdk.client import Client
from sdk.util.redact import Redactor
from sdk.util.waiting import SystemClock
from sdk_azureml import AzureMLAdapter, AzureMLOptions
from sdk_contract.clouds import mini_cloud
from sdk_contract.clouds.azureml import AzureMLCloud
from sdk_contract.samples import Samples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

INSTANCE = "Standard_DS2_v2"


@dataclass
class Arm:
    """Raw calls to the mini cloud's resource manager, with a token of its own."""

    cloud: AzureMLCloud

    def __call__(self, method: str, path: str, body: Any = None, **params: str) -> httpx.Response:
        """One call; ``path`` begins at the workspace, or at the subscription."""
        context = ssl.create_default_context(cafile=self.cloud.tls.ca_file)
        headers = {"authorization": f"Bearer {self.cloud.identity.issue('arm')}"}
        with httpx.Client(verify=context, trust_env=False, headers=headers) as client:
            whole = path if path.startswith("/subscriptions/") else f"{self.cloud.world.place.path}{path}"
            url = f"{self.cloud.url}{whole}"
            return client.request(method, url, json=body, params={"api-version": "2024-10-01", **params})


@pytest.fixture(scope="module")
def samples() -> Samples:
    return Samples()


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[AzureMLCloud]:
    with mini_cloud("azureml", runner="fork", folder=tmp_path / "cloud") as made:
        assert isinstance(made, AzureMLCloud)
        yield made
        assert [] == made.errors


@pytest.fixture
def arm(cloud: AzureMLCloud) -> Arm:
    return Arm(cloud)


@pytest.fixture
def make_client(tmp_path: Path) -> Iterator[Callable[..., Client]]:
    made: list[Client] = []

    def make(cloud: AzureMLCloud, machine: str = "here", clock: Clock | None = None, **settings: Any) -> Client:
        target = {"provider": "sdk_azureml:AzureMLAdapter", "instance": INSTANCE, **cloud.settings, **settings}
        config: dict[str, Any] = {
            "default": "t",
            "owner": "me",
            "state_dir": str(tmp_path / machine),
            "target": {"t": target},
        }
        made.append(Client(config, clock=clock))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(cloud: AzureMLCloud, make_client: Callable[..., Client]) -> Client:
    return make_client(cloud)


@pytest.fixture
def make_adapter(tmp_path: Path) -> Iterator[Callable[..., AzureMLAdapter]]:
    made: list[AzureMLAdapter] = []

    def make(cloud: AzureMLCloud, **settings: Any) -> AzureMLAdapter:
        options = AzureMLOptions.model_validate({"instance": INSTANCE, **cloud.settings, **settings})
        made.append(AzureMLAdapter(options, AdapterContext("t", "me", tmp_path, SystemClock(), Redactor())))
        return made[-1]

    yield make
    for adapter in made:
        adapter.close()
