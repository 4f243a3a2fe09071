"""Images in the engine have one name, from the moment they are there until they are deleted, whoever is killed."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import sdk
from sdk.adapter import Labels, Materials, Resource
from sdk.errors import NotFoundError
from sdk_docker import _images
from sdk_docker._engine import Host
from sdk_docker._images import name_of
from sdk_docker._plan import IMAGE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdk.packaging.model import Model
    from tests.docker.conftest import Box

pytestmark = pytest.mark.docker
CLIENT = """
import os, signal, sys
from pathlib import Path
from sdk.adapter import Labels, Materials, Resource
from sdk.packaging.image.engine_address import find_address
from sdk.packaging.model import Model
from sdk_docker import _images
from sdk_docker._engine import Host

moment, folder, name = sys.argv[1:]
host = Host(find_address)
def watch(when, what):
    if f"{when} {what}".startswith(moment):
        os.kill(os.getpid(), signal.SIGKILL)
host.engine.watch = watch
image = Resource("Image", name, {"base": "debian-packages"}, Labels("shared", "me", "t1"))
_images.make(host, image, Materials(model=Model.load(Path(folder))), 300)
"""


@pytest.fixture
def fresh(box: Box) -> Model:
    """A model that the engine has no image of."""
    made = box.name()

    def predict(rows: object) -> str:
        return f"{made} {rows}"

    return sdk.model(predict, name="fresh")


@pytest.fixture
def host(box: Box) -> Iterator[Host]:
    found = Host(lambda: box.engine.address)
    yield found
    found.close()


def ids(host: Host, model: Model) -> set[str]:
    """The images of a model, whatever their names."""
    filters = json.dumps({"label": [f"dev.mlport.model.sha256={model.digest}"]})
    return {item["Id"] for item in host.engine.call("GET", "/images/json", params={"filters": filters})}


def make(host: Host, name: str, model: Model) -> str:
    wanted = Resource(IMAGE, name, {"base": "debian-packages"}, Labels("shared", "me", "t1"))
    _images.make(host, wanted, Materials(model=model), 300)
    return str(host.engine.call("GET", f"/images/{name_of(name)}/json")["Id"])


def test_a_deleted_image_takes_no_space(host: Host, fresh: Model) -> None:
    """It has no second name that would keep it."""
    made = make(host, fresh.digest[:32], fresh)
    assert [name_of(fresh.digest[:32])] == host.engine.call("GET", f"/images/{made}/json")["RepoTags"]
    _images.delete(host, fresh.digest[:32], 60)
    assert set() == ids(host, fresh)


def test_an_image_that_a_container_of_others_uses_loses_its_name(box: Box, host: Host, fresh: Model) -> None:
    made, container = make(host, fresh.digest[:32], fresh), box.name("other")
    host.create(container, {"Image": made, "Cmd": ["serve"]}, 60)
    host.start(container, 60)
    try:
        _images.delete(host, fresh.digest[:32], 60)
        assert _images.read(host, fresh.digest[:32], "me", 60) is None
        assert host.inspect(container, 60) is not None
    finally:
        host.remove(container, 60)
        host.engine.call("DELETE", f"/images/{made}", params={"force": "1"})


@pytest.mark.parametrize("moment", ["before POST /images/load", "after POST /images/load", "before POST /images/sha"])
def test_a_killed_client_leaves_an_image_that_is_listed_or_none(host: Host, fresh: Model, moment: str) -> None:
    """One that was loaded has its name, and the next client goes on with it."""
    name = fresh.digest[:32]
    client = [sys.executable, "-c", CLIENT, moment, str(fresh.path), name]
    assert -9 == subprocess.run(client, check=False, timeout=300).returncode
    left = ids(host, fresh)
    listed = [live.id for live in _images.every(host, "me", 60)]
    assert (name in listed) == bool(left) == (not moment.startswith("before POST /images/load"))
    made = make(host, name, fresh)
    assert not left or {made} == left
    _images.delete(host, name, 60)
    with pytest.raises(NotFoundError):
        _images.delete(host, name, 60)
    assert set() == ids(host, fresh)
