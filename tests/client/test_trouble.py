"""What is nobody's wish: locks left behind, clocks that go back, streams that break."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from sdk.adapter.types import LogLine
from sdk.errors import ConflictError, NotFoundError, UnavailableError
from sdk.packaging.model import model as make_model

if TYPE_CHECKING:
    from collections.abc import Iterator

DAY = 86_400.0


def test_lock_left_behind_is_released_by_its_transaction(world: Any, faked: Any) -> None:
    """The refusal names the command; it works for the transaction that holds the lock only, and then deploys work."""
    held = json.dumps({"owner": "ann", "txn": "t0ld", "expires": world.cloud.now() + 90})
    world.cloud.lease_write("locks/churn", held, None)
    client = world.client()
    with pytest.raises(ConflictError, match="mlport unlock churn --id t0ld"):
        client.deploy(faked.a_model())
    with pytest.raises(NotFoundError, match="is not locked by transaction 'other'"):
        client.unlock("churn", "other")
    client.unlock("churn", "t0ld")
    assert "ready" == client.deploy(faked.a_model()).status.state
    with pytest.raises(NotFoundError):
        client.unlock("churn", "t0ld")


class Shifted:
    """The clock of a machine whose time of day somebody changed; what measures durations goes on."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.shift = 0.0

    def time(self) -> float:
        return float(self._inner.time()) + self.shift

    def monotonic(self) -> float:
        return float(self._inner.monotonic())

    def sleep(self, seconds: float) -> None:
        self._inner.sleep(seconds)


def test_clock_set_back(world: Any, faked: Any) -> None:
    """Days back, in the middle of everything: verbs work, no id comes twice, gc takes nothing that is in use."""
    world.clock = clock = Shifted(world.clock)
    client = world.client()
    first = client.deploy(faked.a_model("a"), ttl="1h").status
    clock.shift = -3 * DAY
    second = client.deploy(faked.a_model("b")).status
    assert {item.id for item in first.deployments} < {item.id for item in second.deployments}
    assert "ready" == client.rollback("churn").status.state
    report = client.gc(apply=True, expired=True)
    assert ([], []) == (report.orphans, report.removed)
    client.delete("churn")
    assert [] == [ref for ref in world.cloud.items if ref.kind != "Image"]


def test_clock_set_back_during_a_deploy(world: Any, faked: Any) -> None:
    """The deadline counts on: a deploy in which the clock goes back ends as any other."""
    world.clock = clock = Shifted(world.clock)
    world.cloud.temper = faked.Temper(create_s=50)
    client = world.client()
    begin = clock.monotonic()
    stop = client.session().listen(lambda _event: setattr(clock, "shift", -3 * DAY))
    assert "ready" == client.deploy(faked.a_model()).status.state
    stop()
    assert clock.monotonic() - begin < 1800


def test_same_deploy_with_another_ttl_says_that_it_changes_nothing(world: Any, faked: Any) -> None:
    """Neither silent nor a new deployment: a note in the plan and during the deploy."""
    client = world.client()
    client.deploy(faked.a_model(), ttl="1h")
    plan = client.plan(faked.a_model(), ttl="9h")
    assert (False, 1) == (plan.changes, len(plan.change.notes))
    assert "its ttl stays as it is: until " in plan.change.notes[0]
    assert str(plan).endswith(f": nothing to do\nnote: {plan.change.notes[0]}")
    del world.events[:]
    client.deploy(faked.a_model(), ttl="9h")
    assert "note" in world.events
    assert () == client.plan(faked.a_model()).change.notes


def test_a_model_without_example_is_not_tried(world: Any, faked: Any) -> None:
    """The plan and the deploy say so, as traffic goes to what nobody has asked; a model with example is tried."""
    client = world.client()
    untried, tried = make_model(len, name="untried"), make_model(len, name="untried", example=[[1.0]])
    (note,) = client.plan(untried).change.notes
    assert "the model has no example, so it is not asked for an answer before it gets traffic" in note
    assert () == client.plan(tried).change.notes
    del world.events[:]
    client.deploy(untried)
    assert 1 == world.events.count("note")
    assert () == client.plan(untried).change.notes


def test_share_for_the_model_that_serves_says_that_it_changes_nothing(world: Any, faked: Any) -> None:
    """There is no other model that could take the rest; who asked for 10 % is told that it stays 100 %."""
    client = world.client()
    client.deploy(faked.a_model())
    plan = client.plan(faked.a_model(), traffic=10)
    assert (False, ("this model alone serves already, so traffic = 10 changes nothing: it keeps 100 %",)) == (
        plan.changes,
        plan.change.notes,
    )


def test_stream_that_breaks_is_a_clean_error(world: Any, faked: Any) -> None:
    """An error between two log lines names the platform and hides secrets, like one before the first."""

    class Breaking(faked.TellingFake):  # type: ignore[misc]  # loaded by path, so without types
        def logs(self, name: str, **_how: Any) -> Iterator[LogLine]:
            yield LogLine(1.0, "up", None)
            raise UnavailableError("connection reset, password=hunter2hunter2")

    world.shape = Breaking
    client = world.client(env={"PW": "hunter2hunter2"})
    client.deploy(faked.a_model(), secrets=["PW"])
    lines = client.logs("churn")
    assert "up" == next(lines).text
    with pytest.raises(UnavailableError) as broken:
        next(lines)
    assert "fake" == broken.value.provider
    assert "hunter2hunter2" not in str(broken.value)
