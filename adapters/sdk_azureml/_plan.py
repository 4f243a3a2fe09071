"""Conversion of neutral specs to resources of a workspace, and of resources to neutral status; makes no calls."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from sdk.adapter import Kind, Labels, Nature, Ref, Resource
from sdk.adapter.shared.checks import check_params
from sdk.adapter.shared.gateway_status import newest_tags
from sdk.adapter.shared.uploads import DATA
from sdk.adapter.types import DeploymentStatus, EndpointState, EndpointStatus, Replicas
from sdk.config.secrets import CLOUD
from sdk.errors import ConfigError
from sdk.packaging.image import image_id

from ._errors import PROVIDER, unsupported
from ._json import table
from ._names import deployment_id, endpoint_name, split_deployment_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sdk.adapter import DeploymentSpec, EndpointSpec, JobSpec, Live
    from sdk.adapter.types import Json

    from .options import AzureMLOptions

IMAGE, ENVIRONMENT, ENDPOINT, DEPLOYMENT = "Image", "Environment", "Endpoint", "Deployment"
AUTOSCALE, TRAFFIC, JOB = "Autoscale", "Traffic", "Job"

_TAGS, _TAG_NAME, _TAG_VALUE = 35, 512, 256
_NO_TAG = re.compile(r"[<>%&\\?/]|^(microsoft|azure|windows)", re.IGNORECASE)
_SETTLE_S = 10.0  # the resource manager reads its own writes; this allows for a request still in progress
_READABLE = ("abfss", "azureml", "http", "https", "wasbs")  # schemes that a job can read directly


def kinds(settle_s: float = _SETTLE_S) -> dict[str, Kind]:
    """Return the kinds of resources, in order of creation."""
    idle = frozenset({"ready", "failed"})
    found = (
        Kind(IMAGE, Nature.SHARED),
        Kind(ENVIRONMENT, Nature.SHARED),
        Kind(ENDPOINT, Nature.MUTABLE, settle_s=settle_s, deletable=idle),
        Kind(DEPLOYMENT, Nature.IMMUTABLE, billed=True, settle_s=settle_s, deletable=idle | {"creating"}),
        Kind(AUTOSCALE, Nature.IMMUTABLE, settle_s=settle_s, attached=True),
        Kind(TRAFFIC, Nature.MUTABLE, settle_s=settle_s, deletable=idle, root=True),
        Kind(DATA, Nature.SHARED),
        Kind(JOB, Nature.IMMUTABLE, billed=True, settle_s=settle_s, purgeable=False, root=True),
    )
    return {kind.name: kind for kind in found}


# --- endpoints --------------------------------------------------------------------------------------------------


def resources(spec: EndpointSpec, options: AzureMLOptions) -> list[Resource]:
    """Return images, environments, endpoint, deployments, autoscale settings and traffic, in order of creation."""
    check_tags(spec.tags)
    endpoint = Resource(
        ENDPOINT, spec.name, _endpoint_spec(spec, options), _bare(spec.labels), summary=_shown(spec, options)
    )
    shared: dict[Ref, Resource] = {}
    own: list[Resource] = []
    for deployment in spec.deployments:
        if deployment.kept is None:  # a running deployment no longer needs its image
            name = deployment.model_name
            pair = _shared(deployment.model, deployment.image, name, spec.labels, options)
            shared |= {resource.ref: resource for resource in pair}
        own += _deployment(deployment, spec, options)
    return [
        *sorted(shared.values(), key=lambda one: one.kind == ENVIRONMENT),
        endpoint,
        *own,
        _traffic(spec, own, options),
    ]


def _shown(spec: EndpointSpec, options: AzureMLOptions) -> str:
    name = endpoint_name(spec.name, options)
    return name if options.public else f"{name}, answers in the workspace's network only"


def _bare(labels: Labels) -> Labels:
    """Return the labels of a resource that belongs to the endpoint and to none of its deployments."""
    return replace(labels, generation=0, model="")


def _endpoint_spec(spec: EndpointSpec, options: AzureMLOptions) -> dict[str, Json]:
    """Return the endpoint's spec; settings that count only at creation are left out later."""
    stored = any(name.startswith(CLOUD) for one in spec.deployments for name in one.secrets.values())
    first = all(one.generation <= 1 for one in spec.deployments)
    return {
        **({"connections": True} if stored and first and options.identity is None else {}),
        "auth": options.auth,
        "identity": (options.identity or "system").lower(),
        "public": options.public,
        "expires_at": spec.labels.expires_at,
    }


def _shared(
    digest: str, ready: str | None, name: str, labels: Labels, options: AzureMLOptions
) -> tuple[Resource, Resource]:
    """Return the image in the registry and the environment that names it, both content-addressed."""
    own = replace(_bare(labels), model=digest[:32], expires_at=0)
    known = image_id(digest, options.base, ready=ready)
    image = Resource(
        IMAGE, known, {"digest": digest, "base": options.base}, own, summary=f"{name}: image in the registry"
    )
    environment = Resource(ENVIRONMENT, known, {"image": known}, own, (image.ref,), summary=f"{name}: environment")
    return image, environment


def _deployment(deployment: DeploymentSpec, spec: EndpointSpec, options: AzureMLOptions) -> list[Resource]:
    labels = replace(spec.labels, generation=deployment.generation, model=deployment.model[:32])
    known = deployment_id(spec.name, deployment.id)
    kept = deployment.kept
    if kept is not None:
        parents = (Ref(ENVIRONMENT, str(kept.settings.get("image"))), Ref(ENDPOINT, spec.name))
        found = [Resource(DEPLOYMENT, known, None, labels, parents, kept.usd_per_hour)]
    else:
        image = image_id(deployment.model, options.base, ready=deployment.image)
        parents = (Ref(ENVIRONMENT, image), Ref(ENDPOINT, spec.name))
        found = [_new_deployment(deployment, spec, image, labels, parents)]
    if deployment.replicas.max > deployment.replicas.min:
        values: dict[str, Json] = {
            **deployment.replicas.to_dict(),
            "scale_at": options.scale_at,
            "tags": dict(spec.tags),
        }
        found.append(
            Resource(
                AUTOSCALE, known, None if kept else values, labels, (found[0].ref,), summary=_range(deployment.replicas)
            )
        )
    return found


def _new_deployment(
    deployment: DeploymentSpec, spec: EndpointSpec, image: str, labels: Labels, parents: tuple[Ref, ...]
) -> Resource:
    if deployment.instance is None:
        raise ConfigError("instance: an Azure ML deployment needs an instance type", hint="set it, or set resources")
    if deployment.replicas.min < 1:
        raise unsupported(
            "replicas", "replicas.min = 0: a managed endpoint always runs one instance", reason="upstream"
        )
    values: dict[str, Json] = {
        "deployment": deployment.id,
        "deployment_hash": deployment.spec_hash,
        "model_name": deployment.model_name,
        "model": deployment.model,
        "image": image,
        "instance": deployment.instance,
        "replicas": deployment.replicas.to_dict(),
        "env": dict(deployment.env),
        "secrets": dict(deployment.secrets),
        "tags": dict(spec.tags),
        "options": dict(deployment.options),
    }
    summary = f"{deployment.model_name}, {_range(deployment.replicas)} x {deployment.instance}"
    known = deployment_id(spec.name, deployment.id)
    return Resource(DEPLOYMENT, known, values, labels, parents, deployment.usd_per_hour, summary)


def _range(replicas: Replicas) -> str:
    return str(replicas.min) if replicas.min == replicas.max else f"{replicas.min} to {replicas.max}"


def _traffic(spec: EndpointSpec, own: Sequence[Resource], options: AzureMLOptions) -> Resource:
    weights: dict[str, Json] = {d.id: spec.traffic.get(d.id, 0) for d in spec.deployments}
    values: dict[str, Json] = {"weights": weights, "mirror": mirrored(spec, options.mirror)}
    summary = ", ".join(f"{name} {weight} %" for name, weight in weights.items())
    parents = tuple(one.ref for one in own if one.kind == DEPLOYMENT)
    return Resource(TRAFFIC, spec.name, values, _bare(spec.labels), parents, summary=summary)


def mirrored(spec: EndpointSpec, share: int) -> dict[str, Json]:
    """Return the mirrored share: only the newest deployment gets one, and only while it has no traffic itself."""
    newest = max(spec.deployments, key=lambda one: (one.generation, one.id))
    serving = any(spec.traffic.values())
    return {newest.id: share} if share and serving and not spec.traffic.get(newest.id) else {}


# --- jobs -------------------------------------------------------------------------------------------------------


def job_resources(spec: JobSpec, options: AzureMLOptions, inputs: Mapping[str, tuple[Resource, str]]) -> list[Resource]:
    """Return the program's image and environment, the data to upload, and the job, in order of creation.

    Args:
        spec: The job.
        options: The target's settings.
        inputs: The channels with local data: the resource of each, and the file's name if the data is one file.
    """
    check_data(spec.data)
    check_tags(spec.tags)
    check_params(spec.params, PROVIDER)
    for variable, name in spec.secrets.items():
        if name.startswith(CLOUD):  # in a job, the value would be the reference itself
            message = (
                f"secrets: {variable} = {name!r}: Azure fills in secrets of connections for endpoints only, not jobs"
            )
            raise unsupported("secrets", message, reason="upstream")
    if spec.instance is None and options.compute is None:
        raise ConfigError("instance: a serverless job needs an instance type", hint="set it, or resources, or compute")
    image, environment = _shared(spec.digest, spec.image, spec.name, spec.labels, options)
    values: dict[str, Json] = {
        "image": image.id,
        "digest": spec.digest,
        "data": {name: where for name, where in spec.data.items() if name not in inputs},
        "local": {name: f"{one.id}/{file}" for name, (one, file) in inputs.items()},
        "params": dict(spec.params),
        "env": dict(spec.env),
        "secrets": dict(spec.secrets),
        "instance": spec.instance,
        "compute": options.compute,
        "tier": options.job_tier,
        "identity": options.job_identity,
        "timeout_s": spec.timeout_s,
        "tags": dict(spec.tags),
    }
    labels = replace(spec.labels, model=spec.digest[:32])
    summary = f"{spec.instance or options.compute}, time-out {spec.timeout_s:g} s"
    data = {one.ref: one for one, _ in inputs.values()}
    job = Resource(JOB, spec.name, values, labels, (environment.ref, *data), spec.usd_per_hour, summary)
    return [image, environment, *data.values(), job]


def check_tags(tags: Mapping[str, str]) -> None:
    """Refuse tags that Azure does not accept, before an image is built.

    Source: https://learn.microsoft.com/azure/azure-resource-manager/management/tag-resources#limitations (certain)
    """
    if len(tags) > _TAGS:
        raise ConfigError(
            f"tags: {len(tags)} of them, and Azure takes 50, of which mlport needs some", hint=f"at most {_TAGS}"
        )
    if twins := [name for name, count in Counter(map(str.lower, tags)).items() if count > 1]:
        raise ConfigError(f"tags: Azure takes {twins[0]!r} in one spelling only", hint="keep one of them")
    for name, value in tags.items():
        if _NO_TAG.search(name) or len(name) > _TAG_NAME:
            raise ConfigError(
                f"tags: {name!r} is not a name of a tag on Azure",
                hint=f"at most {_TAG_NAME} characters, none of <>%&\\?/, and none of microsoft, azure, windows first",
            )
        if len(value) > _TAG_VALUE:
            raise ConfigError(f"tags: the value of {name!r} has {len(value)} characters", hint=f"at most {_TAG_VALUE}")


def check_data(data: Mapping[str, str]) -> None:
    """Refuse inputs that a job cannot read; this checks only the text."""
    for channel, where in data.items():
        if not (channel.isidentifier() and channel.isascii() and channel == channel.lower()):
            raise ConfigError(
                f"data: {channel!r} is no name for an input", hint="use lower-case letters, digits and underscores"
            )
        scheme, mark, _ = where.partition("://")
        if mark and scheme not in {*_READABLE, "file"}:
            raise unsupported(
                "train",
                f"data.{channel} = {where!r}: azureml reads {', '.join(_READABLE)} and paths",
                reason="upstream",
            )


# --- conversion of live resources to neutral status --------------------------------------------------------------


def status(name: str, live: Sequence[Live], target: str) -> EndpointStatus | None:
    """Return the neutral status of one endpoint, derived from its live resources."""
    endpoint = next((one for one in live if one.ref == Ref(ENDPOINT, name)), None)
    if endpoint is None:
        return None
    traffic = next((one for one in live if one.ref == Ref(TRAFFIC, name)), None)
    weights = cast("dict[str, int]", table(table(traffic.spec).get("weights"))) if traffic else {}
    behind = [one for one in live if one.kind == DEPLOYMENT and split_deployment_id(one.id)[0] == name]
    deployments = tuple(sorted((_deployment_status(one, weights) for one in behind), key=lambda one: one.generation))
    labels = endpoint.labels
    state, reason = _state(endpoint, traffic, deployments)
    prices = [one.usd_per_hour for one in deployments]
    url = endpoint.details.get("url")
    return EndpointStatus(
        name=name,
        target=target,
        provider=PROVIDER,
        state=state,
        raw=endpoint.raw,
        url=None if url is None else str(url),
        deployments=deployments,
        owner=labels.owner if labels else None,
        created_at=endpoint.created_at,
        expires_at=(labels.expires_at or None) if labels else None,
        usd_per_hour=None if None in prices else sum(price for price in prices if price is not None),
        reason=reason,
        tags=newest_tags(behind),
    )


def _facts(live: Live) -> Mapping[str, Any]:
    """Return the facts about a deployment: as Azure shows it, or as it was planned."""
    return live.details or table(live.spec)


def _deployment_status(live: Live, weights: Mapping[str, int]) -> DeploymentStatus:
    _, name = split_deployment_id(live.id)
    facts = _facts(live)
    return DeploymentStatus(
        id=name,
        traffic=weights.get(name, 0),
        state=live.state,
        model=str(facts.get("model") or (live.labels.model if live.labels else "")),
        spec_hash=str(facts.get("deployment_hash", "")),
        generation=live.labels.generation if live.labels else 0,
        instance=facts.get("instance"),
        replicas=Replicas(**table(facts.get("replicas"))),
        created_at=live.created_at,
        usd_per_hour=live.usd_per_hour,
        reason=live.reason,
        settings={key: facts.get(key) for key in ("model_name", "image", "tags", "endpoint")},
    )


def _state(
    endpoint: Live, traffic: Live | None, deployments: Sequence[DeploymentStatus]
) -> tuple[EndpointState, str | None]:
    if endpoint.state == "deleting":
        return EndpointState.DELETING, None
    serving = [one for one in deployments if one.traffic]
    ready = [one for one in serving if one.state == "ready"]
    broken = [one for one in deployments if one.state == "failed"]
    reason = next((one.reason for one in broken), None)
    if ready and broken:
        return EndpointState.DEGRADED, reason
    if ready:
        settled = len(ready) == len(serving) and all(one.state == "ready" for one in deployments)
        settled = settled and traffic is not None and traffic.state == "ready" and endpoint.state == "ready"
        return (EndpointState.READY if settled else EndpointState.UPDATING), None
    if broken or endpoint.state == "failed":
        return EndpointState.FAILED, reason or endpoint.reason
    return EndpointState.CREATING, None
