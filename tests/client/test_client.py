"""The verbs on a fake cloud in virtual time."""

from __future__ import annotations

import asyncio
import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from sdk.adapter import Capability
from sdk.adapter.types import EndpointState, LogLine, Replicas
from sdk.errors import (
    ConfigError,
    ConflictError,
    DeployFailed,
    InvalidNameError,
    NotFoundError,
    PlanStale,
    UnknownKeyError,
    UnsupportedError,
)
from sdk_contract.fake import ConfigFake, TrafficFake
from sdk_contract.fake_cloud import HOSTILE, Fault, Temper

if TYPE_CHECKING:
    from pathlib import Path


def test_life_of_an_endpoint(world: Any, faked: Any) -> None:
    """Deployed, it answers, is found by another client and listed; deleted, nothing is left."""
    endpoint = world.client().deploy(faked.a_model())
    assert ("churn", "fake", EndpointState.READY) == (endpoint.name, endpoint.target, endpoint.status.state)
    answer = endpoint.predict([[1, 2], [3, 4]])
    assert ([3.0, 7.0], endpoint.status.deployments[0].id) == (answer.values, answer.deployment)
    assert "a" * 32 == answer.model
    other = world.client()
    assert ["churn"] == [status.name for status in other.list()]
    assert [3.0] == other.predict("churn", [[1, 2]]).values
    endpoint.delete()
    assert [] == [ref for ref in world.cloud.items if ref.kind != "Image"]
    with pytest.raises(NotFoundError, match="no endpoint 'churn'"):
        other.status("churn")


@pytest.mark.parametrize("shape", [ConfigFake, TrafficFake])
def test_same_again_makes_no_call(tmp_path: Path, faked: Any, shape: type[Any]) -> None:
    """A second identical deploy, with ttl and tags, changes nothing."""
    world = faked.World(tmp_path, shape)
    how = {"ttl": "1h", "tags": {"team": "a"}, "env": {"MODE": "x"}}
    world.client().deploy(faked.a_model(), **how)
    before = len(world.cloud.calls)
    world.clock.sleep(60)
    world.client().deploy(faked.a_model(), **how)
    assert before == len(world.cloud.calls)
    world.close()


def test_plan_is_what_is_done(world: Any, faked: Any) -> None:
    """The changing calls are those of the plan; the plan itself makes none."""
    client = world.client()
    plan = client.plan(faked.a_model())
    assert [] == world.calls
    client.deploy(faked.a_model())
    assert [f"{step.action} {step.ref.kind}" for step in plan.steps if step.action != "probe"] == world.calls


def test_canary_promote_rollback_finalize(world: Any, faked: Any) -> None:
    """The handle moves traffic between the two deployments and removes the idle one."""
    client = world.client()
    client.deploy(faked.a_model("a"))
    endpoint = client.deploy(faked.a_model("b"), traffic=10)
    old, new = (item.id for item in sorted(endpoint.status.deployments, key=lambda item: item.generation))
    assert {old: 90, new: 10} == endpoint.status.traffic
    assert {old: 0, new: 100} == endpoint.promote().status.traffic
    assert {old: 100, new: 0} == endpoint.rollback().status.traffic
    assert {old: 70, new: 30} == endpoint.traffic(30).status.traffic
    assert {old: 1, new: 99} == endpoint.traffic({old: 1, new: 99}).status.traffic
    assert {new: 100} == endpoint.promote().finalize().status.traffic


def test_dry_run_of_every_verb_changes_nothing(world: Any, faked: Any) -> None:
    """dry_run gives the plan."""
    client = world.client()
    client.deploy(faked.a_model("a"))
    client.deploy(faked.a_model("b"))
    before = list(world.cloud.calls)
    plans = [
        client.deploy(faked.a_model("c"), dry_run=True),
        client.traffic("churn", 50, dry_run=True),
        client.promote("churn", dry_run=True),
        client.rollback("churn", dry_run=True),
        client.finalize("churn", dry_run=True),
        client.delete("churn", dry_run=True),
    ]
    assert [True, True, False, True, True, True] == [plan.changes for plan in plans]
    assert before == world.cloud.calls


@pytest.mark.parametrize("name", ["Churn", "c", "churn\n", "churn_2", ""])
def test_bad_name_stops_everything(world: Any, faked: Any, name: str) -> None:
    """A bad name is refused before any call, by every verb."""
    client = world.client()
    with pytest.raises(InvalidNameError):
        client.deploy(faked.a_model(), name=name)
    for verb in (client.status, client.promote, client.delete, client.monitor, client.endpoint):
        with pytest.raises(InvalidNameError):
            verb(name)
    assert [] == world.calls


def test_unknown_target_is_named(world: Any, faked: Any) -> None:
    """A target nobody configured is an error with the closest one."""
    with pytest.raises(UnknownKeyError) as caught:
        world.client().deploy(faked.a_model(), target="fak")
    assert "did you mean 'fake'?" == caught.value.hint


def test_only_models_are_deployed(world: Any) -> None:
    """A bare object gets the way to wrap it."""
    with pytest.raises(ConfigError, match=r"a dict is no sdk\.Model"):
        world.client().deploy({})


@pytest.mark.parametrize(
    ("capability", "asked"),
    [
        (Capability.AUTOSCALE, {"replicas": Replicas(1, 3)}),
        (Capability.REPLICAS, {"replicas": 2}),
        (Capability.ENV, {"env": {"MODE": "x"}}),
        (Capability.SECRETS, {"secrets": ["PW"]}),
        (Capability.INSTANCES, {"instance": "small"}),
        (Capability.GPU, {"resources": {"gpu": 1}}),
        (Capability.RESOURCES, {"resources": {"cpu": 1}}),
        (Capability.TAGS, {"tags": {"a": "b"}}),
        (Capability.TTL, {"ttl": "1h"}),
        (Capability.TRAFFIC, {"traffic": 10}),
        (Capability.DEPLOY, {}),
    ],
)
def test_unsupported_is_refused_before_any_call(
    tmp_path: Path, faked: Any, capability: Capability, asked: dict[str, Any]
) -> None:
    """What the target lacks is an UnsupportedError with the adapter's reason; nothing was even looked at."""

    class Lacking(faked.TellingFake):  # type: ignore[misc]  # loaded by file
        @classmethod
        def capabilities(cls, options: Any | None = None) -> Any:
            from sdk.adapter import Support

            lacks = Support(ok=False, reason="upstream", text="the moon is far")
            return {**super().capabilities(options), capability: lacks}

        def observe(self, name: str, *, timeout: float) -> Any:
            raise AssertionError("it looked")

    world = faked.World(tmp_path, Lacking)
    with pytest.raises(UnsupportedError, match="the moon is far") as caught:
        world.client(env={"PW": "a-long-secret"}).deploy(faked.a_model(), **asked)
    error = caught.value
    assert (capability, "upstream", "fake", []) == (error.capability, error.reason, error.provider, world.calls)
    world.close()


def test_resources_become_the_cheapest_instance(world: Any, faked: Any) -> None:
    """cpu and memory choose the cheapest type that has them; the plan says which, why and for how much."""
    plan = world.client().plan(faked.a_model(), resources={"cpu": 4, "memory_gib": 8}, replicas=2)
    assert "big (8 vCPU, 32 GiB, $0.4/h) is the cheapest" in str(plan)
    assert 0.8 == plan.usd_per_hour.after


def test_unknown_price_stays_unknown(world: Any, faked: Any) -> None:
    """A type without a price makes the plan's price unknown, not free."""
    assert world.client().plan(faked.a_model(), instance="huge").usd_per_hour.after is None


def test_argument_beats_the_target_and_tags_add_up(world: Any, faked: Any) -> None:
    """Settings of the target hold until an argument says something else; tags are joined."""
    client = world.client(fake={"instance": "small", "replicas": {"min": 2, "max": 2}, "tags": {"team": "a"}})
    assert 0.2 == client.plan(faked.a_model()).usd_per_hour.after
    assert 1.2 == pytest.approx(client.plan(faked.a_model(), instance="big", replicas=3).usd_per_hour.after)
    plan = client.plan(faked.a_model(), tags={"app": "b"})
    assert {"team": "a", "app": "b"} == plan.change.stages[-1].spec.tags


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"replicas": 0}, "replicas"),
        ({"replicas": {"min": 3, "max": 1}}, "replicas"),
        ({"resources": {"cpu": -1}}, "resources"),
        ({"resources": {"cpus": 1}}, "cpus"),
        ({"instance": "small", "resources": {"cpu": 1}}, "both instance and resources"),
        ({"ttl": "soon"}, "ttl"),
        ({"timeout": "soon"}, "timeout"),
        ({"timeout": "61m"}, "more than an hour"),
        ({"traffic": 10.5}, "no whole percent"),
        ({"env": {"A-B": "x"}}, "is not the name of a variable"),
        ({"env": {"MLPORT_BIND": "x"}}, "belongs to the server"),
        ({"env": {"A": 1}}, "the value of A is no text"),
        ({"env": {"DB_PASSWORD": "x"}}, "looks like a secret"),
        ({"env": {"A": "x"}, "secrets": ["A"]}, "in env and in secrets"),
        ({"secrets": ["NOT_SET"]}, "secret 'NOT_SET' is not set"),
        ({"secrets": {"A": "file:/nowhere"}}, "/nowhere cannot be read"),
        ({"tags": {"": "x"}}, "tags: '' = 'x' is not a tag"),
        ({"tags": {"team": "a\nb"}}, "is not a tag"),
        ({"tags": {"MLPORT-Owner": "x"}}, "'MLPORT-Owner' is reserved"),
        ({"tags": {"mlport": "1"}}, "'mlport' is reserved"),
    ],
)
def test_wrong_arguments_are_named(world: Any, faked: Any, asked: dict[str, Any], message: str) -> None:
    """Each wrong argument is a ConfigError that names it; nothing was called."""
    with pytest.raises(ConfigError, match=message):
        world.client(env={"A": "x" * 9}).deploy(faked.a_model(), **asked)
    assert [] == world.calls


def test_failure_has_reason_and_last_lines(world: Any, faked: Any) -> None:
    """DeployFailed has the platform's reason and what the container said before it was removed; all is undone."""
    faked.TellingFake.lines = ("loading", "boom: hunter2-canary")
    world.cloud.faults = [Fault("fails", "create", "Deployment")]
    client = world.client(env={"PW": "hunter2-canary"})
    with pytest.raises(DeployFailed) as caught:
        client.deploy(faked.a_model(), secrets=["PW"])
    error = caught.value
    faked.TellingFake.lines = ()
    assert ("it never became ready", ("loading", "boom: [redacted]")) == (error.reason, error.logs)
    assert ("fake", ()) == (error.provider, error.leftovers)
    assert [] == [ref for ref in world.cloud.items if ref.kind != "Image"]


def test_model_that_fails_its_smoke_test_gets_no_traffic(world: Any, faked: Any) -> None:
    """A new deployment that does not answer the model's own example is removed; the old one keeps all traffic."""
    client = world.client()
    before = client.deploy(faked.a_model("a")).status
    asked: list[Any] = []

    def fail(rows: Any) -> Any:
        asked.extend(rows)
        raise RuntimeError("no such column")

    world.plane.models["b" * 32] = fail
    world.store(faked.a_model("b"), example=[[1, 2]])
    with pytest.raises(DeployFailed, match="failed its smoke test: no such column") as caught:
        client.deploy(faked.a_model("b"))
    assert ([[1, 2]], "no such column", 500) == (asked, caught.value.reason, caught.value.status)
    assert before.deployments == client.status("churn").deployments


def test_smoke_test_that_raises_is_explained_by_the_log(faked: Any, tmp_path: Path) -> None:
    """What the model raised, and where, is in the error, although the log comes late and the new one is removed."""
    looks = itertools.count()
    trace = 'Traceback (most recent call last):\n  File "m.py", line 2, in f\n    go()\nKeyError: "hunter2-canary"\n'

    class Late(faked.TellingFake):  # type: ignore[misc]  # loaded by its path
        def invoker(self, status: Any) -> Any:
            inner = super().invoker(status)
            return replace(inner, fault=lambda answer: (said := inner.fault(answer)) and replace(said, request_id="r1"))

        def logs(self, name: str, *, request_id: str | None = None, **_: Any) -> Any:
            late = request_id == "r1" and next(looks) > 2
            return iter([LogLine(1.0, json.dumps({"request_id": "r1", "trace": trace}))] if late else [])

    world = faked.World(tmp_path, Late)
    client = world.client(env={"PW": "hunter2-canary"})
    world.plane.models["b" * 32] = None
    world.store(faked.a_model("b"), example=[[1, 2]])
    with pytest.raises(DeployFailed) as caught:
        client.deploy(faked.a_model("b"), secrets=["PW"])
    assert 'KeyError: "[redacted]"' == caught.value.reason
    assert 'failed its smoke test: KeyError: "[redacted]" (m.py, line 2, in f)' in caught.value.message
    assert 'KeyError: "[redacted]"' == caught.value.logs[-1]
    assert [] == [ref for ref in world.cloud.items if ref.kind != "Image"]
    world.close()


def test_model_that_answers_its_smoke_test_gets_traffic(world: Any, faked: Any) -> None:
    """The example is asked of the new deployment once, before it has any traffic."""
    client = world.client()
    client.deploy(faked.a_model("a"))
    asked: list[Any] = []

    def answer(rows: Any) -> list[float]:
        asked.append(rows)
        return [7.0]

    world.plane.models["b" * 32] = answer
    world.store(faked.a_model("b"), example=[[1, 2]])
    client.deploy(faked.a_model("b"))
    assert [[[1, 2]]] == asked


def test_rowwise_model_is_cut_by_what_this_machine_knows_of_it(world: Any, faked: Any) -> None:
    """The signature of a deployed model is found by its digest, so any client on this machine may cut requests."""
    world.store(faked.a_model("a"), example=[[1]], rowwise=True)
    world.client().deploy(faked.a_model("a"))
    rows = [[place, "x" * 50] for place in range(40_000)]
    world.plane.models["a" * 32] = lambda rows: [row[0] for row in rows]
    assert list(range(40_000)) == world.client().predict("churn", rows).values


def test_world_that_moves_is_planned_again(world: Any, faked: Any) -> None:
    """When somebody else changes the endpoint between plan and apply, the verb plans again instead of failing."""
    client, other = world.client(), world.client()
    client.deploy(faked.a_model("a"))
    client.deploy(faked.a_model("b"), traffic=10)
    session = client.session()
    apply = session.executor.apply
    moved: list[bool] = []

    def apply_late(plan: Any, *args: Any, **how: Any) -> Any:
        if not moved:
            moved.append(True)
            other.traffic("churn", 20)
        return apply(plan, *args, **how)

    session.executor.apply = apply_late
    assert [0, 100] == [item.traffic for item in client.promote("churn").status.deployments]


def test_world_that_never_rests_is_stale(world: Any, faked: Any) -> None:
    """After three plans the verb gives up with PlanStale and has changed nothing."""
    client, other = world.client(), world.client()
    client.deploy(faked.a_model("a"))
    client.deploy(faked.a_model("b"), traffic=10)
    session = client.session()
    apply, turn = session.executor.apply, iter(range(20, 30))

    def apply_late(plan: Any, *args: Any, **how: Any) -> Any:
        other.traffic("churn", next(turn))
        return apply(plan, *args, **how)

    session.executor.apply = apply_late
    with pytest.raises(PlanStale):
        client.promote("churn")
    assert 22 == max(client.status("churn").deployments, key=lambda item: item.generation).traffic


def test_somebody_elses_endpoint(world: Any, faked: Any) -> None:
    """Another owner gets a ConflictError that names the owner, until told to adopt it."""
    world.client().deploy(faked.a_model())
    stranger = world.client(owner="stranger")
    with pytest.raises(ConflictError, match="'me'") as caught:
        stranger.deploy(faked.a_model("b"))
    assert "me" == caught.value.holder
    with pytest.raises(ConflictError):
        stranger.delete("churn")
    assert "stranger" == stranger.deploy(faked.a_model("b"), adopt=True).status.owner


def test_temporary_is_deleted_whatever_happens(world: Any, faked: Any) -> None:
    """The endpoint is gone after the block, also after an exception, and its name was free."""
    client = world.client()
    seen: list[Any] = []

    def block() -> None:
        with client.temporary(faked.a_model(), ttl="1h") as endpoint:
            seen.append((endpoint.name[:6], endpoint.predict([[1]]).values))
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        block()
    assert ([("churn-", [1.0])], []) == (seen, client.list())


def test_temporary_never_touches_what_is_there(world: Any, faked: Any) -> None:
    """With the name of an existing endpoint it is refused, and the endpoint stays."""
    client = world.client()
    client.deploy(faked.a_model())
    with pytest.raises(ConflictError, match="exists"), client.temporary(faked.a_model("b"), name="churn"):
        raise AssertionError("inside")
    assert ["churn"] == [status.name for status in client.list()]


def test_without_waiting(tmp_path: Path, faked: Any) -> None:
    """wait=False comes back before the new deployment is ready; wait() finishes it, also from another client."""
    world = faked.World(tmp_path, temper=Temper(create_s=50))
    old = world.client().deploy(faked.a_model("a")).status.deployments[0].id
    endpoint = world.client().deploy(faked.a_model("b"), wait=False)
    assert 100 == endpoint.status.traffic[old]
    assert 0 == world.client().endpoint("churn").wait().status.traffic[old]
    assert 0 == endpoint.wait().status.traffic[old]
    world.close()


def test_hostile_cloud(tmp_path: Path, faked: Any) -> None:
    """Slow, late and refusing, the whole story still ends well."""
    world = faked.World(tmp_path, temper=HOSTILE)
    client = world.client()
    client.deploy(faked.a_model("a"))
    world.cloud.must_serve.add("churn")
    client.deploy(faked.a_model("b"), traffic=50).promote().finalize()
    world.cloud.must_serve.clear()
    client.delete("churn")
    assert ([], []) == (world.cloud.outages, [ref for ref in world.cloud.items if ref.kind != "Image"])
    world.close()


def test_handle_outlives_its_endpoint(world: Any, faked: Any) -> None:
    """A handle whose endpoint was deleted says so; made again, the same handle works."""
    client = world.client()
    endpoint = client.deploy(faked.a_model())
    endpoint.predict([[1]])
    endpoint.delete()
    with pytest.raises(NotFoundError):
        endpoint.predict([[1]])
    client.deploy(faked.a_model())
    assert [1.0] == endpoint.predict([[1]]).values


def test_handles_show_names_only(world: Any, faked: Any) -> None:
    """The text and HTML of a handle are its name, target, state and shares."""
    endpoint = world.client().deploy(faked.a_model())
    deployment = endpoint.status.deployments[0].id
    assert "<Endpoint churn on fake ready>" == repr(endpoint)
    assert f"<td>{deployment}</td><td>100 %</td>" in endpoint._repr_html_()
    assert "<Job j-1 on fake>" == repr(world.client().job("job-1")).replace("job-1", "j-1")


def test_verbs_inside_a_running_loop(world: Any, faked: Any) -> None:
    """As in a notebook."""
    client = world.client()

    async def cell() -> Any:
        return client.deploy(faked.a_model()).predict([[2]]).values

    assert [2.0] == asyncio.run(cell())


def test_gc_doctor_capabilities_prices(world: Any, faked: Any) -> None:
    """The verbs about the target itself."""
    client = world.client()
    client.deploy(faked.a_model())
    assert [] == client.gc().orphans
    checks = client.doctor()
    assert {"python", "fake"} == set(checks)
    assert [True] == [check.ok for check in checks["fake"]]
    assert client.capabilities()["fake"][Capability.PIN].ok
    assert ["big"] == [row.instance_type for row in client.prices(instance="big")]
    assert 3 == len(client.prices())


def test_doctor_goes_on_after_a_broken_target(world: Any, faked: Any) -> None:
    """What is wrong with one target is a finding, not an exception."""
    client = world.client(target={"fake": {"provider": "fake", "cloud": world.name}, "odd": {"provider": "nobody"}})
    checks = client.doctor()
    assert (False, True) == (checks["odd"][0].ok, checks["fake"][0].ok)
    assert "unknown provider 'nobody'" in checks["odd"][0].detail


def test_state_folder_that_cannot_be_made(world: Any, faked: Any, tmp_path: Path) -> None:
    """A state folder below a file is a ConfigError that names it."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"state_dir .*file/state cannot be made: Not a directory"):
        world.client(state_dir=str(tmp_path / "file" / "state")).deploy(faked.a_model())


def test_threads_share_a_client(world: Any, faked: Any) -> None:
    """Eight threads that look and call at once all get their own answers."""
    client = world.client()
    client.deploy(faked.a_model())

    def ask(number: int) -> list[Any]:
        return [client.predict("churn", [[number, turn]]).values[0] - turn for turn in range(25)]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    assert [[float(number)] * 25 for number in range(8)] == answers


def test_progress_is_told(world: Any, faked: Any) -> None:
    """Each step of a change is announced."""
    world.client().deploy(faked.a_model())
    assert ["create Gateway churn", "create Image image-aaaaaaaaaaaaaaaa"] == world.events[:2]
