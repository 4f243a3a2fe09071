"""The create bodies of all containers, with their limits and protections; this module makes no calls."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sdk.adapter.shared.gateway_plan import GATEWAY, split_workload_id

from ._images import name_of
from ._plan import CONTAINER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdk.adapter import Resource

    from .options import DockerOptions

NOBODY = 65532
"""The user of every container."""

KIND, ENDPOINT, DEPLOYMENT, SPEC, PRICE, IMAGE_ID = (
    "mlport-kind", "mlport-endpoint", "mlport-deployment", "mlport-spec-json", "mlport-usd-per-hour", "mlport-image",
)  # fmt: skip
VOLUME = "/mlport"
RUN = f"{VOLUME}/run"
PORT = "8080/tcp"
_PIDS = 1024
_GATEWAY_MEMORY = 512 * 2**20
_SCRATCH = "rw,noexec,nosuid,nodev,size=268435456,mode=1777"
RESTART = {"RestartPolicy": {"Name": "unless-stopped"}}


def container_name(endpoint: str, part: str) -> str:
    """Return the name of a container, also its address in the endpoint's network; endpoint names contain no ``_``.

    Example:
        >>> container_name("churn", "gateway")
        'mlport-churn_gateway'
    """
    return f"mlport-{endpoint}_{part}"


def network_name(endpoint: str) -> str:
    """Return the name of an endpoint's network."""
    return f"mlport-{endpoint}"


def hardened(cpu: float | None, memory: int | None) -> dict[str, Any]:
    """Return the limits and protections of every container; memory is in bytes, and no swap is added to it."""
    limits: dict[str, Any] = {"NanoCpus": int(cpu * 1e9)} if cpu else {}
    if memory:
        limits |= {"Memory": memory, "MemorySwap": memory}
    return {
        **limits,
        "PidsLimit": _PIDS,
        "ReadonlyRootfs": True,
        "Tmpfs": {"/tmp": _SCRATCH},  # noqa: S108  inside the container
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "Init": True,
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "8m", "max-file": "2"}},
    }


def limits_of(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return limits and protections for the resources that a deployment or job requests."""
    memory = spec["memory_gib"]
    gpus: dict[str, Any] = {}
    if spec.get("gpu"):
        gpus = {"DeviceRequests": [{"Count": int(spec["gpu"]), "Capabilities": [["gpu"]]}]}
    return {**hardened(spec["cpu"], int(memory * 2**30) if memory else None), **gpus}


def environment(*parts: Mapping[str, str]) -> list[str]:
    """Return variables in the engine's format; later parts override earlier ones."""
    merged: dict[str, str] = {}
    for part in parts:
        merged |= part
    return [f"{key}={value}" for key, value in merged.items()]


def threads(cpu: float | None) -> dict[str, str]:
    """Return the variable that limits numeric libraries to as many threads as the container has processors."""
    return {"MLPORT_THREADS": str(max(1, round(cpu)))} if cpu else {}


def gateway_body(resource: Resource, image: str, port: int) -> dict[str, Any]:
    """Return the body of the gateway's container: it alone publishes a port, on 127.0.0.1 of the engine's machine."""
    command = ["gateway", "--dir", RUN, "--host", "0.0.0.0", "--port", "8080"]  # noqa: S104  in its own network
    for known in ("127.0.0.1:*", "localhost:*"):
        command += ["--allow-host", known]
    return {
        "Image": name_of(image),
        "Entrypoint": ["python", "-P", "-m", "mlport_serving"],
        "Cmd": command,
        "User": f"{NOBODY}:{NOBODY}",
        "Env": ["MLPORT_GATEWAY_KEEPER=1"],  # a keeper process replaces the gateway when it is killed or hangs
        "Labels": {**resource.tags, KIND: GATEWAY, IMAGE_ID: image},
        "ExposedPorts": {PORT: {}},
        "HostConfig": {
            **hardened(None, _GATEWAY_MEMORY),
            **RESTART,
            "NetworkMode": network_name(resource.id),
            "PortBindings": {PORT: [{"HostIp": "127.0.0.1", "HostPort": str(port)}]},
            "Mounts": [{"Type": "volume", "Target": VOLUME, "VolumeOptions": {"Labels": resource.tags}}],
        },
    }


def replica_body(resource: Resource, given: Mapping[str, str], options: DockerOptions) -> dict[str, Any]:
    """Return the body of a replica: no port is published, and it is restarted only after it has been ready once."""
    endpoint, deployment = split_workload_id(resource.id)
    spec: dict[str, Any] = dict(resource.spec or {})
    own = {
        "MLPORT_BIND": "tcp:0.0.0.0:8080",
        "MLPORT_DEPLOYMENT": deployment,
        "MLPORT_ENDPOINT": endpoint,
        "MLPORT_MAX_BODY": str(options.max_body),
        "MLPORT_DRAIN_S": "0",  # the gateway waits for the last request to end before a replica is removed
        "MLPORT_DEADLINE_S": f"{options.deadline_s:g}",
    }
    labels = {
        KIND: CONTAINER,
        DEPLOYMENT: deployment,
        SPEC: json.dumps(spec),
        PRICE: json.dumps(resource.usd_per_hour),
    }
    return {
        "Image": name_of(spec["image"]),
        "Cmd": ["serve"],
        "User": f"{NOBODY}:{NOBODY}",
        "Env": environment(threads(spec["cpu"]), given, own),
        "Labels": {**resource.tags, **labels},
        "HostConfig": {**limits_of(spec), "NetworkMode": network_name(endpoint)},
    }
