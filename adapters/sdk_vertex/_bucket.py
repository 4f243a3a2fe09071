"""The target's bucket over Cloud Storage's JSON API: small objects, uploads and downloads of files."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote

from sdk.adapter.shared.transfers import Meter
from sdk.errors import ConfigError, NotFoundError, PlatformError, ThrottledError, UnavailableError
from sdk.util import bounded
from sdk.util.waiting import pause_after

from ._errors import PROVIDER
from ._owners import BucketOwner

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import httpx

    from sdk.adapter import Clock
    from sdk.adapter.identities import Identities

    from ._access import Access
    from .options import VertexOptions

_WHOLE = 8 << 20  # files up to this size are sent in one request
_BUSY_S = (1.0, 2.0, 4.0, 8.0)  # pauses before the next attempt to change an object
_GO_ON = 308  # status of a resumable upload that is not complete yet
# The platform has ended a resumable upload early; it has to begin anew. Source (certain):
# https://github.com/googleapis/python-storage/issues/26
_ENDED = frozenset({404, 410})
_SESSIONS = 3  # resumable uploads of one file until one has to reach its end
_PIECE = 8 << 20  # the platform requires a multiple of 256 KiB


class Bucket:
    """The bucket of one target; created when it is first needed, unless the user named one.

    Args:
        access: The access to Google's services.
        options: The target's settings.
        identities: The recorded owners of buckets used before.
        clock: Source of time, which also waits before a call is repeated.
    """

    def __init__(self, access: Access, options: VertexOptions, identities: Identities, clock: Clock) -> None:
        self.access, self.options, self._sleep = access, options, clock.sleep
        self.name = options.staging
        self._owner = BucketOwner(access, options, identities, clock.monotonic)

    # --- the bucket -------------------------------------------------------------------------------------------------

    def make(self, *, timeout: float) -> None:
        """Create the bucket, in the target's region and without public access.

        Raises:
            ConfigError: The bucket that the user named does not exist.
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
            # Otherwise deleted data is kept, and billed, for seven days. Source (certain):
            # https://cloud.google.com/storage/docs/soft-delete
            "softDeletePolicy": {"retentionDurationSeconds": "0"},
            **({"encryption": {"defaultKmsKeyName": self.options.kms_key}} if self.options.kms_key else {}),
        }
        self._owner.forget()
        url, params = f"{self.access.url('storage')}/storage/v1/b", {"project": self.options.project}
        self.access.send(
            "POST", url, "CreateBucket", timeout=timeout, resource=self.name, params=params, json=body, ok=(200, 409)
        )  # fmt: skip

    def exists(self, *, timeout: float) -> bool:
        """Check whether the bucket exists and belongs to the expected project.

        Raises:
            SecurityError: The bucket belongs to another project.
        """
        return self._owner.verified(timeout=timeout)

    @property
    def kept_s(self) -> int:
        """Seconds for which deleted objects are kept and billed; known once the bucket was read."""
        return self._owner.kept_s

    def _needed(self, *, timeout: float) -> None:
        """Raise an error unless the bucket exists and is ours; one that is created in between may belong to others."""
        if not self.exists(timeout=timeout):
            raise NotFoundError(f"bucket {self.name} is not there", provider=PROVIDER, resource=self.name, status=404)

    # --- objects ----------------------------------------------------------------------------------------------------

    def _url(self, name: str, *, front: str = "") -> str:
        return f"{self.access.url('storage')}{front}/storage/v1/b/{self.name}/o/{quote(name, safe='')}"

    def get(self, name: str, *, timeout: float) -> httpx.Response | None:
        """Return the answer with the content of a small object, or ``None`` if it does not exist."""
        if not self.exists(timeout=timeout):
            return None
        answer = self.access.send(
            "GET", self._url(name), "GetObject", timeout=timeout, resource=name, params={"alt": "media"}, ok=(200, 404),
            extensions=bounded.SMALL.extensions,
        )  # fmt: skip
        return answer if answer.status_code == 200 else None

    def about(self, name: str, *, timeout: float) -> dict[str, Any] | None:
        """Return the metadata of an object, or ``None`` if it does not exist."""
        if not self.exists(timeout=timeout):
            return None
        answer = self.access.send("GET", self._url(name), "GetObject", timeout=timeout, resource=name, ok=(200, 404))
        found: dict[str, Any] = answer.json()
        return found if answer.status_code == 200 else None

    def put(
        self,
        name: str,
        content: bytes,
        kind: str,
        *,
        timeout: float,
        generation: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Store a small object.

        Args:
            name: The name of the object.
            content: Its bytes.
            kind: Its content type.
            timeout: The timeout in seconds.
            generation: The generation that must be stored now; ``"0"`` if the object must not exist.
            labels: Metadata that is stored with the object in the same call.

        Raises:
            ConflictError: Another generation is stored.
            NotFoundError: The bucket does not exist.
        """
        self._needed(timeout=timeout)
        url = f"{self.access.url('storage')}/upload/storage/v1/b/{self.name}/o"
        params = {"uploadType": "media" if labels is None else "multipart", "name": name}
        if generation is not None:
            params["ifGenerationMatch"] = generation
        headers = {"content-type": kind}
        if labels is not None:
            about = json.dumps({"metadata": dict(labels), "contentType": kind}).encode()
            headers["content-type"], content = _related(("application/json; charset=UTF-8", about), (kind, content))
        answer = self._change(
            "POST", url, "PutObject", timeout=timeout, resource=name, params=params, content=content, headers=headers
        )  # fmt: skip
        stored: dict[str, Any] = answer.json()
        return stored

    def _change(self, method: str, url: str, operation: str, **rest: Any) -> httpx.Response:
        """Change one object; repeat a throttled call, which had no effect.

        The platform accepts about one change per second and object.

        Source (certain): https://cloud.google.com/storage/quotas#objects
        """
        return self._patiently(method, url, operation, twice=False, **rest)

    def _patiently(self, method: str, url: str, operation: str, *, twice: bool = True, **rest: Any) -> httpx.Response:
        """Make a call; repeat it if it was throttled and, if it may be made ``twice``, also if no answer came."""
        for pause in _BUSY_S:
            try:
                return self.access.send(method, url, operation, **rest)
            except (ThrottledError, UnavailableError) as error:
                if isinstance(error, UnavailableError) and not twice:
                    raise
                self._sleep(pause_after(error, pause))
        return self.access.send(method, url, operation, **rest)

    def delete(self, name: str, *, timeout: float, generation: str | None = None) -> None:
        """Delete an object.

        Raises:
            NotFoundError: The object does not exist.
            ConflictError: Another generation is stored.
        """
        self._needed(timeout=timeout)
        params = {} if generation is None else {"ifGenerationMatch": generation}
        self._change(
            "DELETE", self._url(name), "DeleteObject", timeout=timeout, resource=name, params=params, ok=(200, 204)
        )  # fmt: skip

    def names(self, prefix: str, *, timeout: float, suffix: str = "") -> Iterator[dict[str, Any]]:
        """Yield the metadata of objects under a prefix; none if the bucket does not exist."""
        query = {"prefix": prefix, **({"matchGlob": f"{prefix}**{suffix}"} if suffix else {})}
        for page in self.pages(query, timeout=timeout):
            yield from (one for one in page.get("items") or () if str(one["name"]).endswith(suffix))

    def pages(self, query: Mapping[str, str], *, timeout: float) -> Iterator[dict[str, Any]]:
        """Yield a list of objects, page by page; none if the bucket does not exist."""
        if not self.exists(timeout=timeout):
            return
        params = dict(query)
        url = f"{self.access.url('storage')}/storage/v1/b/{self.name}/o"
        for fetching in bounded.turns(f"the list of objects of {self.name}"):
            with fetching:
                answer = self.access.send("GET", url, "ListObjects", timeout=timeout, params=params, ok=(200, 404))
            page: dict[str, Any] = answer.json() if answer.status_code == 200 else {}
            yield page
            if not page.get("nextPageToken"):
                return
            params["pageToken"] = page["nextPageToken"]

    # --- files ------------------------------------------------------------------------------------------------------

    def upload(self, path: Path, name: str, *, timeout: float, meter: Meter | None = None) -> None:
        """Upload a file; a large one in pieces."""
        meter = meter or Meter(None, "upload", None)
        size = path.stat().st_size
        self._needed(timeout=timeout)
        url = f"{self.access.url('storage')}/upload/storage/v1/b/{self.name}/o"
        if size <= _WHOLE:  # sending it twice stores the same object, so that is safe
            self._patiently(
                "POST", url, "PutObject", timeout=timeout, resource=name, content=path.read_bytes(),
                params={"uploadType": "media", "name": name}, headers={"content-type": "application/octet-stream"},
            )  # fmt: skip
            meter.add(size)
            return
        with path.open("rb") as file:
            for rest in reversed(range(_SESSIONS)):
                begun = self._patiently(
                    "POST", url, "PutObject", timeout=timeout, resource=name, json={},
                    params={"uploadType": "resumable", "name": name},
                )  # fmt: skip
                place = begun.headers["location"]
                if self._send_pieces(file, size, place, meter, name=name, timeout=timeout, may_end=rest > 0):
                    return

    def _send_pieces(
        self, file: BinaryIO, size: int, place: str, meter: Meter, *, name: str, timeout: float, may_end: bool
    ) -> bool:
        """Send a file piece by piece; each piece starts where the data that the platform has confirmed ends.

        The platform may keep less of a piece than was sent. Source (certain):
        https://cloud.google.com/storage/docs/performing-resumable-uploads#chunked-upload

        Returns:
            Whether the file is stored. It is not if the platform has ended the upload early, which has to begin anew.
        """
        start, vain = 0, 0
        while True:
            file.seek(start)
            piece = file.read(_PIECE)
            span = f"bytes {start}-{start + len(piece) - 1}/{size}" if piece else f"bytes */{size}"
            try:
                answer = self._piece(place, name, piece, span, timeout)
            except PlatformError as error:
                if error.status not in _ENDED or not may_end:
                    raise
                meter.add(-start)
                return False
            if answer is not None and answer.status_code != _GO_ON:
                meter.add(size - start)
                return True
            kept = start if answer is None else _kept(answer)
            meter.add(kept - start)
            vain = 0 if kept > start else vain + 1
            if vain > len(_BUSY_S):
                raise PlatformError(
                    f"gs://{self.name}/{name}: the upload does not go on after {start} of {size} bytes",
                    provider=PROVIDER, operation="PutObject", resource=name,
                )  # fmt: skip
            start = kept

    def _piece(self, place: str, name: str, piece: bytes, span: str, timeout: float) -> httpx.Response | None:
        """Send one piece; if no answer comes, ask how much has arrived; return ``None`` if that is not known either."""
        for content, header in ((piece, span), (b"", f"bytes */{span.rpartition('/')[2]}")):
            try:
                return self.access.send(
                    "PUT", place, "PutObject", timeout=timeout, resource=name, content=content,
                    headers={"content-range": header}, ok=(200, 201, _GO_ON),
                )  # fmt: skip
            except (UnavailableError, ThrottledError) as error:
                if error.status in _ENDED:
                    raise
                self._sleep(pause_after(error, _BUSY_S[0]))
        return None

    def download(self, name: str, path: Path, *, timeout: float, meter: Meter | None = None) -> None:
        """Download an object into a file, in pieces."""
        meter = meter or Meter(None, "download", None)
        path.parent.mkdir(parents=True, exist_ok=True)
        about = self.about(name, timeout=timeout)
        if about is None:
            raise NotFoundError(f"gs://{self.name}/{name} is gone", provider=PROVIDER, operation="GetObject")
        size = int(about["size"])
        with path.open("wb") as file:
            for start in range(0, size, _PIECE):
                end = min(size, start + _PIECE) - 1
                answer = self._patiently(
                    "GET", self._url(name), "GetObject", timeout=timeout, resource=name, ok=(200, 206),
                    params={"alt": "media", "generation": about["generation"]},
                    headers={"range": f"bytes={start}-{end}"}, extensions=bounded.of_size(end + 1 - start).extensions,
                )  # fmt: skip
                file.write(answer.content)
                meter.add(len(answer.content))
        if path.stat().st_size != size:
            raise PlatformError(f"gs://{self.name}/{name} arrived with another size", provider=PROVIDER)


def _kept(answer: httpx.Response) -> int:
    """Return the number of bytes of an upload that the platform has."""
    end = answer.headers.get("range", "").rpartition("-")[2]
    return int(end) + 1 if end.isdigit() else 0


def _related(*parts: tuple[str, bytes]) -> tuple[str, bytes]:
    """Return the content type and body of a ``multipart/related`` message."""
    boundary = secrets.token_hex(16)
    pieces = [f"--{boundary}\r\ncontent-type: {kind}\r\n\r\n".encode() + data + b"\r\n" for kind, data in parts]
    return f"multipart/related; boundary={boundary}", b"".join(pieces) + f"--{boundary}--\r\n".encode()


__all__ = ["Bucket"]
