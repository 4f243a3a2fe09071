"""Conversion of neutral specs to Vertex AI resources, and of live resources to a neutral status; makes no calls."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from sdk.adapter import Kind, Nature, Ref, Resource
from sdk.adapter.shared.checks import check_params
from sdk.adapter.shared.uploads import DATA
from sdk.adapter.types import DeploymentStatus, EndpointState, EndpointStatus, Replicas
from sdk.errors import ConfigError
from sdk.packaging.image import image_id

from ._errors import PROVIDER
from ._machines import machine_spec
from ._names import check_tags, join, number_of, split
from ._secrets import check_secrets
from .options import DEFAULT_INSTANCES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sdk.adapter import DeploymentSpec, EndpointSpec, JobSpec, Labels, Live
    from sdk.adapter.types import Json

    from ._prices import Prices
    from .options import VertexOptions

REPOSITORY, IMAGE, MODEL, ENDPOINT = "Repository", "Image", "Model", "Endpoint"
SMOKE_ENDPOINT, SMOKE = "SmokeEndpoint", "SmokeModel"  # temporary, to test a deployment before it gets traffic
DEPLOYED, TRAFFIC, FILES, JOB = "DeployedModel", "Traffic", "JobFiles", "CustomJob"
DEPLOY_S = 3600.0  # limit of a deploy; also passed to the platform, so that it ends no later than mlport gives up
SHARED_OWNER = "shared"

# Source (certain): https://cloud.google.com/artifact-analysis/pricing
_SCAN = ", $0.26 where images are scanned"
_MOST_VARIABLES = 100  # per container of a job (certain, ContainerSpec of its API)
_SEEN_S = 60.0  # after this time an acknowledged change is visible


def kinds(settle_s: float = _SEEN_S) -> dict[str, Kind]:
    """Return the kinds of resources; ``settle_s`` is how long the platform may hide a change it has acknowledged."""
    every = (
        Kind(REPOSITORY, Nature.SHARED, settle_s=settle_s),
        Kind(IMAGE, Nature.SHARED),
        Kind(MODEL, Nature.IMMUTABLE, settle_s=settle_s),
        Kind(ENDPOINT, Nature.MUTABLE, settle_s=settle_s),
        Kind(DEPLOYED, Nature.IMMUTABLE, billed=True, settle_s=settle_s, tagged=False),
        Kind(TRAFFIC, Nature.MUTABLE, root=True),
        Kind(SMOKE_ENDPOINT, Nature.IMMUTABLE, settle_s=settle_s),
        Kind(SMOKE, Nature.IMMUTABLE, billed=True, settle_s=settle_s, tagged=False),
        Kind(DATA, Nature.SHARED),
        Kind(FILES, Nature.IMMUTABLE),
        Kind(JOB, Nature.IMMUTABLE, billed=True, settle_s=settle_s, root=True),
    )
    return {kind.name: kind for kind in every}


def resources(spec: EndpointSpec, options: VertexOptions, prices: Prices) -> list[Resource]:
    """Return repository, images, models, endpoint, deployed models and traffic, in the order of their creation."""
    check_tags(spec.tags)
    _check_deadline(options)
    repository = _repository(spec.labels, options)
    endpoint = _endpoint(spec, options)
    images: dict[Ref, Resource] = {}
    models: list[Resource] = []
    deployed: list[Resource] = []
    for one in spec.deployments:
        check_secrets(one.secrets)
        image = _image(one, spec.labels, options, repository.ref)
        if one.kept is None:  # a running deployment has its own copy and no longer needs the registry
            images[image.ref] = image
        models.append(_model(one, spec, options, image.ref))
        deployed.append(_deployed(one, spec, options, prices, (models[-1].ref, endpoint.ref)))
    traffic = _traffic(spec, [endpoint.ref, *(one.ref for one in deployed)])
    return [repository, *images.values(), *models, endpoint, *deployed, traffic, *_aside(spec, options, prices)]


def _aside(spec: EndpointSpec, options: VertexOptions, prices: Prices) -> list[Resource]:
    """Return a temporary endpoint with one replica of the deployment that is to be smoke-tested."""
    found: list[Resource] = []
    for one in spec.deployments:
        if one.id == spec.aside:
            name, labels = join(spec.name, one.id), _labels(spec, one)
            values: dict[str, Json] = {"dedicated": options.dedicated, "kms_key": options.kms_key}
            endpoint = Resource(SMOKE_ENDPOINT, name, values, labels, summary="temporary, for the smoke test")
            alone = replace(one, replicas=Replicas(1, 1))
            model = _deployed(alone, spec, options, prices, (Ref(MODEL, name), endpoint.ref))
            found += [endpoint, replace(model, kind=SMOKE)]
    return found


def _check_deadline(options: VertexOptions) -> None:
    if options.deadline_s is not None and options.deadline_s > 60 and not options.dedicated:
        raise ConfigError(
            f"deadline_s = {options.deadline_s:g}: a shared endpoint gives up after 60 s",
            hint="set dedicated = true for up to 3600 s",
        )


def _repository(labels: Labels, options: VertexOptions) -> Resource:
    own = replace(labels, generation=0, model="", expires_at=0)
    spec: dict[str, Json] = {"format": "DOCKER", "repository": options.repository}
    return Resource(REPOSITORY, options.repository, spec, own, summary="for images, kept")


def _image(one: DeploymentSpec, labels: Labels, options: VertexOptions, repository: Ref) -> Resource:
    own = replace(labels, generation=0, model=one.model[:32], expires_at=0)
    if one.kept is not None and one.kept.settings.get("image"):
        return Resource(IMAGE, str(one.kept.settings["image"]), None, own, (repository,))
    spec: dict[str, Json] = {"digest": one.model, "base": options.base, "image": one.image}
    summary = f"{one.model_name}: in Artifact Registry{_SCAN}"
    return Resource(
        IMAGE, image_id(one.model, options.base, ready=one.image), spec, own, (repository,), summary=summary
    )


def _labels(spec: EndpointSpec, one: DeploymentSpec) -> Labels:
    return replace(spec.labels, generation=one.generation, model=one.model[:32])


def _model(one: DeploymentSpec, spec: EndpointSpec, options: VertexOptions, image: Ref) -> Resource:
    name = join(spec.name, one.id)
    if one.kept is not None:
        return Resource(MODEL, name, None, _labels(spec, one), (image,))
    values: dict[str, Json] = {
        "deployment": one.id,
        "deployment_hash": one.spec_hash,
        "model_name": one.model_name,
        "model": one.model,
        "image": image.id,
        "env": dict(one.env),
        "secrets": dict(one.secrets),
        "health_route": options.health_route,
        "predict_route": options.predict_route,
        "kms_key": options.kms_key,
        "tags": dict(spec.tags),
    }
    return Resource(MODEL, name, values, _labels(spec, one), (image,), summary=f"{one.model_name} {one.model[:12]}")


def _endpoint(spec: EndpointSpec, options: VertexOptions) -> Resource:
    values: dict[str, Json] = {
        "dedicated": options.dedicated,
        "kms_key": options.kms_key,
        "expires_at": spec.labels.expires_at,
        "tags": dict(spec.tags),
    }
    own = replace(spec.labels, generation=0, model="")
    return Resource(ENDPOINT, spec.name, values, own, summary="dedicated" if options.dedicated else "shared")


def _deployed(
    one: DeploymentSpec, spec: EndpointSpec, options: VertexOptions, prices: Prices, parents: tuple[Ref, ...]
) -> Resource:
    name = join(spec.name, one.id)
    if one.kept is not None:
        return Resource(DEPLOYED, name, None, _labels(spec, one), parents, one.kept.usd_per_hour)
    instance = one.instance or DEFAULT_INSTANCES["inference"]
    values: dict[str, Json] = {
        "deployment": one.id,
        "number": number_of(one.id),
        "instance": instance,
        "machine": machine_spec(instance),
        "min": one.replicas.min,
        "max": one.replicas.max,
        "spot": options.spot,
        "scale_cpu": options.scale_cpu,
        "service_account": options.service_account,
    }
    count = f"{one.replicas.min}" if one.replicas.min == one.replicas.max else f"{one.replicas.min}-{one.replicas.max}"
    price = prices.of(instance, one.replicas.min, spot=options.spot)
    return Resource(DEPLOYED, name, values, _labels(spec, one), parents, price, f"{count} x {instance}")


def _traffic(spec: EndpointSpec, parents: Sequence[Ref]) -> Resource:
    weights: dict[str, Json] = {one.id: spec.traffic.get(one.id, 0) for one in spec.deployments}
    summary = ", ".join(f"{name} {weight} %" for name, weight in weights.items())
    own = replace(spec.labels, generation=0, model="")
    return Resource(TRAFFIC, spec.name, {"weights": weights}, own, tuple(parents), summary=summary)


def job_resources(
    spec: JobSpec, options: VertexOptions, prices: Prices, inputs: Mapping[str, tuple[Resource, str]]
) -> list[Resource]:
    """Return the repository, the program's image, the data to upload, the job's files and the job.

    Args:
        spec: The job.
        options: The target's settings.
        prices: The prices of machines.
        inputs: The local inputs as resources, each with the name of its file if it is a single file.
    """
    check_secrets(spec.secrets)
    check_tags(spec.tags)
    _check_variables(spec)
    digest = spec.digest[:32]
    repository = _repository(spec.labels, options)
    own = replace(spec.labels, model=digest, expires_at=0)
    source: dict[str, Json] = {"digest": spec.digest, "base": options.base, "image": spec.image}
    image = Resource(
        IMAGE,
        image_id(spec.digest, options.base, ready=spec.image),
        source,
        own,
        (repository.ref,),
        summary=f"the training code{_SCAN}",
    )
    labels = replace(spec.labels, model=digest)
    files_ = Resource(FILES, spec.name, {}, labels, summary=f"gs://{options.staging}")
    instance = spec.instance or DEFAULT_INSTANCES["training"]
    values: dict[str, Json] = {
        "image": image.id,
        "data": {name: where for name, where in spec.data.items() if name not in inputs},
        "local": {name: f"{one.id}/{file}".rstrip("/") for name, (one, file) in inputs.items()},
        "params": dict(spec.params),
        "env": dict(spec.env),
        "secrets": dict(spec.secrets),
        "instance": instance,
        "machine": machine_spec(instance),
        "disk_gib": options.disk_gib,
        "spot": options.spot,
        "service_account": options.service_account,
        "kms_key": options.kms_key,
        "network": options.network,
        "timeout_s": spec.timeout_s,
        "tags": dict(spec.tags),
    }
    price = prices.of(instance, spot=options.spot, training=True)
    summary = f"{instance}, time-out {spec.timeout_s:g} s"
    data = {one.ref: one for one, _ in inputs.values()}
    job = Resource(JOB, spec.name, values, labels, (image.ref, *data, files_.ref), price, summary)
    return [repository, image, *data.values(), files_, job]


def _check_variables(spec: JobSpec) -> None:
    """Refuse more variables than a job may have; mlport adds one for each input and two more."""
    count = len(spec.env) + len(spec.secrets) + len(spec.data) + 2
    if count > _MOST_VARIABLES:
        raise ConfigError(
            f"env, secrets and data: {count} variables are more than the {_MOST_VARIABLES} of a job",
            hint="put some of them into params, or into a file",
        )
    check_params(spec.params, PROVIDER)


# --- status of live resources -----------------------------------------------------------------------------------


def status(name: str, live: Sequence[Live], target: str) -> EndpointStatus | None:
    """Return the status of an endpoint from its live resources, or ``None`` if the endpoint is not among them."""
    found = {one.ref: one for one in live}
    endpoint, traffic = found.get(Ref(ENDPOINT, name)), found.get(Ref(TRAFFIC, name))
    if endpoint is None:
        return None
    weights = cast("dict[str, int]", (traffic.spec or {}).get("weights") or {}) if traffic else {}
    deployments = tuple(
        sorted(
            (
                _deployment(one, found.get(Ref(MODEL, one.id)), weights)
                for one in live
                if one.kind == DEPLOYED and (split(one.id) or ("",))[0] == name
            ),
            key=lambda one: one.generation,
        )
    )
    state, reason = _state(endpoint, traffic, deployments)
    prices = [one.usd_per_hour for one in deployments]
    return EndpointStatus(
        name=name,
        target=target,
        provider=PROVIDER,
        state=state,
        raw=endpoint.raw,
        url=_text(endpoint.details.get("url")),
        deployments=deployments,
        owner=endpoint.labels.owner if endpoint.labels else None,
        created_at=endpoint.created_at,
        expires_at=(endpoint.labels.expires_at or None) if endpoint.labels else None,
        usd_per_hour=None if None in prices else sum(price for price in prices if price is not None),
        reason=reason,
        tags=cast("dict[str, str]", (endpoint.spec or {}).get("tags") or {}),
    )


def _deployment(live: Live, model: Live | None, weights: Mapping[str, int]) -> DeploymentStatus:
    _, name = split(live.id) or ("", live.id)
    spec: Mapping[str, Any] = live.spec or {}
    about: Mapping[str, Any] = (model.spec or {}) if model else {}
    labels = model.labels if model else None
    return DeploymentStatus(
        id=name,
        traffic=weights.get(name, 0),
        state=live.state,
        model=labels.model if labels else "",
        spec_hash=str(about.get("deployment_hash", "")),
        generation=labels.generation if labels else 0,
        instance=_text(spec.get("instance")),
        replicas=Replicas(int(spec.get("min", 1)), int(spec.get("max", 1))),
        created_at=live.created_at,
        usd_per_hour=live.usd_per_hour,
        reason=live.reason,
        settings={"model_name": about.get("model_name"), "tags": about.get("tags"), "image": about.get("image")},
    )


def _state(
    endpoint: Live, traffic: Live | None, deployments: Sequence[DeploymentStatus]
) -> tuple[EndpointState, str | None]:
    if endpoint.state == "deleting":
        return EndpointState.DELETING, None
    reason = next((one.reason for one in deployments if one.reason), None)
    serving = [one for one in deployments if one.traffic]
    if traffic is None or not serving:
        return EndpointState.CREATING, reason
    if all(one.state == "ready" for one in deployments):
        return (EndpointState.DEGRADED if reason else EndpointState.READY), reason
    return EndpointState.UPDATING, reason


def _text(value: Json) -> str | None:
    return None if value is None else str(value)
