"""Models of every listed library, deployed to a `local` target, answer as they do in this process."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from sdk.client import Client
from tests.frameworks.listed import FRAMEWORKS

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    from sdk.packaging.model import Model
    from tests.frameworks.listed import Framework

pytestmark = [pytest.mark.full, pytest.mark.filterwarnings("ignore")]  # the libraries warn while they load and save


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Deploy a model to this machine; gives an HTTP client for its endpoint."""
    state = tmp_path / "state"
    monkeypatch.setenv("MLPORT_STATE_DIR", str(state))
    monkeypatch.setenv("KERAS_BACKEND", "torch")

    @contextmanager
    def deployed(model: Model) -> Generator[httpx.Client]:
        endpoint = client.deploy(model)
        try:
            url = str(endpoint.status.url).removesuffix("/invocations")
            headers = {"authorization": f"Bearer {(state / 'endpoints' / endpoint.name / 'token').read_text()}"}
            with httpx.Client(base_url=url, headers=headers, timeout=60) as http:
                yield http
        finally:
            endpoint.delete()

    with Client(env={}, config={"state_dir": str(state), "default": "local"}) as client:
        yield deployed


@pytest.mark.parametrize("framework", FRAMEWORKS, ids=lambda one: one.id)
def test_packed_and_deployed_model_answers_alike(
    framework: Framework, serve: Callable[..., Any], tmp_path: Path
) -> None:
    framework.run(serve, tmp_path)
