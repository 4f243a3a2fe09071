"""What the monitor shows, and when its alarms ring."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from sdk.adapter.metrics import Latency, MetricsReport
from sdk.adapter.types import DeploymentStatus, EndpointState, EndpointStatus
from sdk.client.alarms import evaluate, latency_of, objective, value_of
from sdk.client.monitor import cost_so_far
from sdk.config.rules import METRICS, parse_rule
from sdk.errors import NotFoundError, UnsupportedError
from sdk_contract.fake import TrafficFake

if TYPE_CHECKING:
    from pathlib import Path

STATUS = EndpointStatus("churn", "x", "x", EndpointState.READY, "", None, idle_s=5.0, usd_per_hour=0.3)
REPORT = MetricsReport(
    window_s=100.0,
    end=0.0,
    requests={"2xx": 90, "4xx": 4, "5xx": 6},
    latency=(
        Latency("container", "exact", 100, p50=1.0),
        Latency("gateway", "histogram", 100, p50=2.0, p90=3.0, p95=4.0, p99=5.0, mean=2.5),
    ),
    cpu=0.5,
    memory_bytes=2**30,
    replicas=2,
    restarts=1,
)
VALUES = {
    "p50_ms": 2.0, "p90_ms": 3.0, "p95_ms": 4.0, "p99_ms": 5.0, "mean_ms": 2.5, "rate": 1.0, "requests": 100,
    "errors": 6, "error_rate": 0.06, "client_errors": 4, "client_error_rate": 0.04,
    "cpu": 0.5, "memory_gib": 1.0, "replicas": 2, "restarts": 1, "idle_s": 5.0,
    "usd_per_hour": 0.3,
}  # fmt: skip


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_of_a_rule_is_measured(metric: str) -> None:
    """Each metric that a rule may name has its value; latency is the one nearest to the user."""
    assert VALUES[metric] == value_of(metric, STATUS, REPORT)


@pytest.mark.parametrize("metric", sorted(set(METRICS) - {"idle_s", "usd_per_hour"}))
def test_what_is_not_measured_is_unknown(metric: str) -> None:
    """Without measurements a value is unknown, and no alarm rings."""
    rule = parse_rule(f"{metric} >= 0")
    (alarm,) = evaluate([rule], STATUS, 60.0, lambda _window: None)
    assert (None, False) == (alarm.value, alarm.firing)


def test_nothing_asked_means_no_error_rate_and_no_latency() -> None:
    """With no requests a share of errors or a quantile does not exist."""
    empty = MetricsReport(60.0, 0.0, latency=(Latency("gateway", "histogram", 0),))
    shares = [value_of(metric, STATUS, empty) for metric in ("error_rate", "client_error_rate")]
    assert ([None, None], None) == (shares, latency_of(empty, "p95"))


def test_a_clients_mistakes_are_no_failure_of_the_endpoint() -> None:
    """A caller that sends nonsense all day rings its own alarm, and keeps no canary from being promoted."""
    report = MetricsReport(60.0, 0.0, requests={"2xx": 10, "4xx": 90})
    rules = [parse_rule("error_rate > 0%"), parse_rule("errors > 0"), parse_rule("client_error_rate > 50%")]
    alarms = evaluate(rules, STATUS, 60.0, lambda _window: report)
    assert [(0.0, False), (0, False), (0.9, True)] == [(alarm.value, alarm.firing) for alarm in alarms]


def test_whatever_is_neither_an_answer_nor_a_clients_mistake_is_an_error() -> None:
    """A class that nobody expects is not counted as good."""
    report = MetricsReport(60.0, 0.0, requests={"2xx": 1, "3xx": 1, "4xx": 1, "5xx": 1, "": 1})
    assert (3, 1, 5) == (report.errors, report.client_errors, report.total)


def test_rule_that_must_last_is_measured_over_its_own_time() -> None:
    """`for 5m` looks at the last five minutes, other rules at the window; each window is measured once."""
    asked: list[float] = []

    def report(window_s: float) -> MetricsReport:
        asked.append(window_s)
        return MetricsReport(window_s, 0.0, latency=(Latency("gateway", "exact", 1, p95=window_s),))

    rules = [parse_rule("p95_ms > 299 for 5m"), parse_rule("p95_ms > 301 for 5m"), parse_rule("p95_ms > 3000")]
    alarms = evaluate(rules, STATUS, 3600.0, report)
    assert [(300.0, True), (300.0, False), (3600.0, True)] == [(alarm.value, alarm.firing) for alarm in alarms]
    assert [300.0, 3600.0] == sorted(asked)


def test_latency_objective_is_an_alarm() -> None:
    """The objective of the configuration counts like a rule."""
    (alarm,) = evaluate(objective(3.9), STATUS, 100.0, lambda _window: REPORT)
    assert ("p95_ms > 3.9", True, "ALARM: p95_ms > 3.9 (is 4)") == (alarm.rule, alarm.firing, str(alarm))
    assert () == objective(None)


def test_watch_shows_it_all(world: Any, faked: Any) -> None:
    """State, counts by class, latency with scope and method, use, cost, alarms and the last lines are there."""
    faked.TellingFake.lines = ("<b>hello</b>",)
    client = world.client(
        monitor={"alarms": ["error_rate > 5%", "client_error_rate > 5%", "rate < 1 for 5m"]}, objective={"p95_ms": 4000}
    )
    client.deploy(faked.a_model(), instance="big")
    world.clock.sleep(7200)
    watch = client.monitor("churn", window="1h")
    faked.TellingFake.lines = ()
    assert ({"2xx": 90, "4xx": 4, "5xx": 6}, 3600.0) == (watch.requests, watch.window_s)
    assert (False, EndpointState.READY) == (watch.ok, watch.state)
    assert ["error_rate > 0.05", "rate < 1 for 5m"] == [alarm.rule for alarm in watch.firing]
    assert 0.8 == pytest.approx(watch.usd, rel=0.01)
    text = str(watch)
    for part in (
        "NOT OK",
        "6 x 5xx",
        "gateway, exact, 100 requests",
        "0.50 cores (up to 6m old)",
        "$0.4/h",
        "<b>hello</b>",
    ):
        assert part in text
    assert "&lt;b&gt;hello" in watch._repr_html_()
    assert "churn" == json.loads(json.dumps(watch.to_dict()))["name"]


def test_watch_without_trouble_is_ok(world: Any, faked: Any) -> None:
    """Ready and no alarm: ok."""
    client = world.client(monitor={"alarms": ["error_rate > 50%"]})
    client.deploy(faked.a_model())
    assert client.monitor("churn").ok


def test_target_that_measures_nothing(tmp_path: Path, faked: Any) -> None:
    """Without metrics and logs the rest is still shown, and asking for logs is unsupported."""
    world = faked.World(tmp_path, TrafficFake)
    client = world.client()
    client.deploy(faked.a_model())
    watch = client.monitor("churn")
    assert (None, (), "not measured" in str(watch)) == (watch.metrics, watch.logs, True)
    with pytest.raises(UnsupportedError):
        client.logs("churn")
    world.close()


def test_monitor_of_nothing(world: Any) -> None:
    """An endpoint that is not there is NotFoundError, for its logs too."""
    with pytest.raises(NotFoundError):
        world.client().monitor("churn")
    with pytest.raises(NotFoundError):
        world.client().logs("churn")


def test_cost_is_price_times_age() -> None:
    """Each present deployment costs since it was made; one unknown price makes the sum unknown."""

    def made(at: float | None, usd: float | None) -> DeploymentStatus:
        return DeploymentStatus("d1", 100, "ready", "a" * 32, "s", 1, created_at=at, usd_per_hour=usd)

    assert 3.0 == cost_so_far((made(0.0, 1.0), made(3600.0, 1.0)), 7200.0)
    assert None is cost_so_far((made(0.0, 1.0), made(0.0, None)), 7200.0)
    assert None is cost_so_far((made(None, 1.0),), 7200.0)
    assert 0.0 == cost_so_far((made(None, 0.0),), 7200.0)
