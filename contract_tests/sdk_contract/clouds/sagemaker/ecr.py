"""ECR: moto has repositories and image records, our registry has the images; each follows the other's changes."""

from __future__ import annotations

import base64
import json
import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..app import Match, Request, Response
from ..registry import Registry, refusal
from .aws import ACCOUNT, REGION
from .errors import request_id
from .keys import Spot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ..faults import Fault
    from .aws import Moto
    from .keys import Keys

_VALID_S = 12 * 3600
_OWN_HOST = re.compile(r"(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?")
_ELSEWHERE = re.compile(r"(\d{12})/([a-z]+(?:-[a-z]+)+-\d)/(.+)")
HOME = Spot(ACCOUNT, REGION)
_OCI = "application/vnd.oci."


class Ecr:
    """The registries of all accounts and regions, on one host: the password of a request determines which one is meant.

    One of the services of the cloud. Internally, the path of a repository begins with its account and region, unless
    these are the first ones.

    Args:
        moto: Has the repositories.
        keys: Make the passwords.
        folder: Where blobs are stored.
        oci: Whether OCI manifests may be pushed. The real ECR accepts them, and SageMaker then refuses the image; here
            the push is refused already, unless this is set.
    """

    def __init__(
        self,
        moto: Moto,
        keys: Keys,
        folder: Path,
        *,
        oci: bool = False,
    ) -> None:
        self._moto, self._keys, self.oci = moto, keys, oci
        self._issued: dict[str, tuple[Spot, float]] = {}  # account, region and expiry of each issued authorization
        self.host = ""
        self.registry = Registry(folder, authorize=self._authorize, accepts=self._accepts, stored=self._stored)

    # --- as a service

    def find(self, request: Request) -> Match | None:
        """Return the operation that a request to a registry means."""
        match = self.registry.find(request)
        if match is None:
            return None

        def handle(request: Request) -> Any:
            spot, name = self.spot(request), request.params.get("name", "")
            if name and spot is not None and place_of(name)[0] != spot:
                request.params = {**request.params, "name": path_of(spot, name)}
            if spot is not None and match.operation == "ListRepositories":
                found = (place_of(path) for path in self.registry.repositories())
                return Response.of_json({"repositories": [own for where, own in found if where == spot]})
            return match.handler(request)

        return replace(match, handler=handle)

    def trouble(self, request: Request, match: Match, fault: Fault) -> Response:
        """Return the reply to a planned fault in the registry's format."""
        return self.registry.trouble(request, match, fault)

    def spot(self, request: Request) -> Spot | None:
        """Return the account and region of a request's password; ``None`` if this cloud did not issue it."""
        spot, until = self._issued.get(request.headers.get("authorization", ""), (HOME, 0.0))
        return spot if until > time.time() else None

    # --- for the cloud

    def token(self, spot: Spot) -> Response:
        """Answer ``GetAuthorizationToken``: a token for twelve hours and the registry of one account and region."""
        token = base64.b64encode(f"AWS:{self._keys.password(spot)}".encode()).decode()
        until = time.time() + _VALID_S
        self._issued[f"Basic {token}"] = spot, until
        data = {"authorizationToken": token, "expiresAt": until, "proxyEndpoint": f"http://{self.host}"}
        return Response.of_json({"authorizationData": [data]}, x_amzn_requestid=request_id())

    def place(self, uri: str, spot: Spot) -> tuple[str, str] | None:
        """Return repository and tag or digest of an address used in an account and region; ``None`` for other hosts."""
        host, _, rest = uri.partition("/")
        own = _OWN_HOST.fullmatch(host)
        if host != self.host and not own:
            return None
        repository, sign, digest = rest.partition("@")
        name, _, tag = repository.partition(":")
        return path_of(Spot(own[1], own[2]) if own else spot, name), (digest if sign else tag or "latest")

    def after(self, operation: str, answer: Response) -> Response:
        """Apply moto's changes to the registry, and replace AWS's address in moto's reply by ours."""
        if operation in {"BatchDeleteImage", "DeleteRepository", "PutImage"}:
            self._follow()
        if isinstance(answer.body, bytes):
            answer.body = _OWN_HOST.sub(self.host, answer.body.decode()).encode()
        return answer

    def _follow(self) -> None:
        repositories = self._repositories()
        for name, images in self.registry.repositories().items():
            if name not in repositories:
                self.registry.remove(name)
                continue
            known = {image.get_image_digest(): set(image.image_tags or ()) for image in repositories[name].images}
            for digest, tags in images.items():
                for tag in set(tags) - known.get(digest, set()):
                    self.registry.remove(name, tag)
                if digest not in known:
                    self.registry.remove(name, digest)

    def _authorize(self, request: Request, repository: str, action: str) -> Response | None:
        del action  # the guard checks what the caller may do
        caller = self.spot(request)
        if caller is None:
            challenge = f'Basic realm="http://{self.host}/",service="ecr.amazonaws.com"'
            return refusal("DENIED", "Not Authorized", status=401, www_authenticate=challenge)
        spot, name = place_of(repository)
        if repository and spot != caller:
            return refusal("DENIED", f"Not authorized to perform: ecr:* on the registry {spot.account}")
        if repository and repository not in self._repositories():
            text = f"The repository with name '{name}' does not exist in the registry with id '{spot.account}'"
            return refusal("NAME_UNKNOWN", text)
        return None

    def _accepts(self, repository: str, media_type: str) -> Response | None:
        if media_type.startswith(_OCI) and not self.oci:
            return refusal("UNSUPPORTED", f"Unsupported manifest media type {media_type}", status=405)
        return None

    def _stored(self, repository: str, digest: str, tag: str | None, media_type: str) -> None:
        """Record an image in moto, unless moto has it under this tag."""
        manifest = json.loads(self.registry.store.read(digest) or b"{}")
        spot, name = place_of(repository)
        backend = self._moto.backend("ecr", spot)
        found = backend.repositories.get(name)
        if found is None:
            return
        known = [image for image in found.images if image.get_image_digest() == digest]
        if not known or (tag is not None and tag not in known[0].image_tags):
            backend.put_image(name, json.dumps(manifest), tag, media_type, digest)
            for image in found.images:
                image.get_image_size_in_bytes = _sizes(image, manifest, digest)

    def _repositories(self) -> dict[str, Any]:
        """Return the repositories of all accounts and regions, by their paths here."""
        return {
            path_of(spot, name): one
            for spot, backend in self._moto.backends("ecr").items()
            for name, one in backend.repositories.items()
        }


def path_of(spot: Spot, repository: str) -> str:
    """Return the path of a repository among those of all registries.

    Example:
        >>> path_of(Spot("123456789012", "us-east-1"), "mlport"), path_of(Spot("999988887777", "eu-west-1"), "mlport")
        ('mlport', '999988887777/eu-west-1/mlport')
    """
    return repository if spot == HOME else f"{spot.account}/{spot.region}/{repository}"


def place_of(path: str) -> tuple[Spot, str]:
    """Return the account, region and name of the repository under a path."""
    found = _ELSEWHERE.fullmatch(path)
    return (Spot(found[1], found[2]), found[3]) if found else (HOME, path)


def _sizes(image: Any, manifest: dict[str, Any], digest: str) -> Callable[[], int | None]:
    """Return a function for the size of an image of this manifest, because moto counts only its configuration."""
    if image.get_image_digest() != digest:
        usual: Callable[[], int | None] = image.get_image_size_in_bytes
        return usual
    size = sum(int(item["size"]) for item in (manifest["config"], *manifest["layers"]))
    return lambda: size
