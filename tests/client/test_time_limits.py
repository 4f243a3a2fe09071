"""How long a change may take, what is kept for undoing it, and what a client says that has to give up."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from sdk.adapter import Ack, ChangeTimes, Materials, Resource, change_times
from sdk.adapter.registry import Registry
from sdk.client.apply_change import change_deadline
from sdk.errors import ConfigError, RollbackFailed, TimedOut
from sdk_contract.fake_cloud import Temper

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from sdk.adapter import Kind
    from sdk.executor import Event

HOUR = 3600.0


@pytest.fixture
def cloudy(faked: Any) -> type[Any]:
    """A platform whose deploys take ten minutes, and which needs up to an hour to let go."""

    class Cloudy(faked.TellingFake):  # type: ignore[misc]  # loaded by path, so without types
        change_times: ClassVar[ChangeTimes] = ChangeTimes(deploy_s=600.0, undo_s=HOUR)

    return Cloudy


@pytest.fixture
def world(faked: Any, tmp_path: Path, cloudy: type[Any]) -> Iterator[Any]:
    made = faked.World(tmp_path, cloudy)
    yield made
    made.close()


def kept(world: Any) -> list[str]:
    """What is still there, except shared images."""
    return [str(ref) for ref in world.cloud.items if ref.kind != "Image"]


def test_undoing_may_take_as_long_as_the_operation(world: Any, faked: Any) -> None:
    """A create that lasts fifty minutes and cannot be deleted meanwhile is given up after ten, and removed after it."""
    world.cloud.temper = Temper(create_s=3000)
    begin = world.clock.monotonic()
    with pytest.raises(TimedOut):
        world.client().deploy(faked.a_model())
    assert [] == kept(world)
    assert 3000 <= world.clock.monotonic() - begin < 600 + HOUR


def test_a_delete_is_sent_as_soon_as_the_platform_takes_it(world: Any, faked: Any, cloudy: type[Any]) -> None:
    """Where a deployment may be deleted while it is being made, nobody waits until it is there."""

    class Yielding(cloudy):  # type: ignore[misc]  # as above
        kinds: ClassVar[Mapping[str, Kind]] = {
            **cloudy.kinds,
            "Deployment": replace(cloudy.kinds["Deployment"], deletable=frozenset({"creating", "ready", "failed"})),
        }

    world.shape = Yielding
    world.cloud.temper = Temper(create_s=3000, yields=True)
    with pytest.raises(TimedOut):
        world.client().deploy(faked.a_model())
    assert [] == kept(world)
    assert world.clock.monotonic() < 900


def test_a_client_that_gives_up_says_what_stays_and_what_it_costs(world: Any, faked: Any) -> None:
    """The price of an hour and the command that ends it are in the message."""
    world.cloud.temper = Temper(create_s=1e9)
    with pytest.raises(RollbackFailed) as gave_up:
        world.client().deploy(faked.a_model(), instance="big", timeout="5m")
    assert "cost $0.4 an hour until `mlport gc --apply --target fake`" in str(gave_up.value)
    assert "Deployment churn" in str(gave_up.value)


def test_recovery_says_what_it_undoes_and_that_it_still_waits(world: Any, faked: Any) -> None:
    """The next change says which one it takes back, and again and again what it waits for."""
    world.cloud.temper = Temper(create_s=5000)
    client = world.client()
    said: list[str] = []
    with pytest.raises(RollbackFailed):
        client.deploy(faked.a_model(), timeout="5m")

    def hear(event: Event) -> None:
        said.append(str(event))

    client.session().listen(hear)
    client.gc(apply=True)
    assert any(line.startswith("recover  deploy of churn, which was cut off (transaction ") for line in said)
    assert any("wait Deployment churn" in line and "Creating, for " in line for line in said)
    assert [] == kept(world)


@pytest.mark.parametrize(("asked", "seconds"), [(None, 600), ("5m", 300), ("20m", 1200)])
def test_limit_and_what_is_kept_for_undoing(world: Any, asked: str | None, seconds: float) -> None:
    """The time limit is all for the way forward; undoing comes on top of it."""
    deadline = change_deadline(world.client().session(), asked)
    assert (seconds + HOUR, HOUR) == (deadline.left, deadline.undo_s)


def test_a_model_that_is_tried_beside_the_endpoint_is_deployed_twice(world: Any, cloudy: type[Any]) -> None:
    """Two deploys one after the other have twice the time."""

    class Aside(cloudy):  # type: ignore[misc]  # as above
        probes_aside = True

        def aside(self, name: str, deployment: str) -> Any:
            raise AssertionError

    world.shape = Aside
    assert 1200 + HOUR == change_deadline(world.client().session(), None).left


def test_the_longest_limit_is_the_platforms(world: Any) -> None:
    """The refusal names it."""
    with pytest.raises(ConfigError, match=r"more than 0\.333 hours"):
        change_deadline(world.client().session(), "21m")


def test_uploads_of_a_job_are_not_counted(world: Any, cloudy: type[Any], tmp_path: Path) -> None:
    """An image that takes three hours leaves the change as long as it had: the job is submitted all the same."""
    left: dict[str, float] = {}

    class Uploading(cloudy):  # type: ignore[misc]  # as above
        def create(self, resource: Resource, materials: Materials, *, timeout: float) -> Ack:
            left[resource.kind] = timeout
            world.clock.sleep(3 * HOUR if resource.kind == "Image" else 0.0)
            return super().create(resource, materials, timeout=timeout)  # type: ignore[no-any-return]  # as above

    world.shape = Uploading
    script = tmp_path / "train.py"
    script.write_text("print(1)\n")
    job = world.client().train(script, name="long", requirements=[], wait=False)
    assert "long" == job.name
    assert left["Image"] > 3 * HOUR
    assert 500 < left["Job"] <= 600


@pytest.mark.parametrize("provider", ["azureml", "sagemaker", "vertex"])
def test_clouds_declare_an_hour_and_as_much_for_undoing(provider: str) -> None:
    """By the facts: deploys take up to forty minutes, updates up to an hour, and they cannot be cut short."""
    times: Any = change_times(Registry().load(provider))  # type: ignore[arg-type]  # the class has it, too
    assert times.deploy_s >= HOUR
    assert times.undo_s >= times.deploy_s
