"""The Artifact Registry repository and its images, each found by a tag made from its content."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from sdk.adapter import Ack, Labels, Live, Operation, Ref
from sdk.errors import ConflictError, NotFoundError, SecurityError
from sdk.packaging.image import content_of, publish
from sdk.util import bounded

from ._access import unix
from ._errors import PROVIDER, exists, of_operation
from ._names import parent
from ._plan import IMAGE, REPOSITORY, SHARED_OWNER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdk.adapter import Clock, Materials, Resource

    from ._access import Access

PACKAGE = "model"  # one name for all images; their tags distinguish them
PREFIX = "artifacts:"  # of the names of Artifact Registry's operations
_PAGE = 1000
_TAG = re.compile(r"[0-9a-f]{32}")  # as `image_id` makes it; other tags in a shared repository are foreign


class Images:
    """The image repository of one target.

    Args:
        access: The access to Google's services.
        clock: For the time that an upload may take.
        owner: The owner label of listed images; all owners share the same images.
    """

    def __init__(self, access: Access, clock: Clock, owner: str) -> None:
        self.access, self._clock, self._owner = access, clock, owner
        self._base = f"{access.url('artifactregistry')}/v1"
        self._repository = f"{self._base}/{parent(access.options)}/repositories/{access.options.repository}"

    def uri(self, tag: str) -> str:
        """Return the platform's name of an image."""
        options = self.access.options
        return f"{self.access.registry}/{options.project}/{options.repository}/{PACKAGE}:{tag}"

    # --- the repository ---------------------------------------------------------------------------------------------

    def read_repository(self, name: str, *, timeout: float) -> Live | None:
        """Read the repository as a resource."""
        url = f"{self._base}/{parent(self.access.options)}/repositories/{name}"
        answer = self.access.send("GET", url, "GetRepository", timeout=timeout, resource=name, ok=(200, 404))
        if answer.status_code == 404:
            return None
        about: dict[str, Any] = answer.json()
        self._check_name(str(about.get("name")), name)
        labels = Labels.from_tags(about.get("labels") or {})
        return Live(REPOSITORY, name, "ready", labels=labels, created_at=unix(about.get("createTime")))

    def _check_name(self, found: str, name: str) -> None:
        """Refuse an answer about a repository of another project or region."""
        options = self.access.options
        if not re.fullmatch(rf"projects/({options.project}|\d+)/locations/{options.region}/repositories/{name}", found):
            raise SecurityError(
                f"repository {name} of {options.project} is {found}",
                provider=PROVIDER,
                operation="GetRepository",
                resource=name,
                hint='name another one with repository = "…"',
            )

    def create_repository(self, resource: Resource, *, timeout: float) -> Ack:
        """Create the repository.

        Raises:
            ConflictError: The repository exists already.
        """
        url = f"{self._base}/{parent(self.access.options)}/repositories"
        body = {"format": "DOCKER", "labels": resource.tags, "description": "images of mlport"}
        if self.access.options.kms_key:
            body["kmsKeyName"] = self.access.options.kms_key
        answer = self.access.send(
            "POST", url, "CreateRepository", timeout=timeout, resource=resource.id,
            params={"repositoryId": resource.id}, json=body,
        )  # fmt: skip
        return Ack(operation=f"{PREFIX}{answer.json()['name']}")

    def delete_repository(self, name: str, *, timeout: float) -> Ack:
        """Delete the repository with all images in it.

        Raises:
            ConflictError: The repository holds images that mlport did not make.
        """
        if any(not _is_ours(one) for one in self._listed(timeout)):
            raise ConflictError(
                f"repository {name} holds images that mlport did not make, so it stays", provider=PROVIDER,
                operation="DeleteRepository", resource=name,
            )  # fmt: skip
        url = f"{self._base}/{parent(self.access.options)}/repositories/{name}"
        answer = self.access.send("DELETE", url, "DeleteRepository", timeout=timeout, resource=name)
        return Ack(operation=f"{PREFIX}{answer.json()['name']}")

    def operation(self, name: str, *, timeout: float) -> Operation:
        """Return the state of an operation of Artifact Registry."""
        url = f"{self._base}/{name.removeprefix(PREFIX)}"
        told: dict[str, Any] = self.access.send("GET", url, "GetOperation", timeout=timeout, resource=name).json()
        failed = told.get("error")
        error = of_operation(int(failed.get("code", 2)), str(failed.get("message")), name) if failed else None
        return Operation(name, bool(told.get("done")), error)

    # --- images -----------------------------------------------------------------------------------------------------

    def read(self, tag: str, *, timeout: float) -> Live | None:
        """Read one image as a resource."""
        url = f"{self._repository}/packages/{PACKAGE}/tags/{tag}"
        answer = self.access.send("GET", url, "GetTag", timeout=timeout, resource=tag, ok=(200, 404))
        if answer.status_code == 404:
            return None
        return self._live(tag, str(answer.json().get("version", "")).rpartition("/")[2], None)

    def every(self, *, timeout: float) -> Iterator[Live]:
        """Yield all images that were made for endpoints and jobs; none if the repository does not exist."""
        for one in self._listed(timeout):
            package, _, digest = str(one["name"]).rpartition("/")[2].partition("@")
            for tag in one.get("tags") or ():
                if package == PACKAGE and _TAG.fullmatch(tag):
                    yield self._live(tag, digest, unix(one.get("uploadTime")))

    def _listed(self, timeout: float) -> Iterator[dict[str, Any]]:
        """Yield all images of the repository, including those of others."""
        params: dict[str, Any] = {"pageSize": _PAGE}
        url = f"{self._repository}/dockerImages"
        for fetching in bounded.turns("the list of images"):
            with fetching:
                answer = self.access.send(
                    "GET", url, "ListDockerImages", timeout=timeout, ok=(200, 404), params=params
                )  # fmt: skip
            told: dict[str, Any] = answer.json() if answer.status_code == 200 else {}
            yield from told.get("dockerImages") or ()
            if not told.get("nextPageToken"):
                return
            params["pageToken"] = told["nextPageToken"]

    def create(self, resource: Resource, materials: Materials, *, timeout: float) -> Ack:
        """Build and push the image of a model or program.

        Raises:
            ConflictError: The image exists already.
            PackagingError: The image cannot be built.
        """
        if self.read(resource.id, timeout=timeout) is not None:
            raise exists(IMAGE, resource.id)
        spec: Any = resource.spec or {}
        publish(
            content_of(materials),
            self.uri(resource.id),
            base=spec["base"],
            login=self.access.login,
            progress=materials.progress,
            clock=self._clock,
            timeout_s=timeout,
        )
        return Ack()

    def delete(self, live: Live, *, timeout: float) -> Ack:
        """Delete an image; if it also has tags of others, delete only mlport's tag."""
        found = self.read(live.id, timeout=timeout)
        if found is None:
            raise NotFoundError(f"image {live.id} is gone", provider=PROVIDER, operation="DeleteTag", resource=live.id)
        image = f"{self._repository}/dockerImages/{PACKAGE}@{found.raw}"
        about = self.access.send("GET", image, "GetDockerImage", timeout=timeout, resource=live.id).json()
        package = f"{self._repository}/packages/{PACKAGE}"
        if not _is_ours(about):
            self.access.send("DELETE", f"{package}/tags/{live.id}", "DeleteTag", timeout=timeout, resource=live.id)
            return Ack()
        answer = self.access.send(
            "DELETE", f"{package}/versions/{found.raw}", "DeleteVersion", timeout=timeout, resource=live.id,
            params={"force": "true"},
        )  # fmt: skip
        return Ack(operation=f"{PREFIX}{answer.json()['name']}")

    def _live(self, tag: str, digest: str, created: float | None) -> Live:
        labels = Labels(SHARED_OWNER, self._owner, "")
        parents = (Ref(REPOSITORY, self.access.options.repository),)
        return Live(IMAGE, tag, "ready", raw=digest, labels=labels, created_at=created, parents=parents)


def _is_ours(image: dict[str, Any]) -> bool:
    """Check whether an image was made by mlport and has no tags of others."""
    package = str(image["name"]).rpartition("/")[2].partition("@")[0]
    return package == PACKAGE and all(_TAG.fullmatch(tag) for tag in image.get("tags") or ())


__all__ = ["PREFIX", "Images"]
