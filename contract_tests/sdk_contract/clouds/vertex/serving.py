"""The containers behind deployed models: the real image, started with the environment that the platform provides.

Source: https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements
"""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import httpx

from ..runners import Launch
from .errors import Refusal
from .values import duration, integer, many, part, parts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..runners import Runner, Running
    from .values import Json
    from .world import World

PORT = 8080
START_S, PROBE_S = 1800.0, 0.05
_REFERENCE = re.compile(r"\$\$|\$\((?P<name>[A-Za-z_][A-Za-z0-9_]*)\)")
_CPUS = re.compile(r"-(\d+)$")
EXITED = (
    "Model server exited unexpectedly. Model server logs can be found at "
    "https://console.cloud.google.com/logs/viewer?project={project}&resource=aiplatform.googleapis.com%2FEndpoint"
)
NEVER_READY = (
    "Model server never became ready. Please validate that your model file or container configuration are valid. "
    "Model server logs can be found at "
    "https://console.cloud.google.com/logs/viewer?project={project}&resource=aiplatform.googleapis.com%2FEndpoint"
)


@dataclass
class Deployment:
    """The containers of one deployed model.

    Attributes:
        settled: Whether the result of its start is known.
        failure: Why its start failed.
        start_s: How long its start may take.
        weight: Its current weight in the weighted round robin of requests.
    """

    endpoint: str
    number: str
    model: Json
    launch: Launch
    health_route: str
    predict_route: str
    replicas: list[Running] = field(default_factory=list[Any])
    settled: bool = False
    failure: str = ""
    weight: int = 0
    turn: int = 0
    start_s: float = START_S
    began: float = field(default_factory=time.time)
    stopped: threading.Event = field(default_factory=threading.Event)

    def address(self) -> str:
        """Return the address of the replica whose turn it is."""
        self.turn += 1
        return self.replicas[self.turn % len(self.replicas)].address


class Fleet:
    """All containers behind the endpoints of one region of one project.

    Args:
        world: The other resources of the region.
        runner: Starts the containers.
        registry: The registry that holds their images.
    """

    def __init__(self, world: World, runner: Runner, registry: Any) -> None:
        self.world, self._runner, self._registry = world, runner, registry
        self.running: dict[tuple[str, str], Deployment] = {}
        self.past: list[Deployment] = []  # stopped deployments, whose logs can still be read
        self._lock = threading.Lock()

    @staticmethod
    def cpus(deployed: Json) -> int:
        """Return how many processors all its replicas have at most, as quota counts them."""
        resources = part(deployed, "dedicatedResources")
        size = _CPUS.search(str(part(resources, "machineSpec").get("machineType", "")))
        most = max(integer(resources, "maxReplicaCount"), integer(resources, "minReplicaCount", 1))
        return most * (int(size[1]) if size else 1)

    def launch(self, endpoint: Json, deployed: Json, model: Json) -> Deployment:
        """Start the containers of a deployed model; a thread finds out later whether they become ready."""
        name = endpoint["name"].rpartition("/")[2]
        container: Json = model["containerSpec"]
        env = self._environment(name, deployed, container)
        given = {one["name"]: expand(str(one.get("value", "")), env) for one in many(container, "env")}
        launch = Launch(
            f"vertex-{self.world.key}{name}-{deployed['id']}",
            self._registry,
            model["_image"],
            [expand(word, {**env, **given}) for word in many(container, "args")] or None,
            entrypoint=[expand(word, {**env, **given}) for word in many(container, "command")] or None,
            env={**given, **env},
            port=int(env["AIP_HTTP_PORT"]),
        )
        made = Deployment(
            name, deployed["id"], model, launch, env["AIP_HEALTH_ROUTE"], env["AIP_PREDICT_ROUTE"],
            start_s=duration(container, "deploymentTimeout", START_S),
        )  # fmt: skip
        self.running[name, deployed["id"]] = made
        count = max(1, integer(part(deployed, "dedicatedResources"), "minReplicaCount", 1))
        threading.Thread(target=self._bring_up, args=(made, count), name=launch.name, daemon=True).start()
        return made

    def _environment(self, endpoint: str, deployed: Json, container: Json) -> dict[str, str]:
        own = f"/v1/endpoints/{endpoint}/deployedModels/{deployed['id']}"
        machine = part(part(deployed, "dedicatedResources"), "machineSpec")
        ports = parts(container, "ports") or [{"containerPort": PORT}]
        kind = machine.get("acceleratorType")
        accelerator = {"AIP_ACCELERATOR_TYPE": str(kind)} if kind else {}
        return {
            "AIP_HTTP_PORT": str(ports[0]["containerPort"]),
            "AIP_HEALTH_ROUTE": container.get("healthRoute") or own,
            "AIP_PREDICT_ROUTE": container.get("predictRoute") or f"{own}:predict",
            "AIP_STORAGE_URI": "",
            "AIP_MODE": "PREDICTION",
            "AIP_MODE_VERSION": "1.0.0",
            "AIP_FRAMEWORK": "CUSTOM_CONTAINER",
            "AIP_ENDPOINT_ID": endpoint,
            "AIP_DEPLOYED_MODEL_ID": deployed["id"],
            "AIP_MODEL_NAME": endpoint,
            "AIP_VERSION_NAME": deployed["id"],
            "AIP_PROJECT_NUMBER": self.world.number,
            "AIP_MACHINE_TYPE": str(machine.get("machineType", "")),
            **accelerator,
        }

    def _bring_up(self, made: Deployment, count: int) -> None:
        try:
            for number in range(count):
                made.replicas.append(self._runner.start(replace(made.launch, name=f"{made.launch.name}-{number}")))
            made.failure = self._wait(made)
        except Exception as error:  # noqa: BLE001  # any error is the reason why the deployment failed
            made.failure = f"{type(error).__name__}: {error}"
        made.settled = True
        if made.stopped.is_set():
            self._end(made)

    def _wait(self, made: Deployment) -> str:
        """Poll the health route until all replicas are healthy; return why that failed, or an empty text."""
        end = self.world.pace.clock() + made.start_s
        with httpx.Client(timeout=10.0, trust_env=False) as http:
            for replica in made.replicas:
                while not healthy(http, f"{replica.address}{made.health_route}"):
                    if replica.exit_code is not None:
                        return EXITED.format(project=self.world.project)
                    if self.world.pace.clock() > end or made.stopped.wait(PROBE_S):
                        return NEVER_READY.format(project=self.world.project)
        return ""

    def stop(self, endpoint: str, number: str) -> None:
        """Stop the containers of a deployed model."""
        made = self.running.pop((endpoint, number), None)
        if made is not None:
            made.stopped.set()
            self.past.append(made)
            if made.settled:
                threading.Thread(target=self._end, args=(made,), daemon=True).start()

    def _end(self, made: Deployment) -> None:
        for replica in made.replicas:
            replica.stop(10.0)

    def close(self) -> None:
        """Stop all containers."""
        for endpoint, number in list(self.running):
            self.running[endpoint, number].stopped.set()
            self._end(self.running.pop((endpoint, number)))

    def choose(self, endpoint: Json) -> Deployment:
        """Choose the deployed model that answers the next request, in turn by the shares of the traffic.

        Raises:
            Refusal: No deployed model has traffic.
        """
        shares = {number: int(share) for number, share in endpoint["trafficSplit"].items() if int(share)}
        name = endpoint["name"].rpartition("/")[2]
        with self._lock:
            able = [made for number in shares if (made := self.running.get((name, number))) is not None]
            if not able:
                raise Refusal("FAILED_PRECONDITION", f"Endpoint {endpoint['name']} doesn't have traffic_split.")
            for made in able:
                made.weight += shares[made.number]
            best = max(able, key=lambda made: made.weight)
            best.weight -= sum(shares[made.number] for made in able)
            return best

    def everyone(self) -> Iterator[Deployment]:
        """Yield all deployments, including those that were stopped."""
        yield from self.past
        yield from list(self.running.values())


def healthy(http: httpx.Client, url: str) -> bool:
    """Return whether a container reports that it is healthy, which means status 200 and no other."""
    try:
        return http.get(url).status_code == 200
    except httpx.TransportError:
        return False


def expand(text: str, env: dict[str, str]) -> str:
    """Replace variables in a word of a command, ``$(NAME)``; ``$$`` is a dollar sign.

    Example:
        >>> expand("$(A)-$$(A)-$(B)", {"A": "1"})
        '1-$(A)-$(B)'
    """
    return _REFERENCE.sub(lambda hit: "$" if hit[0] == "$$" else env.get(hit["name"], hit[0]), text)
