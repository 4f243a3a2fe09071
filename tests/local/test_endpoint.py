"""An endpoint from its first deployment to nothing, with real processes."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from sdk.adapter import DeploymentSpec, Materials
from sdk.adapter.types import EndpointState, Replicas
from sdk.errors import ConflictError, NotFoundError
from sdk.executor import lifecycle

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sdk.packaging.model import Model


def test_whole_life(local: Any, name: str, times: Callable[[float], Model], state: Path) -> None:
    """Deploy, canary, promote, roll back, finalize, delete: each answers as it says, and nothing is left."""
    first = local.deploy(times(2), name).status
    assert (EndpointState.READY, [100]) == (first.state, [one.traffic for one in first.deployments])
    assert [[6.0]] == local.predict(name, [[3.0]])
    canary = local.deploy(times(5), name, share=10).status
    old, new = canary.deployments
    assert [90, 10] == [old.traffic, new.traffic]
    assert [[[6.0]], [[15.0]]] == [local.predict(name, [[3.0]], one.id) for one in (old, new)]
    answers = [local.predict(name, [[3.0]])[0][0] for _ in range(20)]
    assert {6.0: 18, 15.0: 2} == {answer: answers.count(answer) for answer in answers}
    promoted = local.verb(lifecycle.promote, name).status
    assert {old.id: 0, new.id: 100} == promoted.traffic
    assert [[15.0]] == local.predict(name, [[3.0]])
    back = local.verb(lifecycle.rollback, name).status
    assert {old.id: 100, new.id: 0} == back.traffic
    assert [[6.0]] == local.predict(name, [[3.0]])
    final = local.verb(lifecycle.finalize, name).status
    assert {old.id: 100} == final.traffic
    assert final.url == first.url
    local.delete(name)
    assert local.status(name) is None
    assert not (state / "endpoints" / name).exists()


def test_same_deploy_twice(local: Any, name: str, times: Callable[[float], Model]) -> None:
    """A second identical deploy makes no mutating call."""
    assert 4 >= len(local.deploy(times(2), name).calls) > 0
    assert () == local.deploy(times(2), name).calls


def test_outlives_the_script(local: Any, name: str, times: Callable[[float], Model], state: Path) -> None:
    """An endpoint made by a script that has ended is found by name from another process."""
    local.deploy(times(2), name)
    code = (
        "import sys, httpx\n"
        "from pathlib import Path\n"
        "from sdk.adapter import AdapterContext\n"
        "from sdk.util.redact import Redactor\n"
        "from sdk.util.waiting import SystemClock\n"
        "from sdk_local import LocalAdapter, LocalOptions\n"
        "context = AdapterContext('local', 'other', Path(sys.argv[1]), SystemClock(), Redactor())\n"
        "adapter = LocalAdapter(LocalOptions(), context)\n"
        "status = adapter.status(sys.argv[2], adapter.observe(sys.argv[2], timeout=10))\n"
        "invoker = adapter.invoker(status)\n"
        "print(httpx.post(invoker.url, json={'instances': [[4.0]]}, auth=invoker.auth).text)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(state), name], capture_output=True, text=True, check=True, timeout=60
    )
    assert '{"predictions":[[8.0]]}' == done.stdout.strip()


def test_list_tells_age_owner_and_price(new_local: Any, name: str, times: Callable[[float], Model]) -> None:
    """Everything of an endpoint is listed for every owner, with its age, its idle time and its price."""
    client = new_local(usd_per_hour=0.25)
    client.deploy(times(2), name)
    status = client.status(name)
    assert ("me", 0.25) == (status.owner, status.usd_per_hour)
    assert 0 <= client.adapter.server_time() - status.created_at < 60
    assert 0 <= status.idle_s < 120
    listed = {
        live.kind: live for live in new_local("stranger").adapter.list(timeout=10) if live.labels.endpoint == name
    }
    assert {"Gateway", "Process", "Traffic"} <= listed.keys()
    assert {"me"} == {live.labels.owner for live in listed.values()}


def test_replicas(local: Any, name: str, times: Callable[[float], Model]) -> None:
    """All replicas of a deployment get requests."""
    status = local.deploy(times(2), name, replicas=Replicas(2, 2)).status
    for _ in range(10):
        local.predict(name, [[1.0]])
    seen = local.adapter._deployments.gateway(name).look(10).deployments[status.deployments[0].id]
    assert 2 == len(seen.replicas)
    assert all(replica["served"] >= 5 for replica in seen.replicas.values())
    assert 2 == local.adapter.metrics(name, window_s=60, timeout=10).replicas


def test_other_owner_is_refused(local: Any, new_local: Any, name: str, times: Callable[[float], Model]) -> None:
    """An endpoint of another owner is left alone, and the owner is named."""
    local.deploy(times(2), name)
    with pytest.raises(ConflictError) as refused:
        new_local("stranger").deploy(times(3), name)
    assert "me" in str(refused.value)
    assert [[4.0]] == local.predict(name, [[2.0]])


def test_ttl(new_local: Any, name: str, times: Callable[[float], Model]) -> None:
    """Any client removes an endpoint that is past its time to live, and none that is not."""
    client = new_local()
    context = lifecycle.ChangeContext(name, "me", "ttl1", expires_at=int(client.clock.time()) + 3600)
    made = times(2)
    client.apply(lifecycle.deploy(None, DeploymentSpec("", made.name, made.digest, 0), context), Materials(model=made))
    assert context.expires_at == client.status(name).expires_at
    assert [] == new_local("janitor").executor.gc(apply=True, expired=True).removed
    report = new_local("janitor", ahead=4000.0).executor.gc(apply=True, expired=True)
    assert {"Gateway", "Process", "Traffic"} == {item.kind for item in report.removed}
    assert client.status(name) is None


def test_long_state_folder(tmp_path: Path, new_local: Any, times: Callable[[float], Model]) -> None:
    """A state folder whose path is too long for sockets works through a short private link."""
    deep = tmp_path / ("x" * 60) / ("y" * 60)
    client = new_local(folder=deep)
    client.deploy(times(2), "deep")
    assert [[4.0]] == client.predict("deep", [[2.0]])
    client.delete("deep")
    assert [] == [path for path in (deep / "endpoints").glob("*") if not path.name.startswith(".")]


def test_token_is_needed(local: Any, name: str, times: Callable[[float], Model], state: Path) -> None:
    """Without the endpoint's own token there is no answer; its files are for their owner only."""
    local.deploy(times(2), name)
    status = local.status(name)
    assert 401 == httpx.post(status.url, json={"instances": [[1.0]]}).status_code
    folder = state / "endpoints" / name
    assert 0o700 == folder.stat().st_mode & 0o777
    modes = {path.stat().st_mode & 0o077 for path in [folder / "token", *(folder / "records").glob("*.json")]}
    assert {0} == modes


def test_nothing_there(local: Any) -> None:
    """A name that nobody has: no status, and a NotFoundError that names it."""
    assert local.status("nobody-here") is None
    with pytest.raises(NotFoundError, match="nobody-here"):
        local.adapter.metrics("nobody-here", window_s=60, timeout=5)
    with pytest.raises(NotFoundError, match="nobody-here"):
        list(local.adapter.logs("nobody-here"))
