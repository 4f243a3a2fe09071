"""Endpoints and the models deployed to them: traffic, refusals, and operations that take time."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .api import Api, body_of
from .errors import Refusal
from .machines import check_machine
from .models import shown
from .values import integer, part, text
from .world import Veil, check_key, check_labels, listing, masked, stamp

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..app import Request
    from .models import Models
    from .serving import Fleet
    from .values import Json
    from .world import World

CREATE_S, DEPLOY_S, UNDEPLOY_S, DELETE_S, MUTATE_S = 5.0, 420.0, 60.0, 5.0, 60.0
_ID = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?|[1-9][0-9]{0,9}|0")
_DEPLOYED_ID = re.compile(r"[0-9]{1,10}")
_PARENT = "/v1/projects/{project}/locations/{location}/endpoints"
_MUTABLE = {"displayName", "description", "labels", "trafficSplit"}
_REPLICAS = {"minReplicaCount", "maxReplicaCount", "autoscalingMetricSpecs"}


class Endpoints:
    """The endpoints of one region of one project.

    Args:
        world: The other resources of the region.
        models: The models that can be deployed.
        fleet: Runs the containers.
        dns: Returns the host name of a dedicated endpoint, by its id.
        cpu_quota: Processors that all replicas may use together.
    """

    def __init__(
        self, world: World, models: Models, fleet: Fleet, *, dns: Callable[[str], str], cpu_quota: int
    ) -> None:
        self.world, self.models, self.fleet, self._dns, self.cpu_quota = world, models, fleet, dns, cpu_quota
        self.table = world.tables["endpoints"]
        self._coming: dict[tuple[str, str], int] = {}  # processors of the models that are being deployed
        self.api = self._routes()

    def _routes(self) -> Api:
        api = Api(self.world, "aiplatform")
        api.on("POST", _PARENT, "CreateEndpoint")(self.create)
        api.on("GET", _PARENT, "ListEndpoints")(self.every)
        one = f"{_PARENT}/{{endpoint}}"
        api.on("GET", one, "GetEndpoint")(self.get)
        api.on("PATCH", one, "UpdateEndpoint")(self.patch)
        api.on("POST", f"{one}:update", "UpdateEndpointLongRunning")(self.update)
        api.on("DELETE", one, "DeleteEndpoint")(self.delete)
        api.on("POST", f"{one}:deployModel", "DeployModel")(self.deploy)
        api.on("POST", f"{one}:undeployModel", "UndeployModel")(self.undeploy)
        for method in ("POST", "PATCH"):
            api.on(method, f"{one}:mutateDeployedModel", "MutateDeployedModel")(self.mutate)
        return api

    # --- the endpoint itself --------------------------------------------------------------------------------------

    def create(self, request: Request) -> Json:
        """Create an endpoint under the id that the caller chose, or under a number."""
        body, name = body_of(request), request.query.get("endpointId", "")
        if not text(body, "displayName"):
            raise Refusal("INVALID_ARGUMENT", "Required field endpoint.display_name is not set.")
        if name and not _ID.fullmatch(name):
            raise Refusal("INVALID_ARGUMENT", f"endpoint_id {name!r} must match {_ID.pattern}.")
        check_labels(part(body, "labels"))
        check_key(text(part(body, "encryptionSpec"), "kmsKeyName"), self.world.region)
        name = name or self.world.next_number()
        if name in self.table:
            raise Refusal("ALREADY_EXISTS", f"Endpoint {self.world.parent}/endpoints/{name} already exists.")
        made = self.world.add("endpoints", name, self._fresh(name, body))
        made["_veil"] = Veil(request, self.world.pace.clock)
        line, failing = self.world.line(request, CREATE_S), request.hit_by("fail")

        def finish() -> Json:
            if failing:
                self.table.pop(name, None)
                raise Refusal("INTERNAL", "Failed to create the endpoint. Internal error occurred.")
            made["_ready"] = True
            return shown(made)

        return self.world.begin("CreateEndpoint", f"endpoints/{name}", line, finish, kind="Endpoint")

    def _fresh(self, name: str, body: Json) -> Json:
        made: Json = {
            "labels": {},
            **body,
            "name": f"{self.world.parent}/endpoints/{name}",
            "deployedModels": [],
            "trafficSplit": {},
            "_ready": False,
        }
        if body.get("dedicatedEndpointEnabled"):
            made["dedicatedEndpointDns"] = self._dns(name)
        return made

    def find(self, name: str) -> Json:
        """Return an existing endpoint.

        Raises:
            Refusal: It does not exist, or not yet.
        """
        found = self.world.get("endpoints", name)
        if not found["_ready"] or found["_veil"].hides():
            raise Refusal("NOT_FOUND", f"The Endpoint {self.world.parent}/endpoints/{name} cannot be found.")
        return found

    def get(self, request: Request) -> Json:
        """Return one endpoint."""
        return shown(self.find(request.params["endpoint"]))

    def every(self, request: Request) -> Json:
        """List all endpoints."""
        return listing([shown(one) for one in self.table.values() if one["_ready"]], request.query, "endpoints")

    def patch(self, request: Request) -> Json:
        """Change an endpoint immediately."""
        found, body = self.find(request.params["endpoint"]), body_of(request)
        self._apply(found, body, masked(request.query.get("updateMask", "")))
        return shown(found)

    def update(self, request: Request) -> Json:
        """Change an endpoint through an operation."""
        found, body = self.find(request.params["endpoint"]), part(body_of(request), "endpoint")
        self._apply(found, body, [name for name in body if name in _MUTABLE])
        line = self.world.line(request, MUTATE_S)
        holder = f"endpoints/{request.params['endpoint']}"
        return self.world.begin("UpdateEndpoint", holder, line, lambda: shown(found), kind="Endpoint")

    def _apply(self, found: Json, body: Json, fields: list[str]) -> None:
        if not fields:
            raise Refusal("INVALID_ARGUMENT", "Required field update_mask is not set.")
        if unknown := [name for name in fields if name not in _MUTABLE]:
            raise Refusal("INVALID_ARGUMENT", f"Field {unknown[0]} cannot be updated.")
        if body.get("etag") and body["etag"] != found["etag"]:
            raise Refusal("ABORTED", f"The etag of {found['name']} does not match: it was changed meanwhile.")
        if "trafficSplit" in fields:
            self._check_split(found, part(body, "trafficSplit"), known=ids(found))
        if "labels" in fields:
            check_labels(part(body, "labels"))
        for name in fields:
            found[name] = part(body, name) if name in {"labels", "trafficSplit"} else text(body, name)
        self.world.touch(found)

    @staticmethod
    def _check_split(found: Json, split: Json, *, known: set[str]) -> None:
        shares = {name: integer(split, name) for name in split}
        if shares and sum(shares.values()) != 100:
            raise Refusal("INVALID_ARGUMENT", f"Traffic percentages must sum to 100, not {sum(shares.values())}.")
        for name, share in shares.items():
            if name not in known:
                raise Refusal("INVALID_ARGUMENT", f"{found['name']} has no DeployedModel {name}.")
            if not 0 <= share <= 100:
                raise Refusal("INVALID_ARGUMENT", f"Traffic percentage {share} is not between 0 and 100.")

    def delete(self, request: Request) -> Json:
        """Delete an empty endpoint."""
        name = request.params["endpoint"]
        found = self.find(name)
        if found["deployedModels"] or self.world.running(f"endpoints/{name}", "DeployModel", "UndeployModel"):
            raise Refusal(
                "FAILED_PRECONDITION",
                f"Endpoint {found['name']} has deployed or being-deployed DeployedModel(s).",
            )
        if self.world.running(f"endpoints/{name}", "DeleteEndpoint"):
            raise Refusal("FAILED_PRECONDITION", f"Endpoint {found['name']} is being deleted.")
        line = self.world.line(request, DELETE_S)

        def finish() -> Json:
            self.table.pop(name, None)
            return {}

        return self.world.begin("DeleteEndpoint", f"endpoints/{name}", line, finish, kind="google.protobuf.Empty")

    # --- deployed models ------------------------------------------------------------------------------------------

    def deploy(self, request: Request) -> Json:
        """Start a model's containers; the model becomes part of the endpoint once they answer."""
        name, body = request.params["endpoint"], body_of(request)
        found = self.find(name)
        deployed: Json = dict(part(body, "deployedModel"))
        model = self.models.version(text(deployed, "model"))
        number = self._number(found, name, deployed)
        split = self._split(found, part(body, "trafficSplit"), number)
        self._check_quota(deployed)
        deployed |= {
            "id": number,
            "model": model["name"],
            "modelVersionId": model["versionId"],
            "displayName": text(deployed, "displayName") or model["displayName"],
            "createTime": stamp(),
        }
        self._coming[name, number] = self.fleet.cpus(deployed)
        running = self.fleet.launch(found, deployed, model)
        line, failing = self.world.line(request, DEPLOY_S, lambda: running.settled), request.hit_by("fail")

        def finish() -> Json:
            del self._coming[name, number]
            if failing or running.failure:
                self.fleet.stop(name, number)
                raise Refusal("FAILED_PRECONDITION", running.failure or "Model server never became ready.")
            self._join(found, deployed, model, split)
            return {"deployedModel": deployed}

        return self.world.begin("DeployModel", f"endpoints/{name}", line, finish, kind="DeployModelResponse")

    def _number(self, found: Json, name: str, deployed: Json) -> str:
        number = str(text(deployed, "id") or self.world.next_number()[-10:])
        if not _DEPLOYED_ID.fullmatch(number):
            raise Refusal("INVALID_ARGUMENT", f"deployed_model.id {number!r} must be 1-10 digits.")
        if number in ids(found) or (name, number) in self._coming:
            raise Refusal("ALREADY_EXISTS", f"DeployedModel {number} already exists in {found['name']}.")
        self._check_resources(part(deployed, "dedicatedResources"))
        return number

    @staticmethod
    def _check_resources(resources: Json) -> None:
        if not resources:
            raise Refusal("INVALID_ARGUMENT", "prediction_resources must be dedicated_resources for custom models.")
        machine, least = part(resources, "machineSpec"), integer(resources, "minReplicaCount")
        if not machine.get("machineType"):
            raise Refusal("INVALID_ARGUMENT", "Required field dedicated_resources.machine_spec is not set.")
        check_machine(machine, "inference", "deployed_model.dedicated_resources.machine_spec")
        if least < 1:
            raise Refusal("INVALID_ARGUMENT", "dedicated_resources.min_replica_count must be at least 1.")
        if (integer(resources, "maxReplicaCount") or least) < least:
            raise Refusal("INVALID_ARGUMENT", "dedicated_resources.max_replica_count must not be below the minimum.")

    def _split(self, found: Json, split: Json, number: str) -> Json:
        named = {number if key == "0" else key: share for key, share in split.items()}
        self._check_split(found, named, known=ids(found) | {number})
        return named

    def _check_quota(self, deployed: Json) -> None:
        used = sum(self.fleet.cpus(one) for endpoint in self.table.values() for one in endpoint["deployedModels"])
        if used + sum(self._coming.values()) + self.fleet.cpus(deployed) > self.cpu_quota:
            raise Refusal(
                "RESOURCE_EXHAUSTED",
                "The following quota metrics exceed quota limits: aiplatform.googleapis.com/custom_model_serving_cpus",
            )

    def _join(self, found: Json, deployed: Json, model: Json, split: Json) -> None:
        found["deployedModels"].append(deployed)
        if split:
            found["trafficSplit"] = split
        model["deployedModels"].append({"endpoint": found["name"], "deployedModelId": deployed["id"]})
        self.world.touch(found)

    def undeploy(self, request: Request) -> Json:
        """Remove a deployed model, which must no longer have traffic."""
        name, body = request.params["endpoint"], body_of(request)
        found, number = self.find(name), str(body.get("deployedModelId", ""))
        if number not in ids(found):
            raise Refusal("NOT_FOUND", f"DeployedModel {number} is not found in {found['name']}.")
        split = dict(part(body, "trafficSplit"))
        last = ids(found) == {number}
        if split:
            self._check_split(found, split, known=ids(found) - {number})
        elif found["trafficSplit"].get(number) and not last:
            raise Refusal("FAILED_PRECONDITION", f"DeployedModel {number} has traffic; reassign it first.")
        if self.world.running(f"endpoints/{name}", "UndeployModel", subject=number):
            raise Refusal("FAILED_PRECONDITION", f"DeployedModel {number} is being undeployed.")
        rest = {key: share for key, share in found["trafficSplit"].items() if key != number}
        found["trafficSplit"] = {} if last else split or rest
        self.world.touch(found)
        line = self.world.line(request, UNDEPLOY_S)
        return self.world.begin(
            "UndeployModel", f"endpoints/{name}", line, lambda: self._leave(found, name, number),
            kind="UndeployModelResponse", subject=number,
        )  # fmt: skip

    def _leave(self, found: Json, name: str, number: str) -> Json:
        found["deployedModels"] = [one for one in found["deployedModels"] if one["id"] != number]
        for model in self.models.entries.values():
            for version in model.versions.values():
                version["deployedModels"] = [
                    one for one in version["deployedModels"]
                    if (one["endpoint"], one["deployedModelId"]) != (found["name"], number)
                ]  # fmt: skip
        self.fleet.stop(name, number)
        self.world.touch(found)
        return {}

    def mutate(self, request: Request) -> Json:
        """Change the number of replicas of a deployed model, and the metrics by which they scale."""
        name, body = request.params["endpoint"], body_of(request)
        found, wanted = self.find(name), part(body, "deployedModel")
        deployed = next((one for one in found["deployedModels"] if one["id"] == wanted.get("id")), None)
        if deployed is None:
            raise Refusal("NOT_FOUND", f"DeployedModel {wanted.get('id')} is not found in {found['name']}.")
        deployed["dedicatedResources"] |= _replicas(part(wanted, "dedicatedResources"), text(body, "updateMask"))
        line = self.world.line(request, MUTATE_S)
        return self.world.begin(
            "MutateDeployedModel", f"endpoints/{name}", line, lambda: {"deployedModel": deployed},
            kind="MutateDeployedModelResponse",
        )  # fmt: skip


def _replicas(given: Json, mask: str) -> Json:
    """Return the replica fields that an update changes: those in the mask, or all given fields without a mask."""
    names = [name.removeprefix("dedicatedResources.") for name in masked(mask)]
    if unknown := [name for name in names if name not in {*_REPLICAS, "dedicatedResources"}]:
        raise Refusal("INVALID_ARGUMENT", f"Field {unknown[0]} cannot be updated.")
    wanted = set(names) & _REPLICAS if names and "dedicatedResources" not in names else _REPLICAS
    return {name: value for name, value in given.items() if name in wanted}


def ids(endpoint: Json) -> set[str]:
    """Return the ids of the deployed models."""
    return {one["id"] for one in endpoint["deployedModels"]}
