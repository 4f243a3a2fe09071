"""A Vertex AI mini cloud that starts no container, and valid requests for every operation."""

from __future__ import annotations

import io
import json
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import httpx

from sdk.packaging.image import BlobStore, Registries, push_image
from sdk_contract.clouds.app import Request, Response
from sdk_contract.clouds.stub import stub_image
from sdk_contract.clouds.vertex import VertexCloud
from sdk_contract.clouds.vertex.members import BODIES
from tests.fidelity.idle import IdleRunner
from tests.vertex.conftest import PARENT

if TYPE_CHECKING:
    from pathlib import Path

    from sdk_contract.clouds.runners import Runner

ROUTES = {
    "UploadModel": ("POST", "models:upload"),
    "ListModels": ("GET", "models"),
    "GetModel": ("GET", "models/base"),
    "UpdateModel": ("PATCH", "models/base"),
    "DeleteModel": ("DELETE", "models/base"),
    "ListModelVersions": ("GET", "models/base:listVersions"),
    "DeleteModelVersion": ("DELETE", "models/base:deleteVersion"),
    "MergeVersionAliases": ("POST", "models/base:mergeVersionAliases"),
    "CreateEndpoint": ("POST", "endpoints"),
    "ListEndpoints": ("GET", "endpoints"),
    "GetEndpoint": ("GET", "endpoints/base"),
    "UpdateEndpoint": ("PATCH", "endpoints/base"),
    "UpdateEndpointLongRunning": ("POST", "endpoints/base:update"),
    "DeleteEndpoint": ("DELETE", "endpoints/base"),
    "DeployModel": ("POST", "endpoints/base:deployModel"),
    "UndeployModel": ("POST", "endpoints/base:undeployModel"),
    "MutateDeployedModel": ("POST", "endpoints/base:mutateDeployedModel"),
    "CreateCustomJob": ("POST", "customJobs"),
    "ListCustomJobs": ("GET", "customJobs"),
    "GetCustomJob": ("GET", "customJobs/1"),
    "CancelCustomJob": ("POST", "customJobs/1:cancel"),
    "DeleteCustomJob": ("DELETE", "customJobs/1"),
    "Predict": ("POST", "endpoints/base:predict"),
}
"""Method and path of every operation."""


class IdleVertex(VertexCloud):
    """A mini cloud that starts no container."""

    @cached_property
    def runner(self) -> Runner:
        """One that starts nothing."""
        return IdleRunner()


class Site:
    """One project on such a cloud; requests are handled in this process."""

    def __init__(self, cloud: IdleVertex, folder: Path) -> None:
        self.cloud, self.headers = cloud, {"authorization": f"Bearer {cloud.world.token}"}
        self.image = self._push(folder)
        self.wait(self.ask("UploadModel", self.base("UploadModel") | {"modelId": "base"}))
        self.wait(self.ask("CreateEndpoint", {"endpointId": "base", "endpoint": {"displayName": "base"}}))
        self.wait(self.ask("DeployModel", self.base("DeployModel")))

    def _push(self, folder: Path) -> str:
        where = f"{self.cloud.url}/v1/{PARENT}/repositories?repositoryId=stub"
        begun = httpx.post(where, json={"format": "DOCKER"}, headers=self.headers)
        self.wait((begun.status_code, begun.json()))
        store, host = BlobStore(folder), self.cloud.url.removeprefix("http://")
        known = Registries(lambda _: ("oauth2accesstoken", self.cloud.world.token))
        return push_image(stub_image(store), f"{host}/mini-project/stub/stub:v1", store=store, registries=known)

    def ask(self, operation: str, message: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Let the cloud handle one request, given as the whole message; status and answer."""
        return self._ask(operation, message, BODIES.get(operation))

    def ask_in_snake(self, operation: str, message: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """The same for a message whose members have the names of the proto files."""
        field = BODIES.get(operation)
        return self._ask(operation, message, "custom_job" if field == "customJob" else field)

    def _ask(self, operation: str, message: dict[str, Any], field: str | None) -> tuple[int, dict[str, Any]]:
        method, path = ROUTES[operation]
        bare = method in {"GET", "DELETE"}
        body = {} if bare else message.get(field, {}) if field else message
        query = message if bare else {name: one for name, one in message.items() if name != field} if field else {}
        data = b"" if bare else json.dumps(body).encode()
        return self._send(method, f"/v1/{PARENT}/{path}", urlencode(query), data)

    def get(self, name: str) -> dict[str, Any]:
        """A resource or an operation, by its whole name."""
        return self._send("GET", f"/v1/{name}", "", b"")[1]

    def _send(self, method: str, target: str, query: str, data: bytes) -> tuple[int, dict[str, Any]]:
        request = Request(method, target, target, query, self.headers, io.BytesIO(data), base_url=self.cloud.url)
        match = next(found for one in self.cloud.app.services if (found := one.find(request)))
        request.params = match.params
        answer = match.handler(request)
        assert isinstance(answer, Response)
        assert isinstance(answer.body, bytes)
        return answer.status, json.loads(answer.body)

    def wait(self, answer: tuple[int, dict[str, Any]]) -> dict[str, Any]:
        """The end of an operation."""
        assert 200 == answer[0], answer
        found = answer[1]
        while not found.get("done"):
            found = self.get(found["name"])
        assert "error" not in found, found
        return found

    def base(self, operation: str) -> dict[str, Any]:
        """A valid request of an operation."""
        machine = {"machineType": "n1-standard-4"}
        resources = {"machineSpec": machine, "minReplicaCount": 1}
        deployed = {"model": f"{PARENT}/models/base", "id": "1", "dedicatedResources": resources}
        pool = {"machineSpec": machine, "containerSpec": {"imageUri": self.image}}
        found: dict[str, dict[str, Any]] = {
            "UploadModel": {"model": {"displayName": "m", "containerSpec": {"imageUri": self.image}}},
            "CreateEndpoint": {"endpoint": {"displayName": "e"}},
            "DeployModel": {"deployedModel": deployed},
            "CreateCustomJob": {"customJob": {"displayName": "j", "jobSpec": {"workerPoolSpecs": [pool]}}},
            "UndeployModel": {"deployedModelId": "1"},
            "MutateDeployedModel": {"deployedModel": {"id": "1"}},
            "UpdateModel": {"model": {"displayName": "n"}, "updateMask": "displayName"},
            "UpdateEndpoint": {"endpoint": {"displayName": "n"}, "updateMask": "displayName"},
            "UpdateEndpointLongRunning": {"endpoint": {"displayName": "n"}},
            "Predict": {"instances": [1]},
        }
        return found.get(operation, {})
