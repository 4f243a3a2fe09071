"""Every kind of model that can be packed runs in a hardened container of its image and answers as the live object."""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from sdk.errors import NotFoundError
from sdk.model import Model
from sdk.packaging.image import build_image
from sdk.packaging.image.engine import Engine
from sdk.packaging.image.engine_images import load
from tests.packaging.test_files import FILES, check_file, check_mlflow
from tests.packaging.test_flavours import EVERYWHERE, LIBRARIES, check, skip_without_library
from tests.packaging.test_onnx import check as check_onnx
from tests.packaging.test_onnx import forest

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


@pytest.mark.parametrize("case", [*LIBRARIES, *EVERYWHERE], ids=lambda case: case.__name__)
def test_object(case: Callable[[Path], Any], serve: Callable[..., Any], tmp_path: Path) -> None:
    """A live object, packed and put into an image."""
    skip_without_library(case)
    check(case(tmp_path), serve)


@pytest.mark.parametrize("case", list(FILES), ids=lambda case: case.__name__)
def test_native_file(case: Callable[[Path], Any], serve: Callable[..., Any], tmp_path: Path) -> None:
    """A file in a library's own format."""
    check_file(case, serve, tmp_path)


def test_mlflow_folder(serve: Callable[..., Any], tmp_path: Path) -> None:
    """What MLflow saved."""
    check_mlflow(serve, tmp_path)


def test_onnx_engine(serve: Callable[..., Any]) -> None:
    """An estimator that was asked to be served by ONNX Runtime."""
    pytest.importorskip("skl2onnx")
    check_onnx(forest, serve)
