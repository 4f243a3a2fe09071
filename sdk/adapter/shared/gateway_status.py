"""The status of an endpoint behind mlport's gateway, derived from its live resources."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from ..interface import DeploymentStatus, EndpointStatus, Ref, Replicas
from ..types import EndpointState
from .gateway_plan import GATEWAY, TRAFFIC, split_workload_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..interface import Json, Live


DAMAGE = "damage"
"""The key in a resource's details that names the damaged record, if the resource had to be rebuilt."""


def status(
    name: str, live: Sequence[Live], *, workload: str, provider: str, target: str, now: float
) -> EndpointStatus | None:
    """Return the status of the endpoint; ``None`` if it has no gateway.

    Args:
        name: The endpoint's name.
        live: All resources of the endpoint that were found.
        workload: The kind of the resources that run deployments.
        provider: The provider's name.
        target: The target's name.
        now: Unix seconds, to compute the idle time.
    """
    gateway = next((one for one in live if one.ref == Ref(GATEWAY, name)), None)
    if gateway is None:
        return None
    traffic = next((one for one in live if one.ref == Ref(TRAFFIC, name)), None)
    weights = cast("dict[str, int]", (traffic.spec or {}).get("weights") or {}) if traffic else {}
    workloads = [one for one in live if one.kind == workload and split_workload_id(one.id)[0] == name]
    deployments = tuple(sorted((_deployment(one, weights) for one in workloads), key=lambda one: one.generation))
    labels = gateway.labels
    state, reason = _state(gateway, traffic, deployments, weights)
    used = [one for one in workloads if not weights or weights.get(split_workload_id(one.id)[1])]
    damage = [str(one.details[DAMAGE]) for one in (gateway, traffic, *used) if one and DAMAGE in one.details]
    if damage and state is not EndpointState.DELETING:
        repair = f"{'; '.join(damage)}: deploy it again, or delete it"
        state, reason = EndpointState.DEGRADED, repair if reason is None or reason in damage else f"{repair}; {reason}"
    last = gateway.details.get("last_request_at") or gateway.created_at
    prices = [one.usd_per_hour for one in deployments]
    return EndpointStatus(
        name=name,
        target=target,
        provider=provider,
        state=state,
        raw=gateway.raw,
        url=_text(gateway.details.get("url")),
        deployments=deployments,
        owner=labels.owner if labels else None,
        created_at=gateway.created_at,
        expires_at=(labels.expires_at or None) if labels else None,
        idle_s=max(0.0, now - last) if isinstance(last, int | float) else None,
        usd_per_hour=None if None in prices else sum(price for price in prices if price is not None),
        reason=reason,
        tags=newest_tags(workloads),
    )


def newest_tags(workloads: Sequence[Live]) -> dict[str, str]:
    """Return the user's own tags from the newest deployment's spec, or from its details if it has no spec."""
    newest = max(workloads, key=lambda one: one.labels.generation if one.labels else 0, default=None)
    return dict(cast("dict[str, str]", (newest.spec or newest.details).get("tags") or {})) if newest else {}


def _deployment(live: Live, weights: Mapping[str, int]) -> DeploymentStatus:
    _, name = split_workload_id(live.id)
    spec: Mapping[str, Any] = live.spec or {}
    count = int(spec.get("replicas", 1))
    return DeploymentStatus(
        id=name,
        traffic=weights.get(name, 0),
        state=live.state,
        model=str(spec.get("model", "")),
        spec_hash=str(spec.get("deployment_hash", "")),
        generation=live.labels.generation if live.labels else 0,
        replicas=Replicas(count, count),
        created_at=live.created_at,
        usd_per_hour=live.usd_per_hour,
        reason=live.reason,
        settings={
            key: spec[key] for key in ("model_name", "tags", "image", "cpu", "memory_gib") if spec.get(key) is not None
        },
    )


def _state(
    gateway: Live, traffic: Live | None, deployments: Sequence[DeploymentStatus], weights: Mapping[str, int]
) -> tuple[EndpointState, str | None]:
    if gateway.state == "deleting":
        return EndpointState.DELETING, None
    if gateway.state == "failed":
        return EndpointState.FAILED, gateway.reason
    serving = [one for one in deployments if one.traffic]
    ready = [one for one in serving if one.state == "ready"]
    failed = [one.reason for one in deployments if one.state == "failed"] + _lost(deployments, weights)
    if ready and failed:
        return EndpointState.DEGRADED, failed[0]
    if ready:
        settled = len(ready) == len(serving) and all(one.state == "ready" for one in deployments)
        settled = settled and gateway.state == "ready" and traffic is not None and traffic.state == "ready"
        return (EndpointState.READY, None) if settled else (EndpointState.UPDATING, gateway.reason)
    if failed:
        return EndpointState.FAILED, failed[0]
    starting = [one for one in serving if one.state == "updating"]
    return (EndpointState.UPDATING, starting[0].reason) if starting else (EndpointState.CREATING, None)


def _lost(deployments: Sequence[DeploymentStatus], weights: Mapping[str, int]) -> list[str | None]:
    """Return a reason for each deployment that has traffic but nothing that runs it."""
    known = {one.id for one in deployments}
    return [
        f"nothing is left of deployment {name}, which has {share} % of the traffic: deploy the endpoint again"
        for name, share in weights.items()
        if share and name not in known
    ]


def _text(value: Json) -> str | None:
    return None if value is None else str(value)
