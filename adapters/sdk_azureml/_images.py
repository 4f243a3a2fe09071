"""Images in the workspace's registry, and the environments that name them.

A registry of Azure accepts a token of the user's directory in exchange for one of its own.
Source: https://github.com/Azure/acr/blob/main/docs/AAD-OAuth.md
"""

from __future__ import annotations

import base64
import functools
import json
from typing import TYPE_CHECKING, Any, cast

import httpx

from sdk.adapter import Labels, Live, Ref
from sdk.errors import AuthError, PlatformError
from sdk.packaging.image import content_of, publish, published
from sdk.util import foreign

from . import _bodies
from ._errors import PROVIDER, exists, from_answer, from_transport, gone
from ._json import table
from ._names import ENVIRONMENT_VERSION, REPOSITORY, environment_name, image_of_environment
from ._plan import ENVIRONMENT, IMAGE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdk.adapter import Clock, Materials, Resource
    from sdk.packaging.image import PublishedImage

    from ._arm import Arm
    from ._owners import Owners

_REGISTRY_API = "2023-07-01"
_SCOPE = "https://containerregistry.azure.net/.default"  # registries may refuse tokens for the resource manager
_REFRESH_TOKEN = "<token>"  # noqa: S105  the user name which says that the password is a refresh token


class Images:
    """The images and environments of one workspace.

    Args:
        arm: The client of the resource manager.
        owner: The owner to show for shared resources.
        clock: Source of time.
        owners: Checks that the registry belongs to the workspace.
    """

    def __init__(self, arm: Arm, owner: str, clock: Clock, owners: Owners) -> None:
        self.arm = arm
        self._owners = owners
        self._owner = owner
        self._clock = clock
        self._seen: dict[str, Live] = {}  # found so far: an image named after its content never changes

    # --- the registry

    @functools.cached_property
    def host(self) -> str:
        """Host name of the workspace's registry.

        Raises:
            PlatformError: The workspace has none yet; Azure creates it with the first environment that it builds.
        """
        known = self.arm.workspace["properties"].get("containerRegistry")
        if not known:
            raise PlatformError(
                f"workspace {self.arm.workspace['name']!r} has no container registry yet",
                provider=PROVIDER,
                operation="read registry",
                resource=self.arm.workspace["name"],
                hint=_attach(self.arm.workspace),
            )
        self._owners.check_registry_id(str(known))
        found = self._registry_facts(known)
        host = str(found["properties"]["loginServer"])
        self._owners.check_registry(known, found, host)
        return host

    def _registry_facts(self, known: str) -> dict[str, Any]:
        """Return the registry as a resource; without the right to see it, derive its host from its name.

        Raises:
            NotFoundError: The registry does not exist.
        """
        try:
            found = self.arm.find(known, "read registry", timeout=30.0, resource=known, api=_REGISTRY_API)
        except AuthError:
            if self.arm.place.mini:
                raise
            return {"id": known, "properties": {"loginServer": f"{known.rpartition('/')[2].lower()}.azurecr.io"}}
        if found is None:
            raise gone("registry", known)
        return found

    def login(self, host: str) -> tuple[str, str] | None:
        """Return user name and password for the workspace's registry; ``None`` for any other.

        Raises:
            AuthError: The registry does not accept the token.
        """
        if host != self.host:
            return None
        scheme = "http" if self.arm.place.mini else "https"
        form = {"grant_type": "access_token", "service": host, "access_token": self.arm.tokens.get(_SCOPE)}
        try:
            response = self.arm.http.post(f"{scheme}://{host}/oauth2/exchange", data=form, timeout=30)
        except httpx.TransportError as error:
            raise from_transport(error, "sign in to the registry", host) from error
        if not response.is_success:
            raise from_answer(response, "sign in to the registry", host)
        with foreign.understood("the registry's token"):
            return _REFRESH_TOKEN, str(foreign.of_response(response)["refresh_token"])

    def name(self, image: str) -> str:
        """Return an image's full name in the registry."""
        return f"{self.host}/{REPOSITORY}:{image}"

    def published(self, image: str, timeout: float) -> PublishedImage | None:
        """Return an image as the registry has it; ``None`` if it does not exist."""
        return published(self.name(image), login=self.login, clock=self._clock, timeout_s=timeout)

    def read(self, image: str, timeout: float) -> Live | None:
        """Return one image as a resource."""
        if image not in self._seen:
            found = self.published(image, timeout)
            if found is None:
                return None
            labels = Labels("shared", self._owner, "", model=_digest(found)[:32])
            details: dict[str, Any] = {"reference": found.reference, "size": found.size}
            self._seen[image] = Live(
                IMAGE, image, "ready", raw=found.digest, labels=labels, created_at=found.created, details=details
            )
        return self._seen[image]

    def create(self, resource: Resource, materials: Materials, timeout: float) -> None:
        """Build the image of a model or program and push it."""
        spec: Any = table(resource.spec)
        publish(
            content_of(materials),
            self.name(resource.id),
            base=spec["base"],
            login=self.login,
            labels={"dev.mlport.owner": self._owner},
            progress=materials.progress,
            clock=self._clock,
            timeout_s=timeout,
        )

    def delete(self, image: str, timeout: float) -> None:
        """Remove an image from the registry.

        Raises:
            NotFoundError: The image does not exist.
        """
        self._seen.pop(image, None)
        found = self.published(image, timeout)
        if found is None:
            raise gone(IMAGE, image)
        url = f"/v2/{REPOSITORY}/manifests/{found.digest}"
        response = self._registry("DELETE", url, f"repository:{REPOSITORY}:delete", timeout)
        if not response.is_success:
            raise from_answer(response, "delete image", image)

    def granted(self, timeout: float) -> frozenset[str] | None:
        """Return the rights of a token that was requested for pulling and pushing; ``None`` if it cannot be read.

        Raises:
            AuthError: The registry issues no token.
        """
        try:
            token = self._token(f"repository:{REPOSITORY}:pull,push", timeout)
        except httpx.TransportError as error:
            raise from_transport(error, "sign in to the registry", self.host) from error
        access = claims(token).get("access")
        if not isinstance(access, list):
            return None
        rows = cast("list[object]", access)
        return frozenset(str(action) for row in rows for action in table(row).get("actions") or ())

    @property
    def _base(self) -> str:
        return f"{'http' if self.arm.place.mini else 'https'}://{self.host}"

    def _token(self, scope: str, timeout: float) -> str:
        """Return a token of the registry for this scope only."""
        user = self.login(self.host)
        form = {
            "grant_type": "refresh_token",
            "service": self.host,
            "scope": scope,
            "refresh_token": (user or ("", ""))[1],
        }
        answer = self.arm.http.post(f"{self._base}/oauth2/token", data=form, timeout=timeout)
        if not answer.is_success:
            raise from_answer(answer, "sign in to the registry", self.host)
        with foreign.understood("the registry's token"):
            return str(foreign.of_response(answer)["access_token"])

    def _registry(self, method: str, path: str, scope: str, timeout: float) -> httpx.Response:
        """Make one call to the registry itself, with a token for this scope only."""
        try:
            headers = {"authorization": f"Bearer {self._token(scope, timeout)}"}
            return self.arm.http.request(method, f"{self._base}{path}", headers=headers, timeout=timeout)
        except httpx.TransportError as error:
            raise from_transport(error, f"{method} image", path) from error

    # --- environments

    def environment_path(self, image: str) -> str:
        """Return the path of an image's environment."""
        name = environment_name(image)
        return f"{self.arm.workspace_path}/environments/{name}/versions/{ENVIRONMENT_VERSION}"

    def environment(self, image: str, timeout: float) -> Live | None:
        """Return an environment as a resource; ``None`` if it is archived, since Azure cannot delete one."""
        path = self.environment_path(image)
        raw = self.arm.find(path, "read environment", timeout=timeout, resource=image)
        if raw is None or raw["properties"].get("isArchived"):
            return None
        return self._environment(image, raw)

    def _environment(self, image: str, raw: dict[str, Any]) -> Live:
        return Live(
            ENVIRONMENT,
            image,
            "ready",
            raw=str(raw["properties"].get("image") or ""),
            labels=Labels("shared", self._owner, ""),
            created_at=_bodies.created_at(raw),
            parents=(Ref(IMAGE, image),),
        )

    def environments(self, timeout: float) -> Iterator[Live]:
        """Yield all environments of this SDK."""
        path, active = f"{self.arm.workspace_path}/environments", {"listViewType": "ActiveOnly"}
        for raw in self.arm.values(path, "list environments", timeout=timeout, params=active):
            image = image_of_environment(raw["name"])
            if image is not None:
                yield self._environment(image, raw)

    def create_environment(self, resource: Resource, timeout: float) -> None:
        """Register the environment of an image that is in the registry, by its digest.

        Raises:
            NotFoundError: The image does not exist.
            ConflictError: The environment exists.
        """
        if self.environment(resource.id, timeout) is not None:
            raise exists(ENVIRONMENT, resource.id)
        image = self.published(resource.id, timeout)
        if image is None:
            raise gone(IMAGE, resource.id)
        body = _bodies.environment_body(image.reference, _digest(image))
        path = self.environment_path(resource.id)
        self.arm.call("PUT", path, "create environment", timeout=timeout, resource=resource.id, body=body)
        if table(self._container(resource.id, timeout).get("properties")).get("isArchived"):
            self._show_container(resource.id, timeout, archived=False)

    def archive(self, image: str, timeout: float) -> None:
        """Hide an environment from all lists, since Azure cannot delete one.

        Raises:
            NotFoundError: The environment does not exist.
        """
        path = self.environment_path(image)
        raw = self.arm.find(path, "read environment", timeout=timeout, resource=image)
        if raw is None or raw["properties"].get("isArchived"):
            raise gone(ENVIRONMENT, image)
        body = _bodies.archived_body(raw)
        self.arm.call("PUT", path, "archive environment", timeout=timeout, resource=image, body=body)
        self._show_container(image, timeout, archived=True)

    def _container(self, image: str, timeout: float) -> dict[str, Any]:
        """Return the container of all versions of an environment, which lists show; empty if it does not exist."""
        path = self.environment_path(image).partition("/versions/")[0]
        return self.arm.find(path, "read environment", timeout=timeout, resource=image) or {}

    def _show_container(self, image: str, timeout: float, *, archived: bool) -> None:
        """Hide an environment from lists, or show it again: archiving only its version would leave it there.

        Source: https://github.com/Azure/azure-sdk-for-python/issues/36527 (certain)
        """
        path = self.environment_path(image).partition("/versions/")[0]
        told = table(self._container(image, timeout).get("properties"))
        body = {"properties": {"isArchived": archived, "tags": table(told.get("tags"))}}
        self.arm.call("PUT", path, "archive environment", timeout=timeout, resource=image, body=body)


def claims(token: str) -> dict[str, Any]:
    """Return the unverified claims of a token; empty if it cannot be read.

    Example:
        >>> claims("e30.eyJhY2Nlc3MiOltdfQ.x"), claims("opaque")
        ({'access': []}, {})
    """
    part = token.split(".")[1] if token.count(".") == 2 else ""
    try:
        return table(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))) if part else {}
    except ValueError:
        return {}


def _attach(workspace: dict[str, Any]) -> str:
    """Return the commands that attach a registry to a workspace; Azure ML requires one with an enabled admin user."""
    name = str(workspace["name"])
    group = str(workspace["id"]).split("/")[4]
    registry = "".join(filter(str.isalnum, name)).lower()[:40] + "acr"
    return (
        f"make one and attach it: az acr create --name {registry} --resource-group {group} --sku Basic --admin-enabled "
        f"true, then az ml workspace update --name {name} --resource-group {group} --update-dependent-resources "
        f"--container-registry $(az acr show --name {registry} --query id --output tsv)"
    )


def _digest(image: PublishedImage) -> str:
    """Return the digest of the model or program in an image of this SDK; for a ready-made image, its own digest."""
    known = image.labels.get("dev.mlport.model.sha256") or image.labels.get("dev.mlport.program.sha256")
    return known or image.digest.removeprefix("sha256:")
