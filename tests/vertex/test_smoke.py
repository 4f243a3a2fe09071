"""`smoke_endpoint`: a new deployment answers on a temporary endpoint before its first share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import sdk
from sdk.errors import DeployFailed
from sdk_contract.samples import ANSWER

if TYPE_CHECKING:
    from tests.vertex.conftest import Place

QUICK = "contract_tests.test_vertex:Quick"  # does not wait a minute for what the platform might show late
PRICE = 0.120272
EXAMPLE = [[ANSWER, 1.0]]


def liar() -> Any:
    """A model that answers while it is packed, and fails where it is deployed."""

    def predict(rows: Any) -> Any:
        import os

        if "AIP_MODE" in os.environ:
            raise RuntimeError("contract: told to fail")
        return [float(row[1]) for row in rows]

    return sdk.model(predict, name="liar", example=EXAMPLE)


def test_tried_before_its_first_share(place: Place) -> None:
    """The plan shows the endpoint and its price; it is asked, then removed; the first deploy of all needs none."""
    client = place.client(provider=QUICK, smoke_endpoint=True)
    first = client.plan(place.samples.model(1), name="tried")
    assert [] == [step for step in first.steps if step.ref.kind.startswith("Smoke")]
    client.deploy(place.samples.model(1), name="tried")
    before = place.running()
    plan = client.plan(place.samples.model(2), name="tried", traffic=10)
    assert ["create SmokeEndpoint", "create SmokeModel", "delete SmokeModel", "delete SmokeEndpoint"] == [
        f"{step.action} {step.ref.kind}" for step in plan.steps if step.ref.kind.startswith("Smoke")
    ]
    assert (PRICE, 3 * PRICE, 2 * PRICE) == pytest.approx(
        (plan.usd_per_hour.before, plan.usd_per_hour.peak, plan.usd_per_hour.after)
    )
    with place.cloud.calls.since() as calls:
        endpoint = client.deploy(place.samples.model(2), name="tried", traffic=10)
    asked = [call.path for call in calls if call.service == "prediction"]
    (new,) = [one.id for one in endpoint.refresh().deployments if one.traffic == 10]
    assert [f"/endpoints/tried-{new}:rawPredict"] == [path[path.index("/endpoints/") :] for path in asked]
    assert 3 == len(set(place.running()) - set(before)), "a model, what is deployed of it, and its process"
    assert [] == client.gc().orphans
    client.delete("tried")
    assert [] == place.running()


def test_who_fails_there_gets_no_traffic(place: Place) -> None:
    """Nobody's request ever reached it, and nothing of it is left."""
    client = place.client(provider=QUICK, smoke_endpoint=True)
    endpoint = client.deploy(place.samples.model(1), name="spared")
    before = place.running()
    with pytest.raises(DeployFailed, match="smoke test"):
        client.deploy(liar(), name="spared", traffic=10)
    assert before == place.running()
    assert [100] == [one.traffic for one in endpoint.refresh().deployments]
    client.delete("spared")


def test_without_it_the_first_share_is_the_test(place: Place) -> None:
    """The same model, with a target that is not set to try it."""
    client = place.client()
    client.deploy(place.samples.model(1), name="unspared")
    endpoint = client.deploy(liar(), name="unspared", traffic=10)
    assert [10, 90] == sorted(one.traffic for one in endpoint.refresh().deployments)
    client.delete("unspared")
    assert [] == place.running()
