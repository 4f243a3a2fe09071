"""From a neutral spec to the resources of the Docker Engine, and back to a neutral status; no call is made here."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from sdk.adapter import Kind, Labels, Nature, Ref, Resource
from sdk.packaging.image import image_id
from sdk.types import DeploymentStatus, EndpointState, EndpointStatus, Replicas

from ._errors import PROVIDER, unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sdk.adapter import DeploymentSpec, EndpointSpec, JobSpec, Live
    from sdk.types import Json

    from .options import DockerOptions

IMAGE, GATEWAY, CONTAINER, TRAFFIC, JOB = "Image", "Gateway", "Container", "Traffic", "Job"

KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(IMAGE, Nature.SHARED),
        Kind(GATEWAY, Nature.MUTABLE),
        Kind(CONTAINER, Nature.IMMUTABLE, billed=True),
        Kind(TRAFFIC, Nature.MUTABLE, root=True),
        Kind(JOB, Nature.IMMUTABLE, billed=True, root=True),
    )
}


def resources(spec: EndpointSpec, options: DockerOptions) -> list[Resource]:
    """Images, gateway, one container group per deployment, traffic: in the order in which they are made."""
    gateway = Resource(GATEWAY, spec.name, _gateway_spec(spec, options), replace(spec.labels, generation=0, model=""))
    models: dict[Ref, Resource] = {}
    containers: list[Resource] = []
    for deployment in spec.deployments:
        model = _image(deployment, spec.labels, options)
        if deployment.kept is None:  # what runs needs its environment no more to go on
            models[model.ref] = model
        containers.append(_container(deployment, spec, options, (model.ref, gateway.ref)))
    traffic = _traffic(spec, [container.ref for container in containers])
    return [*models.values(), gateway, *containers, traffic]


def container_id(endpoint: str, deployment: str) -> str:
    """The id of a deployment's containers."""
    return f"{endpoint}.{deployment}"


def split_container_id(container: str) -> tuple[str, str]:
    """Endpoint and deployment of a container id."""
    endpoint, _, deployment = container.partition(".")
    return endpoint, deployment


def _gateway_spec(spec: EndpointSpec, options: DockerOptions) -> dict[str, Json]:
    return {"port": options.port, "expires_at": spec.labels.expires_at}


def _image(deployment: DeploymentSpec, labels: Labels, options: DockerOptions) -> Resource:
    own = replace(labels, generation=0, model=deployment.model[:32], expires_at=0)
    kept = deployment.kept.settings.get("image") if deployment.kept else None
    name = str(kept or image_id(deployment.model, options.base))
    spec: dict[str, Json] = {"digest": deployment.model, "base": options.base}
    return Resource(IMAGE, name, spec, own, summary=f"{deployment.model_name}: image in the engine")


def _container(
    deployment: DeploymentSpec, spec: EndpointSpec, options: DockerOptions, parents: tuple[Ref, ...]
) -> Resource:
    labels = replace(spec.labels, generation=deployment.generation, model=deployment.model[:32])
    if deployment.kept is not None:
        price = deployment.kept.usd_per_hour
        return Resource(CONTAINER, container_id(spec.name, deployment.id), None, labels, parents, price)
    _check(deployment)
    resources = deployment.resources
    values: dict[str, Json] = {
        "deployment": deployment.id,
        "deployment_hash": deployment.spec_hash,
        "model_name": deployment.model_name,
        "model": deployment.model,
        "image": image_id(deployment.model, options.base),
        "replicas": deployment.replicas.min,
        "cpu": resources.cpu if resources else None,
        "memory_gib": resources.memory_gib if resources else None,
        "env": dict(deployment.env),
        "secrets": dict(deployment.secrets),
        "tags": dict(spec.tags),
        "options": dict(deployment.options),
    }
    count = deployment.replicas.min
    price = None if options.usd_per_hour is None else options.usd_per_hour * count
    summary = f"{deployment.model_name}, {count} replica{'s' if count > 1 else ''}"
    return Resource(CONTAINER, container_id(spec.name, deployment.id), values, labels, parents, price, summary)


def _traffic(spec: EndpointSpec, parents: Sequence[Ref]) -> Resource:
    weights: dict[str, Json] = {d.id: spec.traffic.get(d.id, 0) for d in spec.deployments}
    summary = ", ".join(f"{name} {weight} %" for name, weight in weights.items())
    labels = replace(spec.labels, generation=0, model="")
    return Resource(TRAFFIC, spec.name, {"weights": weights}, labels, tuple(parents), summary=summary)


def _check(deployment: DeploymentSpec) -> None:
    if deployment.replicas.max > deployment.replicas.min:
        raise unsupported("autoscale", "replicas.max is above replicas.min; a docker deployment keeps its number")
    if deployment.resources is not None and deployment.resources.gpu:
        raise unsupported("gpu", "resources.gpu is set; containers are not assigned GPUs")
    if deployment.instance is not None:
        raise unsupported("instances", "instance is set; an engine has no instance types", reason="never")
    if deployment.image is not None:
        raise unsupported("images", "the model is an image; give the model itself")


def job_resources(spec: JobSpec, options: DockerOptions) -> list[Resource]:
    """The program with its environment, then the job."""
    if spec.resources is not None and spec.resources.gpu:
        raise unsupported("gpu", "resources.gpu is set; containers are not assigned GPUs")
    if spec.instance is not None:
        raise unsupported("instances", "instance is set; an engine has no instance types", reason="never")
    digest = spec.digest[:32]
    own = replace(spec.labels, model=digest, expires_at=0)
    image = image_id(spec.digest, options.base)
    source: dict[str, Json] = {"digest": spec.digest, "base": options.base}
    program = Resource(IMAGE, image, source, own, summary="image with the training code")
    values: dict[str, Json] = {
        "image": image,
        "data": dict(spec.data),
        "params": dict(spec.params),
        "env": dict(spec.env),
        "secrets": dict(spec.secrets),
        "cpu": spec.resources.cpu if spec.resources else None,
        "memory_gib": spec.resources.memory_gib if spec.resources else None,
        "timeout_s": spec.timeout_s,
        "options": dict(spec.options),
    }
    labels = replace(spec.labels, model=digest)
    job = Resource(
        JOB, spec.name, values, labels, (program.ref,), options.usd_per_hour, f"time-out {spec.timeout_s:g} s"
    )
    return [program, job]


# --- back: what is live, in neutral words -----------------------------------------------------------------------


def status(name: str, live: Sequence[Live], target: str, now: float) -> EndpointStatus | None:
    """What the live resources of one endpoint amount to."""
    gateway = next((one for one in live if one.ref == Ref(GATEWAY, name)), None)
    if gateway is None:
        return None
    traffic = next((one for one in live if one.ref == Ref(TRAFFIC, name)), None)
    weights = _weights(traffic)
    containers = [one for one in live if one.kind == CONTAINER and split_container_id(one.id)[0] == name]
    deployments = tuple(sorted((_deployment(one, weights) for one in containers), key=lambda one: one.generation))
    labels = gateway.labels
    state, reason = _state(gateway, traffic, deployments)
    last = gateway.details.get("last_request_at") or gateway.created_at
    prices = [one.usd_per_hour for one in deployments]
    return EndpointStatus(
        name=name,
        target=target,
        provider=PROVIDER,
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
        tags=_tags(containers),
    )


def _tags(containers: Sequence[Live]) -> dict[str, str]:
    """The user's own tags, as the newest deployment has them."""
    newest = max(containers, key=lambda one: one.labels.generation if one.labels else 0, default=None)
    return cast("dict[str, str]", (newest.spec or {}).get("tags") or {}) if newest else {}


def _weights(traffic: Live | None) -> dict[str, int]:
    return cast("dict[str, int]", (traffic.spec or {}).get("weights") or {}) if traffic else {}


def _deployment(live: Live, weights: Mapping[str, int]) -> DeploymentStatus:
    _, name = split_container_id(live.id)
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
        settings={"model_name": spec.get("model_name"), "tags": spec.get("tags"), "image": spec.get("image")},
    )


def _state(
    gateway: Live, traffic: Live | None, deployments: Sequence[DeploymentStatus]
) -> tuple[EndpointState, str | None]:
    if gateway.state == "deleting":
        return EndpointState.DELETING, None
    if gateway.state == "failed":
        return EndpointState.FAILED, gateway.reason
    serving = [one for one in deployments if one.traffic]
    ready = [one for one in serving if one.state == "ready"]
    broken = [one for one in deployments if one.state == "failed"]
    reason = next((one.reason for one in broken), None)
    if ready and broken:
        return EndpointState.DEGRADED, reason
    if ready:
        settled = len(ready) == len(serving) and all(one.state == "ready" for one in deployments)
        settled = settled and traffic is not None and traffic.state == "ready"
        return (EndpointState.READY if settled else EndpointState.UPDATING), None
    if broken:
        return EndpointState.FAILED, reason
    return EndpointState.CREATING, None


def _text(value: Json) -> str | None:
    return None if value is None else str(value)
