"""Single promises of plan, apply, resume and gc."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from sdk.adapter import Labels, Live, Materials, Nature, Ref
from sdk.adapter.types import EndpointState, EndpointStatus
from sdk.errors import (
    ConflictError,
    DeployFailed,
    PlanStale,
    QuotaError,
    RollbackFailed,
    SdkError,
    TimedOut,
    TrainFailed,
)
from sdk.executor import lifecycle, new_txn
from sdk.util.waiting import Deadline
from sdk_contract.fake import SETTLE_S, ConfigFake, TrafficFake
from sdk_contract.fake_cloud import CALM, Fault, VirtualClock
from tests.executor.world import NAME, SHAPES, Client, World, deployment, fresh, third, train, update

if TYPE_CHECKING:
    from pathlib import Path

    from sdk_contract.fake import FakeAdapter

shapes = pytest.mark.parametrize("shape", SHAPES)


@shapes
def test_the_plan_is_what_happens(shape: type[FakeAdapter], tmp_path: Path) -> None:
    """The mutating calls of apply are exactly those of the plan, in its order; planning makes none."""
    world = World(shape, tmp_path)
    world.prepare("third")
    client = Client(world)
    plan = client.executor.plan(third(client))
    assert [] == world.cloud.calls
    client.executor.apply(plan, Materials(), probe=client.probe)
    planned = [(step.action, step.ref) for step in plan.steps if step.action != "probe"]
    assert planned == world.cloud.calls
    assert plan.changes


def test_the_events_tell_the_story(tmp_path: Path) -> None:
    """Whoever watches is told each stage as it begins, waits included."""
    world = World(TrafficFake, tmp_path)
    world.prepare("third")
    client = Client(world)
    client.run(third)
    told = [event.split()[0] for event in client.events]
    assert [told[0], *[new for old, new in pairwise(told) if old != new]] == [
        "create", "wait", "create", "wait", "update", "probe", "switch", "retire", "delete", "wait",
    ]  # fmt: skip


@shapes
def test_the_plan_reads_well(shape: type[FakeAdapter], tmp_path: Path) -> None:
    """A printed plan shows the order, the point of no return and the money."""
    world = World(shape, tmp_path)
    world.prepare("update")
    client = Client(world)
    text = str(client.executor.plan(update(client)))
    assert "deploy churn on t:" in text
    assert 1 == text.count("no way back")
    assert "must answer a smoke test" in text
    assert "cost: $0.25/h now, at most $0.5/h during, $0.5/h after" in text


def test_an_unknown_price_stays_unknown(tmp_path: Path) -> None:
    """A price that nobody knows makes the sum unknown, never smaller."""
    world = World(TrafficFake, tmp_path)
    client = Client(world)
    nameless = replace(deployment("a"), usd_per_hour=None)
    plan = client.executor.plan(lifecycle.deploy(None, nameless, client.context()))
    assert (0.0, None, None) == (plan.usd_per_hour.before, plan.usd_per_hour.peak, plan.usd_per_hour.after)
    assert "unknown" in str(plan)


@shapes
def test_a_failed_probe_undoes_everything(shape: type[FakeAdapter], tmp_path: Path) -> None:
    """A deployment that does not answer never gets traffic, and the error is the probe's own."""
    world = World(shape, tmp_path)
    world.prepare("update")
    before = world.table()
    client = Client(world)

    def probe(deployment: str) -> None:
        raise DeployFailed(f"{deployment} does not answer")

    client.probe = probe  # type: ignore[method-assign]
    with pytest.raises(DeployFailed, match="does not answer"):
        client.run(update)
    assert before == world.table()
    assert [] == world.faults()


@shapes
def test_a_refused_create_is_not_waited_for(shape: type[FakeAdapter], tmp_path: Path) -> None:
    """What the platform refused cannot land late, so the error does not wait until it would have."""
    world = World(shape, tmp_path)
    world.cloud.faults.append(Fault("quota", "create", "Model" if shape is ConfigFake else "Gateway"))
    began = world.clock.monotonic()
    with pytest.raises(QuotaError):
        Client(world).run(fresh)
    assert world.clock.monotonic() - began < SETTLE_S
    assert [] == world.faults()


@shapes
def test_what_never_becomes_ready_is_removed(shape: type[FakeAdapter], tmp_path: Path) -> None:
    """The platform's reason is in the error; nothing is left, and the events tell the story."""
    world = World(shape, tmp_path)
    client = Client(world)
    kind = "Endpoint" if shape is ConfigFake else "Deployment"
    world.cloud.faults.append(Fault("fails", "create", kind))
    with pytest.raises(DeployFailed) as failed:
        client.run(fresh)
    assert "it never became ready" == failed.value.reason
    assert [] == world.orphans()
    assert "roll back" in client.events
    assert world.serving() is None


def test_a_failed_submit_is_a_failed_training(tmp_path: Path) -> None:
    """A job that could not be submitted leaves nothing and raises the platform's error."""
    world = World(ConfigFake, tmp_path)
    world.cloud.faults.append(Fault("quota", "create", "Job"))
    with pytest.raises(SdkError, match="no capacity"):
        Client(world).run(train)
    assert [] == world.orphans()
    world.clock.sleep(60)
    world.cloud.faults.append(Fault("fails", "create", "Stage"))
    with pytest.raises(TrainFailed):
        Client(world).run(train)
    assert [] == world.orphans()


@shapes
def test_refused_retirement_is_degraded(shape: type[FakeAdapter], tmp_path: Path) -> None:
    """When the old refuses to go the deploy has succeeded: degraded, with what is left, its price and a command."""
    world = World(shape, tmp_path)
    world.prepare("third")
    world.cloud.faults.append(Fault("refused", "delete", times=10_000))
    applied = Client(world).run(third)
    assert isinstance(applied.status, EndpointStatus)
    assert EndpointState.DEGRADED == applied.status.state
    assert applied.leftovers
    assert {"mlport gc --apply --target t"} == {item.command for item in applied.leftovers}
    world.cloud.faults.clear()
    report = Client(world).executor.gc(apply=True)
    assert ["done"] == [item.outcome for item in report.recovered]
    assert [] == world.faults()


@shapes
def test_the_first_error_is_not_masked(shape: type[FakeAdapter], tmp_path: Path) -> None:
    """When undoing fails too, the error lists what is left and still names the first cause."""
    world = World(shape, tmp_path)
    client = Client(world)
    world.cloud.faults += [Fault("quota", "create", skip=3), Fault("refused", "delete", times=10_000)]
    with pytest.raises(RollbackFailed, match="no capacity") as failed:
        client.run(fresh)
    assert "no capacity" in str(failed.value.__cause__)
    assert failed.value.leftovers
    assert sorted(world.orphans()) == sorted(f"{item.kind} {item.id}" for item in failed.value.leftovers)
    costs = sum(item.usd or 0.0 for ref, item in world.cloud.items.items() if f"{ref}" in world.orphans())
    assert costs == sum(item.usd_per_hour or 0.0 for item in failed.value.leftovers)
    world.converge()
    assert [] == world.faults()


@shapes
def test_a_second_deploy_makes_no_call(shape: type[FakeAdapter], tmp_path: Path) -> None:
    """The same deploy again changes nothing; delete twice is success."""
    world = World(shape, tmp_path)
    client = Client(world)
    client.run(fresh)
    calls = len(world.cloud.calls)
    assert () == client.run(fresh).calls
    assert calls == len(world.cloud.calls)

    def delete(client: Client) -> Any:
        return lifecycle.delete(client.status(), client.context())

    client.run(delete)
    assert () == client.run(delete).calls
    assert [] == world.faults()


@shapes
def test_the_deadline_holds(shape: type[FakeAdapter], tmp_path: Path) -> None:
    """A platform that never gets ready costs the deadline and not more; half-made things are listed or gone."""
    world = World(shape, tmp_path, temper=replace(CALM, create_s=1e9))
    client = Client(world)
    start = world.clock.monotonic()
    with pytest.raises(SdkError) as failed:
        client.run(fresh, deadline=Deadline(world.clock, 300))
    assert world.clock.monotonic() - start <= 301
    first = failed.value.__cause__ if isinstance(failed.value, RollbackFailed) else failed.value
    assert isinstance(first, TimedOut)
    left = {f"{item.kind} {item.id}" for item in getattr(failed.value, "leftovers", ())}
    there = {str(ref) for ref in world.cloud.items if world.shape.kinds[ref.kind].nature is not Nature.SHARED}
    assert there == left


@shapes
def test_an_outage_of_the_region(shape: type[FakeAdapter], tmp_path: Path) -> None:
    """When every call fails the verb ends with an error in time, and makes few calls."""
    world = World(shape, tmp_path)
    client = Client(world)
    world.cloud.faults += [Fault("unavailable", op, times=10**9) for op in ("create", "read", "delete", "update")]
    with pytest.raises(SdkError):
        client.run(fresh, deadline=Deadline(world.clock, 300))
    assert world.clock.monotonic() <= 301
    world.converge()
    assert [] == world.faults()


@shapes
def test_not_waiting(shape: type[FakeAdapter], tmp_path: Path) -> None:
    """wait=False returns while the platform works; another process resumes by the transaction's id alone."""
    world = World(shape, tmp_path)
    world.prepare("update")
    applied = Client(world).run(update, wait=False)
    assert applied.waiting
    recovered = Client(world).executor.recover()
    assert ["waiting"] == [item.outcome for item in recovered]
    probed: list[str] = []
    resumed = Client(world).executor.resume(applied.txn, probe=probed.append)
    if shape is TrafficFake:
        assert 1 == len(probed)
    assert not resumed.waiting
    assert [0, 100] == sorted((world.table() or {}).values())
    assert [] == world.faults()


@shapes
def test_nobody_resumes(shape: type[FakeAdapter], tmp_path: Path) -> None:
    """A transaction that nobody comes back for is undone once its deadline has passed."""
    world = World(shape, tmp_path)
    Client(world).run(fresh, wait=False)
    assert ["waiting"] == [item.outcome for item in Client(world).executor.gc(apply=True).recovered]
    with pytest.raises(ConflictError, match="wait for it first"):
        Client(world).run(update)
    world.clock.sleep(2000)
    world.converge()
    assert [] == world.faults()


def fresh_as(client: Client, letter: str) -> Any:
    """A first deploy of another model, whatever is there."""
    return lifecycle.deploy(None, deployment(letter), client.context())


@shapes
def test_an_edit_by_hand_is_not_overwritten(shape: type[FakeAdapter], tmp_path: Path) -> None:
    """A plan made before somebody's edit is stale."""
    world = World(shape, tmp_path)
    world.prepare("promote")
    client = Client(world)
    plan = client.executor.plan(lifecycle.promote(client.status(), client.context()))
    root = Ref("Endpoint" if shape is ConfigFake else "Traffic", NAME)
    world.cloud.edit(root, {**world.cloud.items[root].spec, "edited": 1})
    with pytest.raises(PlanStale):
        client.executor.apply(plan, Materials())
    assert [] == world.cloud.calls


def test_a_foreign_endpoint_is_never_touched(tmp_path: Path) -> None:
    """What was not made by mlport is refused even with adopt=True."""
    world = World(TrafficFake, tmp_path)
    world.cloud.plant(Live("Gateway", NAME, "ready", spec={"version": 0}))
    world.clock.sleep(60)
    client = Client(world)
    with pytest.raises(ConflictError, match="was not made by mlport"):
        client.run(lambda client: lifecycle.deploy(None, deployment("a"), client.context(), adopt=True))
    assert [] == world.cloud.calls


@shapes
def test_taking_over(shape: type[FakeAdapter], tmp_path: Path) -> None:
    """adopt=True takes an endpoint over from another owner, labels included."""
    world = World(shape, tmp_path)
    Client(world, owner="ann").run(fresh)
    bob = Client(world, owner="bob", machine="bobs")
    bob.run(lambda client: lifecycle.deploy(client.status(), deployment("b"), client.context(), adopt=True))
    status = bob.status()
    assert status is not None
    assert "bob" == status.owner


# --- gc ---------------------------------------------------------------------------------------------------------


@shapes
def test_gc_only_looks(shape: type[FakeAdapter], tmp_path: Path) -> None:
    """Without apply gc changes nothing and lists what it would remove, with prices."""
    world = World(shape, tmp_path)
    stray(world, world.clock.monotonic())
    world.clock.sleep(8000)
    report = Client(world).executor.gc()
    assert ["churn-m-stray"] == [item.id for item in report.orphans]
    assert [] == world.cloud.calls
    removed = Client(world).executor.gc(apply=True)
    assert ["churn-m-stray"] == [item.id for item in removed.removed]
    assert [] == removed.orphans


@shapes
def test_gc_leaves_the_young_alone(shape: type[FakeAdapter], tmp_path: Path) -> None:
    """What is younger than twice the longest deadline may belong to another machine that is still at it."""
    world = World(shape, tmp_path)
    stray(world, world.clock.monotonic())
    world.clock.sleep(3000)
    report = Client(world).executor.gc(apply=True)
    assert ([], ["churn-m-stray"]) == ([item.id for item in report.orphans], [item.id for item in report.young])
    assert ["churn-m-stray"] == [item.id for item in Client(world).executor.gc(apply=True, min_age_s=0).removed]


@shapes
def test_gc_leaves_other_owners_alone(shape: type[FakeAdapter], tmp_path: Path) -> None:
    """Orphans of another owner are not ours to remove."""
    world = World(shape, tmp_path)
    stray(world, 0, owner="ann")
    world.clock.sleep(8000)
    report = Client(world).executor.gc(apply=True)
    assert ([], []) == (report.orphans, report.removed)


@shapes
def test_gc_respects_a_lease(shape: type[FakeAdapter], tmp_path: Path) -> None:
    """A name that another machine holds a lease of is left alone, however old its parts are."""
    world = World(shape, tmp_path)
    stray(world, 0)
    world.clock.sleep(8000)
    body = f'{{"owner": "me", "txn": "other", "expires": {world.cloud.now() + 60}}}'
    world.cloud.lease_write(f"locks/{NAME}", body, None)
    assert [] == Client(world).executor.gc(apply=True).removed
    world.clock.sleep(61)
    assert 1 == len(Client(world).executor.gc(apply=True).removed)


@shapes
def test_gc_enforces_ttl(shape: type[FakeAdapter], tmp_path: Path) -> None:
    """--expired removes an endpoint past its ttl, whoever owns it, and nothing before."""
    world = World(shape, tmp_path)
    ann = Client(world, owner="ann")

    def for_an_hour(client: Client) -> Any:
        expires = int(world.cloud.now()) + 3600
        return lifecycle.deploy(None, deployment("a"), replace(client.context(), expires_at=expires))

    ann.run(for_an_hour)
    bob = Client(world, owner="bob", machine="ci")
    assert [] == bob.executor.gc(apply=True, expired=True).removed
    world.clock.sleep(3700)
    assert [] == bob.executor.gc(apply=True).removed
    assert bob.executor.gc(apply=True, expired=True).removed
    assert [] == world.orphans()
    assert world.serving() is None


@shapes
def test_gc_shared(shape: type[FakeAdapter], tmp_path: Path) -> None:
    """Shared things stay until --shared, and then only those that something uses."""
    world = World(shape, tmp_path)
    client = Client(world)
    client.run(lambda client: fresh_as(client, "b"))
    client.run(lambda client: lifecycle.delete(client.status(), client.context()))
    client.run(fresh)
    world.clock.sleep(8000)
    assert [] == client.executor.gc(apply=True).removed
    report = client.executor.gc(apply=True, shared=True)
    assert ["image-bbbbbbbbbbbbbbbb"] == [item.id for item in report.removed]
    assert world.serving() is not None


def test_records_that_stay_are_listed_apart(tmp_path: Path) -> None:
    """A finished job costs nothing and cannot be deleted: it is no orphan."""
    world = World(ConfigFake, tmp_path)
    client = Client(world)
    client.run(train)
    world.clock.sleep(8000)
    report = client.executor.gc(apply=True)
    assert ([], []) == (report.orphans, report.removed)
    assert Ref("Stage", "job-1-code") in world.cloud.items  # its job still names it


def test_transaction_ids() -> None:
    """Ids are short, lower case, ordered by time and different at the same time."""
    clock, chance = VirtualClock(), random.Random(1)
    first, second = new_txn(clock, chance), new_txn(clock, chance)
    clock.sleep(5)
    third_id = new_txn(clock, chance)
    assert {10} == {len(first), len(second), len(third_id)}
    assert first != second
    assert max(first, second) < third_id
    assert (first + second + third_id).isalnum()


def stray(world: World, created: float, owner: str = "me") -> None:
    """A model that a machine which is no more had made for an endpoint that never came to be."""
    labels = Labels(NAME, owner, "gone123", spec="0" * 32)
    kind = "Model" if world.shape is ConfigFake else "Stage"
    world.cloud.plant(Live(kind, "churn-m-stray", "ready", spec={"a": 1}), labels.to_tags())
