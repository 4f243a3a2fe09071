"""Updates under load: clients see no failed request and no broken connection."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from sdk.executor import lifecycle
from tests.steady import Load, answered

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdk.packaging.model import Model


def test_update_under_load(local: Any, name: str, times: Callable[[float], Model]) -> None:
    """From before an update until the old deployment is gone every request is answered 200, on every connection."""
    url = local.deploy(times(2), name).status.url
    token = local.adapter._endpoints.folder(name).token()
    clients = [Load(url, token, fresh=fresh) for fresh in (True, False)]
    for client in clients:
        client.start()
    answered(clients)
    local.deploy(times(3), name)
    answered(clients)
    local.verb(lifecycle.rollback, name)
    answered(clients)
    local.verb(lifecycle.promote, name)
    final = local.verb(lifecycle.finalize, name).status
    answered(clients)
    for client in clients:
        client.enough.set()
        client.join(30)
    assert 1 == len(final.deployments)
    for client in clients:
        assert [] == client.broken
        assert {200} == {status for status, _ in client.answers}
        assert {2.0, 3.0} == {answer[0][0] for _, answer in client.answers}


def test_counts_are_exact(local: Any, name: str, acting: Model) -> None:
    """After 40 good, 6 bad and 3 failing requests the metrics say exactly so, with quantiles of the gateway."""
    local.deploy(acting, name)
    before = local.adapter.metrics(name, window_s=3600, timeout=10)
    status = local.status(name)
    invoker = local.adapter.invoker(status)
    import httpx

    with httpx.Client(auth=invoker.auth) as client:
        for _ in range(40):
            client.post(invoker.url, json={"instances": [["say", "x"]]})
        for _ in range(6):
            client.post(invoker.url, json={"wrong": 1})
        for _ in range(3):
            client.post(invoker.url, json={"instances": [["fail", "x"]]})
    report = local.adapter.metrics(name, window_s=3600, timeout=10)
    assert {"2xx": 40 + before.requests["2xx"], "4xx": 6, "5xx": 3} == dict(report.requests)
    assert {status.deployments[0].id: dict(report.requests)} == dict(report.deployments)
    (latency,) = report.latency
    assert ("gateway", "histogram", report.total) == (latency.scope, latency.method, latency.count)
    assert 0 < latency.p50 <= latency.p90 <= latency.p95 <= latency.p99
    assert report.memory_bytes > 10 * 2**20
    assert (1, 0) == (report.replicas, report.restarts)


def test_logs_by_request(local: Any, name: str, acting: Model) -> None:
    """Log lines can be asked for by deployment, by request, only the last ones, and as they come."""
    local.deploy(acting, name)
    deployment = local.status(name).deployments[0].id
    answer = local.ask(name, [["fail", "on purpose"]])
    request_id = answer.json()["error"]["request_id"]
    about: list[Any] = []
    while len(about) < 2:
        about = list(local.adapter.logs(name, request_id=request_id))
    assert {request_id} == {line.request_id for line in about}
    assert any("on purpose" in line.text for line in about)
    assert {deployment} == {line.deployment for line in about}
    assert 1 == len(list(local.adapter.logs(name, deployment=deployment, tail=1)))
    following = local.adapter.logs(name, tail=0, follow=True)
    told = threading.Timer(0.3, lambda: local.predict(name, [["say", "while you wait"]]))
    told.start()
    assert any("while you wait" in next(following).text for _ in range(3))
    told.join()
