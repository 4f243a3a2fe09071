"""Whatever is sent, the mini cloud answers as a cloud does: a failure of its own is a bug of it."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from sdk_contract.clouds import mini_cloud
from sdk_contract.clouds.sagemaker import SagemakerCloud
from tests.clouds.sagemaker.generated import Maker, send


@pytest.mark.parametrize("count", [150, pytest.param(20_000, marks=pytest.mark.full)])
def test_no_request_breaks_it(count: int) -> None:
    """Requests from the models of all services that it answers for; each status is that of an answer or a refusal."""
    chance = random.Random(20261130)
    with mini_cloud("sagemaker", runner="fork") as cloud:
        assert isinstance(cloud, SagemakerCloud)
        statuses: Counter[int] = Counter()
        for wire in Maker(chance, cloud.control.played).requests(count):
            status, body = send(cloud, wire)
            assert status < 500, f"{wire} -> {status} {body[:500]!r}"
            statuses[status] += 1
        assert [] == cloud.app.errors
    assert statuses[200] >= count / 10, "most are refused, but not all"
    assert statuses[400] >= count / 10
