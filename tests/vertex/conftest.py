"""The mini cloud, and the official clients pointed at it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.cloud import aiplatform_v1
from google.oauth2.credentials import Credentials

from sdk_contract.clouds.vertex import VertexCloud

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
    made: list[Any] = []

    def make(name: str, token: str = "mini-token") -> Any:
        credentials = Credentials(token=token)  # type: ignore[no-untyped-call]
        kind: Any = getattr(aiplatform_v1, name)
        client = kind(credentials=credentials, transport="rest", client_options={"api_endpoint": cloud.url})
        made.append(client)
        return client

    yield make
    for client in made:
        client.transport.close()
