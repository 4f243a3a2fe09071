"""Models, environments, code and data: versions under names, which are written once and archived, never deleted."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any

from .answers import ArmRoutes, answer, failure, not_found, table
from .blobs import ACCOUNT
from .names import Names, same
from .world import Asset

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..app import Request, Response
    from .blobs import Blobs
    from .world import World

KINDS = ("models", "environments", "codes", "data")
_FIXED = {
    "models": ("modelUri",),
    "environments": ("image", "inferenceConfig"),
    "codes": ("codeUri",),
    "data": ("dataUri",),
}
_UPLOADS = "code-uploads"


class Assets:
    """The registered assets of a workspace.

    Args:
        world: The workspace.
        blobs: The storage.
        valid: Checks whether a token is one of this cloud.
    """

    def __init__(self, world: World, blobs: Blobs, valid: Callable[[str], bool]) -> None:
        self.world, self.blobs = world, blobs
        self.routes = ArmRoutes("assets", valid)
        for kind in KINDS:
            self._register(kind)
        path = f"{world.place.path}/codes/{{name}}/versions/{{version}}/startPendingUpload"
        self.routes.add("POST", path, "StartUpload", changing=False)(self._upload)

    def _register(self, kind: str) -> None:
        path, word = f"{self.world.place.path}/{kind}", kind.removesuffix("s").title()
        add = self.routes.add
        add("GET", path, f"List{word}s")(lambda request: self._names(kind, request))
        add("GET", f"{path}/{{name}}", f"Get{word}Container")(lambda request: self._container(kind, request))
        add("PUT", f"{path}/{{name}}", f"Put{word}Container")(lambda request: self._put_container(kind, request))
        add("GET", f"{path}/{{name}}/versions", f"List{word}Versions")(lambda request: self._versions(kind, request))
        add("GET", f"{path}/{{name}}/versions/{{version}}", f"Get{word}")(lambda request: self._get(kind, request))
        add("PUT", f"{path}/{{name}}/versions/{{version}}", f"Put{word}")(lambda request: self._put(kind, request))

    def of(self, kind: str, name: str, version: str) -> Asset | None:
        """Return one version."""
        with self.world.lock:
            return self._of(kind).get(f"{name}/{version}")

    def _of(self, kind: str) -> Names[Asset]:
        return self.world.assets.setdefault(kind, Names())

    def all(self, kind: str) -> list[Asset]:
        """Return all versions of a kind, oldest first."""
        with self.world.lock:
            return sorted(self._of(kind).values(), key=lambda one: one.created)

    def at(self, path: str) -> Asset | None:
        """Return the version that a resource id names."""
        own = self.world.place.path
        rest = path[len("azureml:") :] if path.lower().startswith("azureml:") else path
        rest = rest[len(own) :] if same(rest[: len(own)], own) else rest
        parts = rest.strip("/").split("/")
        named = len(parts) == 4 and same(parts[2], "versions")
        return self.of(parts[0].lower(), parts[1], parts[3]) if named else None

    # --- handlers

    def _names(self, kind: str, request: Request) -> Response:
        hidden = self.world.archived.setdefault(kind, set()) if _active_only(request) else set[str]()
        active = [one for one in self.all(kind) if one.name.lower() not in hidden]
        newest = Names[Asset]()
        newest.update((one.name, one) for one in active)
        return answer({"value": [self._shown_container(kind, one) for one in newest.values()]})

    def _container(self, kind: str, request: Request) -> Response:
        found = [one for one in self.all(kind) if same(one.name, request.params["name"])]
        return answer(self._shown_container(kind, found[-1])) if found else not_found(request.params["name"])

    def _put_container(self, kind: str, request: Request) -> Response:
        """Hide all versions of a name from lists, or show them again; archiving one version does not hide the name."""
        name, told = request.params["name"].lower(), table(request.json().get("properties"))
        found = [one for one in self.all(kind) if same(one.name, name)]
        if not found:
            return not_found(name)
        with self.world.lock:
            hidden = self.world.archived.setdefault(kind, set())
            (hidden.add if told.get("isArchived") else hidden.discard)(name)
        return answer(self._shown_container(kind, found[-1]))

    def _shown_container(self, kind: str, newest: Asset) -> dict[str, Any]:
        shown = self.world.shown(kind, newest)
        following = str(int(newest.version) + 1) if newest.version.isdigit() else "1"
        told: dict[str, Any] = {
            "latestVersion": newest.version,
            "nextVersion": following,
            "isArchived": newest.name.lower() in self.world.archived.get(kind, ()),
            "tags": {},
            "properties": {},
        }
        return {**shown, "id": shown["id"].rpartition("/versions/")[0], "name": newest.name, "properties": told}

    def _versions(self, kind: str, request: Request) -> Response:
        found = [one for one in self.all(kind) if same(one.name, request.params["name"])]
        wanted = request.query.get("hash")
        if wanted:
            found = [one for one in found if table(one.properties.get("properties")).get("hash_sha256") == wanted]
        most = int(request.query.get("$top") or len(found) or 1)
        return answer({"value": [self.world.shown(kind, one) for one in reversed(found)][:most]})

    def _get(self, kind: str, request: Request) -> Response:
        found = self.of(kind, request.params["name"], request.params["version"])
        return answer(self.world.shown(kind, found)) if found else not_found(request.params["name"])

    def _put(self, kind: str, request: Request) -> Response:
        name, version = request.params["name"], request.params["version"]
        told: dict[str, Any] = table(request.json().get("properties"))
        if kind == "environments" and not (told.get("image") or told.get("build")):
            return failure(400, "BadArgument", "properties.image: an environment needs an image or a build context.")
        with self.world.lock:
            known = self.of(kind, name, version)
            if known and any(known.properties.get(key) != told.get(key) for key in _FIXED[kind]):
                return failure(
                    409, "Conflict", f"{kind} {name}:{version} exists with another content, which cannot change."
                )
            given: dict[str, Any] = {"properties": {}, "tags": {}, "isArchived": False, "isAnonymous": False, **told}
            if kind == "models":
                given["flavors"] = table(told.get("flavors"))
            sibling = next((one for one in self.all(kind) if same(one.name, name)), None)
            name, version = sibling.name if sibling else name, known.version if known else version
            asset = Asset(name, version, given, known.created if known else time.time())
            self._of(kind)[f"{name}/{version}"] = asset
        return answer(self.world.shown(kind, asset), 200 if known else 201)

    def _upload(self, request: Request) -> Response:
        """Return where code may be uploaded: to a new container."""
        container = f"{_UPLOADS}-{uuid.uuid4().hex[:12]}"
        url = f"{self.world.url}/{ACCOUNT}/{container}"
        sas = f"{url}?{self.blobs.signature(container)}"
        told: dict[str, Any] = {
            "blobUri": url,
            "storageAccountArmId": "mini",
            "credential": {"credentialType": "SAS", "sasUri": sas},
        }
        return answer(
            {
                "blobReferenceForConsumption": told,
                "pendingUploadId": container,
                "pendingUploadType": "TemporaryBlobReference",
            }
        )


def _active_only(request: Request) -> bool:
    return request.query.get("listViewType", "ActiveOnly") == "ActiveOnly"
