"""Where a new deployment is tried before its first share, which the platform cannot address: a temporary endpoint.

Its id is that of the deployment's model, ``ENDPOINT-DEPLOYMENT``; a label tells it from the endpoints of users.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sdk.adapter import Labels, Live, Ref

from ._access import unix
from ._plan import DEPLOYED, ENDPOINT, SMOKE, SMOKE_ENDPOINT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdk.adapter import Ack, Invoker, Resource

    from ._deploy import Deployments

SMOKE_LABEL = "mlport-smoke"
KINDS = {SMOKE_ENDPOINT, SMOKE}


class SmokeTests:
    """The temporary endpoints of one project and region.

    Args:
        deployments: All others.
    """

    def __init__(self, deployments: Deployments) -> None:
        self._deployments = deployments

    def read(self, ref: Ref, timeout: float) -> Live | None:
        """A temporary endpoint, or what is deployed to it."""
        if ref.kind == SMOKE:
            live = self._deployments.read_deployed(ref.id, timeout, endpoint=ref.id)
            return None if live is None else _aside(live, ref.id)
        found = self._deployments.endpoint(ref.id, timeout)
        return None if found is None or SMOKE_LABEL not in found.labels else _endpoint_live(found)

    def create(self, resource: Resource, timeout: float) -> Ack:
        """Make it, or deploy to it; all requests there go to the one that is tried."""
        if resource.kind == SMOKE_ENDPOINT:
            return self._deployments.create_endpoint(resource, {SMOKE_LABEL: "1"}, timeout)
        return self._deployments.deploy(resource, resource.id, {"0": 100}, timeout)

    def delete(self, live: Live, timeout: float) -> Ack:
        """Remove one of the two."""
        kind = ENDPOINT if live.kind == SMOKE_ENDPOINT else DEPLOYED
        return self._deployments.delete(replace(live, kind=kind), timeout, endpoint=live.id)

    def invoker(self, name: str, timeout: float) -> Invoker:
        """How to call what is deployed to it."""
        found = self._deployments.existing(name, timeout)
        plane, dns = self._deployments.plane, str(found.dedicated_endpoint_dns)
        return plane.invoker(plane.url(found.name, dns), dns)


def smoke_lives(deployments: Deployments, found: Any) -> Iterator[Live]:
    """A temporary endpoint as it was read, with what is deployed to it."""
    live = _endpoint_live(found)
    yield live
    for one in found.deployed_models:
        yield _aside(deployments.deployed_live(found, one), live.id)


def _endpoint_live(found: Any) -> Live:
    return Live(
        SMOKE_ENDPOINT,
        found.name.rpartition("/")[2],
        "ready",
        raw="temporary",
        labels=Labels.from_tags(dict(found.labels)),
        etag=found.etag,
        created_at=unix(found.create_time),
    )


def _aside(live: Live, name: str) -> Live:
    """What is deployed to a temporary endpoint, seen as what it is."""
    parents = tuple(Ref(SMOKE_ENDPOINT, name) if ref.kind == ENDPOINT else ref for ref in live.parents)
    return replace(live, kind=SMOKE, id=name, parents=parents)
