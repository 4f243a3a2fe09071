"""ECR: moto knows repositories and image records, our registry has the images; each change is told to the other."""

from __future__ import annotations

import base64
import json
import re
import time
from typing import TYPE_CHECKING, Any

from ..app import Request, Response
from ..registry import Registry, refusal
from .aws import ACCOUNT, REGION
from .errors import request_id
from .keys import Spot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .aws import Moto
    from .keys import Keys

_VALID_S = 12 * 3600
_OWN_HOST = re.compile(r"(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?")
_ELSEWHERE = re.compile(r"(\d{12})/([a-z]+(?:-[a-z]+)+-\d)/(.+)")
HOME = Spot(ACCOUNT, REGION)
_OCI = "application/vnd.oci."


class Ecr:
    """The registries of all accounts and regions, on one host: of any but the first the path begins with both.

    Args:
        moto: Knows the repositories.
        keys: Make the passwords.
        folder: For blobs.
        oci: Whether OCI manifests may be pushed. The real ECR takes them, and SageMaker then refuses the image; here
            the push is refused already, unless this is set.
    """

    def __init__(self, moto: Moto, keys: Keys, folder: Path, *, oci: bool = False) -> None:
        self._moto, self._keys, self.oci = moto, keys, oci
        self._issued: dict[str, tuple[str, float]] = {}  # account and end of what authorizes
        self.host = ""
        self.registry = Registry(folder, authorize=self._authorize, accepts=self._accepts, stored=self._stored)

    def token(self, account: str) -> Response:
        """``GetAuthorizationToken``: good for twelve hours, and for the registries of one account."""
        token = base64.b64encode(f"AWS:{self._keys.password(account)}".encode()).decode()
        until = time.time() + _VALID_S
        self._issued[f"Basic {token}"] = account, until
        data = {"authorizationToken": token, "expiresAt": until, "proxyEndpoint": f"http://{self.host}"}
        return Response.of_json({"authorizationData": [data]}, x_amzn_requestid=request_id())

    def place(self, uri: str) -> tuple[str, str] | None:
        """Repository and tag or digest of an address of these registries; ``None`` for any other."""
        host, _, rest = uri.partition("/")
        own = _OWN_HOST.fullmatch(host)
        if host != self.host and not own:
            return None
        repository, sign, digest = rest.partition("@")
        name, _, tag = repository.partition(":")
        return path_of(Spot(own[1], own[2]), name) if own else name, (digest if sign else tag or "latest")

    def after(self, operation: str, answer: Response) -> Response:
        """Lets the registry follow what moto did, and puts our address where moto says that of AWS."""
        if operation in {"BatchDeleteImage", "DeleteRepository", "PutImage"}:
            self._follow()
        if isinstance(answer.body, bytes):
            answer.body = _OWN_HOST.sub(self._named, answer.body.decode()).encode()
        return answer

    def _named(self, own: re.Match[str]) -> str:
        return f"{self.host}/{path_of(Spot(own[1], own[2]), '')}".rstrip("/")

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
        account, until = self._issued.get(request.headers.get("authorization", ""), ("", 0.0))
        if until < time.time():
            challenge = f'Basic realm="http://{self.host}/",service="ecr.amazonaws.com"'
            return refusal("DENIED", "Not Authorized", status=401, www_authenticate=challenge)
        spot, name = place_of(repository)
        if repository and spot.account != account:
            return refusal("DENIED", f"User of account {account} is not authorized to use the registry {spot.account}")
        if repository and repository not in self._repositories():
            text = f"The repository with name '{name}' does not exist in the registry with id '{spot.account}'"
            return refusal("NAME_UNKNOWN", text)
        return None

    def _accepts(self, repository: str, media_type: str) -> Response | None:
        if media_type.startswith(_OCI) and not self.oci:
            return refusal("UNSUPPORTED", f"Unsupported manifest media type {media_type}", status=405)
        return None

    def _stored(self, repository: str, digest: str, tag: str | None, media_type: str) -> None:
        """Tells moto of an image, unless it knows it under this tag."""
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
        """The repositories of all accounts and regions, by their paths here."""
        return {
            path_of(spot, name): one
            for spot, backend in self._moto.backends("ecr").items()
            for name, one in backend.repositories.items()
        }


def path_of(spot: Spot, repository: str) -> str:
    """The path of a repository on the one host of all registries.

    Example:
        >>> path_of(Spot("123456789012", "us-east-1"), "mlport"), path_of(Spot("999988887777", "eu-west-1"), "mlport")
        ('mlport', '999988887777/eu-west-1/mlport')
    """
    return repository if spot == HOME else f"{spot.account}/{spot.region}/{repository}"


def place_of(path: str) -> tuple[Spot, str]:
    """The account, region and name of the repository under a path."""
    found = _ELSEWHERE.fullmatch(path)
    return (Spot(found[1], found[2]), found[3]) if found else (HOME, path)


def _sizes(image: Any, manifest: dict[str, Any], digest: str) -> Callable[[], int | None]:
    """What an image of this manifest weighs: moto counts its configuration only."""
    if image.get_image_digest() != digest:
        usual: Callable[[], int | None] = image.get_image_size_in_bytes
        return usual
    size = sum(int(item["size"]) for item in (manifest["config"], *manifest["layers"]))
    return lambda: size
