"""A predict waits for an endpoint whose replicas are starting again, as long as there is something to wait for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from sdk.adapter.shared import invoker
from sdk.adapter.types import EndpointState
from sdk.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdk.adapter import Invoker, Live
    from sdk.adapter.types import EndpointStatus

NOT_READY = {"error": {"code": "not_ready", "message": "No replica is ready."}}
WHY = "nothing is left of deployment d1"
BUSY = {"error": {"code": "overloaded", "message": "Every replica has all the requests it may have."}}


class Outage(httpx.BaseTransport):
    """Refuses predictions as a gateway without replicas does, until a moment of the world's clock."""

    def __init__(self, world: Any, until: float, body: Any) -> None:
        self.world, self.until, self.body = world, world.clock.monotonic() + until, body
        self.inner: httpx.BaseTransport = world.plane
        self.refused = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if self.world.clock.monotonic() >= self.until:
            return self.inner.handle_request(request)
        self.refused += 1
        return httpx.Response(503, json=self.body, headers={"retry-after": "1"}, request=request)


def outage(world: Any, faked: Any, seconds: float, state: EndpointState, body: Any = NOT_READY) -> Any:
    """A client whose endpoint serves, then refuses for some seconds while its status shows a state."""
    transports: list[Outage] = []

    class Reviving(faked.TellingFake):  # type: ignore[misc]  # of a module that is loaded by its path
        def invoker(self, status: EndpointStatus) -> Invoker:
            fresh: Invoker = super().invoker(status)
            return replace(fresh, revives=True, error=lambda answer: invoker.error(answer, provider="fake"))

        def status(self, name: str, live: Sequence[Live]) -> EndpointStatus | None:
            found: EndpointStatus | None = super().status(name, live)
            down = bool(transports) and world.clock.monotonic() < transports[0].until
            return replace(found, state=state, reason=WHY) if found and down else found

    world.shape = Reviving
    world.plane = type(world.plane)(Reviving)
    world.client().deploy(faked.a_model())
    transports.append(Outage(world, seconds, body))
    world.plane = transports[0]
    return world.client(), transports[0]


def test_predict_waits_for_replicas_that_start(world: Any, faked: Any) -> None:
    """Ten seconds without a ready replica are no error: the answer comes once one is there."""
    client, transport = outage(world, faked, 10.0, EndpointState.UPDATING)
    begin = world.clock.monotonic()
    assert [3.0] == client.predict("churn", [[1.0, 2.0]]).values
    assert 10.0 <= world.clock.monotonic() - begin < 15.0
    assert transport.refused <= 3, "it looks at the endpoint meanwhile, and sends nothing"


def test_predict_gives_up_at_its_own_deadline(world: Any, faked: Any) -> None:
    """What does not come back in time ends with the gateway's own words, within the time that was given."""
    client, _ = outage(world, faked, 1000.0, EndpointState.UPDATING)
    begin = world.clock.monotonic()
    with pytest.raises(UnavailableError, match="No replica is ready"):
        client.predict("churn", [[1.0, 2.0]], timeout=20)
    assert world.clock.monotonic() - begin <= 21.0


@pytest.mark.parametrize(
    ("state", "body"), [(EndpointState.FAILED, NOT_READY), (EndpointState.READY, BUSY), (EndpointState.UPDATING, BUSY)]
)
def test_there_is_nothing_to_wait_for(world: Any, faked: Any, state: EndpointState, body: Any) -> None:
    """An endpoint that failed does not come back, and a busy one is not asked again and again."""
    client, transport = outage(world, faked, 1000.0, state, body)
    with pytest.raises(UnavailableError) as refused:
        client.predict("churn", [[1.0, 2.0]])
    assert 3 == transport.refused
    assert (state is EndpointState.FAILED) == (WHY in str(refused.value))
