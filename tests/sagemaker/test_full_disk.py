"""A full disk on the client's machine does not keep an endpoint of a cloud running, and billed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sdk.errors import SdkError
from tests.disks import full, small_disk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sdk.client import Client


@pytest.fixture
def small(place: Any, tmp_path: Path) -> Iterator[tuple[Client, Path]]:
    """A client whose state folder is on a disk of its own."""
    with small_disk(tmp_path / "state", 64) as folder:
        client = place.client(instance="ml.m5.large", state=folder)
        yield client, folder
        client.close()


@pytest.mark.parametrize("ballast", [True, False])
def test_all_of_it_goes(place: Any, small: tuple[Client, Path], ballast: bool) -> None:
    """Roll-back needs the space that is kept; delete and gc need none, not even that."""
    client, folder = small
    client.deploy(place.samples.model(1), name="full-disk")
    client.deploy(place.samples.model(2), name="full-disk")
    if not ballast:
        for path in folder.glob("executor/*/ballast"):
            path.unlink()
    with full(folder, 0):
        if ballast:
            client.rollback("full-disk")
            assert [0, 100] == sorted(one.traffic for one in client.status("full-disk").deployments)
        client.delete("full-disk")
        assert [] == client.list()
        assert [] == client.gc(apply=True).orphans
    assert [] == list(folder.glob("executor/*/open/*"))


def test_a_deploy_is_refused_and_leaves_nothing(place: Any, small: tuple[Client, Path]) -> None:
    """What the cloud was asked for is undone, or was never asked for."""
    client, folder = small
    client.deploy(place.samples.model(1), name="full-disk")
    before = [one.id for one in client.status("full-disk").deployments]
    for free_kib in (0, 4):
        with full(folder, free_kib), pytest.raises(SdkError, match=r"(?i)no space left"):
            client.deploy(place.samples.model(2), name="full-disk")
        assert before == [one.id for one in client.status("full-disk").deployments]
        assert [] == client.gc(apply=True).orphans
    client.delete("full-disk")
