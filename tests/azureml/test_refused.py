"""What Azure ML refuses is reported at once: nothing is waited for that is known already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sdk.errors import QuotaError
from tests.recording import RecordingClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdk_contract.clouds.azureml import AzureMLCloud
    from sdk_contract.samples import Samples

MANY = 1_000


def test_a_deploy_over_quota(cloud: AzureMLCloud, make_client: Callable[..., Any], samples: Samples) -> None:
    """The deployment is refused, first and beside another: what was made before it is deleted without a pause."""
    clock = RecordingClock()
    client = make_client(cloud, clock=clock)
    with pytest.raises(QuotaError, match="Not enough quota"):
        client.deploy(samples.model(1), name="refused", replicas=MANY)
    assert clock.paused < 5.0, "short looks at operations that run, and no settle time"
    assert {} == cloud.endpoints.all
    client.deploy(samples.model(1), name="full")
    clock.paused = 0.0
    with pytest.raises(QuotaError):
        client.deploy(samples.model(2), name="full", replicas=MANY)
    assert clock.paused < 5.0
    assert [100] == [one.traffic for one in client.status("full").deployments]
