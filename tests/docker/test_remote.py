"""Engines elsewhere and other engines: by TCP, through a tunnel, newer ones, and what goes wrong on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import sdk
from sdk.adapter import Ref
from sdk.errors import AuthError, DeployFailed, NotFoundError, QuotaError, SdkError, UnavailableError, UnsupportedError
from tests.docker.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sdk.client.endpoint import Endpoint
    from tests.docker.conftest import Box

pytestmark = pytest.mark.docker


def triple(rows: Sequence[Sequence[float]]) -> list[float]:
    """Another model than the box's."""
    return [3 * row[0] for row in rows]


def test_an_engine_by_tcp_through_its_tunnel(box: Box, endpoint: Endpoint) -> None:
    """Another client, by TCP alone, finds the endpoint, calls it through the engine, and reads its logs and figures."""
    with Proxy() as proxy:
        client = box.client(host=proxy.address, reach="tunnel")
        there = client.endpoint(endpoint.name)
        assert [[6.0], [8.0]] == [list(there.predict([[0.0, value]]).values) for value in (3.0, 4.0)]
        port = endpoint.request([[0.0, 1.0]]).url.port
        assert port != there.request([[0.0, 1.0]]).url.port
        assert "ready" == client.status(endpoint.name).state
        client.close()


def test_a_newer_engine_is_spoken_to_in_its_oldest_version(box: Box, endpoint: Endpoint) -> None:
    """An engine that has dropped what we know first is asked in the oldest version that it still knows."""
    with Proxy(newest="1.52", oldest="1.44") as proxy:
        client = box.client(host=proxy.address)
        assert [14.0] == list(client.predict(endpoint.name, [[0.0, 7.0]]).values)
        assert {"/v1.44"} == {version for _, version, _ in proxy.seen if version}
        client.close()


@pytest.mark.full
def test_the_whole_life_on_an_engine_that_answers_as_the_newest(box: Box) -> None:
    """Nothing that newer versions have removed is needed to build, deploy, update, call, watch, list and delete."""
    name = box.name("newest")
    with Proxy(newest="1.56", oldest="1.44", modern=True) as proxy:
        client = box.client(host=proxy.address)
        for model in (box.model, sdk.model(triple, name="newest", example=[[1.0]])):
            client.deploy(model, name=name)
        assert [21.0] == list(client.predict(name, [[7.0]]).values)
        assert "ready" == client.status(name).state
        assert name in [one.name for one in client.list()]
        watched = client.monitor(name).metrics
        assert watched is not None
        assert watched.requests
        assert list(client.logs(name))
        client.delete(name)
        assert {"/v1.44"} == {version for _, version, _ in proxy.seen if version}
        client.close()
    assert {} == box.inspect(name)


def test_an_engine_that_is_too_old(box: Box) -> None:
    """It is refused with what is needed."""
    with Proxy(newest="1.40") as proxy, pytest.raises(UnsupportedError, match=r"1\.41 is needed"):
        box.client(host=proxy.address).list()


def test_an_engine_that_is_not_there(box: Box, tmp_path: Path) -> None:
    """Its address is named, and that nothing was sent; doctor says the same instead of failing."""
    client = box.client(host=f"unix://{tmp_path}/no.sock")
    with pytest.raises(UnavailableError, match=r"no\.sock") as missing:
        client.status("churn")
    assert not missing.value.sent
    (check,) = client.doctor(target="box")["box"]
    assert (False, True) == (check.ok, "start Docker" in str(check.hint))


def test_an_engine_that_is_stopped_meanwhile(box: Box, endpoint: Endpoint) -> None:
    """Calls end as unavailable; the endpoint itself goes on answering."""
    proxy = Proxy()
    with proxy:
        client = box.client(host=proxy.address)
        assert "ready" == client.status(endpoint.name).state
        proxy.stop()
        with pytest.raises(UnavailableError):
            client.session().adapter.read(Ref("Gateway", endpoint.name), timeout=5)
        client.close()
    assert [2.0] == list(endpoint.predict([[0.0, 1.0]]).values)


@pytest.mark.parametrize(
    ("call", "status", "message", "kind"),
    [
        ("POST /containers/create", 500, "mkdir /var/lib/docker/x: no space left on device", QuotaError),
        ("POST /networks/create", 500, "no space left on device", QuotaError),
        ("POST /containers/create", 403, "authorization denied by plugin", AuthError),
        ("POST /containers/create", 500, 'could not select device driver "" with capabilities: [[gpu]]', SdkError),
    ],
)
def test_what_an_engine_refuses(box: Box, call: str, status: int, message: str, kind: type[SdkError]) -> None:
    """No disk, no right, no GPU: a typed error in the engine's words, and nothing is left behind."""
    name = box.name()
    with Proxy() as proxy:
        proxy.refused[call] = status, message
        client = box.client(host=proxy.address)
        with pytest.raises(SdkError) as failed:
            client.deploy(box.model, name=name)
        causes = [failed.value, failed.value.__cause__]
        assert any(isinstance(cause, kind) for cause in causes), causes
        assert message[:20] in "".join(map(str, causes))
        client.close()
    assert {} == box.inspect(name)
    with pytest.raises(NotFoundError):
        box.client().status(name)


def test_a_real_engine_without_gpus(box: Box) -> None:
    """GPUs are asked for, and what the engine here says to that is in the error."""
    with pytest.raises(SdkError) as failed:
        box.client().deploy(box.model, name=box.name(), resources={"gpu": 1})
    assert "device driver" in "".join(map(str, (failed.value, failed.value.__cause__)))


def test_killed_for_its_memory_before_it_is_ready(box: Box) -> None:
    """DeployFailed says so, with the limit and what to set; nothing is left."""
    name = box.name()
    with pytest.raises(DeployFailed, match="memory") as failed:
        box.client().deploy(box.model, name=name, resources={"memory_gib": 0.02})
    assert "0.02 GiB" in str(failed.value.reason)
    assert {} == box.inspect(name)
