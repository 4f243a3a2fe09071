"""Pure functions that convert neutral specs to Shelf's items and back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from sdk.adapter import Labels, Live, Ref, Resource
from sdk.adapter.types import DeploymentStatus, EndpointState, EndpointStatus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sdk.adapter import DeploymentSpec, EndpointSpec
    from sdk.adapter.types import Json


def resources(spec: EndpointSpec, usd_per_hour: float | None) -> list[Resource]:
    """Return the models, then the deployments, and last the endpoint, which holds the traffic."""
    models = {d.model[:32]: _model(spec, d) for d in spec.deployments}
    deployments = [_deployment(spec, d, usd_per_hour) for d in spec.deployments]
    traffic = {d.id: spec.traffic.get(d.id, 0) for d in spec.deployments}
    behind = tuple(deployment.ref for deployment in deployments)
    endpoint = Resource("Endpoint", spec.name, {"traffic": traffic}, spec.labels, behind, summary="traffic")
    return [*models.values(), *deployments, endpoint]


def _model(spec: EndpointSpec, deployment: DeploymentSpec) -> Resource:
    wanted = None if deployment.kept else {"model": deployment.model}
    labels = replace(spec.labels, expires_at=0)  # shared resources outlive the endpoint they were first made for
    return Resource("Model", deployment.model[:32], wanted, labels, summary=deployment.model_name)


def _deployment(spec: EndpointSpec, deployment: DeploymentSpec, usd_per_hour: float | None) -> Resource:
    wanted: dict[str, Json] = {
        "deployment": deployment.id,
        "model": deployment.model,
        "generation": deployment.generation,
        "spec_hash": deployment.spec_hash,
        "env": dict(deployment.env),
        "secrets": dict(deployment.secrets),
    }
    parents = (Ref("Model", deployment.model[:32]),)
    kept = deployment.kept is not None  # it exists already and only stays
    return Resource(
        "Deployment", f"{spec.name}-{deployment.id}", None if kept else wanted, spec.labels, parents, usd_per_hour
    )


def live(item: Mapping[str, Any], usd_per_hour: float | None) -> Live:
    """Return an item as the platform shows it, as a ``Live`` resource."""
    return Live(
        kind=item["kind"],
        id=item["id"],
        state=item["state"],
        raw=item["state"],
        spec=item["spec"],
        labels=Labels.from_tags(item["tags"]),
        etag=str(item["etag"]),
        created_at=item["created"],
        parents=_needs(item),
        usd_per_hour=usd_per_hour if item["kind"] == "Deployment" else 0.0,
        reason=item["reason"],
    )


def _needs(item: Mapping[str, Any]) -> tuple[Ref, ...]:
    if item["kind"] == "Endpoint":
        return tuple(Ref("Deployment", f"{item['id']}-{name}") for name in item["spec"]["traffic"])
    return (Ref("Model", item["spec"]["model"][:32]),) if item["kind"] == "Deployment" else ()


def status(name: str, found: Sequence[Live], target: str, url: str) -> EndpointStatus | None:
    """Return the status of the endpoint that these items make up; ``None`` without an endpoint among them."""
    endpoint = next((item for item in found if item.ref == Ref("Endpoint", name)), None)
    if endpoint is None:
        return None
    traffic = cast("dict[str, int]", dict((endpoint.spec or {})["traffic"]))  # type: ignore[arg-type]  # our own shape
    behind = [_deployment_status(i, traffic) for i in found if i.kind == "Deployment" and i.id.startswith(f"{name}-d")]
    deployments = tuple(d for d in behind if d.id in traffic)
    healthy = all(d.state == "ready" for d in deployments) and len(deployments) == len(traffic)
    prices = [d.usd_per_hour for d in deployments]
    return EndpointStatus(
        name=name,
        target=target,
        provider="shelf",
        state=EndpointState.READY if healthy else EndpointState.DEGRADED,
        raw=endpoint.raw,
        url=url,
        deployments=deployments,
        owner=endpoint.labels.owner if endpoint.labels else None,
        created_at=endpoint.created_at,
        expires_at=(endpoint.labels.expires_at or None) if endpoint.labels else None,
        usd_per_hour=None if None in prices else sum(p for p in prices if p is not None),
    )


def _deployment_status(item: Live, traffic: Mapping[str, int]) -> DeploymentStatus:
    spec = cast("dict[str, Any]", item.spec)
    return DeploymentStatus(
        id=spec["deployment"],
        traffic=traffic.get(spec["deployment"], 0),
        state=item.state,
        model=spec["model"],
        spec_hash=spec["spec_hash"],
        generation=spec["generation"],
        created_at=item.created_at,
        usd_per_hour=item.usd_per_hour,
        reason=item.reason,
    )
