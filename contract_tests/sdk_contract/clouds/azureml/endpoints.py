"""Managed online endpoints and their deployments: states, names, quota, traffic, keys, logs."""

from __future__ import annotations

import copy
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..timing import Step
from .answers import ArmRoutes, answer, empty, failure, not_found, system_data
from .containers import Fleet
from .durations import seconds_of
from .traffic import check_traffic
from .world import NAME, SIZES, Late, family_of, reserved

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..app import Request, Response
    from ..registry import Registry
    from ..runners import Runner
    from ..timing import Line
    from .assets import Assets
    from .world import Operation, World

_ENDPOINT_S, _DEPLOYMENT_S, _DELETE_S = 60.0, 400.0, 60.0
_BUSY = frozenset({"Creating", "Updating", "Scaling", "Deleting"})
_DEPLOYMENTS = 20  # behind one endpoint
_SPARE = 1.2
_TOKEN_S = 3600


@dataclass
class Deployment:
    """One deployment with its containers."""

    name: str
    body: dict[str, Any]
    line: Line
    fleet: Fleet
    created: float = field(default_factory=time.time)
    modified: float = field(default_factory=time.time)
    late: Late = field(default_factory=Late)

    @property
    def capacity(self) -> int:
        """How many instances it has."""
        return int(self.body["sku"]["capacity"])


@dataclass
class Endpoint:
    """One endpoint with its deployments."""

    name: str
    body: dict[str, Any]
    line: Line
    deployments: dict[str, Deployment] = field(default_factory=dict[str, Deployment])
    keys: list[str] = field(default_factory=lambda: [secrets.token_urlsafe(24) for _ in range(2)])
    tokens: dict[str, float] = field(default_factory=dict[str, float])
    created: float = field(default_factory=time.time)
    modified: float = field(default_factory=time.time)
    late: Late = field(default_factory=Late)

    @property
    def traffic(self) -> dict[str, int]:
        """The shares in force."""
        return dict(self.body["properties"].get("traffic") or {})


class Endpoints:
    """The endpoints of the workspace.

    Args:
        world: The workspace.
        assets: Where environments are looked up.
        runner: Runs containers.
        registry: Where their images are.
        valid: Whether a token is one of this cloud.
    """

    def __init__(
        self, world: World, assets: Assets, runner: Runner, registry: Registry, valid: Callable[[str], bool]
    ) -> None:
        self.world, self.assets, self.runner, self.registry = world, assets, runner, registry
        self.all: dict[str, Endpoint] = {}
        self.routes = ArmRoutes("endpoints", valid)
        path = f"{world.place.path}/onlineEndpoints"
        one, add = f"{path}/{{endpoint}}", self.routes.add
        add("GET", path, "ListEndpoints")(self._list)
        add("GET", one, "GetEndpoint")(self._get)
        add("PUT", one, "PutEndpoint")(self._put)
        add("DELETE", one, "DeleteEndpoint")(self._delete)
        add("POST", f"{one}/listKeys", "ListKeys", changing=False)(self._list_keys)
        add("POST", f"{one}/regenerateKeys", "RegenerateKeys")(self._regenerate)
        add("POST", f"{one}/token", "GetEndpointToken", changing=False)(self._token)
        add("GET", f"{one}/deployments", "ListDeployments")(self._deployments)
        each = f"{one}/deployments/{{deployment}}"
        add("GET", each, "GetDeployment")(self._get_deployment)
        add("PUT", each, "PutDeployment")(self._put_deployment)
        add("DELETE", each, "DeleteDeployment")(self._delete_deployment)
        add("POST", f"{each}/getLogs", "GetLogs", changing=False)(self._logs)

    # --- for the cloud

    def used(self) -> dict[str, int]:
        """Cores in use, by family of machines; a failed deployment keeps its own."""
        found: dict[str, int] = {}
        with self.world.lock:
            for endpoint in self.all.values():
                for one in endpoint.deployments.values():
                    size = one.body["properties"]["instanceType"]
                    found[family_of(size)] = found.get(family_of(size), 0) + SIZES[size][0] * one.capacity
        return found

    def sweep(self) -> None:
        """Forgets what was deleted and has had its time."""
        with self.world.lock:
            for endpoint in list(self.all.values()):
                for one in list(endpoint.deployments.values()):
                    if one.line.final == "Deleted" and one.line.now() == "Deleted":
                        del endpoint.deployments[one.name]
                if endpoint.line.final == "Deleted" and endpoint.line.now() == "Deleted":
                    self._end(endpoint)
                    del self.all[endpoint.name]

    @staticmethod
    def _end(endpoint: Endpoint) -> None:
        for one in endpoint.deployments.values():
            one.fleet.stop()

    def _found(self, request: Request) -> Endpoint | None:
        self.sweep()
        found = self.all.get(request.params["endpoint"].lower())
        return None if found is None or found.late.hides() else found

    def _found_deployment(self, request: Request) -> tuple[Endpoint, Deployment] | None:
        endpoint = self._found(request)
        found = endpoint.deployments.get(request.params["deployment"]) if endpoint else None
        return None if endpoint is None or found is None or found.late.hides() else (endpoint, found)

    # --- endpoints

    def shown(self, endpoint: Endpoint) -> dict[str, Any]:
        """An endpoint as the resource manager shows it."""
        path = f"{self.world.place.path}/onlineEndpoints/{endpoint.name}"
        told = endpoint.body["properties"]
        return {
            **endpoint.body,
            "id": path,
            "name": endpoint.name,
            "type": "Microsoft.MachineLearningServices/workspaces/onlineEndpoints",
            "location": self.world.place.region,
            "kind": "Managed",
            "systemData": system_data(endpoint.created, endpoint.modified),
            "properties": {
                "properties": {},
                "mirrorTraffic": {},
                "publicNetworkAccess": "Enabled",
                **told,
                "scoringUri": f"{self.world.url}/score/{endpoint.name}{self._route(endpoint)}",
                "swaggerUri": f"{self.world.url}/score/{endpoint.name}/swagger.json",
                "provisioningState": endpoint.line.show(),
                "compute": "Managed",
            },
        }

    @staticmethod
    def _route(endpoint: Endpoint) -> str:
        newest = max(endpoint.deployments.values(), key=lambda one: one.created, default=None)
        return str(newest.fleet.routes["scoringRoute"]["path"]) if newest else "/score"

    def _list(self, request: Request) -> Response:
        with self.world.lock:
            self.sweep()
            return answer({"value": [self.shown(one) for one in self.all.values() if not one.late.hides()]})

    def _get(self, request: Request) -> Response:
        with self.world.lock:
            found = self._found(request)
            return answer(self.shown(found)) if found else not_found(request.params["endpoint"])

    def _put(self, request: Request) -> Response:
        name, body = request.params["endpoint"].lower(), request.json()
        with self.world.lock:
            self.sweep()
            known = self.all.get(name)
            refusal = self._refused_endpoint(name, body, known)
            if refusal:
                return refusal
            if known is None:
                return self._created(name, body, request)
            known.body, known.modified = body, time.time()
            final = "Failed" if request.hit_by("fail") else "Succeeded"
            known.line.turn(Step("Updating", _ENDPOINT_S / 4), final=final)
            return self._accepted("oe", known.line, self.shown(known), 200, request)

    def _refused_endpoint(self, name: str, body: dict[str, Any], known: Endpoint | None) -> Response | None:
        if not NAME.fullmatch(name):
            return failure(400, "BadArgument", f"The endpoint name '{name}' is not valid: 3-32 letters, digits and hyphens.")
        if reserved(name):
            return failure(400, "ReservedResourceName", f"The resource name '{name}' is a trademark or reserved word.")
        if known is None and name in self.world.taken:
            return failure(409, "NameUnavailable", f"An endpoint with name '{name}' already exists in the region; use another.")
        if known is not None and known.line.now() in _BUSY:
            return failure(409, "Conflict", f"The endpoint is {known.line.now()}; another operation is in progress.")
        told = body.get("properties") or {}
        if told.get("authMode") not in {"Key", "AMLToken", "AADToken"}:
            return failure(400, "BadArgument", "properties.authMode is not one of Key, AMLToken, AADToken.")
        deployments = known.deployments if known else {}
        return check_traffic(told.get("traffic") or {}, told.get("mirrorTraffic") or {}, set(deployments))

    def _created(self, name: str, body: dict[str, Any], request: Request) -> Response:
        final = "Failed" if request.hit_by("fail") else "Succeeded"
        line = self.world.pace.line(Step("Creating", _ENDPOINT_S), final=final)
        made = self.all[name] = Endpoint(name, body, line)
        _hide(made.late, request)
        return self._accepted("oe", line, self.shown(made), 201, request)

    def _accepted(
        self, kind: str, line: Line, shown: dict[str, Any], status: int, request: Request, fleet: Fleet | None = None
    ) -> Response:
        def error() -> dict[str, Any] | None:
            if fleet is not None and fleet.error:
                return fleet.error
            return {"code": "InternalServerError", "message": "planned failure"} if line.final == "Failed" else None

        operation = self.world.begun(kind, line, error)
        _stick(operation, request)
        headers = self.world.headers(operation)
        return answer(shown, status, **headers) if shown else _accept(headers)

    def _delete(self, request: Request) -> Response:
        with self.world.lock:
            self.sweep()
            found = self.all.get(request.params["endpoint"].lower())
            if found is None:
                return empty(204)
            if found.line.now() in _BUSY:
                return failure(409, "Conflict", f"The endpoint is {found.line.now()}; another operation is in progress.")
            found.line.turn(Step("Deleting", _DELETE_S), final="Deleted")
            return self._accepted("oe", found.line, {}, 202, request)

    # --- keys

    def _list_keys(self, request: Request) -> Response:
        with self.world.lock:
            found = self._found(request)
            if found is None:
                return not_found(request.params["endpoint"])
            if found.body["properties"]["authMode"] != "Key":
                return failure(400, "BadArgument", "The endpoint does not use keys.")
            return answer({"primaryKey": found.keys[0], "secondaryKey": found.keys[1]})

    def _regenerate(self, request: Request) -> Response:
        with self.world.lock:
            found = self._found(request)
            if found is None:
                return not_found(request.params["endpoint"])
            which = 0 if request.json().get("keyType") == "Primary" else 1
            found.keys[which] = secrets.token_urlsafe(24)
            return _accept({})

    def _token(self, request: Request) -> Response:
        with self.world.lock:
            found = self._found(request)
            if found is None:
                return not_found(request.params["endpoint"])
            if found.body["properties"]["authMode"] != "AMLToken":
                return failure(400, "BadArgument", "The endpoint does not use tokens.")
            until, token = int(time.time()) + _TOKEN_S, secrets.token_urlsafe(32)
            found.tokens[token] = until
            told = {"accessToken": token, "expiryTimeUtc": until, "refreshAfterTimeUtc": until - 600, "tokenType": "Bearer"}
            return answer(told)

    # --- deployments

    def shown_deployment(self, endpoint: Endpoint, one: Deployment) -> dict[str, Any]:
        """A deployment as the resource manager shows it."""
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
            found = self._found(request)
            if found is None:
                return not_found(request.params["endpoint"])
            shown = [self.shown_deployment(found, one) for one in found.deployments.values() if not one.late.hides()]
            return answer({"value": shown})

    def _get_deployment(self, request: Request) -> Response:
        with self.world.lock:
            found = self._found_deployment(request)
            return answer(self.shown_deployment(*found)) if found else not_found(request.params["deployment"])

    def _put_deployment(self, request: Request) -> Response:
        name, body = request.params["deployment"].lower(), request.json()
        with self.world.lock:
            endpoint = self._found(request)
            if endpoint is None:
                return not_found(request.params["endpoint"])
            known = endpoint.deployments.get(name)
            refusal = self._refused_deployment(endpoint, name, body, known)
            if refusal:
                return refusal
            body = {**body, "sku": {"name": "Default", "capacity": 1, **(body.get("sku") or {})}}
            if known is not None and _only_scaled(known.body, body):
                return self._scaled(endpoint, known, body, request)
            return self._started(endpoint, name, body, known, request)

    def _refused_deployment(
        self, endpoint: Endpoint, name: str, body: dict[str, Any], known: Deployment | None
    ) -> Response | None:
        told = body.get("properties") or {}
        size, state = str(told.get("instanceType")), endpoint.line.now()
        if not NAME.fullmatch(name):
            return failure(400, "BadArgument", f"The deployment name '{name}' is not valid: 3-32 letters, digits and hyphens.")
        if state != "Succeeded" or (known is not None and known.line.now() in _BUSY):
            return failure(409, "Conflict", f"The endpoint is {state}; another operation is in progress.")
        if size not in SIZES:
            return failure(400, "BadArgument", f"properties.instanceType: '{size}' is not offered for endpoints here.")
        environment = self.assets.at(str(told.get("environmentId")))
        if environment is None:
            return failure(400, "BadArgument", f"properties.environmentId: {told.get('environmentId')} was not found.")
        if not environment.properties.get("inferenceConfig"):
            return failure(400, "BadArgument", "properties.environmentId: an image of your own needs an inferenceConfig.")
        if known is None and len(endpoint.deployments) >= _DEPLOYMENTS:
            return failure(400, "OutOfQuota", f"An endpoint has at most {_DEPLOYMENTS} deployments.")
        return self._over_quota(size, int((body.get("sku") or {}).get("capacity") or 1), known)

    def _over_quota(self, size: str, count: int, known: Deployment | None) -> Response | None:
        more = count - (known.capacity if known else 0)
        need, used = -(-int(more * _SPARE * 10) // 10) * SIZES[size][0], self.used().get(family_of(size), 0)
        if more > 0 and used + need > self.world.cores:
            free = self.world.cores - used
            return failure(400, "OutOfQuota", f"Not enough quota for {family_of(size)}: {need} cores are needed, {free} are free.")
        return None

    def _started(
        self, endpoint: Endpoint, name: str, body: dict[str, Any], known: Deployment | None, request: Request
    ) -> Response:
        fleet = self._fleet(endpoint, name, body)
        if request.hit_by("fail"):
            fleet.error = {"code": "InternalServerError", "message": "planned failure", "details": []}
        else:
            fleet.start(self.runner, self.registry, int(body["sku"]["capacity"]))
        line = self._line("Updating" if known else "Creating", fleet)
        made = Deployment(name, body, line, fleet)
        if known is not None:
            known.fleet.stop()
            made.created = known.created
        endpoint.deployments[name] = made
        _hide(made.late, request)
        shown = self.shown_deployment(endpoint, made)
        return self._accepted("od", line, shown, 200 if known else 201, request, fleet)

    def _line(self, state: str, fleet: Fleet) -> Line:
        """A deployment whose containers will not be ready ends as failed."""

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
        probe = {"initialDelay": "PT10S", "period": "PT10S", "failureThreshold": 30, **(told.get("readinessProbe") or {})}
        patience = seconds_of(probe["initialDelay"]) + seconds_of(probe["period"]) * int(probe["failureThreshold"])
        env = {str(key): str(value) for key, value in (told.get("environmentVariables") or {}).items()}
        mounts, directory = self._model(told)
        return Fleet(
            f"{endpoint.name}-{name}",
            str(environment.properties["image"]).partition("/")[2],
            {**env, **directory},
            environment.properties["inferenceConfig"],
            time.monotonic() + patience,
            mounts,
        )

    def _model(self, told: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        """The registered model of a deployment as Azure mounts it, and the variable that names the place."""
        asset = self.assets.at(str(told.get("model") or ""))
        if asset is None:
            return {}, {}
        prefix = str(told.get("modelMountPath") or "/var/azureml-app/azureml-models")
        place = f"{prefix}/{asset.name}/{asset.version}"
        folder = self.assets.blobs.path("azureml-blobstore", str(asset.properties["modelUri"]).partition("/paths/")[2])
        return {f"{place}/{folder.name}": folder}, {"AZUREML_MODEL_DIR": place}

    def _scaled(self, endpoint: Endpoint, known: Deployment, body: dict[str, Any], request: Request) -> Response:
        known.body, known.modified = body, time.time()
        known.fleet.start(self.runner, self.registry, known.capacity)
        known.line.turn(Step("Scaling", _DEPLOYMENT_S / 4, known.fleet.settled), final="Succeeded")
        shown = self.shown_deployment(endpoint, known)
        return self._accepted("od", known.line, shown, 200, request, known.fleet)

    def _delete_deployment(self, request: Request) -> Response:
        with self.world.lock:
            self.sweep()
            endpoint = self.all.get(request.params["endpoint"].lower())
            found = endpoint.deployments.get(request.params["deployment"]) if endpoint else None
            if endpoint is None or found is None:
                return empty(204)
            if endpoint.traffic.get(found.name) or endpoint.body["properties"].get("mirrorTraffic", {}).get(found.name):
                return failure(409, "Conflict", f"Deployment '{found.name}' has traffic; set it to 0 first.")
            if found.line.now() in _BUSY:
                return failure(409, "Conflict", f"The deployment is {found.line.now()}; another operation is in progress.")
            found.fleet.stop()
            found.line.turn(Step("Deleting", _DELETE_S), final="Deleted")
            return self._accepted("od", found.line, {}, 202, request)

    def _logs(self, request: Request) -> Response:
        with self.world.lock:
            found = self._found_deployment(request)
            if found is None:
                return not_found(request.params["deployment"])
            lines = found[1].fleet.lines()
        tail = int(request.json().get("tail") or 50)
        wanted = [] if request.json().get("containerType") == "StorageInitializer" else lines[-tail:]
        return answer({"content": "".join(f"{line}\n" for line in wanted)})


def _only_scaled(old: dict[str, Any], new: dict[str, Any]) -> bool:
    return all(old["properties"].get(key) == new["properties"].get(key) for key in ("environmentId", "instanceType", "environmentVariables", "model"))  # fmt: skip


def _accept(headers: dict[str, str]) -> Response:
    reply = empty(202)
    reply.headers |= {name.replace("_", "-"): text for name, text in headers.items()}
    return reply


def _hide(late: Late, request: Request) -> None:
    if request.hit_by("late") and request.fault:
        late.visible_at = time.monotonic() + request.fault.seconds
        late.hidden_reads = 0 if request.fault.seconds else 1


def _stick(operation: Operation, request: Request) -> None:
    if request.hit_by("stuck") and request.fault:
        operation.stuck_until = time.monotonic() + (request.fault.seconds or float("inf"))
