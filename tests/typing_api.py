"""Never run: what type checkers must make of the public names."""

from __future__ import annotations

from typing import assert_type

import httpx

import sdk
from sdk.executor import GcReport


async def types(model: sdk.Model) -> None:
    """Each verb gives what its documentation says."""
    assert_type(sdk.deploy(model), sdk.Endpoint)
    assert_type(sdk.deploy(model, name="churn", traffic=10, replicas=2, env={"A": "b"}), sdk.Endpoint)
    assert_type(sdk.deploy(model, dry_run=True), sdk.Plan)
    assert_type(sdk.plan(model, target="aws", resources={"cpu": 2}), sdk.Plan)
    assert_type(sdk.promote("churn"), sdk.Endpoint)
    assert_type(sdk.delete("churn", dry_run=True), sdk.Plan)
    assert_type(sdk.build(model, base="debian-packages", push="localhost:5000/churn:v1"), sdk.BuiltImage)
    assert_type(sdk.status("churn"), sdk.EndpointStatus)
    assert_type(sdk.list(), list[sdk.EndpointStatus])
    assert_type(sdk.monitor("churn", window="1h"), sdk.Watch)
    assert_type(sdk.gc(apply=True), GcReport)
    endpoint = sdk.endpoint("churn")
    assert_type(endpoint.predict([[1.0]]), sdk.Prediction)
    assert_type(await endpoint.apredict([[1.0]]), sdk.Prediction)
    assert_type(endpoint.request([[1.0]]), httpx.Request)
    assert_type(endpoint.curl([[1.0]]), str)
    assert_type(endpoint.promote(), sdk.Endpoint)
    job = sdk.train("train.py", params={"C": 0.5})
    assert_type(job, sdk.Job)
    assert_type(job.result(name="churn"), sdk.Model)
    with sdk.temporary(model, ttl="30m") as temporary:
        assert_type(temporary, sdk.Endpoint)
