"""What AWS refuses is reported at once: nothing is waited for that is known already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sdk.errors import QuotaError
from tests.recording import RecordingClock

if TYPE_CHECKING:
    from collections.abc import Sequence

MANY = 30  # more than the account may have


def after(calls: Sequence[Any], operation: str) -> list[str]:
    """The operations from the last call of this one on."""
    names = [call.operation for call in calls]
    return names[len(names) - 1 - names[::-1].index(operation) :]


def test_a_first_deploy_over_quota(place: Any) -> None:
    """CreateEndpoint is refused: the model and the configuration are deleted, with no pause and few questions."""
    clock = RecordingClock()
    client = place.client(clock=clock, instance="ml.m5.large")
    with place.cloud.calls.since() as calls, pytest.raises(QuotaError, match="for endpoint usage"):
        client.deploy(place.samples.model(1), name="refused", replicas=MANY)
    assert clock.paused < 1.0
    made = after(calls, "CreateEndpoint")
    assert ["CreateEndpoint", "DeleteEndpointConfig", "DeleteModel"] == [
        one for one in made if one.startswith(("Create", "Delete", "Update")) and "Object" not in one
    ]
    assert 5 >= made.count("DescribeEndpoint")


def test_an_update_over_quota(place: Any) -> None:
    """UpdateEndpoint is refused: the endpoint is as it was, and nothing is waited for."""
    clock = RecordingClock()
    client = place.client(clock=clock, instance="ml.m5.large")
    client.deploy(place.samples.model(1), name="full")
    clock.paused = 0.0
    with pytest.raises(QuotaError):
        client.deploy(place.samples.model(2), name="full", replicas=MANY)
    assert clock.paused < 1.0
    assert [100] == [one.traffic for one in client.status("full").deployments]
    client.delete("full")
