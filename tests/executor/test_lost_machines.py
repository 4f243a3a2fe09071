"""A machine that is gone, journal included, holds a name for as long as its lease and no longer."""

from __future__ import annotations

import math
import random
import re
from typing import TYPE_CHECKING, Any

import pytest

from sdk.errors import ConflictError
from sdk.executor.lease import Lease
from tests.executor.world import NAME, SHAPES, Client, Kill, Switch, World, fresh, update

if TYPE_CHECKING:
    from pathlib import Path

    from sdk_contract.fake import FakeAdapter

shapes = pytest.mark.parametrize("shape", SHAPES)
EARLY = 5  # seconds that clock and calls may take


def killed(world: World, at: int | None) -> Switch:
    """A first deploy that is killed at a point, on a machine that is lost with it."""
    switch = Switch(at)
    client = Client(world).mortal(switch)
    try:
        client.run(fresh)
    except Kill:
        world.disks.clear()
        world.cloud.faults.clear()
    return switch


def deploy(world: World) -> Any:
    """What another machine does then."""
    client = Client(world, machine="desk")
    return client.run(update if client.status() else fresh)


@shapes
def test_a_name_is_free_when_the_lease_of_a_lost_machine_has_ended(shape: type[FakeAdapter], tmp_path: Path) -> None:
    """Wherever it died: refused until the moment that the error names, and not a second longer."""
    points = killed(World(shape, tmp_path / "whole"), None).points
    for at in random.Random(7).sample(range(len(points)), 6):
        world = World(shape, tmp_path / str(at))
        killed(world, at)
        died, refused = world.cloud.now(), None
        try:
            deploy(world)
        except ConflictError as error:
            refused = error
        if refused is not None:
            assert refused.free_at is not None
            assert refused.free_at <= died + Lease.ttl_s, points[at]
            assert refused.holder == "me"
            left = int(re.findall(r"UTC, (\d+) s from now", str(refused))[0])
            assert math.isclose(refused.free_at - world.cloud.now(), left, abs_tol=EARLY)
            world.clock.sleep(refused.free_at - world.cloud.now() - EARLY)
            with pytest.raises(ConflictError, match="mlport unlock churn --id"):
                deploy(world)
            world.clock.sleep(refused.free_at - world.cloud.now())
            deploy(world)
        assert {} == world.cloud.leases
        assert sum((world.serving() or {}).values()) == 100, points[at]


@shapes
def test_a_lease_that_ends_in_years_is_damaged(shape: type[FakeAdapter], tmp_path: Path) -> None:
    """No clock of ours writes one; it does not block a name for ever."""
    world = World(shape, tmp_path)
    body = f'{{"owner": "ann", "txn": "other", "expires": {world.cloud.now() + 1e9}}}'
    world.cloud.lease_write(f"locks/{NAME}", body, None)
    Client(world).run(fresh)
    assert {} == world.cloud.leases


@shapes
def test_gc_removes_the_lease_with_what_a_lost_machine_left(shape: type[FakeAdapter], tmp_path: Path) -> None:
    """Another machine's gc leaves neither parts nor a lease, and takes no lease away that is still valid."""
    points = killed(World(shape, tmp_path / "whole"), None).points
    last = max(number for number, point in enumerate(points) if point.startswith("before create"))
    world = World(shape, tmp_path / "lost")
    killed(world, last)
    other = Client(world, machine="desk").executor
    other.gc(apply=True, min_age_s=0)
    assert 1 == len(world.cloud.leases)
    world.clock.sleep(Lease.ttl_s)
    assert other.gc(apply=True, min_age_s=0).removed
    assert {} == world.cloud.leases


def test_the_error_as_plain_values(tmp_path: Path) -> None:
    """For programs that wait: who, and until when."""
    world = World(SHAPES[0], tmp_path)
    expires = world.cloud.now() + 100
    world.cloud.lease_write(f"locks/{NAME}", f'{{"owner": "ann", "txn": "t1", "expires": {expires}}}', None)
    with pytest.raises(ConflictError) as caught:
        Client(world).run(fresh)
    told = caught.value.to_dict()
    assert ("ann", expires) == (told["holder"], told["free_at"])
    assert caught.value.retryable
    assert "who has its lease until " in told["message"]
