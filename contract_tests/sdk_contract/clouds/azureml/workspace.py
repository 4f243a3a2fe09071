"""The workspace itself: datastores, registry, states of operations."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any

from ..app import Routes
from .answers import ArmRoutes, answer, not_found, system_data, trouble
from .blobs import ACCOUNT

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..app import Request, Response
    from .blobs import Blobs
    from .world import World

_ACR_PULL = "/providers/Microsoft.Authorization/roleDefinitions/7f951dda-4ed3-4680-a7ca-43fe172d538d"
STORES = ("workspaceblobstore", "workspaceartifactstore")


class Workspace:
    """What a client reads first: the workspace, its datastores and its registry.

    Args:
        world: The workspace.
        blobs: The storage.
        valid: Checks whether a token is one of this cloud.
        registry: Returns the host of its container registry; ``None`` if it has no registry.
    """

    def __init__(
        self,
        world: World,
        blobs: Blobs,
        valid: Callable[[str], bool],
        registry: Callable[[], str | None],
    ) -> None:
        self.world, self.blobs, self._registry = world, blobs, registry
        self._created = time.time()
        self.account = ACCOUNT  # account of the datastores; users with write access to the workspace can change it
        self.routes = ArmRoutes("arm", valid)
        path, place = world.place.path, world.place
        add = self.routes.add
        add("GET", path, "GetWorkspace")(self._workspace)
        add("GET", f"{path}/datastores", "ListDatastores")(self._stores)
        add("GET", f"{path}/datastores/{{store}}", "GetDatastore")(self._store)
        add("POST", f"{path}/datastores/{{store}}/listSecrets", "ListSecrets", changing=False)(self._secrets)
        add("GET", f"{place.operations}/{{operation:path}}", "GetOperation")(self._operation)
        add("GET", world.registry_path, "GetRegistry")(self._get_registry)
        roles = f"{world.registry_path}/providers/Microsoft.Authorization/roleAssignments"
        add("GET", roles, "ListRoleAssignments")(self._roles)

    def _workspace(self, request: Request) -> Response:
        return answer(self.shown())

    def shown(self) -> dict[str, Any]:
        """Return the workspace as the resource manager shows it."""
        place, url = self.world.place, self.world.url
        registry = self.world.registry_path if self._registry() else None
        return {
            "id": place.path,
            "name": place.workspace,
            "type": "Microsoft.MachineLearningServices/workspaces",
            "location": place.region,
            "systemData": system_data(self._created),
            "properties": {
                "workspaceId": str(uuid.uuid5(uuid.NAMESPACE_URL, place.path.lower())),
                "discoveryUrl": f"{url}/discovery",
                "mlFlowTrackingUri": f"azureml://{place.region}.mini/mlflow/v1.0{place.path}",
                "provisioningState": "Succeeded",
                "storageAccount": f"{place.group}/providers/Microsoft.Storage/storageAccounts/{ACCOUNT}",
                **({"containerRegistry": registry} if registry else {}),
                **self.world.network,
            },
        }

    def _get_registry(self, request: Request) -> Response:
        host = self._registry()
        if host is None:
            return not_found(request.path)
        told = {"loginServer": host, "adminUserEnabled": False, "provisioningState": "Succeeded"}
        return answer(
            {
                "id": request.path,
                "name": request.path.rpartition("/")[2],
                "location": self.world.place.region,
                "properties": told,
            }
        )

    def _roles(self, request: Request) -> Response:
        """Return the roles of a principal on the registry: pulling, unless that was removed."""
        principal = request.query.get("$filter", "").partition("'")[2].partition("'")[0]
        role = {"properties": {"principalId": principal, "roleDefinitionId": _ACR_PULL}}
        return answer({"value": [] if principal in self.world.no_pull else [role]})

    # --- storage

    def _shown(self, name: str) -> dict[str, Any]:
        host = self.world.url.partition("://")[2]
        return {
            "id": f"{self.world.place.path}/datastores/{name}",
            "name": name,
            "systemData": system_data(self._created),
            "properties": {
                "datastoreType": "AzureBlob",
                "accountName": f"{host}/{self.account}#",  # clients build `https://{accountName}.blob.{suffix}`
                "containerName": self.world.container,
                "endpoint": "core.windows.net",
                "protocol": "https",
                "isDefault": name == "workspaceblobstore",
                "credentials": {"credentialsType": "Sas"},
                "properties": {},
                "tags": {},
            },
        }

    def _stores(self, request: Request) -> Response:
        only = request.query.get("isDefault") == "true"
        found = [self._shown(name) for name in STORES]
        return answer({"value": [item for item in found if item["properties"]["isDefault"] or not only]})

    def _store(self, request: Request) -> Response:
        name = request.params["store"].lower()
        return answer(self._shown(name)) if name in STORES else not_found(name)

    def _secrets(self, request: Request) -> Response:
        if request.params["store"].lower() not in STORES:
            return not_found(request.params["store"])
        return answer({"secretsType": "Sas", "sasToken": self.blobs.signature(self.world.container)})

    # --- operations

    def _operation(self, request: Request) -> Response:
        with self.world.lock:
            found = self.world.operations.get(request.params["operation"])
            if found is None:
                return not_found(request.params["operation"])
            stuck = time.monotonic() < found.stuck_until
            running = found.line.show() != found.line.final or stuck
            error = None if running else found.error()
        if running:
            wait = self.world.headers(found)["x_ms_retry_after_ms"]
            told = {"id": request.path, "name": found.id, "status": "InProgress"}
            return answer(told, x_ms_retry_after_ms=wait)
        if error:
            return answer({"id": request.path, "name": found.id, "status": "Failed", "error": error})
        return answer({"id": request.path, "name": found.id, "status": "Succeeded", "percentComplete": 100})


def open_routes(url: Callable[[], str]) -> Routes:
    """Make the routes that need no token: the metadata of the cloud, and where its other services are."""
    routes = Routes("arm", trouble)

    def metadata(_: Request) -> Response:
        """Answer with the document behind ``ARM_CLOUD_METADATA_URL``."""
        return answer(
            [
                {
                    "name": "Mini" + url().rpartition(":")[2],
                    "portal": url(),
                    "resourceManager": url(),
                    "authentication": {"loginEndpoint": url(), "audiences": [url()], "tenant": "common"},
                    "suffixes": {"storage": "core.windows.net"},
                }
            ]
        )

    def discovery(_: Request) -> Response:
        return answer({"api": url(), "history": url(), "catalog": url(), "studio": url()})

    routes.add("GET", "/metadata/endpoints", "GetMetadata")(metadata)
    routes.add("GET", "/discovery", "GetDiscovery")(discovery)
    return routes
