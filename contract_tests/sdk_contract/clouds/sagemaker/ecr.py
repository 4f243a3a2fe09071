"""ECR: moto knows repositories and image records, our registry has the images; each change is told to the other."""

from __future__ import annotations

import base64
import hmac
import json
import re
import secrets
import time
from typing import TYPE_CHECKING, Any

from ..app import Request, Response
from ..registry import Registry, refusal
from .aws import ACCOUNT
from .errors import request_id

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .aws import Moto

_VALID_S = 12 * 3600
_OWN_HOST = re.compile(rf"{ACCOUNT}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com")
_OCI = "application/vnd.oci."


class Ecr:
    """The registry of the account.

    Args:
        moto: Knows the repositories.
        folder: For blobs.
        oci: Whether OCI manifests may be pushed. The real ECR takes them, and SageMaker then refuses the image; here
            the push is refused already, unless this is set.
    """

    def __init__(self, moto: Moto, folder: Path, *, oci: bool = False) -> None:
        self._moto = moto
        self._password = secrets.token_urlsafe(32)
        self.oci = oci
        self.host = ""
        self.registry = Registry(folder, authorize=self._authorize, accepts=self._accepts, stored=self._stored)

    def token(self, request: Request) -> Response:
        """``GetAuthorizationToken``: good for twelve hours, and for this server."""
        token = base64.b64encode(f"AWS:{self._password}".encode()).decode()
        data = {
            "authorizationToken": token,
            "expiresAt": time.time() + _VALID_S,
            "proxyEndpoint": f"http://{self.host}",
        }
        return Response.of_json({"authorizationData": [data]}, x_amzn_requestid=request_id())

    def place(self, uri: str) -> tuple[str, str] | None:
        """Repository and tag or digest of an address of this registry; ``None`` for any other."""
        host, _, rest = uri.partition("/")
        if host != self.host and not _OWN_HOST.fullmatch(host):
            return None
        repository, sign, digest = rest.partition("@")
        name, _, tag = repository.partition(":")
        return name, (digest if sign else tag or "latest")

    def after(self, operation: str, answer: Response) -> Response:
        """Lets the registry follow what moto did, and puts our address where moto says that of AWS."""
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
        wanted = "Basic " + base64.b64encode(f"AWS:{self._password}".encode()).decode()
        if not hmac.compare_digest(request.headers.get("authorization", ""), wanted):
            challenge = f'Basic realm="http://{self.host}/",service="ecr.amazonaws.com"'
            return refusal("DENIED", "Not Authorized", status=401, www_authenticate=challenge)
        if repository and repository not in self._repositories():
            text = f"The repository with name '{repository}' does not exist in the registry with id '{ACCOUNT}'"
            return refusal("NAME_UNKNOWN", text)
        return None

    def _accepts(self, repository: str, media_type: str) -> Response | None:
        if media_type.startswith(_OCI) and not self.oci:
            return refusal("UNSUPPORTED", f"Unsupported manifest media type {media_type}", status=405)
        return None

    def _stored(self, repository: str, digest: str, tag: str | None, media_type: str) -> None:
        """Tells moto of an image, unless it knows it under this tag."""
        manifest = json.loads(self.registry.store.read(digest) or b"{}")
        for backend in self._moto.backends("ecr"):
            found = backend.repositories.get(repository)
            if found is None:
                continue
            known = [image for image in found.images if image.get_image_digest() == digest]
            if not known or (tag is not None and tag not in known[0].image_tags):
                backend.put_image(repository, json.dumps(manifest), tag, media_type, digest)
                for image in found.images:
                    image.get_image_size_in_bytes = _sizes(image, manifest, digest)

    def _repositories(self) -> dict[str, Any]:
        """The repositories of all regions, which share one host here."""
        return {name: one for backend in self._moto.backends("ecr") for name, one in backend.repositories.items()}


def _sizes(image: Any, manifest: dict[str, Any], digest: str) -> Callable[[], int | None]:
    """What an image of this manifest weighs: moto counts its configuration only."""
    if image.get_image_digest() != digest:
        usual: Callable[[], int | None] = image.get_image_size_in_bytes
        return usual
    size = sum(int(item["size"]) for item in (manifest["config"], *manifest["layers"]))
    return lambda: size
