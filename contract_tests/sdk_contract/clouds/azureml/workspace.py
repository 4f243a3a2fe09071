"""The workspace itself: metadata of the cloud, discovery, datastores, quota, registry, states of operations."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ..app import Response, Routes
from .answers import ArmRoutes, answer, failure, not_found, system_data, trouble
from .blobs import ACCOUNT, DEFAULT
from .world import SIZES, family_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..app import Request
    from .blobs import Blobs
    from .world import World

STORES = {"workspaceblobstore": DEFAULT, "workspaceartifactstore": DEFAULT}


class Workspace:
    """What a client asks before anything else.

    Args:
        world: The workspace.
        blobs: Its storage.
        valid: Whether a token is one of this cloud.
        registry: Host of its container registry; ``None`` while there is none.
        used: Cores in use, by family.
    """

    def __init__(
        self,
        world: World,
        blobs: Blobs,
        valid: Callable[[str], bool],
        registry: Callable[[], str | None],
        used: Callable[[], dict[str, int]],
    ) -> None:
        self.world, self.blobs = world, blobs
        self._registry, self._used = registry, used
        self._created = time.time()
        self.open = Routes("arm", trouble)
        self.open.add("GET", "/metadata/endpoints", "GetMetadata")(self._metadata)
        self.open.add("GET", "/discovery", "GetDiscovery")(self._discovery)
        self.routes = ArmRoutes("arm", valid)
        path, place = world.place.path, world.place
        add = self.routes.add
        add("GET", path, "GetWorkspace")(self._workspace)
        add("GET", f"{path}/datastores", "ListDatastores")(self._stores)
        add("GET", f"{path}/datastores/{{store}}", "GetDatastore")(self._store)
        add("POST", f"{path}/datastores/{{store}}/listSecrets", "ListSecrets", changing=False)(self._secrets)
        add("GET", f"{place.operations}/{{operation:path}}", "GetOperation")(self._operation)
        machines = f"/subscriptions/{place.subscription}/providers/Microsoft.MachineLearningServices/locations"
        add("GET", f"{machines}/{{region}}/usages", "ListUsages")(self._usages)
        add("GET", self._registry_path, "GetRegistry")(self._get_registry)

    @property
    def _registry_path(self) -> str:
        return f"{self.world.place.group}/providers/Microsoft.ContainerRegistry/registries/mini"

    def _metadata(self, request: Request) -> Response:
        """The document behind ``ARM_CLOUD_METADATA_URL``."""
        url = self.world.url
        return answer(
            [
                {
                    "name": "Mini" + url.rpartition(":")[2],
                    "portal": url,
                    "resourceManager": url,
                    "authentication": {"loginEndpoint": url, "audiences": [url], "tenant": "common"},
                    "suffixes": {"storage": "core.windows.net"},
                }
            ]
        )

    def _discovery(self, request: Request) -> Response:
        url = self.world.url
        return answer({"api": url, "history": url, "catalog": url, "studio": url})

    def _workspace(self, request: Request) -> Response:
        place, url = self.world.place, self.world.url
        registry = self._registry_path if self._registry() else None
        return answer(
            {
                "id": place.path,
                "name": place.workspace,
                "type": "Microsoft.MachineLearningServices/workspaces",
                "location": place.region,
                "systemData": system_data(self._created),
                "properties": {
                    "workspaceId": "00000000-0000-0000-0000-00000000bbbb",
                    "discoveryUrl": f"{url}/discovery",
                    "mlFlowTrackingUri": f"azureml://{place.region}.mini/mlflow/v1.0{place.path}",
                    "provisioningState": "Succeeded",
                    "storageAccount": f"{place.group}/providers/Microsoft.Storage/storageAccounts/{ACCOUNT}",
                    **({"containerRegistry": registry} if registry else {}),
                },
            }
        )

    def _get_registry(self, request: Request) -> Response:
        host = self._registry()
        if host is None:
            return not_found(request.path)
        told = {"loginServer": host, "adminUserEnabled": False, "provisioningState": "Succeeded"}
        return answer({"id": request.path, "name": "mini", "location": self.world.place.region, "properties": told})

    # --- storage

    def _shown(self, name: str) -> dict[str, Any]:
        host = self.world.url.partition("://")[2]
        return {
            "id": f"{self.world.place.path}/datastores/{name}",
            "name": name,
            "systemData": system_data(self._created),
            "properties": {
                "datastoreType": "AzureBlob",
                "accountName": f"{host}/{ACCOUNT}#",  # clients build `https://{accountName}.blob.{suffix}` of it
                "containerName": STORES[name],
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
        name = request.params["store"]
        return answer(self._shown(name)) if name in STORES else not_found(name)

    def _secrets(self, request: Request) -> Response:
        name = request.params["store"]
        if name not in STORES:
            return not_found(name)
        return answer({"secretsType": "Sas", "sasToken": self.blobs.signature(STORES[name])})

    # --- operations and quota

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

    def _usages(self, request: Request) -> Response:
        if request.params["region"] != self.world.place.region:
            return failure(400, "LocationNotAvailableForResourceType", "There is nothing in this region.")
        used = self._used()
        families = sorted({family_of(size) for size in SIZES})
        rows = [
            {
                "id": f"{request.path}/{family}",
                "type": "Microsoft.MachineLearningServices/usages",
                "unit": "Count",
                "currentValue": used.get(family, 0),
                "limit": self.world.cores,
                "name": {"value": family, "localizedValue": family},
            }
            for family in families
        ]
        return answer({"value": rows})
