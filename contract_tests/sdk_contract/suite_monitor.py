"""Counts and latencies: honest about what was measured, and how."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sdk.adapter import Capability, Monitors
from sdk.errors import ModelError, NotFoundError

from .samples import ANSWER, FAIL, SLEEP

if TYPE_CHECKING:
    from sdk.adapter.metrics import MetricsReport

    from .rig import Rig


def measure(rig: Rig, name: str, *, at_least: int, window_s: float = 600.0) -> MetricsReport:
    """Return the adapter's report, once the platform shows as many requests as were made."""
    adapter = rig.make()
    assert isinstance(adapter, Monitors)
    give_up = rig.clock.monotonic() + rig.patience
    try:
        while True:
            report = adapter.metrics(name, window_s=window_s, timeout=60)
            if report.total >= at_least or rig.clock.monotonic() > give_up:
                return report
            rig.clock.sleep(0.2)
    finally:
        adapter.close()


class MonitorSuite:
    """metrics() counts every request once, and no quantile is invented."""

    def test_every_request_is_counted_once(self, rig: Rig) -> None:
        """Answers are counted by status class, in total and for each deployment."""
        rig.need(Capability.METRICS)
        name, client = rig.name("monitor"), rig.client()
        endpoint = client.deploy(rig.model(1), name=name)
        before = measure(rig, name, at_least=0)
        for _ in range(20):
            endpoint.predict([[ANSWER, 1.0]])
        for _ in range(3):
            with pytest.raises(ModelError):
                endpoint.predict([[FAIL, 1.0]])
        with pytest.raises(ModelError):
            endpoint.predict([[ANSWER]])
        report = measure(rig, name, at_least=before.total + 24)
        gained = {key: report.requests.get(key, 0) - before.requests.get(key, 0) for key in ("2xx", "4xx", "5xx")}
        assert {"2xx": 20, "4xx": 1, "5xx": 3} == gained
        errors = report.errors - before.errors, report.client_errors - before.client_errors
        assert errors == (3, 1), "a caller's mistake is no failure of the endpoint"
        assert report.total == sum(sum(counts.values()) for counts in report.deployments.values())
        assert 600.0 == report.window_s
        assert report.last_request_at is None or abs(report.end - report.last_request_at) < 600
        client.delete(name)

    def test_quantiles_are_measured(self, rig: Rig) -> None:
        """Quantiles rise, name their method, and lie between the fastest and the slowest measured answer."""
        rig.need(Capability.METRICS, Capability.TRAFFIC)
        name, client = rig.name("monitor"), rig.client()
        client.deploy(rig.model(1), name=name)
        endpoint = client.deploy(rig.model(2), name=name, traffic=50)
        slowest = max(endpoint.predict([[SLEEP, 0.03]]).latency_ms for _ in range(30))
        report = measure(rig, name, at_least=30)
        assert report.latency
        for latency in report.latency:
            assert latency.method in {"exact", "histogram", "approximate"}
            assert latency.scope in {"client", "gateway", "platform", "container"}
            found = [q for q in (latency.p50, latency.p90, latency.p95, latency.p99) if q is not None]
            assert sorted(found) == found, str(latency)
            slack = 2.0 if latency.method == "histogram" else 1.0  # a bucket may be twice as wide as the values in it
            assert all(q >= 30 / slack for q in found), str(latency)
            ours = [q for q in (latency.p50, latency.p90) if q is not None]  # above it are calls of the deploys
            assert [] == [q for q in ours if q > slowest * slack], f"{latency}, slowest {slowest}"
        client.delete(name)

    def test_utilisation(self, rig: Rig) -> None:
        """Processor and memory are plausible where the platform reports them, and None elsewhere, never 0."""
        rig.need(Capability.METRICS)
        name, client = rig.name("monitor"), rig.client()
        client.deploy(rig.model(1), name=name).predict([[ANSWER, 1.0]])
        report = measure(rig, name, at_least=1)
        assert report.memory_bytes is None or report.memory_bytes > 2**20
        assert report.cpu is None or report.cpu >= 0
        assert report.replicas in {None, 1}
        assert report.restarts in {None, 0}
        client.delete(name)

    def test_the_watch(self, rig: Rig) -> None:
        """monitor() combines state, counts and price."""
        rig.need(Capability.METRICS)
        name, client = rig.name("monitor"), rig.client()
        client.deploy(rig.model(1), name=name).predict([[ANSWER, 1.0]])
        watch = client.monitor(name, window="10m")
        assert "ready" == watch.state
        assert watch.ok
        assert name in str(watch)
        client.delete(name)

    def test_nothing_to_watch(self, rig: Rig) -> None:
        """Monitoring a missing endpoint is a NotFoundError."""
        with pytest.raises(NotFoundError):
            rig.client().monitor("contract-nobody", window="10m")
