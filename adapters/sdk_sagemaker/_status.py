"""Conversion of live SageMaker resources to a provider-neutral status; no call is made here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

from sdk.adapter import Ref
from sdk.adapter.prices import find_price
from sdk.adapter.shared.gateway_status import newest_tags
from sdk.adapter.types import DeploymentStatus, EndpointState, EndpointStatus, Replicas

from ._errors import PROVIDER
from ._plan import CONFIG, ENDPOINT, MODEL, model_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sdk.adapter import Live
    from sdk.adapter.prices import PriceRow
    from sdk.adapter.types import Json

State = Literal["creating", "ready", "updating", "failed", "deleting"]

STATES: Mapping[str, State] = {
    "Creating": "creating",
    "InService": "ready",
    "Updating": "updating",
    "SystemUpdating": "updating",
    "RollingBack": "updating",
    "Deleting": "deleting",
    "Failed": "failed",
    "OutOfService": "failed",
    "UpdateRollbackFailed": "failed",
}
_NEUTRAL = {
    "creating": EndpointState.CREATING,
    "ready": EndpointState.READY,
    "updating": EndpointState.UPDATING,
    "failed": EndpointState.FAILED,
    "deleting": EndpointState.DELETING,
}
_REPLICAS = re.compile(r"(\d+)-(\d+)")


def status(
    name: str, live: Sequence[Live], target: str, prices: Iterable[PriceRow], region: str
) -> EndpointStatus | None:
    """Return the status of an endpoint from its live resources, or ``None`` if the endpoint is not among them."""
    endpoint = next((one for one in live if one.ref == Ref(ENDPOINT, name)), None)
    if endpoint is None:
        return None
    table = tuple(prices)
    deployments = tuple(sorted(_deployments(name, endpoint, live, table, region), key=lambda one: one.generation))
    labels = endpoint.labels
    costs = [one.usd_per_hour for one in deployments]
    return EndpointStatus(
        name=name,
        target=target,
        provider=PROVIDER,
        state=_state(endpoint),
        raw=endpoint.raw,
        url=_text(endpoint.details.get("url")),
        deployments=deployments,
        owner=labels.owner if labels else None,
        created_at=endpoint.created_at,
        expires_at=(labels.expires_at or None) if labels else None,
        usd_per_hour=None if None in costs else sum(cost for cost in costs if cost is not None),
        reason=endpoint.reason,
        tags=newest_tags([one for one in live if one.kind == MODEL]),
    )


def _state(endpoint: Live) -> EndpointState:
    """Return the state of an endpoint: degraded if it still serves its old configuration after a failed update."""
    if endpoint.raw == "UpdateRollbackFailed":
        return EndpointState.DEGRADED
    return _NEUTRAL[endpoint.state]


def _deployments(
    name: str, endpoint: Live, live: Sequence[Live], prices: tuple[PriceRow, ...], region: str
) -> Iterable[DeploymentStatus]:
    spec: Any = endpoint.spec or {}
    models = {one.id: one for one in live if one.kind == MODEL}
    configs = {one.id: one for one in live if one.kind == CONFIG}
    current = configs.get(spec.get("config", ""))
    pending = configs.get(str(endpoint.details.get("pending") or ""))
    seen: set[str] = set()
    for config in (current, pending):
        about: Any = (config.spec or {}) if config else {}
        for deployment, variant in about.get("variants", {}).items():
            model = models.get(model_id(name, deployment))
            if config is None or model is None or deployment in seen:
                continue
            seen.add(deployment)
            settings = _settings(model, config, variant)
            state = _variant_state(endpoint) if config is current else "creating"
            price = _price(variant, prices, region)
            yield _deployment(deployment, endpoint, model, settings, state=state, price=price)


def _variant_state(endpoint: Live) -> str:
    """Return the state of a variant of the configuration in use, which keeps serving while another one is started."""
    return (
        "ready" if endpoint.state in {"ready", "updating"} or endpoint.raw == "UpdateRollbackFailed" else endpoint.state
    )


def _settings(model: Live, config: Live, variant: Any) -> dict[str, Json]:
    about: Any = model.spec or {}
    layout: Any = config.spec or {}
    shadow = layout.get("shadow")
    return {
        "model_name": about.get("model_name"),
        "tags": about.get("tags"),
        "image": about.get("image"),
        "variant": variant,
        "config": config.id,
        "production": sorted(one for one in layout.get("variants", {}) if one != shadow),
        "shadow": shadow,
    }


def _deployment(
    name: str, endpoint: Live, model: Live, settings: Mapping[str, Json], *, state: str, price: float | None
) -> DeploymentStatus:
    spec: Any = model.spec or {}
    weights: Any = (endpoint.spec or {}).get("weights") or {}
    variant: Any = settings["variant"]
    replicas: Any = spec.get("replicas") or {}
    count = int(variant.get("count") or 1)
    return DeploymentStatus(
        id=name,
        traffic=int(weights.get(name, 0)),
        state=state,
        model=str(spec.get("model", "")),
        spec_hash=str(spec.get("deployment_hash", "")),
        generation=model.labels.generation if model.labels else 0,
        instance=variant.get("instance"),
        replicas=Replicas(int(replicas.get("min", count)), int(replicas.get("max", count))),
        created_at=model.created_at,
        usd_per_hour=price,
        reason=endpoint.reason if state == "failed" else None,
        settings=settings,
    )


def _price(variant: Mapping[str, Any], prices: tuple[PriceRow, ...], region: str) -> float | None:
    """Return the price of a variant's instances per hour; ``None`` for serverless, which is billed by use."""
    instance = variant.get("instance")
    row = find_price(prices, str(instance), region=region) if instance else None
    return None if row is None or row.usd_per_hour is None else row.usd_per_hour * int(variant.get("count") or 1)


def fleet_price(config: Live, prices: tuple[PriceRow, ...], region: str) -> float | None:
    """Return the price per hour of all deployments of a configuration; ``None`` if it is not known."""
    spec: Any = config.spec or {}
    costs = [_price(variant, prices, region) for variant in spec["variants"].values()]
    return None if None in costs else sum(cost for cost in costs if cost is not None)


def replicas_of(text: str) -> dict[str, int] | None:
    """Parse the replicas that are stored on a model.

    Example:
        >>> replicas_of("1-3")
        {'min': 1, 'max': 3}
    """
    match = _REPLICAS.fullmatch(text)
    return {"min": int(match[1]), "max": int(match[2])} if match else None


def whole_percents(variants: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return the shares of variants as whole percents that sum to 100, whatever their weights are.

    Example:
        >>> whole_percents([{"VariantName": "a", "CurrentWeight": 1.0}, {"VariantName": "b", "CurrentWeight": 2.0}])
        {'a': 33, 'b': 67}
    """
    weights = {str(one["VariantName"]): float(one.get("CurrentWeight") or 0.0) for one in variants}
    total = sum(weights.values())
    if not total:
        return dict.fromkeys(weights, 0)
    exact = {name: 100 * weight / total for name, weight in weights.items()}
    shares = {name: int(value + 1e-9) for name, value in exact.items()}
    for name in sorted(exact, key=lambda one: shares[one] - exact[one])[: 100 - sum(shares.values())]:
        shares[name] += 1
    return shares


def _text(value: Json) -> str | None:
    return None if value is None else str(value)
