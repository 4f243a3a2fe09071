"""Images in an ECR repository, each tagged with the ID of its content."""

from __future__ import annotations

import base64
import contextlib
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sdk.adapter import Labels, Live
from sdk.errors import AuthError, ConflictError
from sdk.packaging import image as images
from sdk.util.hosts import in_domain

from ._aws import domains
from ._bodies import to_tags
from ._errors import PROVIDER, gone
from ._owners import check_mini_registry, check_registry, check_repository
from ._plan import IMAGE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdk.adapter import Clock, Materials, Resource
    from sdk.packaging.image.auth import Credentials

    from ._aws import Aws

_ECR = re.compile(r"\d{12}\.dkr[.-]ecr(-fips)?\.(?P<region>[a-z0-9-]+)\.[a-z.]+")
_RENEW_S = 600.0  # renew a token so long before it expires; tokens are valid for twelve hours


class Images:
    """The image repository of a target.

    Args:
        aws: The connection to AWS.
        owner: The owner label of the listed images.
        clock: Source of time.
    """

    def __init__(self, aws: Aws, owner: str, clock: Clock) -> None:
        self.aws = aws
        self.owner = owner
        self.clock = clock
        self._login: tuple[float, str, Credentials] | None = None

    @property
    def repository(self) -> str:
        """The name of the repository."""
        return self.aws.repository

    def read(self, image: str) -> Live | None:
        """Read one image as a resource."""
        about = self.aws.find(
            "ecr", "describe_images", image, repositoryName=self.repository, imageIds=[{"imageTag": image}]
        )
        found: list[dict[str, Any]] = about["imageDetails"] if about else []
        return self._live(image, found[0]) if found else None

    def every(self) -> Iterator[Live]:
        """Yield all images of the repository that mlport made."""
        if not self._exists():
            return
        for page in self.aws.pages("ecr", "describe_images", self.repository, repositoryName=self.repository):
            for item in page["imageDetails"]:
                yield from (self._live(tag, item) for tag in item.get("imageTags") or () if _is_ours(tag))

    def make(self, resource: Resource, materials: Materials, timeout: float) -> None:
        """Build the image of a model or program, or take a ready-made one, and push it to the repository."""
        if not self._exists():
            self._make_repository()
            self._exists()
        spec: Any = resource.spec or {}
        host, _ = self._host_and_login()
        images.publish(
            images.content_of(materials),
            f"{host}/{self.repository}:{resource.id}",
            base=spec["base"],
            login=self.login,
            progress=materials.progress,
            clock=self.clock,
            timeout_s=timeout,
        )

    def _exists(self) -> bool:
        """Check whether the repository exists.

        Raises:
            SecurityError: The repository belongs to another account.
        """
        found = self.aws.find("ecr", "describe_repositories", self.repository, repositoryNames=[self.repository])
        for one in found["repositories"] if found else ():
            check_repository(one, self.aws.account)
        return found is not None

    def _make_repository(self) -> None:
        """Create the repository; leave out its tag if this identity may create a repository but not tag it."""
        self.aws.defaults.make_new_repository()
        tagged = {"tags": to_tags({"mlport": "1"})}
        with contextlib.suppress(ConflictError):  # another client was faster
            try:
                self._create_repository(**tagged)
            except AuthError:
                self._create_repository()

    def _create_repository(self, **params: Any) -> None:
        self.aws.call("ecr", "create_repository", self.repository, repositoryName=self.repository, **params)

    def uri(self, image: str) -> str:
        """Return the URI of an image, by digest.

        Raises:
            NotFoundError: The image no longer exists.
        """
        live = self.read(image)
        if live is None:
            raise gone(IMAGE, image)
        host, _ = self._host_and_login()
        return f"{host}/{self.repository}@{live.raw}"

    def delete(self, image: str) -> None:
        """Delete the image from the repository.

        Raises:
            NotFoundError: The image does not exist.
        """
        if self.read(image) is None:
            raise gone(IMAGE, image)
        self.aws.call(
            "ecr", "batch_delete_image", image, repositoryName=self.repository, imageIds=[{"imageTag": image}]
        )

    def login(self, host: str) -> Credentials | None:
        """Return the credentials for a registry: ECR's, also for other accounts, otherwise those of `docker login`."""
        own, credentials = self._host_and_login()
        if host == own:
            return credentials
        found = _ECR.fullmatch(host)
        if found is not None and in_domain(host, *domains(), "on.aws") and not self.aws.mock:
            return credentials if found["region"] == self.aws.region else self._login_in(found["region"])
        from sdk.packaging.image.logins import docker_login

        return docker_login(host)

    def _login_in(self, region: str) -> Credentials:
        with self.aws.translated("ecr", "GetAuthorizationToken", region):
            answer: dict[str, Any] = self.aws.elsewhere("ecr", region).get_authorization_token()
        return _user_and_password(answer)

    def _host_and_login(self) -> tuple[str, Credentials]:
        if self._login is None or self._login[0] - self.clock.time() < _RENEW_S:
            answer = self.aws.call("ecr", "get_authorization_token", "login")
            about: dict[str, Any] = answer["authorizationData"][0]
            host = urlsplit(str(about["proxyEndpoint"])).netloc
            if self.aws.mock:
                check_mini_registry(host, self.aws.mock)
            else:
                check_registry(host, self.aws.account, *domains(), "on.aws")
            self._login = (about["expiresAt"].timestamp(), host, _user_and_password(answer))
        return self._login[1], self._login[2]

    def _live(self, image: str, about: dict[str, Any]) -> Live:
        return Live(
            IMAGE,
            image,
            "ready",
            raw=str(about["imageDigest"]),
            labels=Labels("shared", self.owner, ""),
            created_at=about["imagePushedAt"].timestamp(),
            details={"provider": PROVIDER, "bytes": about.get("imageSizeInBytes")},
        )


def _user_and_password(answer: dict[str, Any]) -> Credentials:
    """Decode an ECR token; it is valid for all registries of a region that the user may read.

    Source: https://docs.aws.amazon.com/AmazonECR/latest/userguide/registry_auth.html
    """
    token = str(answer["authorizationData"][0]["authorizationToken"])
    user, _, password = base64.b64decode(token).decode().partition(":")
    return user, password


def _is_ours(tag: str) -> bool:
    return len(tag) == 32 and all(letter in "0123456789abcdef" for letter in tag)
