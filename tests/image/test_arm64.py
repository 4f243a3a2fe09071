"""An image for another processor than this machine's, built here and really started: under QEMU where it is foreign."""

import json
import platform
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from sdk.errors import NotFoundError
from sdk.packaging.image import BlobStore, Image, archives, build_image
from sdk.packaging.image.engine import Engine
from sdk.packaging.image.engine_images import check_messages

pytestmark = [pytest.mark.docker, pytest.mark.full]

EMULATOR = Path("/proc/sys/fs/binfmt_misc/qemu-aarch64")


@pytest.fixture
def image(world: Any, engine: Engine) -> Iterator[Image]:
    """The same model for arm64, in the engine: past our own check, as the emulator is not the engine's business."""
    if platform.machine() != "aarch64" and not EMULATOR.exists():
        pytest.skip("arm64 programs do not run here: install qemu-user-static and binfmt-support")
    store: BlobStore = world.store
    made = build_image(world.model, base="debian-packages", platform="linux/arm64", store=store, labels=world.labels)
    name = "localhost/mlport/arm64:test"
    content = archives.stream(made, store, name, skip=0)
    headers = {"content-type": "application/x-tar"}
    with engine.stream("POST", "/images/load", params={"quiet": "1"}, content=content, headers=headers) as said:
        check_messages(b"".join(said), "load")
    yield made
    with suppress(NotFoundError):
        engine.call("DELETE", f"/images/{name}", params={"force": "1"})


def test_an_arm64_image_answers(image: Image, engine: Engine, start: Callable[..., Any], world: Any) -> None:
    """Base, packages and server are arm64 and work: the same requests get the same bytes as from the image for here."""
    assert "arm64" == engine.call("GET", f"/images/{image.id}/json")["Architecture"]
    machine = start(image.id, Entrypoint=["python", "-c", "import platform; print(platform.machine())"], Cmd=[])
    assert 0 == machine.wait()
    assert ["aarch64"] == machine.logs()
    bodies = []
    for one in (image.id, world.image.id):
        url = start(one, User="65532:65532", host={"ReadonlyRootfs": True, "Tmpfs": {"/tmp": ""}}).address(8080)
        content = json.dumps({"instances": [[1.0, 2.0, 3.5], [0.0, -1.0, 1e-9]]})
        answer = httpx.post(f"{url}/invocations", content=content, headers={"content-type": "application/json"})
        assert 200 == answer.status_code, answer.text
        bodies.append(answer.content)
    assert bodies[0] == bodies[1]
