"""A container registry as a part of a mini cloud: the Docker Registry HTTP API v2, with blobs on disk.

Source: https://distribution.github.io/distribution/spec/api/. Each blob is stored once, but a repository only shows
those that were pushed to it or mounted into it. The cloud decides which caller may do what, and which manifests are
accepted.
"""

from __future__ import annotations

import re
import threading
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

from sdk.errors import UnreadableError
from sdk.packaging.image.manifests import LIST_TYPE, OCI_INDEX_TYPE, Image, digest_of
from sdk.packaging.image.store import BlobStore
from sdk.util.foreign import parse

from .app import Match, Request, Response
from .images import image_of
from .uploads import Uploads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from typing import BinaryIO

    from .app import Handler
    from .faults import Fault

    Authorize = Callable[[Request, str, str], Response | None]
    Accepts = Callable[[str, str], Response | None]

_NAME = r"(?P<name>[a-z0-9][a-z0-9._/-]*)"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_BLOCK = 1 << 20
_INDEXES = (LIST_TYPE, OCI_INDEX_TYPE)

ERRORS = {
    "BLOB_UNKNOWN": (404, "blob unknown to registry"),
    "BLOB_UPLOAD_UNKNOWN": (404, "blob upload unknown to registry"),
    "BLOB_UPLOAD_INVALID": (416, "the chunk does not begin where the last one ended"),
    "DIGEST_INVALID": (400, "provided digest did not match uploaded content"),
    "MANIFEST_BLOB_UNKNOWN": (404, "manifest references a manifest or blob that is unknown to the repository"),
    "MANIFEST_INVALID": (400, "manifest invalid"),
    "MANIFEST_UNKNOWN": (404, "manifest unknown"),
    "NAME_UNKNOWN": (404, "repository name not known to registry"),
    "TOOMANYREQUESTS": (429, "too many requests"),
    "UNAVAILABLE": (503, "service unavailable"),
    "DENIED": (403, "requested access to the resource is denied"),
    "UNSUPPORTED": (415, "the manifest's media type is not supported"),
}


def refusal(code: str, message: str = "", *, status: int | None = None, **headers: str) -> Response:
    """Return an error in the registry's format; underscores in the names of headers become hyphens."""
    usual, text = ERRORS[code]
    body = {"errors": [{"code": code, "message": message or text, "detail": None}]}
    named = {"docker-distribution-api-version": "registry/2.0", **headers}
    return Response.of_json(body, status or usual, **named)


@dataclass
class Repository:
    """The contents of one repository: its blobs, its manifests with their media types, and its tags."""

    blobs: set[str] = field(default_factory=set[str])
    manifests: dict[str, str] = field(default_factory=dict[str, str])
    tags: dict[str, str] = field(default_factory=dict[str, str])


def anybody(request: Request, repository: str, action: str) -> Response | None:
    """Allow every caller every action."""
    return None


def everything(repository: str, media_type: str) -> Response | None:
    """Accept every media type."""
    return None


def nobody(repository: str, digest: str, tag: str | None, media_type: str) -> None:
    """Ignore the notification that a manifest was stored."""


class Registry:
    """The registry; one of the services of an :class:`~sdk_contract.clouds.app.App`.

    Args:
        folder: Where blobs are stored.
        authorize: Called with the request, the repository (empty for the version check) and ``pull``, ``push`` or
            ``delete``; returns a refusal (with ``WWW-Authenticate``, when the client is to try again), or ``None``.
        accepts: Called with the repository and the media type of a manifest; returns a refusal, or ``None``.
        stored: Called after a manifest was stored, with repository, digest, tag (or ``None``) and media type.
        hosts: Returns whether a ``Host`` header belongs to this registry; when left out, all do.

    Attributes:
        behind: Where blobs come from: the registry itself, a blob store to which it redirects, or such a store with
            addresses that are signed for GET alone.
    """

    behind: Literal["itself", "store", "store by GET"] = "itself"

    def __init__(
        self,
        folder: Path,
        *,
        authorize: Authorize = anybody,
        accepts: Accepts = everything,
        stored: Callable[[str, str, str | None, str], None] | None = None,
        hosts: Callable[[str], bool] | None = None,
    ) -> None:
        self.store = BlobStore(folder)
        self._authorize, self._accepts, self._hosts = authorize, accepts, hosts
        self._stored = stored or nobody
        self._repositories: dict[str, Repository] = {}
        self._uploads = Uploads(folder / "uploads")
        self._lock = threading.RLock()
        self._routes = [
            ("GET", re.compile(r"/v2/?"), "GetVersion", self._version),
            ("GET", re.compile(r"/v2/_catalog"), "ListRepositories", self._catalog),
            ("GET", re.compile(rf"/v2/{_NAME}/tags/list"), "ListTags", self._tags),
            *self._of(rf"/v2/{_NAME}/blobs/uploads/?", POST=("StartUpload", self._begin)),
            *self._of(
                rf"/v2/{_NAME}/blobs/uploads/(?P<upload>[0-9a-f-]+)",
                GET=("GetUpload", self._progress),
                PATCH=("UploadChunk", self._chunk),
                PUT=("FinishUpload", self._finish),
                DELETE=("CancelUpload", self._cancel),
            ),
            *self._of(
                rf"/v2/{_NAME}/blobs/(?P<digest>[^/]+)",
                HEAD=("HeadBlob", self._blob),
                GET=("GetBlob", self._blob),
                DELETE=("DeleteBlob", self._drop_blob),
            ),
            *self._of(
                rf"/v2/{_NAME}/manifests/(?P<reference>[^/]+)",
                HEAD=("HeadManifest", self._manifest),
                GET=("GetManifest", self._manifest),
                PUT=("PutManifest", self._put),
                DELETE=("DeleteManifest", self._drop),
            ),
        ]

    @staticmethod
    def _of(pattern: str, **methods: tuple[str, Handler]) -> Iterator[tuple[str, re.Pattern[str], str, Handler]]:
        compiled = re.compile(pattern)
        for method, (operation, handler) in methods.items():
            yield method, compiled, operation, handler

    # --- as a service -------------------------------------------------------------------------------------------

    def find(self, request: Request) -> Match | None:
        """Return the operation that the request means."""
        if not request.path.startswith("/v2") or (self._hosts and not self._hosts(request.headers.get("host", ""))):
            return None
        for method, pattern, operation, handler in self._routes:
            found = pattern.fullmatch(request.path) if method == request.method else None
            if found:
                params = found.groupdict()
                changing = method not in {"GET", "HEAD"}
                return Match("registry", operation, self._guarded(handler), params.get("name", ""), changing, params)
        return None

    def trouble(self, request: Request, match: Match, fault: Fault) -> Response:
        """Return a refusal in the registry's format."""
        code = {"throttle": "TOOMANYREQUESTS", "unavailable": "UNAVAILABLE", "denied": "DENIED"}[fault.kind]
        return refusal(code, status=fault.status)

    def _guarded(self, handler: Handler) -> Handler:
        def guarded(request: Request) -> Any:
            action = {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}.get(request.method, "push")
            refused = self._authorize(request, request.params.get("name", ""), action)
            return refused or handler(request)

        return guarded

    # --- for the cloud ------------------------------------------------------------------------------------------

    def image(self, repository: str, reference: str) -> Image | None:
        """Return the image under a tag or digest, its blobs in :attr:`store`; ``None`` if missing or an index."""
        with self._lock:
            digest = self._digest(repository, reference)
            if digest is None or self._repositories[repository].manifests[digest] in _INDEXES:
                return None
        return image_of(self.store, digest)

    def media_type(self, repository: str, reference: str) -> str | None:
        """Return the media type of the manifest under a tag or digest."""
        with self._lock:
            digest = self._digest(repository, reference)
            return None if digest is None else self._repositories[repository].manifests[digest]

    def digest(self, repository: str, reference: str) -> str | None:
        """Return the digest of the manifest under a tag or digest."""
        with self._lock:
            return self._digest(repository, reference)

    def repositories(self) -> dict[str, dict[str, list[str]]]:
        """Return for each repository the digests of its manifests with their tags, sorted."""
        with self._lock:
            return {
                name: {
                    digest: sorted(tag for tag, at in found.tags.items() if at == digest)
                    for digest in sorted(found.manifests)
                }
                for name, found in sorted(self._repositories.items())
            }

    def remove(self, repository: str, reference: str | None = None) -> bool:
        """Remove a tag, a manifest by digest with all its tags, or a whole repository; return whether it existed."""
        with self._lock:
            if reference is None:
                return self._repositories.pop(repository, None) is not None
            found = self._repositories.get(repository)
            digest = self._digest(repository, reference)
            if found is None or digest is None:
                return False
            if reference == digest:
                del found.manifests[digest]
                found.tags = {tag: at for tag, at in found.tags.items() if at != digest}
            else:
                del found.tags[reference]
            return True

    def _digest(self, repository: str, reference: str) -> str | None:
        found = self._repositories.get(repository)
        if found is None:
            return None
        digest = reference if reference in found.manifests else found.tags.get(reference)
        return digest if digest in found.manifests else None

    # --- reading ------------------------------------------------------------------------------------------------

    def _version(self, request: Request) -> Response:
        return Response.of_json({}, docker_distribution_api_version="registry/2.0")

    def _catalog(self, request: Request) -> Response:
        return Response.of_json({"repositories": sorted(self._repositories)})

    def _tags(self, request: Request) -> Response:
        name = request.params["name"]
        with self._lock:
            found = self._repositories.get(name)
            return Response.of_json({"name": name, "tags": sorted(found.tags)}) if found else refusal("NAME_UNKNOWN")

    def _blob(self, request: Request) -> Response:
        name, digest = request.params["name"], request.params["digest"]
        with self._lock:
            found = self._repositories.get(name)
            if found is None or digest not in found.blobs:
                return refusal("BLOB_UNKNOWN")
        if self.behind != "itself" and "signature" not in request.query:
            return Response(307, b"", {"location": f"{request.base_url}{request.path}?signature=x"})
        if self.behind == "store by GET" and request.method == "HEAD":
            return Response(403, b"")
        path = self.store.path(digest)
        headers = {
            "content-length": str(path.stat().st_size),
            "content-type": "application/octet-stream",
            "docker-content-digest": digest,
        }
        return Response(200, b"" if request.method == "HEAD" else _blocks(path), headers)

    def _manifest(self, request: Request) -> Response:
        name, reference = request.params["name"], request.params["reference"]
        with self._lock:
            digest = self._digest(name, reference)
            if digest is None:
                return refusal("MANIFEST_UNKNOWN")
            media_type = self._repositories[name].manifests[digest]
        data = self.store.read(digest) or b""
        headers = {"content-type": media_type, "content-length": str(len(data)), "docker-content-digest": digest}
        return Response(200, b"" if request.method == "HEAD" else data, headers)

    # --- writing ------------------------------------------------------------------------------------------------

    def _begin(self, request: Request) -> Response:
        name, digest, source = request.params["name"], request.query.get("mount"), request.query.get("from", "")
        if digest and source and self._mounted(request, name, digest, source):
            return self._created(request, name, digest)
        upload = self._uploads.begin()
        whole = request.query.get("digest")
        if whole:
            self._uploads.append(upload, request.content, None)
            return self._commit(request, name, upload, whole)
        return self._accepted(request, name, upload)

    def _mounted(self, request: Request, name: str, digest: str, source: str) -> bool:
        """Mount a blob and return whether that worked; without the right to read its source the client uploads it."""
        with self._lock:
            lender = self._repositories.get(source)
            if lender is None or digest not in lender.blobs or self._authorize(request, source, "pull"):
                return False
            self._repositories.setdefault(name, Repository()).blobs.add(digest)
            return True

    def _progress(self, request: Request) -> Response:
        upload = request.params["upload"]
        if not self._uploads.known(upload):
            return refusal("BLOB_UPLOAD_UNKNOWN")
        return self._accepted(request, request.params["name"], upload, 204)

    def _chunk(self, request: Request) -> Response:
        upload = request.params["upload"]
        if not self._uploads.known(upload):
            return refusal("BLOB_UPLOAD_UNKNOWN")
        if not self._uploads.append(upload, request.content, request.headers.get("content-range")):
            return refusal("BLOB_UPLOAD_INVALID", range=f"0-{max(self._uploads.size(upload) - 1, 0)}")
        return self._accepted(request, request.params["name"], upload)

    def _finish(self, request: Request) -> Response:
        upload = request.params["upload"]
        if not self._uploads.known(upload):
            return refusal("BLOB_UPLOAD_UNKNOWN")
        self._uploads.append(upload, request.content, None)
        return self._commit(request, request.params["name"], upload, request.query.get("digest", ""))

    def _cancel(self, request: Request) -> Response:
        known = self._uploads.known(request.params["upload"])
        self._uploads.drop(request.params["upload"])
        return Response(204) if known else refusal("BLOB_UPLOAD_UNKNOWN")

    def _commit(self, request: Request, name: str, upload: str, digest: str) -> Response:
        if not _DIGEST.fullmatch(digest) or self._uploads.digest(upload) != digest:
            self._uploads.drop(upload)
            return refusal("DIGEST_INVALID")
        self._uploads.move(upload, self.store.path(digest))
        with self._lock:
            self._repositories.setdefault(name, Repository()).blobs.add(digest)
        return self._created(request, name, digest)

    def _put(self, request: Request) -> Response:
        name, reference, data = request.params["name"], request.params["reference"], request.body
        document = _document(data)
        if document is None:
            return refusal("MANIFEST_INVALID", "manifest invalid")
        media_type = request.headers.get("content-type") or str(document.get("mediaType", ""))
        refused = self._accepts(name, media_type)
        if refused:
            return refused
        digest = digest_of(data)
        by_digest = reference.startswith("sha256:")
        if by_digest and reference != digest:
            return refusal("DIGEST_INVALID")
        if missing := self._missing(name, document):
            return refusal("MANIFEST_BLOB_UNKNOWN", f"unknown to the repository: {', '.join(missing)}")
        self.store.put(data)
        with self._lock:
            found = self._repositories.setdefault(name, Repository())
            found.manifests[digest] = media_type
            if not by_digest:
                found.tags[reference] = digest
        self._stored(name, digest, None if by_digest else reference, media_type)
        headers = {"location": f"/v2/{name}/manifests/{digest}", "docker-content-digest": digest}
        return Response(201, b"", headers)

    def _missing(self, name: str, document: dict[str, Any]) -> list[str]:
        """Return the digests that a manifest names and its repository lacks."""
        with self._lock:
            found = self._repositories.get(name, Repository())
            blobs, inner = _named(document)
            return [
                *(digest for digest in blobs if digest not in found.blobs),
                *(digest for digest in inner if digest not in found.manifests),
            ]

    def _drop(self, request: Request) -> Response:
        gone = self.remove(request.params["name"], request.params["reference"])
        return Response(202) if gone else refusal("MANIFEST_UNKNOWN")

    def _drop_blob(self, request: Request) -> Response:
        with self._lock:
            found = self._repositories.get(request.params["name"])
            if found is None or request.params["digest"] not in found.blobs:
                return refusal("BLOB_UNKNOWN")
            found.blobs.remove(request.params["digest"])
        return Response(202)

    def _accepted(self, request: Request, name: str, upload: str, status: int = 202) -> Response:
        headers = {
            "location": f"/v2/{name}/blobs/uploads/{upload}?_state={uuid.uuid4().hex}",
            "docker-upload-uuid": upload,
            "range": f"0-{max(self._uploads.size(upload) - 1, 0)}",
            "content-length": "0",
        }
        return Response(status, b"", headers)

    def _created(self, request: Request, name: str, digest: str) -> Response:
        return Response(201, b"", {"location": f"/v2/{name}/blobs/{digest}", "docker-content-digest": digest})


def _blocks(path: Path) -> Iterator[bytes]:
    file: BinaryIO
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block


def _document(data: bytes) -> dict[str, Any] | None:
    """Parse a manifest; ``None`` if it is not one, or does not name its parts by digest."""
    try:
        found: Any = parse(data, "the manifest")
    except UnreadableError:
        return None
    if not isinstance(found, dict):
        return None
    document = cast("dict[str, Any]", found)
    try:
        named = [digest for digests in _named(document) for digest in digests]
    except (TypeError, KeyError, AttributeError):
        return None
    return document if all(isinstance(digest, str) for digest in named) else None


def _named(document: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
    """Return the digests of the blobs and of the manifests that a manifest names."""
    blobs = [item["digest"] for item in (*document.get("layers", ()), document.get("config")) if item]
    return blobs, [item["digest"] for item in document.get("manifests", ())]
