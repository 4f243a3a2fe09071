"""Every kind of model that can be packed runs in a hardened container of its image and answers as the live object."""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from sdk.errors import NotFoundError
from sdk.packaging.image import build_image
from sdk.packaging.image.engine import Engine
from sdk.packaging.image.engine_images import load
from sdk.packaging.model import Model
from tests.frameworks.listed import FRAMEWORKS, Framework
from tests.packaging.test_flavours import EVERYWHERE, check

pytestmark = [pytest.mark.docker, pytest.mark.full, pytest.mark.filterwarnings("ignore")]  # the libraries' own

HARDENED = {
    "ReadonlyRootfs": True,
    "Tmpfs": {"/tmp": "rw,noexec,nosuid,size=256m"},
    "CapDrop": ["ALL"],
    "SecurityOpt": ["no-new-privileges"],
    "PidsLimit": 200,
}


@pytest.fixture(autouse=True)
def keras_runs_on_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one backend that is installed."""
    monkeypatch.setenv("KERAS_BACKEND", "torch")


@pytest.fixture
def serve(engine: Engine, world: Any, start: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Serve a model in a container of its image; gives a client for it."""
    images: list[str] = []

    @contextmanager
    def running(model: Model) -> Generator[httpx.Client]:
        image = build_image(model, base="debian-packages", store=world.store)
        images.append(load(engine, image, world.store))
        container = start(images[-1], User="65532:65532", host=HARDENED)
        with httpx.Client(base_url=container.address(8080), timeout=60) as client:
            yield client
        container.stop()

    yield running
    for image in images:
        with suppress(NotFoundError):
            engine.call("DELETE", f"/images/{image}", params={"force": "1"})


@pytest.mark.parametrize("framework", [one for one in FRAMEWORKS if one.image], ids=lambda one: one.id)
def test_framework(framework: Framework, serve: Callable[..., Any], tmp_path: Path) -> None:
    """A model of each library, in each form that it has: see docs/frameworks.md."""
    framework.run(serve, tmp_path)


@pytest.mark.parametrize("case", EVERYWHERE, ids=lambda case: case.__name__)
def test_object(case: Callable[[Path], Any], serve: Callable[..., Any], tmp_path: Path) -> None:
    """Functions, classes and estimators of many forms."""
    check(case(tmp_path), serve)
