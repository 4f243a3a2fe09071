"""What Vertex AI refuses is reported at once: nothing is waited for that is known already."""

from __future__ import annotations

from typing import Any

import pytest

from sdk.errors import QuotaError
from tests.recording import RecordingClock

MANY = 150  # of two processors each: more than the project may have


def test_a_first_deploy_over_quota(place: Any) -> None:
    """DeployModel is refused: what was made before it is deleted without a pause."""
    clock = RecordingClock()
    client = place.client(clock=clock)
    with pytest.raises(QuotaError, match="custom_model_serving_cpus"):
        client.deploy(place.samples.model(1), name="refused", replicas=MANY)
    assert clock.paused < 5.0, "short looks at operations that run, and no settle time"
    assert [] == [one for one in place.running() if "refused" in one]


def test_an_update_over_quota(place: Any) -> None:
    """A second deployment is refused: the first one serves as before."""
    clock = RecordingClock()
    client = place.client(clock=clock)
    client.deploy(place.samples.model(1), name="full")
    clock.paused = 0.0
    with pytest.raises(QuotaError):
        client.deploy(place.samples.model(2), name="full", replicas=MANY)
    assert clock.paused < 5.0
    assert [100] == [one.traffic for one in client.status("full").deployments]
    client.delete("full")
