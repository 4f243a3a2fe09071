"""A ready-made image that only its registry has, deployed on the `docker` target."""

import uuid
from pathlib import Path
from typing import Any

import pytest

import sdk
from sdk.client import Client
from sdk.packaging.image import build_image, push_image
from sdk.packaging.image.engine import Engine
from sdk.packaging.image.engine_images import find

pytestmark = pytest.mark.docker


def test_a_ready_made_image_is_fetched_from_its_registry(
    world: Any, engine: Engine, registry_host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the engine nor this machine has it; it becomes the endpoint, byte for byte what was pushed."""
    image = build_image(
        world.model, base="debian-packages", store=world.store, labels={**world.labels, "test.ready": "made"}
    )
    place = push_image(image, f"{registry_host}/team/ready-made", store=world.store)
    assert find(engine, image) is None
    monkeypatch.setenv("MLPORT_STATE_DIR", str(tmp_path / "state"))
    name = f"ready-{uuid.uuid4().hex[:8]}"
    client = Client({"target": {"box": {"provider": "docker"}}, "owner": name}, target="box")
    try:
        endpoint = client.deploy(sdk.Model.from_image(place, name="double"), name=name)
        assert [[2.0, 4.0, 7.0]] == [list(row) for row in endpoint.predict([[1.0, 2.0, 3.5]]).values]
        assert image.id == find(engine, image)
    finally:
        client.delete(name)
        client.close()
