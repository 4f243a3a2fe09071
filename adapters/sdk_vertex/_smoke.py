"""Temporary endpoints to test new deployments, which the platform cannot address before they get traffic.

The endpoint's ID is that of the deployment's model, ``ENDPOINT-DEPLOYMENT``; a label marks it as temporary.
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
        deployments: The permanent endpoints and their deployments.
    """

    def __init__(self, deployments: Deployments) -> None:
        self._deployments = deployments

    def read(self, ref: Ref, timeout: float) -> Live | None:
        """Read a temporary endpoint, or the model deployed to it."""
        if ref.kind == SMOKE:
            live = self._deployments.read_deployed(ref.id, timeout, endpoint=ref.id)
            return None if live is None else _aside(live, ref.id)
        found = self._deployments.endpoint(ref.id, timeout)
        return None if found is None or SMOKE_LABEL not in found.labels else _endpoint_live(found)

    def create(self, resource: Resource, timeout: float) -> Ack:
        """Create a temporary endpoint, or deploy to it; the tested deployment gets all requests of that endpoint."""
        if resource.kind == SMOKE_ENDPOINT:
            return self._deployments.create_endpoint(resource, {SMOKE_LABEL: "1"}, timeout)
        return self._deployments.deploy(resource, resource.id, {"0": 100}, timeout)

    def delete(self, live: Live, timeout: float) -> Ack:
        """Delete a temporary endpoint, or undeploy its model."""
        kind = ENDPOINT if live.kind == SMOKE_ENDPOINT else DEPLOYED
        return self._deployments.delete(replace(live, kind=kind), timeout, endpoint=live.id)

    def invoker(self, name: str, timeout: float) -> Invoker:
        """Return what the core needs to call the deployment on a temporary endpoint."""
        found = self._deployments.existing(name, timeout)
        plane, dns = self._deployments.plane, str(found.dedicated_endpoint_dns)
        return plane.invoker(plane.url(found.name, dns), dns)


def smoke_lives(deployments: Deployments, found: Any) -> Iterator[Live]:
    """Yield a temporary endpoint that was read, and the models deployed to it."""
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
    """Convert a deployed model on a temporary endpoint to the kind of resource that it is there."""
    parents = tuple(Ref(SMOKE_ENDPOINT, name) if ref.kind == ENDPOINT else ref for ref in live.parents)
    return replace(live, kind=SMOKE, id=name, parents=parents)
