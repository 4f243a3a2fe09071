"""What targets behind our gateway share: planning, reading back, the table, log lines, refusals."""

from __future__ import annotations

import doctest
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from sdk.adapter import YES, Capability, DeploymentSpec, EndpointSpec, Labels, Live, Materials, Replicas, Support
from sdk.adapter.shared import checks, gateway_metrics, gateway_plan, gateway_table, inputs, invoker, log_lines
from sdk.adapter.shared.gateway_options import GatewayOptions
from sdk.adapter.shared.gateway_status import newest_tags, status
from sdk.errors import AuthError, ConfigError, PayloadTooLargeError, UnavailableError, UnsupportedError

if TYPE_CHECKING:
    from pathlib import Path

LABELS = Labels("churn", "me", "t1", generation=1, model="m" * 32, expires_at=9)
SPEC = DeploymentSpec(id="d1-a", model_name="churn", model="m" * 64, generation=1)
ENDPOINT = EndpointSpec("churn", (SPEC,), {"d1-a": 100}, LABELS, {"team": "a"})


@pytest.mark.parametrize("name", ["log_lines", "gateway_metrics", "gateway_plan", "gateway_table"])
def test_examples_are_true(name: str) -> None:
    """Each example in the docstrings gives what it shows."""
    found = doctest.testmod(import_module(f"sdk.adapter.shared.{name}"))
    assert (0, True) == (found.failed, found.attempted > 0)


def live(**changes: Any) -> Live:
    """A deployment that is ready, as an adapter reads it back."""
    spec = gateway_plan.workload("Pod", ENDPOINT, SPEC, GatewayOptions(usd_per_hour=2.0), parents=()).spec
    return replace(Live("Pod", "churn.d1-a", "ready", spec=spec, labels=LABELS, usd_per_hour=2.0), **changes)


def others(weights: dict[str, int]) -> list[Live]:
    """A gateway and traffic with these weights."""
    spec: dict[str, Any] = {"weights": weights}
    details: dict[str, Any] = {"url": "http://here", "last_request_at": 90.0}
    return [
        Live("Traffic", "churn", "ready", spec=spec, labels=LABELS),
        Live("Gateway", "churn", "ready", raw="up", labels=LABELS, created_at=10.0, details=details),
    ]


def test_what_was_planned_is_read_back() -> None:
    """Hash, model, generation, price, tags and idle time survive the way to the platform and back."""
    found = status("churn", [live(), *others({"d1-a": 100})], workload="Pod", provider="p", target="t", now=100.0)
    assert found is not None
    one = found.deployments[0]
    assert ("ready", 10.0, 2.0, {"team": "a"}) == (found.state, found.idle_s, found.usd_per_hour, found.tags)
    assert (SPEC.spec_hash, SPEC.model, 1, 100) == (one.spec_hash, one.model, one.generation, one.traffic)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("ready", "ready", "ready"),
        ("ready", "failed", "degraded"),
        ("failed", "failed", "failed"),
        ("creating", "failed", "failed"),
        ("ready", "creating", "updating"),
        ("creating", "creating", "creating"),
        ("updating", "updating", "updating"),
    ],
)
def test_state_follows_from_the_deployments(first: Any, second: Any, expected: str) -> None:
    """One that serves and one that is broken is degraded; nothing ready yet is creating."""
    both = [live(state=first, reason="because"), live(id="churn.d2-b", state=second, reason="because")]
    found = status("churn", [*both, *others({"d1-a": 50, "d2-b": 50})], workload="Pod", provider="p", target="t", now=0)
    assert found is not None
    says = {first, second} & {"failed", "updating"}
    assert (expected, "because" if says else None) == (found.state, found.reason)


@pytest.mark.parametrize(("weights", "expected"), [({"d1-a": 50, "d2-b": 50}, "degraded"), ({"d2-b": 100}, "failed")])
def test_a_share_that_nothing_serves_is_a_failure(weights: dict[str, int], expected: str) -> None:
    """A deployment with traffic of which nothing is left is named, with what to do; the endpoint is not `creating`."""
    found = status("churn", [live(), *others(weights)], workload="Pod", provider="p", target="t", now=0)
    assert found is not None
    assert (expected, True) == (found.state, "deployment d2-b" in str(found.reason))


def test_a_gateway_that_was_just_started_again_is_no_ready_endpoint() -> None:
    """The look that brought it back says so; the next one finds it ready."""
    traffic, gateway = others({"d1-a": 100})
    back = replace(gateway, state="updating", reason="was paused")
    found = status("churn", [live(), traffic, back], workload="Pod", provider="p", target="t", now=0)
    assert found is not None
    assert ("updating", "was paused") == (found.state, found.reason)


def test_an_unknown_price_stays_unknown() -> None:
    """One deployment without a price makes that of the endpoint unknown, never 0."""
    found = status("churn", [live(usd_per_hour=None), *others({})], workload="Pod", provider="p", target="t", now=0)
    assert found is not None
    assert None is found.usd_per_hour


def test_tags_are_those_of_the_newest() -> None:
    """The user's tags are read from the deployment with the highest generation."""
    newer = live(labels=replace(LABELS, generation=2), spec={"tags": {"team": "b"}})
    assert {"team": "b"} == newest_tags([newer, live()])
    assert {} == newest_tags([])


def test_a_table_is_handed_over_once() -> None:
    """A table is due until the gateway has it or is at it, then again when it differs."""
    wanted = gateway_table.table({"a": [{"id": "a-0", "address": "tcp:h:1"}]}, {"a": 60, "b": 40}, GatewayOptions())
    assert 100 == wanted["deployments"]["a"]["weight"], "what is left of a split serves everything"
    idle = {"generation": 3, "applying": None}
    assert 4 == gateway_table.due(wanted, {"generation": 0, "content": ""}, idle)
    note = {"generation": 4, "content": gateway_table.content_hash(wanted)}
    assert 5 == gateway_table.due(wanted, note, idle), "it was noted but never arrived"
    assert None is gateway_table.due(wanted, note, {"generation": 3, "applying": 4})
    assert None is gateway_table.due(wanted, note, {"generation": 4, "applying": None})
    assert 5 == gateway_table.due({**wanted, "limits": {}}, note, {"generation": 4, "applying": None})


def test_refusals_carry_the_capability_and_its_reason() -> None:
    """What a platform lacks is refused in the words of its declaration."""
    able = dict.fromkeys(Capability, YES)
    checks.check_deployment(replace(SPEC, replicas=Replicas(1, 2), image="i", instance="x"), able, "p")
    lacking = {**able, Capability.AUTOSCALE: Support(ok=False, reason="upstream", text="no scaling here")}
    with pytest.raises(UnsupportedError, match="no scaling here") as refused:
        checks.check_deployment(replace(SPEC, replicas=Replicas(1, 2)), lacking, "p")
    assert ("autoscale", "upstream", "p") == (refused.value.capability, refused.value.reason, refused.value.provider)


def test_inputs_are_paths_of_this_machine(tmp_path: Path) -> None:
    """Paths and file:// are taken, a cloud's URI, a missing file and a bad name are refused."""
    (tmp_path / "a b.csv").write_text("1")
    uri = (tmp_path / "a b.csv").as_uri()
    assert {"train": tmp_path / "a b.csv"} == inputs.local_data({"train": uri}, "local")
    with pytest.raises(UnsupportedError, match="s3://"):
        inputs.check_data({"train": "s3://bucket/key"}, "local")
    with pytest.raises(ConfigError, match="does not exist"):
        inputs.local_data({"train": str(tmp_path / "none")}, "local")
    with pytest.raises(ConfigError, match="no name"):
        inputs.check_data({"Train-1": "x"}, "local")


def test_secrets_are_resolved_or_refused() -> None:
    """A secret without a source is an error that names it."""
    assert {"A": "value of N"} == Materials(secret=lambda name: f"value of {name}").resolve({"A": "N"})
    assert {} == Materials().resolve({})
    with pytest.raises(ConfigError, match="secrets A cannot"):
        Materials().resolve({"A": "N"})


@pytest.mark.parametrize(
    ("code", "body", "kind"),
    [
        (401, {}, AuthError),
        (413, {}, PayloadTooLargeError),
        (503, {"error": {"code": "not_ready", "message": "m"}}, UnavailableError),
        (503, {"error": {"code": "overloaded", "message": "m"}}, UnavailableError),
        (502, {"error": {"code": "replica_lost", "message": "m"}}, UnavailableError),
    ],
)
def test_what_the_gateway_refuses_is_typed(code: int, body: Any, kind: type[Exception]) -> None:
    """Its own codes are no fault of the model; only some prove that nothing was sent."""
    answer = httpx.Response(code, json=body, headers={"retry-after": "2"})
    error = invoker.error(answer, provider="p")
    assert (kind, None, "p") == (type(error), invoker.fault(answer), error.provider)
    if isinstance(error, UnavailableError):
        said = body["error"]["code"]
        assert (said == "replica_lost", said == "not_ready") == (error.sent, error.unready)
        assert (said == "replica_lost") == error.lost
        assert 2.0 == error.retry_after_s


def test_what_the_model_answers_is_its_own() -> None:
    """An answer that names its deployment is the model's, with its status and field."""
    answer = httpx.Response(
        400, json={"error": {"message": "bad", "field": "x"}}, headers={invoker.PIN: "d1-a", "x-request-id": "r"}
    )
    fault = invoker.fault(answer)
    assert fault is not None
    assert (400, "bad", "x", "r") == (fault.status, fault.message, fault.field, fault.request_id)


def test_counts_add_up_over_deployments() -> None:
    """Requests and buckets are added, quantiles taken from the sum."""
    one = {"classes": {"2xx": 2}, "latency": {"buckets": {"0.0011": 2}, "sum_s": 0.002}}
    other = {"classes": {"2xx": 1, "5xx": 1}, "latency": {"buckets": {"0.0011": 1, "0.011": 1}, "sum_s": 0.012}}
    given = {"now": 5.0, "deployments": {"a": one, "b": other}}
    found = gateway_metrics.report(given, 60.0, cpu=0.5, memory_bytes=7, replicas=2, restarts=1, last_request_at=4.0)
    assert ({"2xx": 3, "5xx": 1}, 4, 1.05, 3.5) == (
        found.requests,
        found.latency[0].count,
        found.latency[0].p50,
        found.latency[0].mean,
    )


def test_plain_lines_get_the_time_of_their_neighbours() -> None:
    """A model's own print has the time of the server's line before it, the first ones that of the line after."""
    texts = ["print one", '{"ts": 5.0, "request_id": "r1"}', "print two"]
    found = log_lines.dated([log_lines.read_line("d1-0", text) for text in texts], {}, now=99.0)
    assert [5.0, 5.0, 5.0] == [line.time for line in found]
    assert ["d1", "d1-0"] == [found[0].deployment, found[0].replica]
    assert [texts[1]] == [line.text for line in log_lines.select(found, None, "r1")]
    assert [texts[2]] == [line.text for line in log_lines.select(found, 1, None)]
