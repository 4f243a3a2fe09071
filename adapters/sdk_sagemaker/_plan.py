"""Conversion of neutral specs to SageMaker resources; no call is made here.

::

    Image (ECR, shared) <- Model <- EndpointConfig <- Endpoint          a deployment is a variant with a model
                                                         <- ScalableTarget <- ScalingPolicy
    Image, Data (S3, shared) <- Job

An endpoint points to one immutable configuration, which names all its deployments. Another set of deployments needs a
new configuration, and SageMaker then starts all of its instances beside the running ones. New traffic shares for the
same deployments are weights of the endpoint, changed in place. A configuration therefore only holds the shares that
apply at the switch to it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from sdk.adapter import Kind, Nature, Ref, Resource, spec_hash
from sdk.adapter.shared.uploads import DATA
from sdk.errors import ConfigError
from sdk.packaging.image import image_id

from ._bodies import params_of
from ._errors import PROVIDER
from ._limits import check_job, check_scaling, check_tags, check_variables, has_local_disk

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sdk.adapter import DeploymentSpec, EndpointSpec, JobSpec
    from sdk.adapter.types import DeploymentStatus, Json

    from .options import SagemakerOptions

IMAGE, MODEL, CONFIG, ENDPOINT = "Image", "Model", "EndpointConfig", "Endpoint"
TARGET, POLICY, JOB = "ScalableTarget", "ScalingPolicy", "TrainingJob"

_OWN_DISK = "its own disk is encrypted by its hardware and not with kms_key"
SETTLE_S = 15.0  # after this time a create whose answer was lost has taken effect, or never will


def kinds(settle_s: float = SETTLE_S) -> dict[str, Kind]:
    """Return the kinds of resources, in the order in which they are created."""
    idle = frozenset({"ready", "failed"})
    found = (
        Kind(IMAGE, Nature.SHARED),
        Kind(DATA, Nature.SHARED),
        Kind(MODEL, Nature.IMMUTABLE, settle_s=settle_s),
        Kind(CONFIG, Nature.IMMUTABLE, settle_s=settle_s),
        Kind(
            ENDPOINT, Nature.MUTABLE, billed=True, settle_s=settle_s, deletable=idle, root=True,
            beside=frozenset({"config"}),
        ),
        Kind(TARGET, Nature.IMMUTABLE, settle_s=settle_s, tagged=False, attached=True),
        Kind(POLICY, Nature.IMMUTABLE, settle_s=settle_s, tagged=False, attached=True),
        Kind(JOB, Nature.IMMUTABLE, billed=True, settle_s=settle_s, root=True),
    )  # fmt: skip
    return {kind.name: kind for kind in found}


def model_id(endpoint: str, deployment: str) -> str:
    """Return the ID of a deployment's model."""
    return f"{endpoint}-{deployment}"


def target_id(endpoint: str, deployment: str) -> str:
    """Return the ID of a deployment's scaling, in the form of Application Auto Scaling."""
    return f"endpoint/{endpoint}/variant/{deployment}"


def resources(spec: EndpointSpec, options: SagemakerOptions) -> list[Resource]:
    """Return images, models, configuration, endpoint and scaling, in the order in which they are created."""
    images: dict[Ref, Resource] = {}
    models: list[Resource] = []
    for deployment in spec.deployments:
        image = _image(deployment, spec, options)
        if deployment.kept is None:
            images[image.ref] = image
        models.append(_model(deployment, spec, options, image.ref))
    config = _config(spec, options, [model.ref for model in models])
    endpoint = _endpoint(spec, config)
    scaling = [part for item in spec.deployments for part in _scaling(item, spec, options)]
    return [*images.values(), *models, config, endpoint, *scaling]


# --- image and model ----------------------------------------------------------------------------------------------


def _image(deployment: DeploymentSpec, spec: EndpointSpec, options: SagemakerOptions) -> Resource:
    own = replace(spec.labels, generation=0, model=deployment.model[:32], expires_at=0)
    kept = deployment.kept.settings.get("image") if deployment.kept else None
    name = str(kept or image_id(deployment.model, options.base, ready=deployment.image))
    values: dict[str, Json] = {"digest": deployment.model, "base": options.base, "image": deployment.image}
    return Resource(IMAGE, name, values, own, summary=f"{deployment.model_name}: image in ECR")


def _model(deployment: DeploymentSpec, spec: EndpointSpec, options: SagemakerOptions, image: Ref) -> Resource:
    labels = replace(spec.labels, generation=deployment.generation, model=deployment.model[:32])
    name = model_id(spec.name, deployment.id)
    if deployment.kept is not None:
        return Resource(MODEL, name, None, labels, (image,))
    _check(deployment, spec, options)
    resources = deployment.resources
    values: dict[str, Json] = {
        "deployment": deployment.id,
        "deployment_hash": deployment.spec_hash,
        "model_name": deployment.model_name,
        "model": deployment.model,
        "image": image.id,
        "replicas": deployment.replicas.to_dict(),
        "resources": resources.to_dict() if resources else None,
        "env": dict(deployment.env),
        "secrets": dict(deployment.secrets),
        "tags": dict(spec.tags),
        "role": options.role,
        "subnets": list(options.subnets),
        "security_groups": list(options.security_groups),
        "isolated": options.network_isolation,
    }
    return Resource(MODEL, name, values, labels, (image,), summary=deployment.model_name)


def _check(deployment: DeploymentSpec, spec: EndpointSpec, options: SagemakerOptions) -> None:
    if deployment.instance is None and options.serverless is None:
        raise ConfigError(
            "instance is not set",
            provider=PROVIDER,
            hint='set instance = "ml.m5.large", resources = { cpu, memory_gib }, or serverless = { memory_mb = 2048 }',
        )
    check_variables({**deployment.env, **dict.fromkeys(deployment.secrets, "")}, "inference")
    check_scaling(deployment.instance, deployment.replicas)
    check_tags(spec.tags)


# --- configuration and endpoint -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Layout:
    """The deployments that answer requests, and the shadow deployment that only gets copies of them."""

    production: frozenset[str]
    shadow: str | None = None

    @property
    def all(self) -> frozenset[str]:
        """The deployments that answer requests, and the shadow if there is one."""
        return self.production if self.shadow is None else self.production | {self.shadow}


def wanted_layout(spec: EndpointSpec, traffic: Mapping[str, int], options: SagemakerOptions) -> Layout:
    """Return the layout; with shadows enabled, the newer of two deployments is a shadow until it has traffic."""
    every = frozenset(item.id for item in spec.deployments)
    if options.shadow and len(spec.deployments) == 2:
        newest = max(spec.deployments, key=lambda item: item.generation)
        if not traffic.get(newest.id) and any(traffic.values()):
            return Layout(every - {newest.id}, newest.id)
    return Layout(every)


def live_layout(kept: Sequence[DeploymentStatus]) -> tuple[str, Layout] | None:
    """Return the name and the layout of the configuration in use, or ``None`` if none is in use."""
    for item in kept:
        production: Any = item.settings.get("production")
        if production:
            shadow = item.settings.get("shadow")
            return str(item.settings["config"]), Layout(frozenset(production), cast("str | None", shadow))
    return None


def _config(spec: EndpointSpec, options: SagemakerOptions, models: Sequence[Ref]) -> Resource:
    labels = replace(spec.labels, generation=0, model="")
    layout = wanted_layout(spec, spec.traffic, options)
    kept = [item.kept for item in spec.deployments if item.kept is not None]
    live = live_layout(kept)
    if live is not None and live[1] == layout:
        return Resource(CONFIG, live[0], None, labels, tuple(models))
    values: dict[str, Json] = {
        "variants": {item.id: _variant(item, spec.name, options) for item in spec.deployments},
        "shadow": layout.shadow,
        "shadow_percent": options.shadow if layout.shadow else 0,
        "weights": cast("Json", initial_weights(spec, layout, live[1] if live else None, options)),
        "kms_key": options.kms_key if _takes_key(spec, options) else None,
        "tags": dict(spec.tags),
    }
    name = f"{spec.name}-{spec_hash({**values, 'txn': spec.labels.txn})[:10]}"
    count = len(spec.deployments)
    disk = f"; {_OWN_DISK}" if options.kms_key and values["kms_key"] is None and not options.serverless else ""
    zone = "; one subnet: no other zone takes over when its zone fails" if len(options.subnets) == 1 else ""
    summary = f"{count} deployment{'s' if count > 1 else ''}{zone}{disk}"
    return Resource(CONFIG, name, values, labels, tuple(models), summary=summary)


def _takes_key(spec: EndpointSpec, options: SagemakerOptions) -> bool:
    """Check whether the user's key encrypts any disk: serverless has no disk, some instances encrypt their own."""
    types = [item.instance for item in spec.deployments if item.instance]
    return options.serverless is None and not (types and all(map(has_local_disk, types)))


def initial_weights(
    spec: EndpointSpec, layout: Layout, live: Layout | None, options: SagemakerOptions
) -> dict[str, int]:
    """Return the traffic shares with which a configuration comes into use.

    If deployments are only added, the existing ones keep their shares and the new one starts at 0: the same
    configuration then serves the smoke test and the switch after it, which changes weights in place. Any other set of
    deployments starts with the wanted shares. If no deployment has traffic yet, the oldest gets all of it: SageMaker
    has no endpoint without traffic.
    """
    shares = {item.id: spec.traffic.get(item.id, 0) for item in spec.deployments}
    dark = {item.id: item.kept.traffic if item.kept else 0 for item in spec.deployments}
    if live is not None and live.all < layout.all and wanted_layout(spec, dark, options) == layout:
        shares = dark
    if not any(shares[name] for name in layout.production):
        oldest = min((d for d in spec.deployments if d.id in layout.production), key=lambda item: item.generation)
        shares[oldest.id] = 100
    return shares


def _variant(deployment: DeploymentSpec, endpoint: str, options: SagemakerOptions) -> Json:
    """Return one deployment's variant in a configuration, without its traffic share."""
    if deployment.kept is not None and deployment.kept.settings.get("variant"):
        return deployment.kept.settings["variant"]
    if options.serverless is not None:
        return {
            "model": model_id(endpoint, deployment.id),
            "memory_mb": options.serverless.memory_mb,
            "concurrency": options.serverless.concurrency,
        }
    return {
        "model": model_id(endpoint, deployment.id),
        "instance": deployment.instance,
        "count": max(1, deployment.replicas.min),
        "start_s": options.start_s,
    }


def _endpoint(spec: EndpointSpec, config: Resource) -> Resource:
    weights: dict[str, Json] = {item.id: spec.traffic.get(item.id, 0) for item in spec.deployments}
    prices = [None if item.instance is None else item.usd_per_hour for item in spec.deployments]
    price = None if None in prices else sum(one for one in prices if one is not None)
    labels = replace(spec.labels, generation=0, model="")
    count = sum(max(1, item.replicas.min) for item in spec.deployments)
    shares = ", ".join(f"{name} {weight} %" for name, weight in weights.items())
    fleet = f"; {count} instance{'s' if count > 1 else ''} start, beside those that run" if config.spec else ""
    values: dict[str, Json] = {"config": config.id, "weights": weights}
    return Resource(ENDPOINT, spec.name, values, labels, (config.ref,), price, shares + fleet)


def _scaling(deployment: DeploymentSpec, spec: EndpointSpec, options: SagemakerOptions) -> list[Resource]:
    """Return the scaling resources of a deployment; an existing deployment that lost them gets them again."""
    low, high = deployment.replicas.min, deployment.replicas.max
    if high <= low:
        return []
    name = target_id(spec.name, deployment.id)
    labels = replace(spec.labels, generation=deployment.generation, model=deployment.model[:32])
    target, policy = Ref(TARGET, name), Ref(POLICY, name)
    hang_on = (Ref(ENDPOINT, spec.name),)
    if low < 1:
        raise ConfigError("replicas.min = 0: an endpoint of SageMaker keeps at least one instance", provider=PROVIDER)
    limits: dict[str, Json] = {"min": low, "max": high}
    return [
        Resource(TARGET, target.id, limits, labels, hang_on, summary=f"{low} to {high} instances"),
        Resource(
            POLICY, policy.id, {"per_minute": options.scale_at}, labels, (target,),
            summary=f"{options.scale_at:g} requests per minute and instance",
        ),
    ]  # fmt: skip


# --- jobs ---------------------------------------------------------------------------------------------------------


def job_resources(
    spec: JobSpec, options: SagemakerOptions, data: Mapping[str, Resource], files: Mapping[str, str]
) -> list[Resource]:
    """Return the image with the program, the data to upload to S3, and the job, in this order.

    Args:
        spec: The job.
        options: The target's settings.
        data: The channels whose data is on this machine, as resources.
        files: The file names of inputs that are a single file: a channel is a folder, and the program needs the file.
    """
    if spec.instance is None:
        raise ConfigError(
            "instance is not set",
            provider=PROVIDER,
            hint='train with instance="ml.m5.large" or resources={"cpu": 2, "memory_gib": 8}',
        )
    check_job(spec, params_of(spec.params))
    own = replace(spec.labels, model=spec.digest[:32], expires_at=0)
    source: dict[str, Json] = {"digest": spec.digest, "base": options.base, "image": spec.image}
    program = Resource(
        IMAGE,
        image_id(spec.digest, options.base, ready=spec.image),
        source,
        own,
        summary="image with the training code",
    )
    values: dict[str, Json] = {
        "image": program.id,
        "data": {name: data[name].id if name in data else where for name, where in spec.data.items()},
        "local": sorted(data),
        "files": dict(files),
        "params": dict(spec.params),
        "env": dict(spec.env),
        "secrets": dict(spec.secrets),
        "instance": spec.instance,
        "timeout_s": spec.timeout_s,
        "tags": dict(spec.tags),
        "spot": options.spot,
        "options": dict(spec.options),
    }
    shared = {program.ref: program, **{one.ref: one for one in data.values()}}
    labels = replace(spec.labels, model=spec.digest[:32])
    disk = f"; {_OWN_DISK}" if options.kms_key and has_local_disk(spec.instance) else ""
    summary = f"{spec.instance}, at most {spec.timeout_s:g} s{', spot' if options.spot else ''}{disk}"
    job = Resource(JOB, spec.name, values, labels, tuple(shared), spec.usd_per_hour, summary)
    return [*shared.values(), job]
