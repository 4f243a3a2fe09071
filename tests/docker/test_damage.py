"""Records and labels in an engine that cannot be used: one endpoint is degraded, nothing else changes, all can go."""

from __future__ import annotations

import io
import json
import tarfile
import time
from typing import TYPE_CHECKING, Any

import pytest

from sdk.adapter.types import EndpointState
from sdk.errors import NotFoundError
from sdk_docker import _replicas, _sound
from sdk_docker._containers import PRICE, SPEC

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdk.adapter.types import EndpointStatus
    from sdk.client import Client
    from sdk.client.endpoint import Endpoint
    from tests.docker.conftest import Box

pytestmark = pytest.mark.docker

BAD = [b"", b"[]", b"{}", b"null", b"\xff\xfe", b'{"a":' * 9999, b'{"etag": "e", "created_at": 1e999, "value": {}}']
FORM = json.dumps({"etag": "e", "created_at": 1.0, "value": {"labels": 7, "spec": {"weights": "all"}}}).encode()


def put(box: Box, container: str, path: str, data: bytes) -> None:
    """Replace a file of a container from outside, as a broken disk or a person does."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        info = tarfile.TarInfo(path)
        info.uid = info.gid = 65532
        info.mode, info.size = 0o600, len(data)
        tar.addfile(info, io.BytesIO(data))
    params = {"path": "/mlport/run"}
    box.engine.call("PUT", f"/containers/{container}/archive", params=params, content=[packed.getvalue()])


def settled(client: Client, name: str) -> EndpointStatus:
    """What an endpoint is once the gateway has heard from its replica, which takes a moment on a busy machine."""
    give_up = time.monotonic() + 30
    while (status := client.status(name)).state is EndpointState.CREATING and time.monotonic() < give_up:
        time.sleep(0.25)
    return status


@pytest.fixture
def own(box: Box) -> Iterator[Endpoint]:
    client, name = box.client(), box.name()
    yield client.deploy(box.model, name=name)
    client.delete(name)


def test_a_damaged_record(box: Box, own: Endpoint) -> None:
    """It serves on, says what is damaged, is mended by the next deploy, and can be deleted."""
    client, name = box.client(), own.name
    gateway = f"mlport-{name}_gateway"
    for record, some in (("traffic", [*BAD[:3], FORM]), ("gateway", [*BAD[3:], FORM])):
        for data in some:
            put(box, gateway, f"records/{record}.json", data)
            status = settled(client, name)
            assert (EndpointState.DEGRADED, True) == (status.state, record in str(status.reason)), data
            assert [6.0] == own.predict([[0.0, 3.0]]).values
        assert EndpointState.READY == client.deploy(box.model, name=name).status.state
    for record in ("traffic", "gateway"):
        put(box, gateway, f"records/{record}.json", b"[]")
    client.delete(name)
    with pytest.raises(NotFoundError):
        client.status(name)


def test_a_damaged_token(box: Box, own: Endpoint) -> None:
    """A client that has not seen the right one gets a new one, also from a gateway that was killed and cannot start."""
    gateway = f"mlport-{own.name}_gateway"
    for token, is_killed in ((b"", False), (b"\xff" * 43, True), (b"two words\r\nx: 1", True)):
        put(box, gateway, "token", token)
        if is_killed:
            box.engine.call("POST", f"/containers/{gateway}/kill")
        assert [6.0] == box.client().predict(own.name, [[0.0, 3.0]]).values


def test_a_label_without_a_number_of_replicas_is_damaged() -> None:
    """Whatever is read of a label later has to be there."""
    about = {"Name": "/mlport-churn_d1-0", "Config": {"Labels": {SPEC: '{"image": "x"}', PRICE: "null"}}}
    made = _sound.container(about)
    assert "replicas" in made["Config"]["Labels"][_sound.DAMAGED]
    assert 1 == _replicas.wanted([made])


@pytest.mark.parametrize(
    "labels",
    [
        {"mlport-spec-json": "[]", "mlport-kind": "Job"},
        *(pytest.param(labels, marks=pytest.mark.full) for labels in ({}, {"mlport-spec-json": "{"})),
    ],
)
def test_a_container_with_unusable_labels(box: Box, own: Endpoint, labels: dict[str, str]) -> None:
    """It is listed as failed and goes with `delete`; everything else is as ever."""
    client, name = box.client(), box.name("odd")
    owner: dict[str, Any] = {"mlport": "1", "mlport-endpoint": name, "mlport-kind": "Container"}
    about = box.engine.call("GET", f"/containers/mlport-{own.name}_gateway/json")
    mine = {"mlport-owner": about["Config"]["Labels"]["mlport-owner"], **owner, **labels}
    job = mine["mlport-kind"] == "Job"
    container = f"mlport_job-{name}" if job else f"mlport-{name}_d1-0"
    body = {"Image": about["Config"]["Image"], "Labels": mine}
    box.engine.call("POST", "/containers/create", params={"name": container}, json=body)
    assert EndpointState.READY == client.status(own.name).state
    assert own.name in [one.name for one in client.list()]
    client.delete(name)
    found = box.engine.call("GET", "/containers/json", params={"all": "1"})
    assert [] == [one for one in found if one["Labels"].get("mlport-endpoint") == name]
