"""Deployments behind managed online endpoints: machines, quota, containers, logs."""

from __future__ import annotations

import copy
import re
import time
from typing import TYPE_CHECKING, Any

from ..timing import Step
from .answers import ArmRoutes, answer, empty, failure, not_found, refused_inside, system_data, table
from .containers import Fleet
from .durations import seconds_of
from .endpoints import identities
from .online import BUSY, Begun, Deployment, accepted, hide
from .rights import needed_for_image
from .world import NAME, SIZES, family_of, principal_of, size_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..app import Request, Response
    from ..registry import Registry
    from ..runners import Runner
    from ..timing import Line
    from .assets import Assets
    from .endpoints import Endpoints
    from .online import Endpoint

_DEPLOYMENT_S, _DELETE_S = 400.0, 60.0
_DEPLOYMENTS = 20  # behind one endpoint
_SPARE = 1.2
_CONNECTION = re.compile(r"\$\{\{azureml://connections/([^/]+)/credentials/([^/}]+)\}\}")
_MADE_OF = ("environmentId", "instanceType", "environmentVariables", "model")


class Deployments:
    """The deployments of all endpoints of a workspace.

    Args:
        endpoints: The endpoints of the workspace.
        assets: The assets with environments and models.
        runner: Runs containers.
        registry: The registry that holds their images.
        valid: Checks whether a token is one of this cloud.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        assets: Assets,
        runner: Runner,
        registry: Registry,
        valid: Callable[[str], bool],
    ) -> None:
        self.endpoints, self.world = endpoints, endpoints.world
        self.assets, self.runner, self.registry = assets, runner, registry
        self.routes = ArmRoutes("deployments", valid)
        path, add = f"{self.world.place.path}/onlineEndpoints/{{endpoint}}/deployments", self.routes.add
        each = f"{path}/{{deployment}}"
        add("GET", path, "ListDeployments")(self._deployments)
        add("GET", each, "GetDeployment")(self._get_deployment)
        add("PUT", each, "PutDeployment")(self._put_deployment)
        add("DELETE", each, "DeleteDeployment")(self._delete_deployment)
        add("POST", f"{each}/getLogs", "GetLogs", changing=False)(self._logs)

    def _found(self, request: Request) -> tuple[Endpoint, Deployment] | None:
        endpoint = self.endpoints.found(request)
        found = endpoint.deployments.get(request.params["deployment"]) if endpoint else None
        return None if endpoint is None or found is None or found.late.hides() else (endpoint, found)

    def shown(self, endpoint: Endpoint, one: Deployment) -> dict[str, Any]:
        """Return a deployment as the resource manager shows it."""
        told = copy.deepcopy(one.body)
        told["properties"] |= {"provisioningState": one.line.show(), "endpointComputeType": "Managed"}
        told["properties"].setdefault("scaleSettings", {"scaleType": "Default"})
        return {
            **told,
            "id": f"{self.world.place.path}/onlineEndpoints/{endpoint.name}/deployments/{one.name}",
            "name": one.name,
            "type": "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/deployments",
            "location": self.world.place.region,
            "kind": "Managed",
            "systemData": system_data(one.created, one.modified),
        }

    def _deployments(self, request: Request) -> Response:
        with self.world.lock:
            found = self.endpoints.found(request)
            if found is None:
                return not_found(request.params["endpoint"])
            shown = [self.shown(found, one) for one in found.deployments.values() if not one.late.hides()]
            return answer({"value": shown})

    def _get_deployment(self, request: Request) -> Response:
        with self.world.lock:
            found = self._found(request)
            return answer(self.shown(*found)) if found else not_found(request.params["deployment"])

    def _put_deployment(self, request: Request) -> Response:
        name, body = request.params["deployment"], request.json()
        with self.world.lock:
            endpoint = self.endpoints.found(request)
            if endpoint is None:
                return not_found(request.params["endpoint"])
            name = endpoint.deployments.spelled(name)
            known = endpoint.deployments.get(name)
            refusal = self._refused(endpoint, name, body, known)
            if refusal:
                return refusal
            body = {**body, "sku": {"name": "Default", "capacity": 1, **table(body.get("sku"))}}
            if known is not None and _only_scaled(known.body, body):
                return self._scaled(endpoint, known, body, request)
            return self._started(endpoint, name, body, known, request)

    def _refused(
        self, endpoint: Endpoint, name: str, body: dict[str, Any], known: Deployment | None
    ) -> Response | None:
        state = endpoint.line.now()
        if refused_tags(table(body.get("tags"))):
            return failure(400, "InvalidTagNameCharacters", "A tag has a name or a value that is not valid.")
        if not NAME.fullmatch(name):
            return failure(
                400, "BadArgument", f"The deployment name '{name}' is not valid: 3-32 letters, digits, hyphens."
            )
        if state != "Succeeded" or (known is not None and known.line.now() in BUSY):
            return failure(409, "Conflict", f"The endpoint is {state}; another operation is in progress.")
        if known is None and len(endpoint.deployments) >= _DEPLOYMENTS:
            return failure(
                400,
                "InferencingClientCallFailed",
                f"Deployment Quota reached for endpoint {endpoint.name}."
                f"Current usage/limit: {_DEPLOYMENTS}/{_DEPLOYMENTS}.Please clean up existing deployments.",
            )
        told = table(body.get("properties"))
        if told.get("egressPublicNetworkAccess") == "Disabled" and not self._may_be_closed():
            # The wording is not documented (likely).
            return failure(400, "BadArgument", "egressPublicNetworkAccess: the workspace has to be private.")
        count = int(table(body.get("sku")).get("capacity") or 1)
        return self._unusable(told) or self._over_quota(str(told["instanceType"]), count, known)

    def _may_be_closed(self) -> bool:
        """Return whether a deployment may have private outbound connections; containers here have all the same."""
        managed = table(self.world.network.get("managedNetwork")).get("isolationMode") or "Disabled"
        return self.world.network.get("publicNetworkAccess") == "Disabled" and managed == "Disabled"

    def _unusable(self, told: dict[str, Any]) -> Response | None:
        """Return the refusal of a machine or an environment that is not available."""
        if size_of(told.get("instanceType")) is None:
            wanted = told.get("instanceType")
            return failure(
                400, "BadArgument", f"properties.instanceType: '{wanted}' is not offered for endpoints here."
            )
        environment = self.assets.at(str(told.get("environmentId")))
        if environment is None:
            return failure(400, "BadArgument", f"properties.environmentId: {told.get('environmentId')} was not found.")
        if not environment.properties.get("inferenceConfig"):
            return failure(400, "BadArgument", "properties.environmentId: an own image needs an inferenceConfig.")
        return None

    def _over_quota(self, size: str, count: int, known: Deployment | None) -> Response | None:
        more = count - (known.capacity if known else 0)
        need, used = (
            -(-int(more * _SPARE * 10) // 10) * SIZES[size_of(size) or size][0],
            self.world.used().get(family_of(size), 0),
        )
        if more > 0 and used + need > self.world.cores:
            return refused_inside(
                "VmSize",
                f"Not enough quota available for {size} in SubscriptionId {self.world.place.subscription}. "
                f"Current usage/limit: {used}/{self.world.cores}. Additional needed: {need} Please see troubleshooting "
                "guide, available here: https://aka.ms/oe-tsg#error-outofquota",
            )
        return None

    def _started(
        self, endpoint: Endpoint, name: str, body: dict[str, Any], known: Deployment | None, request: Request
    ) -> Response:
        fleet = self._fleet(endpoint, name, body)
        if request.hit_by("fail"):
            fleet.error = {"code": "InternalServerError", "message": "planned failure", "details": []}
        elif not fleet.error:
            fleet.start(self.runner, self.registry, int(body["sku"]["capacity"]))
        line = self._line("Updating" if known else "Creating", fleet)
        made = Deployment(name, body, line, fleet)
        if known is not None:
            made.created = known.created
            made.before = known.serving
            if known.serving is not known.fleet:  # an update that failed, and the fleet that it did not replace
                known.fleet.stop(self.world.grace_s)
            made.roll(self.world.grace_s)
        endpoint.deployments[name] = made
        hide(made.late, request)
        shown = self.shown(endpoint, made)
        return accepted(self.world, Begun("od", line, 200 if known else 201, shown, fleet), request)

    def _line(self, state: str, fleet: Fleet) -> Line:
        """Return the line of a deployment, which ends as failed if its containers do not become ready."""

        def settled() -> bool:
            if fleet.settled() and fleet.error:
                line.final = "Failed"
            return fleet.settled()

        line = self.world.pace.line(Step(state, _DEPLOYMENT_S, settled), final="Succeeded")
        return line

    def _fleet(self, endpoint: Endpoint, name: str, body: dict[str, Any]) -> Fleet:
        told = body["properties"]
        environment = self.assets.at(str(told["environmentId"]))
        assert environment is not None
        probe: dict[str, Any] = {
            "initialDelay": "PT10S",
            "period": "PT10S",
            "failureThreshold": 30,
            **table(told.get("startupProbe") or told.get("readinessProbe")),
        }
        patience = seconds_of(probe["initialDelay"]) + seconds_of(probe["period"]) * int(probe["failureThreshold"])
        env = {str(key): str(value) for key, value in table(told.get("environmentVariables")).items()}
        mounts, directory = self._model(told)
        env, problem = self._injected(endpoint, env)
        own = identities(endpoint.body)
        lacking = self.world.lacking("pulling the image", needed_for_image(self.world.registry_path)) if own else None
        if lacking or any(principal_of(one) in self.world.no_pull for one in own):
            host = self.world.registry_path.rpartition("/")[2]
            problem = f"Endpoint identity does not have pull permission on the registry {host}.azurecr.io."
        fleet = Fleet(
            f"{endpoint.key}-{name}",
            str(environment.properties["image"]).partition("/")[2],
            {**env, **directory},
            environment.properties["inferenceConfig"],
            time.monotonic() + patience,
            mounts,
        )
        if problem:
            fleet.error = {"code": "BadArgument", "message": problem, "details": []}
        return fleet

    def _injected(self, endpoint: Endpoint, env: dict[str, str]) -> tuple[dict[str, str], str]:
        """Replace variables by secrets of the workspace's connections; also return why that failed."""
        found = {key: match for key, text in env.items() if (match := _CONNECTION.fullmatch(text))}
        if found and not endpoint.reads_connections:
            return env, "The endpoint identity does not have permission to read secrets of the workspace connections."
        values = {key: self.world.connections.get(match[1], {}).get(match[2]) for key, match in found.items()}
        missing = [env[key] for key, value in values.items() if value is None]
        problem = f"Secret {missing[0]} was not found." if missing else ""
        return {**env, **{key: value for key, value in values.items() if value is not None}}, problem

    def _model(self, told: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the mount of a deployment's registered model, and the variable that names its path."""
        asset = self.assets.at(str(told.get("model") or ""))
        if asset is None:
            return {}, {}
        prefix = str(told.get("modelMountPath") or "/var/azureml-app/azureml-models")
        place = f"{prefix}/{asset.name}/{asset.version}"
        folder = self.assets.blobs.path(self.world.container, str(asset.properties["modelUri"]).partition("/paths/")[2])
        return {f"{place}/{folder.name}": folder}, {"AZUREML_MODEL_DIR": place}

    def _scaled(self, endpoint: Endpoint, known: Deployment, body: dict[str, Any], request: Request) -> Response:
        known.body, known.modified = body, time.time()
        known.fleet.start(self.runner, self.registry, known.capacity)
        known.line.turn(Step("Scaling", _DEPLOYMENT_S / 4, known.fleet.settled), final="Succeeded")
        shown = self.shown(endpoint, known)
        return accepted(self.world, Begun("od", known.line, 200, shown, known.fleet), request)

    def _delete_deployment(self, request: Request) -> Response:
        with self.world.lock:
            self.endpoints.sweep()
            endpoint = self.endpoints.all.get(request.params["endpoint"])
            found = endpoint.deployments.get(request.params["deployment"]) if endpoint else None
            if endpoint is None or found is None:
                return empty(204)
            if endpoint.traffic.get(found.name) or endpoint.mirrored.get(found.name):
                return failure(409, "Conflict", f"Deployment '{found.name}' has traffic; set it to 0 first.")
            if found.line.now() in BUSY - {"Creating"}:  # one being created may be deleted (likely, from reports)
                return failure(
                    409, "Conflict", f"The deployment is {found.line.now()}; another operation is in progress."
                )
            found.stop(self.world.grace_s)
            found.line.turn(Step("Deleting", _DELETE_S, found.ended), final="Deleted")
            return accepted(self.world, Begun("od", found.line, 202), request)

    def _logs(self, request: Request) -> Response:
        with self.world.lock:
            found = self._found(request)
            if found is None:
                return not_found(request.params["deployment"])
            fleet = found[1].fleet
            lines, settled, error = fleet.lines(), fleet.settled(), fleet.error
        tail = int(request.json().get("tail") or 50)
        wanted = [] if request.json().get("containerType") == "StorageInitializer" else lines[-tail:]
        head = _states(wanted, settled=settled, error=error)
        return answer({"content": "".join(f"{line}\n" for line in [*head, *wanted])})


def _states(wanted: list[str], *, settled: bool, error: dict[str, Any] | None) -> list[str]:
    """Return what Azure writes before a container's lines, or instead of them; it changes during the start.

    Source: https://learn.microsoft.com/azure/machine-learning/how-to-troubleshoot-online-endpoints#get-container-logs
    """
    state = "Failed" if error else "Succeeded" if settled else "InProgress"
    events = ["Kind: Pod, Name: Pulling, Type: Normal, Time: 2026-01-01T00:00:00Z, Message: Start pulling image"]
    if error:
        events.append(
            f"Kind: Pod, Name: Failed, Type: Warning, Time: 2026-01-01T00:00:01Z, Message: {error['message']}"
        )
    head = ["Instance status:", "SystemSetup: Succeeded", f"UserContainerStart: {state}", "", "Container events:"]
    return [*head, *events, "", *(["Container logs:"] if wanted else [])]


def refused_tags(tags: dict[str, str]) -> bool:
    """Return whether the resource manager refuses these tags of a resource."""
    wrong = any(set(name) & set("<>%&\\?/") or len(name) > 512 or len(str(value)) > 256 for name, value in tags.items())
    return wrong or len(tags) > 50


def _only_scaled(old: dict[str, Any], new: dict[str, Any]) -> bool:
    return all(old["properties"].get(key) == new["properties"].get(key) for key in _MADE_OF)
