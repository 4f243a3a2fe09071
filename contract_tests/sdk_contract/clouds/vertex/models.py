"""The model registry: models, their versions and aliases."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .api import Api, body_of
from .errors import Refusal
from .values import duration, integer, many, part, parts, text, words
from .world import Veil, check_key, check_labels, listing, masked, stamp

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..app import Request
    from .values import Json
    from .world import World

UPLOAD_S, DELETE_S, LONGEST_START_S = 20.0, 5.0, 7200.0
_ID = re.compile(r"[a-z_][a-z0-9_-]{0,62}")
_ALIAS = re.compile(r"[a-z]([a-zA-Z0-9-]{0,126}[a-z0-9])?")
_PARENT = "/v1/projects/{project}/locations/{location}/models"


@dataclass
class Entry:
    """A model with all its versions, oldest first."""

    versions: dict[str, Json] = field(default_factory=dict[str, Any])
    count: int = 0

    def find(self, wanted: str) -> Json | None:
        """Return a version by its number or one of its aliases."""
        if wanted in self.versions:
            return self.versions[wanted]
        return next((one for one in self.versions.values() if wanted in one["versionAliases"]), None)


class Models:
    """The models of one region of one project.

    Args:
        world: The other resources of the region.
        image: Resolves a reference to the exact image, which a model stores; raises when the image does not exist.
    """

    def __init__(self, world: World, image: Callable[[str], str]) -> None:
        self.world, self._image = world, image
        self.entries: dict[str, Entry] = {}
        self.api = self._routes()

    def _routes(self) -> Api:
        api = Api(self.world, "aiplatform")
        api.on("POST", f"{_PARENT}:upload", "UploadModel")(self.upload)
        api.on("GET", _PARENT, "ListModels")(self.every)
        api.on("GET", f"{_PARENT}/{{model}}", "GetModel")(self.get)
        api.on("PATCH", f"{_PARENT}/{{model}}", "UpdateModel")(self.patch)
        api.on("DELETE", f"{_PARENT}/{{model}}", "DeleteModel")(self.delete)
        api.on("GET", f"{_PARENT}/{{model}}:listVersions", "ListModelVersions")(self.versions)
        api.on("DELETE", f"{_PARENT}/{{model}}:deleteVersion", "DeleteModelVersion")(self.delete_version)
        api.on("POST", f"{_PARENT}/{{model}}:mergeVersionAliases", "MergeVersionAliases")(self.merge_aliases)
        return api

    # --- used by other parts of the cloud

    def version(self, name: str) -> Json:
        """Return a version by ``projects/…/models/ID`` or ``…/ID@VERSION``.

        Raises:
            Refusal: It does not exist.
        """
        self.world.check_local(name, "Model")
        model, _, wanted = name.rpartition("/")[2].partition("@")
        entry = self.entries.get(model)
        found = entry.find(wanted or "default") if entry else None
        if found is None:
            raise Refusal(
                "NOT_FOUND", f"The Model {self.world.parent}/models/{model}@{wanted or 'default'} cannot be found."
            )
        return found

    def newest(self) -> list[Json]:
        """Return the default version of every model."""
        return [found for entry in self.entries.values() if (found := entry.find("default")) is not None]

    # --- handlers

    def upload(self, request: Request) -> Json:
        """Create a model, or a version of one."""
        body = body_of(request)
        model: Json = part(body, "model")
        self._check(model)
        name = self._id_for(body)
        image = self._image(model["containerSpec"]["imageUri"])
        made = self._version(name, model)
        made["_veil"] = Veil(request, self.world.pace.clock)
        line, failing = self.world.line(request, UPLOAD_S), request.hit_by("fail")

        def finish() -> Json:
            if failing:
                self._drop(name, made["versionId"])
                raise Refusal("INTERNAL", "Failed to ingest the model. Internal error occurred.")
            made["_ready"], made["_image"] = True, image
            return {"model": made["name"], "modelVersionId": made["versionId"]}

        return self.world.begin("UploadModel", f"models/{name}", line, finish, kind="UploadModelResponse")

    def _check(self, model: Json) -> None:
        if not text(model, "displayName"):
            raise Refusal("INVALID_ARGUMENT", "Required field model.display_name is not set.")
        check_key(text(part(model, "encryptionSpec"), "kmsKeyName"), self.world.region)
        container = part(model, "containerSpec")
        if duration(container, "deploymentTimeout") > LONGEST_START_S:
            raise Refusal("INVALID_ARGUMENT", "container_spec.deployment_timeout must not exceed 2 hours.")
        if not text(container, "imageUri"):
            raise Refusal("INVALID_ARGUMENT", "Required field model.container_spec.image_uri is not set.")
        for one in parts(container, "env"):
            if not text(one, "name"):
                raise Refusal("INVALID_ARGUMENT", "Required field container_spec.env.name is not set.")
            if text(one, "name").startswith("AIP_"):
                raise Refusal("INVALID_ARGUMENT", f"Environment variable {one['name']} is reserved.")
        _check_start(container)
        for alias in words(model, "versionAliases"):
            if not _ALIAS.fullmatch(alias):
                raise Refusal("INVALID_ARGUMENT", f"Version alias {alias!r} is not valid.")
        check_labels(part(model, "labels"))

    def _id_for(self, body: Json) -> str:
        if body.get("parentModel"):
            self.world.check_local(str(body["parentModel"]), "Model")
            name = str(body["parentModel"]).rpartition("/")[2].partition("@")[0]
            if name not in self.entries:
                raise Refusal("NOT_FOUND", f"The Model {body['parentModel']} cannot be found.")
            return name
        name = text(body, "modelId") or self.world.next_number()
        if body.get("modelId") and not _ID.fullmatch(name):
            raise Refusal("INVALID_ARGUMENT", f"model_id {name!r} must match {_ID.pattern}.")
        if name in self.entries:
            raise Refusal("ALREADY_EXISTS", f"Model {self.world.parent}/models/{name} already exists.")
        return name

    def _version(self, name: str, model: Json) -> Json:
        entry = self.entries.setdefault(name, Entry())
        entry.count += 1
        aliases = list(many(model, "versionAliases"))
        if not entry.versions and "default" not in aliases:
            aliases.append("default")
        now, first = stamp(), next(iter(entry.versions.values()), None)
        made: Json = {
            "labels": {},
            "artifactUri": "",
            **model,
            "name": f"{self.world.parent}/models/{name}",
            "versionId": str(entry.count),
            "versionAliases": aliases,
            "supportedDeploymentResourcesTypes": ["DEDICATED_RESOURCES"],
            "createTime": first["createTime"] if first else now,
            "updateTime": now,
            "versionCreateTime": now,
            "versionUpdateTime": now,
            "etag": self.world.etag(),
            "deployedModels": [],
            "_ready": False,
        }
        entry.versions[made["versionId"]] = made
        return made

    def get(self, request: Request) -> Json:
        """Return a model, in its default version or the version after the ``@``."""
        found = self.version(request.params["model"])
        if not found["_ready"] or found["_veil"].hides():
            raise Refusal("NOT_FOUND", f"The Model {found['name']} cannot be found.")
        return shown(found)

    def every(self, request: Request) -> Json:
        """List all models."""
        ready = [shown(one) for one in self.newest() if one["_ready"]]
        return listing(ready, request.query, "models")

    def versions(self, request: Request) -> Json:
        """List all versions of a model."""
        entry = self.entries.get(self.version(request.params["model"])["name"].rpartition("/")[2], Entry())
        ready = [shown(one) for one in entry.versions.values() if one["_ready"]]
        return listing(ready, {**request.query, "orderBy": "versionId"}, "models")

    def patch(self, request: Request) -> Json:
        """Change the names, descriptions and labels of a model."""
        found, body = self.version(request.params["model"]), body_of(request)
        for name in masked(request.query.get("updateMask", "")):
            if name not in {"displayName", "description", "versionDescription", "labels"}:
                raise Refusal("INVALID_ARGUMENT", f"Field {name} cannot be updated.")
            found[name] = part(body, name) if name == "labels" else text(body, name)
        check_labels(found["labels"])
        self.world.touch(found)
        return shown(found)

    def merge_aliases(self, request: Request) -> Json:
        """Add aliases to a version, or remove those with a leading dash."""
        found = self.version(request.params["model"])
        entry = self.entries[found["name"].rpartition("/")[2]]
        for alias in words(body_of(request), "versionAliases"):
            for one in entry.versions.values():
                one["versionAliases"] = [name for name in one["versionAliases"] if name != alias.removeprefix("-")]
            if not alias.startswith("-"):
                found["versionAliases"].append(alias)
        return shown(found)

    def delete(self, request: Request) -> Json:
        """Delete a model with all its versions, unless one is deployed."""
        name = self.version(request.params["model"])["name"].rpartition("/")[2]
        entry = self.entries[name]
        for one in entry.versions.values():
            self._refuse_if_used(one)
        if self.world.running(f"models/{name}", "DeleteModel"):
            raise Refusal("FAILED_PRECONDITION", f"Model {name} is being deleted.")
        line = self.world.line(request, DELETE_S)

        def finish() -> Json:
            self.entries.pop(name, None)
            return {}

        return self.world.begin("DeleteModel", f"models/{name}", line, finish, kind="google.protobuf.Empty")

    def delete_version(self, request: Request) -> Json:
        """Delete a version that is neither the default one nor deployed."""
        found = self.version(request.params["model"])
        self._refuse_if_used(found)
        if "default" in found["versionAliases"]:
            raise Refusal("FAILED_PRECONDITION", "The default version cannot be deleted; delete the model instead.")
        name = found["name"].rpartition("/")[2]
        line = self.world.line(request, DELETE_S)

        def finish() -> Json:
            self._drop(name, found["versionId"])
            return {}

        return self.world.begin("DeleteModelVersion", f"models/{name}", line, finish, kind="google.protobuf.Empty")

    def _drop(self, name: str, version: str) -> None:
        entry = self.entries.get(name)
        if entry is not None:
            entry.versions.pop(version, None)
            if not entry.versions:
                del self.entries[name]

    @staticmethod
    def _refuse_if_used(version: Json) -> None:
        if version["deployedModels"]:
            where = ", ".join(one["endpoint"] for one in version["deployedModels"])
            raise Refusal("FAILED_PRECONDITION", f"Model {version['name']} is deployed to {where}; undeploy it first.")


def shown(resource: Json) -> Json:
    """Return a resource without the fields that only the cloud uses."""
    return {name: value for name, value in resource.items() if not name.startswith("_")}


def _check_start(container: Json) -> None:
    """Refuse commands, routes and ports with which no container can be started."""
    for name in ("args", "command"):
        words(container, name)
    for name in ("healthRoute", "predictRoute"):
        text(container, name)
    for one in parts(container, "ports"):
        if not 0 < integer(one, "containerPort") < 65_536:
            raise Refusal("INVALID_ARGUMENT", "container_spec.ports.container_port must be from 1 to 65535.")
