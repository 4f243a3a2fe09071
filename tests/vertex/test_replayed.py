"""Whatever is sent, the mini cloud answers as Google does: a failure of its own is a bug of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.replaying import record, replay


@pytest.mark.parametrize("count", [150, pytest.param(20_000, marks=pytest.mark.full)])
def test_no_request_breaks_it(place: Any, count: int) -> None:
    recorder = record(place.cloud.app)
    client = place.client()
    client.deploy(place.samples.model(1), name="replayed")
    client.deploy(place.samples.model(2), name="replayed")
    client.monitor("replayed")
    list(client.logs("replayed", tail=5))
    client.rollback("replayed")
    client.finalize("replayed")
    client.gc()
    place.cloud.app.services.remove(recorder)
    statuses, failed = replay(place.cloud.url, recorder, count, seed=20261130)
    assert [] == failed
    assert [] == place.cloud.app.errors
    assert statuses[200] >= count / 10, "most are refused, but not all"
    assert statuses[400] >= count / 20
