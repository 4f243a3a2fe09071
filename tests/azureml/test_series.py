"""Azure Monitor gives ten series of a split metric unless more are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sdk.client import Client
    from sdk_contract.clouds.azureml import AzureMLCloud
    from sdk_contract.samples import Samples

STATUSES = (200, 400, 401, 404, 408, 413, 422, 424, 429, 500, 502, 503)


def test_every_series_is_counted(cloud: AzureMLCloud, client: Client, samples: Samples) -> None:
    """Twelve kinds of answers are twelve series: all requests are in the report."""
    client.deploy(samples.model(1), name="churn")
    (endpoint,) = cloud.endpoints.all.values()
    (deployment,) = endpoint.deployments
    for status in STATUSES:
        cloud.monitor.counters.add(endpoint.key, deployment, status, status, 1.0)
    seen = client.monitor("churn", window="10m").metrics
    assert seen is not None
    assert sum(seen.requests.values()) >= len(STATUSES)
