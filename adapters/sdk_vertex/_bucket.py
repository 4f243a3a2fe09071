"""The target's bucket over Cloud Storage's JSON API: small objects, uploads and downloads of files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sdk import bounded
from sdk.errors import ConfigError, NotFoundError, PlatformError

from ._errors import PROVIDER
from ._owners import BucketOwner

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx

    from sdk.identities import Identities

    from ._access import Access
    from .options import VertexOptions

_WHOLE = 8 << 20  # up to here in one request
_PIECE = 8 << 20  # a multiple of 256 KiB, as the platform wants it


class Bucket:
    """The bucket of one target, made when it is first needed unless the user named one.

    Args:
        access: Where it is, and as whom it is asked.
        options: The target's settings.
        identities: Whose buckets were seen before.
    """

    def __init__(self, access: Access, options: VertexOptions, identities: Identities) -> None:
        self.access, self.options = access, options
        self.name = options.staging
        self._owner = BucketOwner(access, options, identities)

    # --- the bucket -------------------------------------------------------------------------------------------------

    def make(self, *, timeout: float) -> None:
        """Makes the bucket, in the target's region and without public access.

        Raises:
            ConfigError: The user named one, which is not there.
        """
        if self.options.bucket is not None:
            raise ConfigError(
                f"bucket = {self.name!r} does not exist", hint="create it, or leave the setting out to have one made"
            )
        body = {
            "name": self.name,
            "location": self.options.region,
            "labels": {"mlport": "1"},
            "iamConfiguration": {
                "uniformBucketLevelAccess": {"enabled": True},
                "publicAccessPrevention": "enforced",
            },
        }
        self._owner.forget()
        url, params = f"{self.access.url('storage')}/storage/v1/b", {"project": self.options.project}
        self.access.send(
            "POST", url, "CreateBucket", timeout=timeout, resource=self.name, params=params, json=body, ok=(200, 409)
        )  # fmt: skip

    def exists(self, *, timeout: float) -> bool:
        """Whether it is there, and ours.

        Raises:
            SecurityError: It is somebody else's.
        """
        return self._owner.verified(timeout=timeout)

    def _needed(self, *, timeout: float) -> None:
        """Nothing is sent to a bucket that was not seen to be ours: one that is made meanwhile may be another's."""
        if not self.exists(timeout=timeout):
            raise NotFoundError(f"bucket {self.name} is not there", provider=PROVIDER, resource=self.name, status=404)

    # --- objects ----------------------------------------------------------------------------------------------------

    def _url(self, name: str, *, front: str = "") -> str:
        return f"{self.access.url('storage')}{front}/storage/v1/b/{self.name}/o/{quote(name, safe='')}"

    def get(self, name: str, *, timeout: float) -> httpx.Response | None:
        """The content of a small object."""
        if not self.exists(timeout=timeout):
            return None
        answer = self.access.send(
            "GET", self._url(name), "GetObject", timeout=timeout, resource=name, params={"alt": "media"}, ok=(200, 404),
            extensions=bounded.SMALL.extensions,
        )  # fmt: skip
        return answer if answer.status_code == 200 else None

    def about(self, name: str, *, timeout: float) -> dict[str, Any] | None:
        """What is known of an object."""
        if not self.exists(timeout=timeout):
            return None
        answer = self.access.send("GET", self._url(name), "GetObject", timeout=timeout, resource=name, ok=(200, 404))
        found: dict[str, Any] = answer.json()
        return found if answer.status_code == 200 else None

    def put(
        self, name: str, content: bytes, kind: str, *, timeout: float, generation: str | None = None
    ) -> dict[str, Any]:
        """Stores a small object.

        Args:
            name: Its name.
            content: Its bytes.
            kind: Its content type.
            timeout: In seconds.
            generation: What must be there now, ``"0"`` for nothing.

        Raises:
            ConflictError: Something else is there.
            NotFoundError: There is no bucket.
        """
        self._needed(timeout=timeout)
        url = f"{self.access.url('storage')}/upload/storage/v1/b/{self.name}/o"
        params = {"uploadType": "media", "name": name}
        if generation is not None:
            params["ifGenerationMatch"] = generation
        answer = self.access.send(
            "POST", url, "PutObject", timeout=timeout, resource=name, params=params, content=content,
            headers={"content-type": kind},
        )  # fmt: skip
        stored: dict[str, Any] = answer.json()
        return stored

    def describe(self, name: str, labels: dict[str, str], *, timeout: float) -> None:
        """Writes labels on an object."""
        self._needed(timeout=timeout)
        self.access.send(
            "PATCH", self._url(name), "PatchObject", timeout=timeout, resource=name, json={"metadata": labels}
        )  # fmt: skip

    def delete(self, name: str, *, timeout: float, generation: str | None = None) -> None:
        """Removes an object.

        Raises:
            NotFoundError: It is not there.
            ConflictError: Another generation is there.
        """
        self._needed(timeout=timeout)
        params = {} if generation is None else {"ifGenerationMatch": generation}
        self.access.send(
            "DELETE", self._url(name), "DeleteObject", timeout=timeout, resource=name, params=params, ok=(200, 204)
        )  # fmt: skip

    def names(self, prefix: str, *, timeout: float, suffix: str = "") -> Iterator[dict[str, Any]]:
        """The objects under a prefix, with what is known of them; none without a bucket."""
        if not self.exists(timeout=timeout):
            return
        params = {"prefix": prefix, **({"matchGlob": f"{prefix}**{suffix}"} if suffix else {})}
        url = f"{self.access.url('storage')}/storage/v1/b/{self.name}/o"
        for _ in bounded.turns(f"the list of objects of {self.name}"):
            answer = self.access.send("GET", url, "ListObjects", timeout=timeout, params=params, ok=(200, 404))
            told: dict[str, Any] = answer.json() if answer.status_code == 200 else {}
            yield from (one for one in told.get("items") or () if str(one["name"]).endswith(suffix))
            if not told.get("nextPageToken"):
                return
            params["pageToken"] = told["nextPageToken"]

    # --- files ------------------------------------------------------------------------------------------------------

    def upload(self, path: Path, name: str, *, timeout: float) -> None:
        """Stores a file; a large one in pieces."""
        size = path.stat().st_size
        if size <= _WHOLE:
            self.put(name, path.read_bytes(), "application/octet-stream", timeout=timeout)
            return
        self._needed(timeout=timeout)
        url = f"{self.access.url('storage')}/upload/storage/v1/b/{self.name}/o"
        begun = self.access.send(
            "POST", url, "PutObject", timeout=timeout, resource=name, params={"uploadType": "resumable", "name": name},
            json={},
        )  # fmt: skip
        with path.open("rb") as file:
            for start in range(0, size, _PIECE):
                piece = file.read(_PIECE)
                span = f"bytes {start}-{start + len(piece) - 1}/{size}"
                self.access.send(
                    "PUT", begun.headers["location"], "PutObject", timeout=timeout, resource=name, content=piece,
                    headers={"content-range": span}, ok=(200, 201, 308),
                )  # fmt: skip

    def download(self, name: str, path: Path, *, timeout: float) -> None:
        """Fetches an object into a file, in pieces."""
        path.parent.mkdir(parents=True, exist_ok=True)
        about = self.about(name, timeout=timeout)
        if about is None:
            raise NotFoundError(f"gs://{self.name}/{name} is gone", provider=PROVIDER, operation="GetObject")
        size = int(about["size"])
        with path.open("wb") as file:
            for start in range(0, size, _PIECE):
                end = min(size, start + _PIECE) - 1
                answer = self.access.send(
                    "GET", self._url(name), "GetObject", timeout=timeout, resource=name, ok=(200, 206),
                    params={"alt": "media", "generation": about["generation"]},
                    headers={"range": f"bytes={start}-{end}"}, extensions=bounded.of_size(end + 1 - start).extensions,
                )  # fmt: skip
                file.write(answer.content)
        if path.stat().st_size != size:
            raise PlatformError(f"gs://{self.name}/{name} arrived with another size", provider=PROVIDER)


__all__ = ["Bucket"]
