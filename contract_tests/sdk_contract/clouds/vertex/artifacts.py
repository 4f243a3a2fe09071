"""Artifact Registry: repositories and tags over REST, images over the registry protocol with exchanged tokens.

Sources: https://cloud.google.com/artifact-registry/docs/reference/rest and
https://cloud.google.com/artifact-registry/docs/docker/authentication#token
"""

from __future__ import annotations

import base64
import secrets
import time
from typing import TYPE_CHECKING

from ..registry import Registry
from ..registry import refusal as registry_refusal
from .api import Api, body_of
from .errors import Refusal
from .values import part
from .world import check_fields, check_key, check_labels, listing, stamp

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ..app import Request, Response
    from .values import Json
    from .world import Common, World

CREATE_S, DELETE_S, TOKEN_S = 15.0, 5.0, 3600.0
USER = "oauth2accesstoken"
_PARENT = "/v1/projects/{project}/locations/{location}/repositories"
_FIELDS = {"name", "format", "description", "labels", "mode", "dockerConfig", "cleanupPolicies", "kmsKeyName"}


class Images:
    """The images of all projects, whose regions share one host here, and the check of who may push and pull them.

    Args:
        common: The state that all projects and regions share.
        folder: Where blobs are stored.

    Attributes:
        known: Returns whether a project has a repository, in any region.
        pushed: When each image was pushed.
    """

    def __init__(self, common: Common, folder: Path) -> None:
        self.common, self.lock = common, common.lock
        self._tokens: dict[str, float] = {}
        self.known: Callable[[str, str], bool] = lambda project, name: False
        self.pushed: dict[str, str] = {}
        self.registry = Registry(folder, authorize=self._authorize, stored=self._note)
        self.tokens = Api(self, "registry", guarded=False)
        self.tokens.on("GET", "/v2/token", "ExchangeToken", changing=False)(self.exchange)

    def advance(self) -> None:
        """Do nothing: nothing here takes time."""

    def exchange(self, request: Request) -> Json:
        """Exchange an access token for a registry token."""
        user, _, given = _basic(request).partition(":")
        if user != USER or not self.common.identity.admits(given):
            raise Refusal("UNAUTHENTICATED", "The access token is not valid for this registry.")
        token = secrets.token_urlsafe(24)
        self._tokens[token] = time.monotonic() + TOKEN_S
        return {"token": token, "expires_in": int(TOKEN_S), "issued_at": stamp()}

    def _authorize(self, request: Request, repository: str, action: str) -> Response | None:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self._tokens.get(token, 0.0) < time.monotonic():
            realm, scope = f"{request.base_url}/v2/token", f"repository:{repository}:{action}"
            challenge = f'Bearer realm="{realm}",service="{request.headers.get("host", "")}",scope="{scope}"'
            return registry_refusal("DENIED", "Unauthenticated request.", status=401, www_authenticate=challenge)
        if not repository:
            return None
        project, _, rest = repository.partition("/")
        if not self.known(project, rest.partition("/")[0]):
            return registry_refusal("NAME_UNKNOWN", f'Repository "{rest.partition("/")[0]}" not found')
        return None

    def _note(self, repository: str, digest: str, _tag: str | None, _kind: str) -> None:
        self.pushed[f"{repository}@{digest}"] = stamp()

    def resolve(self, uri: str) -> str:
        """Return the image under a reference as ``REPOSITORY@sha256:…``, which is used from then on.

        Raises:
            Refusal: The image does not exist.
        """
        path = uri.partition("/")[2]
        repository, at, digest = path.partition("@")
        repository, _, tag = repository.partition(":")
        found = self.registry.digest(repository, digest if at else tag or "latest")
        if found is None:
            raise Refusal("NOT_FOUND", f"Image {uri} does not exist or the service agent cannot read it.")
        return f"{repository}@{found}"


def _basic(request: Request) -> str:
    """Return the name and password of a request."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    try:
        return base64.b64decode(given, validate=True).decode() if scheme.lower() == "basic" else ""
    except ValueError:
        return ""


class Artifacts:
    """The image repositories of one region of one project.

    Args:
        world: The other resources of the region.
        images: The images of all repositories.
    """

    def __init__(self, world: World, images: Images) -> None:
        self.world, self.store, self.registry = world, images, images.registry
        self.table = world.tables["repositories"]
        self.api = self._routes()

    def _routes(self) -> Api:
        api = Api(self.world, "artifactregistry")
        one = f"{_PARENT}/{{repository}}"
        tag = f"{one}/packages/{{package:path}}/tags/{{tag}}"
        api.on("POST", _PARENT, "CreateRepository")(self.create)
        api.on("GET", _PARENT, "ListRepositories")(self.every)
        api.on("GET", f"{one}/dockerImages", "ListDockerImages")(self.images)
        api.on("GET", f"{one}/dockerImages/{{image:path}}", "GetDockerImage")(self.image)
        api.on("GET", tag, "GetTag")(self.tag)
        api.on("DELETE", tag, "DeleteTag")(self.delete_tag)
        api.on("DELETE", f"{one}/packages/{{package:path}}/versions/{{version:path}}", "DeleteVersion")(
            self.delete_version
        )
        api.on("GET", one, "GetRepository")(self.get)
        api.on("PATCH", one, "UpdateRepository")(self.patch)
        api.on("DELETE", one, "DeleteRepository")(self.delete)
        return api

    # --- repositories -------------------------------------------------------------------------------------------------

    def create(self, request: Request) -> Json:
        """Create a repository."""
        body, name = body_of(request), request.query.get("repositoryId", "")
        check_fields(body, _FIELDS, "repository")
        check_labels(part(body, "labels"))
        check_key(str(body.get("kmsKeyName") or ""), self.world.region)
        if not name or body.get("format") not in ("DOCKER", 1):
            raise Refusal("INVALID_ARGUMENT", "repository_id and format are required.")
        if name in self.table or self.world.running(f"repositories/{name}", "CreateRepository"):
            raise Refusal("ALREADY_EXISTS", "the repository already exists")
        line = self.world.line(request, CREATE_S)

        def finish() -> Json:
            own: Json = {"labels": {}, **body, "format": "DOCKER", "name": f"{self._parent}/{name}"}
            return self.world.add("repositories", name, own)

        kind = "google.devtools.artifactregistry.v1.Repository"
        return self.world.begin("CreateRepository", f"repositories/{name}", line, finish, kind=kind)

    @property
    def _parent(self) -> str:
        return f"projects/{self.world.project}/locations/{self.world.region}/repositories"

    def get(self, request: Request) -> Json:
        """Return one repository."""
        return self.world.get("repositories", request.params["repository"])

    def every(self, request: Request) -> Json:
        """List all repositories."""
        return listing(self.table.values(), request.query, "repositories")

    def patch(self, request: Request) -> Json:
        """Change the labels and the description."""
        found = self.get(request)
        found.update(body_of(request))
        self.world.touch(found)
        return found

    def delete(self, request: Request) -> Json:
        """Delete a repository with everything in it."""
        name = request.params["repository"]
        self.get(request)

        def finish() -> Json:
            self.table.pop(name, None)
            if self.store.known(self.world.project, name):  # one of this name elsewhere has the same images
                return {}
            for path in self.registry.repositories():
                if path.startswith(f"{self.world.project}/{name}/"):
                    self.registry.remove(path)
            return {}

        line = self.world.line(request, DELETE_S)
        return self.world.begin("DeleteRepository", f"repositories/{name}", line, finish, kind="google.protobuf.Empty")

    # --- images -------------------------------------------------------------------------------------------------------

    def images(self, request: Request) -> Json:
        """List the images of a repository, each with its tags."""
        return listing(self._images(request), request.query, "dockerImages")

    def image(self, request: Request) -> Json:
        """Return one image, by package and digest."""
        end = f"/dockerImages/{request.params['image']}"
        found = next((one for one in self._images(request) if one["name"].endswith(end)), None)
        if found is None:
            raise Refusal("NOT_FOUND", f"Image {request.params['image']} is not found.")
        return found

    def _images(self, request: Request) -> list[Json]:
        name = request.params["repository"]
        self.get(request)
        found: list[Json] = []
        for path, manifests in self.registry.repositories().items():
            project, repository, package = path.split("/", 2)
            mine = (project, repository) == (self.world.project, name)
            for digest, tags in manifests.items() if mine else ():
                uploaded = self.store.pushed.get(f"{path}@{digest}", stamp())
                found.append({
                    "name": f"{self._parent}/{name}/dockerImages/{package}@{digest}",
                    "uri": f"{request.headers.get('host', '')}/{path}@{digest}", "tags": tags,
                    "mediaType": self.registry.media_type(path, digest), "uploadTime": uploaded, "updateTime": uploaded,
                    "createTime": uploaded,
                })  # fmt: skip
        return found

    def _path(self, request: Request) -> str:
        return f"{self.world.project}/{request.params['repository']}/{request.params['package']}"

    def tag(self, request: Request) -> Json:
        """Return the version that a tag points to."""
        params, digest = request.params, self.registry.digest(self._path(request), request.params["tag"])
        if digest is None:
            raise Refusal("NOT_FOUND", f"Tag {params['tag']} is not found.")
        package = f"{self._parent}/{params['repository']}/packages/{params['package']}"
        return {"name": f"{package}/tags/{params['tag']}", "version": f"{package}/versions/{digest}"}

    def delete_tag(self, request: Request) -> Json:
        """Delete a tag."""
        self.tag(request)
        self.registry.remove(self._path(request), request.params["tag"])
        return {}

    def delete_version(self, request: Request) -> Json:
        """Delete an image with its tags."""
        path, digest = self._path(request), request.params["version"]
        if self.registry.digest(path, digest) is None:
            raise Refusal("NOT_FOUND", f"Version {digest} is not found.")
        tagged = self.registry.repositories()[path][digest]
        if tagged and request.query.get("force") != "true":
            raise Refusal("FAILED_PRECONDITION", f"Version {digest} is tagged; force the deletion.")

        def finish() -> Json:
            self.registry.remove(path, digest)
            return {}

        line = self.world.line(request, DELETE_S)
        holder = f"repositories/{request.params['repository']}"
        return self.world.begin("DeleteVersion", holder, line, finish, kind="google.protobuf.Empty")
