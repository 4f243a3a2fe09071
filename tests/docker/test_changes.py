"""Changes of endpoints on the engine: no request lost, two clients at once, ready-made images, memory, restarts."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

import sdk
from sdk.adapter import Resource
from sdk.errors import ConfigError, ConflictError, ModelError, PlatformError, SdkError, TrainFailed, UnsupportedError
from sdk.packaging.image import build_image, open_store
from sdk.packaging.image.engine_images import load
from sdk_docker import _lease
from sdk_docker._engine import Host
from tests.steady import Load, answered
from tests.waits import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.docker.conftest import Box

pytestmark = pytest.mark.docker


@pytest.mark.full
def test_an_update_loses_no_request(box: Box) -> None:
    """At a hundred requests a second, half on new connections, from before the deploy until the old one is gone."""
    client, name = box.client(), box.name("update")
    endpoint = client.deploy(box.model, name=name)
    triple = sdk.model(lambda rows: [3 * row[1] for row in rows], name="triple", example=[[0.0, 1.0]])
    request = endpoint.request([[0.0, 1.0]])
    token = request.headers["authorization"].removeprefix("Bearer ")
    clients = [Load(str(request.url), token, fresh=fresh, row=(0.0, 1.0)) for fresh in (True, False)]
    for one in clients:
        one.start()
    answered(clients)
    client.deploy(triple, name=name)
    answered(clients)
    client.finalize(name)
    until(lambda: len(box.inspect(name)) == 2)
    answered(clients)
    for one in clients:
        one.enough.set()
        one.join(30)
    client.delete(name)
    for one in clients:
        assert [] == one.broken
        assert {200} == {status for status, _ in one.answers}
        assert {2.0, 3.0} == {answer[0] for _, answer in one.answers}


def test_what_dies_comes_back(box: Box) -> None:
    """A replica killed for its memory while it serves, and a gateway that somebody stopped, answer again."""
    client, name = box.client(), box.name("dies")
    endpoint = client.deploy(box.model, name=name, resources={"memory_gib": 0.25})
    with pytest.raises((PlatformError, ModelError), match=r"more than its 0\.25 GiB of memory"):
        endpoint.predict([[2000.0, 1.0]])
    replica = next(part for part in box.inspect(name) if part != "gateway")
    # once, or twice if the kill came so soon that the gateway took the connection for stale and tried a fresh one
    until(lambda: box.inspect(name)[replica]["RestartCount"])
    until(lambda: client.status(name).state == "ready")
    assert [2.0] == list(endpoint.predict([[0.0, 1.0]]).values)
    watched = client.monitor(name).metrics
    assert watched is not None
    assert watched.restarts in {1, 2}
    box.engine.call("POST", f"/containers/mlport-{name}_gateway/stop", params={"t": "5"})
    until(lambda: client.status(name).state == "ready")
    assert [2.0] == list(client.predict(name, [[0.0, 1.0]]).values)
    client.delete(name)


def test_a_job_killed_for_its_memory(box: Box, tmp_path: Path) -> None:
    """TrainFailed says so, with the last lines that it wrote."""
    (tmp_path / "train.py").write_text("print('about to eat', flush=True)\nbytearray(2**31)[::4096] = b'x' * 2**19\n")
    client, name = box.client(), box.name("eats")
    with pytest.raises(TrainFailed, match="memory") as failed:
        client.train(tmp_path / "train.py", name=name, resources={"memory_gib": 0.1}).wait()
    assert any("about to eat" in line for line in failed.value.logs)


# --- ready-made images ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def image(box: Box) -> str:
    """The id of an image of the model, in the engine as somebody's build would have left it."""
    store = open_store()
    built = build_image(box.model, base="debian-packages", platform=str(box.engine.platform), store=store)
    return load(box.engine, built, store)


def test_a_ready_made_image_is_a_model(box: Box, image: str) -> None:
    """An image that the engine has is deployed as it is: by digest, without a registry."""
    client, name = box.client(), box.name("ready")
    model = sdk.Model.from_image(f"localhost/mine@{image}", name="mine")
    endpoint = client.deploy(model, name=name)
    try:
        assert [10.0] == list(endpoint.predict([[0.0, 5.0]]).values)
        replica = next(about for part, about in box.inspect(name).items() if part != "gateway")
        assert image == replica["Image"]
    finally:
        endpoint.delete()


def foreign(box: Box, labels: dict[str, str], architecture: str) -> str:
    """The id of an image in the engine that is none of ours: one layer with one empty file."""
    layer, archive = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("empty"))
    rootfs = {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer.getvalue()).hexdigest()}"]}
    facts = {"architecture": architecture, "os": "linux", "config": {"Labels": labels}, "rootfs": rootfs}
    config = json.dumps(facts).encode()
    index = json.dumps([{"Config": "config.json", "RepoTags": [], "Layers": ["layer.tar"]}]).encode()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, data in {"manifest.json": index, "config.json": config, "layer.tar": layer.getvalue()}.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    content, headers = [archive.getvalue()], {"content-type": "application/x-tar"}
    with box.engine.stream("POST", "/images/load", content=content, headers=headers) as pieces:
        b"".join(pieces)
    return f"sha256:{hashlib.sha256(config).hexdigest()}"


@pytest.mark.parametrize(
    ("labels", "architecture", "kind"),
    [({}, "amd64", ConfigError), ({"dev.mlport.runtime": "x"}, "s390x", UnsupportedError)],
)
def test_an_image_that_cannot_serve_is_refused(
    box: Box, labels: dict[str, str], architecture: str, kind: type[Exception]
) -> None:
    """One without our server, or for another processor, is refused before anything is started."""
    name = box.name("foreign")
    found = foreign(box, labels, architecture)
    with pytest.raises(SdkError) as refused:
        box.client().deploy(sdk.Model.from_image(f"localhost/x@{found}", name="foreign"), name=name)
    box.engine.call("DELETE", f"/images/{found}", params={"force": "1"})
    assert kind in {type(refused.value), type(refused.value.__cause__)}
    assert {} == box.inspect(name)


# --- two clients of one engine ----------------------------------------------------------------------------------


@pytest.fixture
def host(box: Box) -> Iterator[Host]:
    """The engine as the adapter has it."""
    made = Host(lambda: box.engine.address)
    yield made
    made.close()


def volumes(box: Box, key: str) -> list[str]:
    params = {"filters": json.dumps({"label": [f"mlport-lease={key}"]})}
    return [one["Name"] for one in box.engine.call("GET", "/volumes", params=params)["Volumes"] or ()]


def test_a_lease_is_swapped_by_its_version(box: Box, host: Host) -> None:
    """Taken, renewed and given back by whoever knows the present one; then nothing is left in the engine."""
    key = box.name("locks/a")
    first = _lease.write(host, key, "{}", None, 10)
    with pytest.raises(ConflictError):
        _lease.write(host, key, "{}", None, 10)
    second = _lease.write(host, key, '{"n": 2}', first.etag, 10)
    assert second == _lease.read(host, key, 10)
    with pytest.raises(ConflictError):
        _lease.write(host, key, "{}", first.etag, 10)
    with pytest.raises(ConflictError):
        _lease.delete(host, key, first.etag, 10)
    _lease.delete(host, key, second.etag, 10)
    assert (None, []) == (_lease.read(host, key, 10), volumes(box, key))


def test_of_racing_clients_at_most_one_has_the_lease(box: Box) -> None:
    """Many take it at once, from threads with connections of their own: never two of them get it."""
    key = box.name("locks/race")
    won: list[str] = []

    def take() -> None:
        one = Host(lambda: box.engine.address)
        try:
            won.append(_lease.write(one, key, "{}", None, 30).etag)
        except ConflictError:
            pass
        finally:
            one.close()

    for _ in range(5):
        won.clear()
        racers = [threading.Thread(target=take) for _ in range(6)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
        assert len(won) <= 1
        assert won == volumes(box, key)
        for name in won:
            box.engine.call("DELETE", f"/volumes/{name}")


def test_what_a_dead_writer_left_is_in_nobodys_way(box: Box, host: Host) -> None:
    """A renewal cut off between its two calls counts; the next one removes both volumes."""
    key = box.name("locks/dead")
    first = _lease.write(host, key, "{}", None, 10)
    labels = {"mlport": "1", "mlport-lease": key, "mlport-lease-body": "{}", "mlport-lease-before": first.etag}
    box.engine.call("POST", "/volumes/create", json={"Name": f"{key.replace('/', '-')}", "Labels": labels})
    present = _lease.read(host, key, 10)
    assert present is not None
    assert first.etag != present.etag
    third = _lease.write(host, key, "{}", present.etag, 10)
    assert [third.etag] == volumes(box, key)
    _lease.delete(host, key, third.etag, 10)


def test_a_stale_client_cannot_change_the_traffic(box: Box) -> None:
    """Of two clients that have seen the same traffic one changes it, and the other is told whose it is."""
    client, name = box.client(), box.name("two")
    client.deploy(box.model, name=name)
    try:
        first, second = box.client().session().adapter, box.client().session().adapter
        seen = {live.kind: live for live in first.observe(name, timeout=30)}["Traffic"]
        assert seen.labels is not None
        wanted = Resource("Traffic", name, seen.spec, replace(seen.labels, txn="t2"), seen.parents)
        second.update(wanted, seen, timeout=30)
        with pytest.raises(ConflictError) as refused:
            first.update(replace(wanted, labels=replace(seen.labels, txn="t3")), seen, timeout=30)
        assert seen.labels.owner == refused.value.holder
    finally:
        client.delete(name)


def test_a_delete_is_marked_before_anything_goes(box: Box) -> None:
    """A client that dies right after the mark leaves a deployment that is being deleted, and any look finishes it."""
    client, name = box.client(), box.name("mark")
    client.deploy(box.model, name=name)
    adapter: Any = box.client().session().adapter
    (live,) = [one for one in adapter.observe(name, timeout=30) if one.kind == "Container"]
    control = adapter._deployments.gateways.control(name)
    control.call("DELETE", "/records/traffic", {"expected": _etag(control, "traffic")}, timeout=30)
    control.call("PUT", f"/records/ending-{live.id.partition('.')[2]}", body={}, timeout=30)
    assert 2 == len(box.inspect(name))
    until(lambda: adapter.read(live.ref, timeout=30) is None)
    assert {"gateway"} == set(box.inspect(name))
    assert {"gateway"} == set(control.call("GET", "/records", timeout=30)["records"])
    client.delete(name)


def _etag(control: Any, record: str) -> str:
    return str(control.call("GET", "/records", timeout=30)["records"][record]["etag"])
