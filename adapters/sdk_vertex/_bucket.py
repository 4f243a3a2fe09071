"""The target's bucket over Cloud Storage's JSON API: small objects, uploads and downloads of files."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote

from sdk import bounded
from sdk.errors import ConfigError, NotFoundError, PlatformError, ThrottledError, UnavailableError
from sdk.transfers import Meter

from ._errors import PROVIDER
from ._owners import BucketOwner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import httpx

    from sdk.identities import Identities

    from ._access import Access
    from .options import VertexOptions

_WHOLE = 8 << 20  # up to here in one request
_BUSY_S = (1.0, 2.0, 4.0, 8.0)  # pauses before an object is changed again
_GO_ON = 308  # of an upload in pieces: not all of it is there
_PIECE = 8 << 20  # a multiple of 256 KiB, as the platform wants it


class Bucket:
    """The bucket of one target, made when it is first needed unless the user named one.

    Args:
        access: Where it is, and as whom it is asked.
        options: The target's settings.
        identities: Whose buckets were seen before.
        sleep: Waits before a call is repeated.
    """

    def __init__(
        self, access: Access, options: VertexOptions, identities: Identities, sleep: Callable[[float], None]
    ) -> None:
        self.access, self.options, self._sleep = access, options, sleep
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
            # Otherwise deleted data is kept, and billed, for seven days. Source (certain):
            # https://cloud.google.com/storage/docs/soft-delete
            "softDeletePolicy": {"retentionDurationSeconds": "0"},
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

    @property
    def kept_s(self) -> int:
        """Seconds for which deleted objects are kept and billed, once the bucket was seen."""
        return self._owner.kept_s

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
        self,
        name: str,
        content: bytes,
        kind: str,
        *,
        timeout: float,
        generation: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Stores a small object.

        Args:
            name: Its name.
            content: Its bytes.
            kind: Its content type.
            timeout: In seconds.
            generation: What must be there now, ``"0"`` for nothing.
            labels: What is written on it, with the same call.

        Raises:
            ConflictError: Something else is there.
            NotFoundError: There is no bucket.
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
        """A call that changes one object, which the platform takes about once a second: refused, it did nothing.

        Source (certain): https://cloud.google.com/storage/quotas#objects
        """
        return self._patiently(method, url, operation, twice=False, **rest)

    def _patiently(self, method: str, url: str, operation: str, *, twice: bool = True, **rest: Any) -> httpx.Response:
        """A call that is repeated when it was refused for now, and, if it may be made twice, when no answer came."""
        for pause in _BUSY_S:
            try:
                return self.access.send(method, url, operation, **rest)
            except (ThrottledError, UnavailableError) as error:
                if isinstance(error, UnavailableError) and not twice:
                    raise
                self._sleep(max(pause, error.retry_after_s or 0.0))
        return self.access.send(method, url, operation, **rest)

    def delete(self, name: str, *, timeout: float, generation: str | None = None) -> None:
        """Removes an object.

        Raises:
            NotFoundError: It is not there.
            ConflictError: Another generation is there.
        """
        self._needed(timeout=timeout)
        params = {} if generation is None else {"ifGenerationMatch": generation}
        self._change(
            "DELETE", self._url(name), "DeleteObject", timeout=timeout, resource=name, params=params, ok=(200, 204)
        )  # fmt: skip

    def names(self, prefix: str, *, timeout: float, suffix: str = "") -> Iterator[dict[str, Any]]:
        """The objects under a prefix, with what is known of them; none without a bucket."""
        query = {"prefix": prefix, **({"matchGlob": f"{prefix}**{suffix}"} if suffix else {})}
        for page in self.pages(query, timeout=timeout):
            yield from (one for one in page.get("items") or () if str(one["name"]).endswith(suffix))

    def pages(self, query: Mapping[str, str], *, timeout: float) -> Iterator[dict[str, Any]]:
        """A list of objects, page by page; none without a bucket."""
        if not self.exists(timeout=timeout):
            return
        params = dict(query)
        url = f"{self.access.url('storage')}/storage/v1/b/{self.name}/o"
        for _ in bounded.turns(f"the list of objects of {self.name}"):
            answer = self.access.send("GET", url, "ListObjects", timeout=timeout, params=params, ok=(200, 404))
            page: dict[str, Any] = answer.json() if answer.status_code == 200 else {}
            yield page
            if not page.get("nextPageToken"):
                return
            params["pageToken"] = page["nextPageToken"]

    # --- files ------------------------------------------------------------------------------------------------------

    def upload(self, path: Path, name: str, *, timeout: float, meter: Meter | None = None) -> None:
        """Stores a file; a large one in pieces."""
        meter = meter or Meter(None, "upload", None)
        size = path.stat().st_size
        self._needed(timeout=timeout)
        url = f"{self.access.url('storage')}/upload/storage/v1/b/{self.name}/o"
        if size <= _WHOLE:  # sent twice it is the same object, so it may be
            self._patiently(
                "POST", url, "PutObject", timeout=timeout, resource=name, content=path.read_bytes(),
                params={"uploadType": "media", "name": name}, headers={"content-type": "application/octet-stream"},
            )  # fmt: skip
            meter.add(size)
            return
        begun = self._patiently(
            "POST", url, "PutObject", timeout=timeout, resource=name, json={},
            params={"uploadType": "resumable", "name": name},
        )  # fmt: skip
        with path.open("rb") as file:
            self._send_pieces(file, size, begun.headers["location"], meter, name=name, timeout=timeout)

    def _send_pieces(self, file: BinaryIO, size: int, place: str, meter: Meter, *, name: str, timeout: float) -> None:
        """Send a file piece by piece, each from where the platform says that it has everything before.

        It may keep less of a piece than was sent. Source (certain):
        https://cloud.google.com/storage/docs/performing-resumable-uploads#chunked-upload
        """
        start, vain = 0, 0
        while True:
            file.seek(start)
            piece = file.read(_PIECE)
            span = f"bytes {start}-{start + len(piece) - 1}/{size}" if piece else f"bytes */{size}"
            answer = self._piece(place, name, piece, span, timeout)
            if answer is not None and answer.status_code != _GO_ON:
                meter.add(size - start)
                return
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
        """Send one piece; where no answer comes, ask how much has arrived; ``None`` if that is not known either."""
        for content, header in ((piece, span), (b"", f"bytes */{span.rpartition('/')[2]}")):
            try:
                return self.access.send(
                    "PUT", place, "PutObject", timeout=timeout, resource=name, content=content,
                    headers={"content-range": header}, ok=(200, 201, _GO_ON),
                )  # fmt: skip
            except (UnavailableError, ThrottledError) as error:
                self._sleep(max(_BUSY_S[0], error.retry_after_s or 0.0))
        return None

    def download(self, name: str, path: Path, *, timeout: float, meter: Meter | None = None) -> None:
        """Fetches an object into a file, in pieces."""
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
    """How many bytes of an upload the platform has."""
    end = answer.headers.get("range", "").rpartition("-")[2]
    return int(end) + 1 if end.isdigit() else 0


def _related(*parts: tuple[str, bytes]) -> tuple[str, bytes]:
    """Content type and body of a ``multipart/related`` message."""
    boundary = secrets.token_hex(16)
    pieces = [f"--{boundary}\r\ncontent-type: {kind}\r\n\r\n".encode() + data + b"\r\n" for kind, data in parts]
    return f"multipart/related; boundary={boundary}", b"".join(pieces) + f"--{boundary}--\r\n".encode()


__all__ = ["Bucket"]
