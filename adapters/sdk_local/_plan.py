"""Conversion of neutral specs to resources of this machine, and of resources to neutral status; makes no calls."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sdk.adapter import Kind, Labels, Nature, Ref, Resource
from sdk.adapter.shared import checks, gateway_plan
from sdk.adapter.shared.gateway_plan import GATEWAY, JOB, TRAFFIC
from sdk.adapter.shared.gateway_status import status as endpoint_status

from ._errors import PROVIDER
from .options import capabilities

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sdk.adapter import DeploymentSpec, EndpointSpec, EndpointStatus, JobSpec, Live
    from sdk.adapter.types import Json, Resources

    from .options import LocalOptions

MODEL, PROGRAM, PROCESS = "Model", "Program", "Process"

KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(MODEL, Nature.SHARED),
        Kind(PROGRAM, Nature.SHARED),
        Kind(GATEWAY, Nature.MUTABLE),
        Kind(PROCESS, Nature.IMMUTABLE, billed=True),
        Kind(TRAFFIC, Nature.MUTABLE, root=True),
        Kind(JOB, Nature.IMMUTABLE, billed=True, root=True),
    )
}


def resources(spec: EndpointSpec, options: LocalOptions) -> list[Resource]:
    """Return models, gateway, one process group per deployment, and traffic, in order of creation."""
    gateway = gateway_plan.gateway(spec, options)
    models: dict[Ref, Resource] = {}
    processes: list[Resource] = []
    for deployment in spec.deployments:
        model = _model(deployment, spec.labels)
        if deployment.kept is None:  # a running deployment no longer needs its environment
            checks.check_deployment(deployment, capabilities(), PROVIDER)
            models[model.ref] = model
        parents = (model.ref, gateway.ref)
        extra = gpus(deployment.resources)
        processes.append(gateway_plan.workload(PROCESS, spec, deployment, options, parents=parents, extra=extra))
    return [*models.values(), gateway, *processes, gateway_plan.traffic(spec, [process.ref for process in processes])]


def _model(deployment: DeploymentSpec, labels: Labels) -> Resource:
    digest = deployment.model[:32]
    own = replace(labels, generation=0, model=digest, expires_at=0)
    summary = f"{deployment.model_name}: locked environment and server"
    return Resource(MODEL, digest, {"digest": deployment.model}, own, summary=summary)


def gpus(resources: Resources | None) -> dict[str, Json]:
    """Return the part of a deployment's or job's spec that requests GPUs; empty if it requests none."""
    return {"gpu": resources.gpu} if resources is not None and resources.gpu else {}


def job_resources(spec: JobSpec, options: LocalOptions) -> list[Resource]:
    """Return the program with its environment, then the job."""
    checks.check_job(spec, capabilities(), PROVIDER)
    digest = spec.digest[:32]
    own = replace(spec.labels, model=digest, expires_at=0)
    program = Resource(PROGRAM, digest, {"digest": spec.digest}, own, summary="locked environment and training code")
    return [program, gateway_plan.job(spec, options, program.ref, {"program": spec.digest, **gpus(spec.resources)})]


def status(name: str, live: Sequence[Live], target: str, now: float) -> EndpointStatus | None:
    """Return the neutral status of one endpoint, derived from its live resources."""
    return endpoint_status(name, live, workload=PROCESS, provider=PROVIDER, target=target, now=now)
