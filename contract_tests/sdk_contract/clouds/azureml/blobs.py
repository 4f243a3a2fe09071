"""The blob storage of the workspace: containers of real files, accessible with signatures that this cloud issued.

Source: https://learn.microsoft.com/rest/api/storageservices/blob-service-rest-api
"""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
import time
from email.utils import formatdate
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlencode
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from ..app import Match, Response

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ..app import Request
    from ..faults import Fault

ACCOUNT = "miniaccount"
DEFAULT = "azureml-blobstore"
_LIFE_S = 3600
_PAGE = 5000
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_NO_XML = re.compile("[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\ufffe\\uffff]")
_TROUBLE = {
    "throttle": (503, "ServerBusy"),
    "unavailable": (500, "InternalError"),
    "denied": (403, "AuthorizationFailure"),
}


def refused(status: int, code: str) -> Response:
    """Return a refusal in the storage's format."""
    body = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{code}</Message></Error>'
    return Response(status, body.encode(), {"content-type": "application/xml", "x-ms-error-code": code})


def _name(name: str) -> str:
    """Return the element with a name; what XML cannot hold is percent-encoded, since version 2021-02-12."""
    return f'<Name Encoded="true">{quote(name)}</Name>' if _NO_XML.search(name) else f"<Name>{escape(name)}</Name>"


class Blobs:
    """Containers as folders; one of the services of the cloud.

    Args:
        folder: Where the containers are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.RLock()
        self._signatures: dict[str, tuple[str, float]] = {}
        self._metadata: dict[Path, dict[str, str]] = {}
        self._blocks: dict[tuple[Path, str], bytes] = {}
        self._etags: dict[Path, str] = {}
        self._folders: dict[str, set[str]] = {}

    # --- for the cloud

    def signature(self, container: str) -> str:
        """Return a shared access signature for a container, as a query."""
        sig = secrets.token_urlsafe(24)
        with self._lock:
            self._signatures[sig] = (container, time.time() + _LIFE_S)
        return urlencode(
            {"sv": "2023-11-03", "sr": "c", "sp": "racwdl", "se": str(int(time.time()) + _LIFE_S), "sig": sig}
        )

    def path(self, container: str, name: str = "") -> Path:
        """Return the path of a blob on disk.

        Raises:
            ValueError: The name leads out of the container.
        """
        parts = [part for part in name.split("/") if part]
        if {".", ".."} & set(parts):
            raise ValueError(f"blob name {name!r}")
        return self.folder.joinpath(container, *parts)

    def names(self, container: str) -> list[str]:
        """Return the names of all blobs of a container, sorted."""
        root = self.folder / container
        found = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
        return sorted(found | self._folders.get(container, set()))

    # --- as a service

    def find(self, request: Request) -> Match | None:
        """Return the operation that the request means, which depends on the query more than on the method."""
        head, _, rest = request.path.removeprefix("/").partition("/")
        if head != ACCOUNT:
            return None
        container, _, name = rest.partition("/")
        comp = request.query.get("comp", "")
        operation, handler = self._operation(request.method, comp, name)
        changing = request.method not in {"GET", "HEAD"}
        return Match(
            "blob",
            operation,
            self._guarded(handler),
            name or container,
            changing,
            {"container": container, "name": name},
        )

    def _operation(self, method: str, comp: str, name: str) -> tuple[str, Callable[[Request], Response]]:
        known: dict[tuple[str, str], tuple[str, Callable[[Request], Response]]] = {
            ("HEAD", ""): ("HeadBlob", self._get),
            ("GET", ""): ("GetBlob", self._get),
            ("PUT", ""): ("PutBlob", self._put),
            ("PUT", "block"): ("PutBlock", self._block),
            ("PUT", "blocklist"): ("PutBlockList", self._commit),
            ("PUT", "metadata"): ("SetMetadata", self._set_metadata),
            ("DELETE", ""): ("DeleteBlob", self._delete),
        }
        if not name:
            return ("ListBlobs", self._list) if (method, comp) == ("GET", "list") else ("GetContainer", self._container)
        return known.get((method, comp), ("Unknown", lambda _: refused(400, "UnsupportedHttpVerb")))

    def trouble(self, request: Request, match: Match, fault: Fault) -> Response:
        """Return the reply to a planned fault in the storage's format."""
        status, code = _TROUBLE[fault.kind]
        return refused(fault.status or status, code)

    def _guarded(self, handler: Callable[[Request], Response]) -> Callable[[Request], Response]:
        def guarded(request: Request) -> Response:
            query = dict(parse_qsl(request.query_string))
            with self._lock:
                container, until = self._signatures.get(query.get("sig", ""), ("", 0.0))
                if container != request.params["container"] or until < time.time():
                    return refused(403, "AuthenticationFailed")
                return handler(request)

        return guarded

    def _of(self, request: Request) -> Path:
        return self.path(request.params["container"], request.params["name"])

    # --- reading

    def _container(self, request: Request) -> Response:
        return Response(200, b"", {"etag": '"0x1"', "last-modified": formatdate(usegmt=True)})

    def _headers(self, path: Path) -> dict[str, str]:
        found = path.stat()
        return {
            "etag": self._etag(path),
            "last-modified": formatdate(found.st_mtime, usegmt=True),
            "content-type": "application/octet-stream",
            "x-ms-blob-type": "BlockBlob",
            "accept-ranges": "bytes",
            **{f"x-ms-meta-{key}": value for key, value in self._metadata.get(path, {}).items()},
        }

    def _etag(self, path: Path) -> str:
        """Return the etag: set at each write; for a file that a job wrote, derived from its size and time."""
        found = path.stat()
        return (
            self._etags.get(path)
            or f'"0x{hashlib.sha256(f"{found.st_mtime_ns}/{found.st_size}".encode()).hexdigest()[:15]}"'
        )

    def _get(self, request: Request) -> Response:
        path = self._of(request)
        if not path.is_file():
            return refused(404, "BlobNotFound")
        data, headers = path.read_bytes(), self._headers(path)
        asked = _RANGE.fullmatch(request.headers.get("x-ms-range") or request.headers.get("range", ""))
        if request.method == "HEAD":
            return Response(200, b"", {**headers, "content-length": str(len(data))})
        if asked is None:
            return Response(200, data, headers)
        begin, end = int(asked[1]), min(int(asked[2] or len(data) - 1), len(data) - 1)
        if begin >= len(data):
            return refused(416, "InvalidRange")
        return Response(206, data[begin : end + 1], {**headers, "content-range": f"bytes {begin}-{end}/{len(data)}"})

    def _list(self, request: Request) -> Response:
        container, prefix = request.params["container"], request.query.get("prefix", "")
        after, most = request.query.get("marker", ""), int(request.query.get("maxresults") or _PAGE)
        names = (name for name in self.names(container) if name.startswith(prefix))
        delimiter = request.query.get("delimiter", "")
        found = sorted({_down_to(delimiter, name, prefix) for name in names})
        found = [name for name in found if name > after]
        told = "metadata" in request.query.get("include", "").split(",")
        rows = "".join(
            f"<BlobPrefix>{_name(name)}</BlobPrefix>"
            if delimiter and name.endswith(delimiter)
            else self._row(container, name, told=told)
            for name in found[:most]
        )
        more = found[most - 1] if len(found) > most else ""
        body = (
            f'<?xml version="1.0" encoding="utf-8"?><EnumerationResults ContainerName="{container}">'
            f"<Prefix>{escape(prefix)}</Prefix><Blobs>{rows}</Blobs><NextMarker>{escape(more)}</NextMarker></EnumerationResults>"
        )
        return Response(200, body.encode(), {"content-type": "application/xml"})

    def mark_folder(self, container: str, name: str) -> None:
        """Mark a blob as the empty one that stands for a folder, as tools that mount storage write it."""
        with self._lock:
            self._folders.setdefault(container, set()).add(name)

    def _row(self, container: str, name: str, *, told: bool) -> str:
        path = self.path(container, name)
        found = path.stat()
        metadata = self._metadata.get(path, {})
        if name in self._folders.get(container, ()):
            metadata = {"hdi_isfolder": "true"}
        meta = "".join(f"<{key}>{escape(value)}</{key}>" for key, value in metadata.items()) if told else ""
        return (
            f"<Blob>{_name(name)}<Properties><Last-Modified>{formatdate(found.st_mtime, usegmt=True)}"
            f"</Last-Modified><Etag>{escape(self._etag(path))}</Etag><Content-Length>{found.st_size}</Content-Length>"
            f"<BlobType>BlockBlob</BlobType></Properties><Metadata>{meta}</Metadata></Blob>"
        )

    # --- writing

    def _changed_since(self, request: Request, path: Path) -> Response | None:
        """Return the refusal when a blob is not in the state that the client expects."""
        here = path.is_file()
        if request.headers.get("if-none-match") == "*" and here:
            return refused(409, "BlobAlreadyExists")
        known = request.headers.get("if-match")
        if known and (not here or known not in {"*", self._etag(path)}):
            return refused(412, "ConditionNotMet")
        return None

    def _stored(self, request: Request, path: Path, data: bytes) -> Response:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        lead = "x-ms-meta-"
        self._metadata[path] = {k.removeprefix(lead): v for k, v in request.headers.items() if k.startswith(lead)}
        self._etags[path] = f'"0x{secrets.token_hex(8)}"'
        return Response(201, b"", {"etag": self._etags[path], "last-modified": formatdate(usegmt=True)})

    def _put(self, request: Request) -> Response:
        path = self._of(request)
        return self._changed_since(request, path) or self._stored(request, path, request.body)

    def _block(self, request: Request) -> Response:
        self._blocks[self._of(request), request.query["blockid"]] = request.body
        return Response(201)

    def _commit(self, request: Request) -> Response:
        path = self._of(request)
        ids = [node.text or "" for node in ET.fromstring(request.body)]
        missing = [one for one in ids if (path, one) not in self._blocks]
        if missing:
            return refused(400, "InvalidBlockList")
        refusal = self._changed_since(request, path)
        return refusal or self._stored(request, path, b"".join(self._blocks.pop((path, one)) for one in ids))

    def _set_metadata(self, request: Request) -> Response:
        path = self._of(request)
        if not path.is_file():
            return refused(404, "BlobNotFound")
        lead = "x-ms-meta-"
        self._metadata[path] = {k.removeprefix(lead): v for k, v in request.headers.items() if k.startswith(lead)}
        return Response(200, b"", {"etag": self._etag(path), "last-modified": formatdate(usegmt=True)})

    def _delete(self, request: Request) -> Response:
        path = self._of(request)
        if not path.is_file():
            return refused(404, "BlobNotFound")
        refusal = self._changed_since(request, path)
        if refusal is None:
            path.unlink()
            self._metadata.pop(path, None)
            self._etags.pop(path, None)
        return refusal or Response(202)


def _down_to(delimiter: str, name: str, prefix: str) -> str:
    """Return a name, or the folder that contains it below a prefix."""
    head, found, _ = name.removeprefix(prefix).partition(delimiter) if delimiter else (name, "", "")
    return f"{prefix}{head}{found}" if delimiter else name
