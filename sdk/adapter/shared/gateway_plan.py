"""Plans for targets with mlport's gateway: gateway, traffic, workload and job resources from a neutral spec."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..interface import Resource

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..interface import DeploymentSpec, EndpointSpec, JobSpec, Json, Ref
    from .gateway_options import GatewayOptions

GATEWAY, TRAFFIC, JOB = "Gateway", "Traffic", "Job"


def gateway(spec: EndpointSpec, options: GatewayOptions) -> Resource:
    """Return the resource for the single stable address of an endpoint."""
    values: dict[str, Json] = {"port": options.port, "expires_at": spec.labels.expires_at}
    return Resource(GATEWAY, spec.name, values, replace(spec.labels, generation=0, model=""))


def traffic(spec: EndpointSpec, workloads: Sequence[Ref]) -> Resource:
    """Return the resource with the weights of all deployments, which ties the endpoint together."""
    weights: dict[str, Json] = {d.id: spec.traffic.get(d.id, 0) for d in spec.deployments}
    summary = ", ".join(f"{name} {weight} %" for name, weight in weights.items())
    labels = replace(spec.labels, generation=0, model="")
    return Resource(TRAFFIC, spec.name, {"weights": weights}, labels, tuple(workloads), summary=summary)


def workload(
    kind: str,
    spec: EndpointSpec,
    deployment: DeploymentSpec,
    options: GatewayOptions,
    *,
    parents: tuple[Ref, ...],
    extra: Mapping[str, Json] | None = None,
) -> Resource:
    """Return the resource that runs one deployment; without a spec if the deployment is kept.

    Args:
        kind: The platform's name of the kind.
        spec: The whole endpoint.
        deployment: One of its deployments.
        options: The target's settings.
        parents: The resources that it needs.
        extra: Fields that the platform adds to its spec.
    """
    labels = replace(spec.labels, generation=deployment.generation, model=deployment.model[:32])
    name = workload_id(spec.name, deployment.id)
    if deployment.kept is not None:
        return Resource(kind, name, None, labels, parents, deployment.kept.usd_per_hour)
    values: dict[str, Json] = {
        "deployment": deployment.id,
        "deployment_hash": deployment.spec_hash,
        "model_name": deployment.model_name,
        "model": deployment.model,
        "replicas": deployment.replicas.min,
        "cpu": deployment.resources.cpu if deployment.resources else None,
        "memory_gib": deployment.resources.memory_gib if deployment.resources else None,
        "env": dict(deployment.env),
        "secrets": dict(deployment.secrets),
        "tags": dict(spec.tags),
        "options": dict(deployment.options),
        **(extra or {}),
    }
    count = deployment.replicas.min
    price = None if options.usd_per_hour is None else options.usd_per_hour * count
    summary = f"{deployment.model_name}, {count} replica{'s' if count > 1 else ''}"
    return Resource(kind, name, values, labels, parents, price, summary)


def workload_id(endpoint: str, deployment: str) -> str:
    """Return the id of the workload that runs one deployment.

    Example:
        >>> split_workload_id(workload_id("churn", "d1-a"))
        ('churn', 'd1-a')
    """
    return f"{endpoint}.{deployment}"


def split_workload_id(workload: str) -> tuple[str, str]:
    """Return the endpoint and deployment of a workload's id; no deployment if the id is the endpoint's own."""
    endpoint, _, deployment = workload.partition(".")
    return endpoint, deployment


def job(spec: JobSpec, options: GatewayOptions, program: Ref, extra: Mapping[str, Json]) -> Resource:
    """Return the resource of a training job; ``extra`` describes the program that it runs."""
    values: dict[str, Json] = {
        "data": dict(spec.data),
        "params": dict(spec.params),
        "env": dict(spec.env),
        "secrets": dict(spec.secrets),
        "cpu": spec.resources.cpu if spec.resources else None,
        "memory_gib": spec.resources.memory_gib if spec.resources else None,
        "timeout_s": spec.timeout_s,
        "tags": dict(spec.tags),
        "options": dict(spec.options),
        **extra,
    }
    labels = replace(spec.labels, model=spec.digest[:32])
    summary = f"time-out {spec.timeout_s:g} s"
    return Resource(JOB, spec.name, values, labels, (program,), options.usd_per_hour, summary)
