"""Conversion of neutral specs to Docker Engine resources, and of resources to neutral status; makes no calls."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sdk.adapter import Kind, Labels, Nature, Ref, Resource
from sdk.adapter.shared import checks, gateway_plan
from sdk.adapter.shared.gateway_plan import GATEWAY, JOB, TRAFFIC
from sdk.adapter.shared.gateway_status import status as endpoint_status
from sdk.packaging.image import image_id

from . import _defaults
from ._errors import PROVIDER
from .options import capabilities

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from sdk.adapter import DeploymentSpec, EndpointSpec, EndpointStatus, JobSpec, Json, Live, Resources

    from .options import DockerOptions

IMAGE, CONTAINER = "Image", "Container"

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


def resources(spec: EndpointSpec, options: DockerOptions, state_dir: Path) -> list[Resource]:
    """Return images, gateway, one container group per deployment, and traffic, in order of creation."""
    gateway = gateway_plan.gateway(spec, options)
    images: dict[Ref, Resource] = {}
    containers: list[Resource] = []
    for deployment in spec.deployments:
        image = _image(deployment, spec.labels, options)
        if deployment.kept is None:  # a running deployment no longer needs its image's name
            checks.check_deployment(deployment, capabilities(), PROVIDER)
            images[image.ref] = image
        limits = _defaults.of_replica(deployment.resources, deployment.model, state_dir)
        parents, extra = (image.ref, gateway.ref), {"image": image.id, **limits, **_gpu(deployment.resources)}
        one = gateway_plan.workload(CONTAINER, spec, deployment, options, parents=parents, extra=extra)
        containers.append(replace(one, summary=f"{one.summary}, {_defaults.in_words(limits)}") if one.summary else one)
    return [*images.values(), gateway, *containers, gateway_plan.traffic(spec, [one.ref for one in containers])]


def image_of(digest: str, ready: str | None, options: DockerOptions) -> str:
    """Return the id of a model's image, built from its files or ready-made.

    The id does not depend on the platform: an engine runs only one, and planning does not ask the engine which.
    """
    return image_id(digest, options.base, ready=ready)


def _image(deployment: DeploymentSpec, labels: Labels, options: DockerOptions) -> Resource:
    own = replace(labels, generation=0, model=deployment.model[:32], expires_at=0)
    kept = deployment.kept.settings.get("image") if deployment.kept else None
    name = str(kept or image_of(deployment.model, deployment.image, options))
    spec: dict[str, Json] = {"digest": deployment.model, "base": options.base}
    if deployment.image is not None:
        spec = {"digest": deployment.model, "image": deployment.image}
    return Resource(IMAGE, name, spec, own, summary=f"{deployment.model_name}: image in the engine")


def _gpu(resources: Resources | None) -> dict[str, Json]:
    return {"gpu": resources.gpu} if resources is not None and resources.gpu else {}


def job_resources(spec: JobSpec, options: DockerOptions) -> list[Resource]:
    """Return the image with the program, then the job."""
    checks.check_job(spec, capabilities(), PROVIDER)
    own = replace(spec.labels, model=spec.digest[:32], expires_at=0)
    source: dict[str, Json] = {"digest": spec.digest, "base": options.base}
    name = image_id(spec.digest, options.base)
    image = Resource(IMAGE, name, source, own, summary="image with the training code")
    limits = _defaults.of_job(spec.resources, spec.data)
    job = gateway_plan.job(spec, options, image.ref, {"image": name, **limits, **_gpu(spec.resources)})
    return [image, replace(job, summary=f"{job.summary}, {_defaults.in_words(limits)}")]


def status(name: str, live: Sequence[Live], target: str, now: float) -> EndpointStatus | None:
    """Return the neutral status of one endpoint, derived from its live resources."""
    return endpoint_status(name, live, workload=CONTAINER, provider=PROVIDER, target=target, now=now)
