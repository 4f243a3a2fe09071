"""What the platform refused is reported at once: nothing is waited for that is known already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sdk.errors import QuotaError, SdkError
from sdk_contract.fake import ConfigFake, TrafficFake
from sdk_contract.fake_cloud import CALM, Fault
from tests.executor.scaled import ScaledFake
from tests.executor.world import Client, World

if TYPE_CHECKING:
    from pathlib import Path

    from sdk.adapter import Ref
    from sdk_contract.fake import FakeAdapter

CREATES = {
    ConfigFake: ("Model", "Config", "Endpoint"),
    ScaledFake: ("Model", "Config", "Endpoint"),
    TrafficFake: ("Gateway", "Deployment", "Traffic"),
}
SHAPES = pytest.mark.parametrize("shape", list(CREATES), ids=lambda shape: shape.__name__)


class Counting(Client):
    """A client that counts what it reads once the platform has refused something."""

    def __init__(self, world: World, refused: str) -> None:
        super().__init__(world)
        self.refused_at: float | None = None
        self.reads: list[str] = []
        inner_read, create, update = self.adapter.read, self.adapter.create, self.adapter.update

        def read(ref: Ref, *, timeout: float) -> Any:
            if self.refused_at is not None:
                self.reads.append(str(ref))
            return inner_read(ref, timeout=timeout)

        def noting(call: Any) -> Any:
            def outer(resource: Any, *args: Any, **settings: Any) -> Any:
                try:
                    return call(resource, *args, **settings)
                except QuotaError:
                    assert resource.kind == refused
                    self.refused_at = world.clock.monotonic()
                    raise

            return outer

        self.adapter.read = read  # type: ignore[method-assign]
        self.adapter.create, self.adapter.update = noting(create), noting(update)  # type: ignore[method-assign]


def refused(shape: type[FakeAdapter], scenario: str, fault: Fault, folder: Path) -> tuple[World, Counting]:
    """A verb that is refused once, on a platform that answers every call."""
    world = World(shape, folder, temper=CALM)
    verb = world.prepare(scenario)
    world.cloud.faults.append(fault)
    client = Counting(world, fault.kind or "")
    with pytest.raises(QuotaError):
        client.run(verb)
    assert [] == world.faults()
    return world, client


@SHAPES
@pytest.mark.parametrize("number", range(3))
def test_a_refused_create(shape: type[FakeAdapter], number: int, tmp_path: Path) -> None:
    """The first create of each kind: what was made before it is deleted without a pause and with few looks."""
    fault = Fault("quota", "create", CREATES[shape][number])
    world, client = refused(shape, "fresh", fault, tmp_path)
    assert world.clock.monotonic() == client.refused_at
    assert 20 >= len(client.reads), client.reads


@SHAPES
@pytest.mark.parametrize("scenario", ["update", "third", "canary", "promote", "weights", "finalize"])
def test_a_refused_switch(shape: type[FakeAdapter], scenario: str, tmp_path: Path) -> None:
    """An update of what holds the traffic is refused: nothing can land late, so nothing is waited for."""
    kind = "Traffic" if shape is TrafficFake else "Endpoint"
    world, client = refused(shape, scenario, Fault("quota", "update", kind), tmp_path)
    assert world.clock.monotonic() == client.refused_at


@SHAPES
def test_a_refused_job(shape: type[FakeAdapter], tmp_path: Path) -> None:
    """A job that may not run."""
    world, client = refused(shape, "train", Fault("quota", "create", "Job"), tmp_path)
    assert world.clock.monotonic() == client.refused_at


@SHAPES
def test_what_fails_later_is_reported_when_it_fails(shape: type[FakeAdapter], tmp_path: Path) -> None:
    """The platform took it and then said that it failed: it is deleted, and that is all."""
    world = World(shape, tmp_path, temper=CALM)
    verb = world.prepare("fresh")
    world.cloud.faults.append(Fault("fails", "create", "Deployment" if shape is TrafficFake else "Endpoint"))
    before = world.clock.monotonic()
    with pytest.raises(SdkError, match="never became ready"):
        Client(world).run(verb)
    assert before == world.clock.monotonic()
    assert [] == world.faults()


@SHAPES
def test_a_call_without_an_answer_is_waited_for(shape: type[FakeAdapter], tmp_path: Path) -> None:
    """The time in which it may still land is waited for, and it is found then."""
    world = World(shape, tmp_path, temper=CALM)
    verb = world.prepare("fresh")
    world.cloud.faults.append(Fault("late", "create", CREATES[shape][0], delay_s=25.0))
    Client(world).run(verb)
    assert world.clock.monotonic() >= 25.0
    assert [] == world.faults()
