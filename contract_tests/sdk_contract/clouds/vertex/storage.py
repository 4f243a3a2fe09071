"""Cloud Storage over its JSON API, on a folder: files that jobs write under ``/gcs`` are objects, as on the platform.

Generations are enforced (``ifGenerationMatch``), so that compare-and-swap works. Source:
https://cloud.google.com/storage/docs/json_api/v1/objects
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from ..app import Request, Response
from .api import Api, body_of
from .errors import Refusal
from .values import integer, part, text, texts
from .world import check_labels, number_of, stamp

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .values import Json
    from .world import Common

_LONGEST_PART = 255  # bytes that a file system accepts as one name
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")
_BOUNDARY = re.compile(r"boundary=['\"]?([^'\";]+)")
_KIND = re.compile(rb"(?i)content-type: *([^\r\n;]+)")
_BLOCK = 1 << 20


@dataclass
class Meta:
    """The metadata of an object."""

    generation: int
    content_type: str
    custom: dict[str, str]
    seen: tuple[int, int]  # modification time and size of the file that this describes
    metageneration: int = 1


def _ended(status: int) -> Response:
    """Return the refusal of an upload that has ended early, in the storage's own form, which has no status name.

    Source: https://github.com/googleapis/python-storage/issues/26 (certain)
    """
    told = {"domain": "global", "reason": "backendError", "message": "Backend Error"}
    return Response.of_json({"error": {"code": status, "message": "Backend Error", "errors": [told]}}, status)


class Storage:
    """The buckets of all projects; a bucket name is unique across all projects.

    Args:
        common: The state that all projects and regions share.
        folder: Where the objects are: one folder for each bucket.
        project: The project of requests that name none, and of buckets that the cloud itself makes.
        region: The location of a bucket that is created without a location.

    Attributes:
        kept: Objects that were deleted from buckets which retain them for some days, and bill for it.
        most: How many bytes of one chunk of an upload are stored; all when it is ``None``.
        ends: With these statuses it ends uploads at their next chunks, each time without a trace.
    """

    def __init__(self, common: Common, folder: Path, project: str, region: str) -> None:
        self.common, self.lock, self.folder = common, common.lock, folder
        self._project, self._region = project, region
        self.buckets: dict[str, Json] = {}
        self._hidden: set[str] = set()
        self._meta: dict[tuple[str, str], Meta] = {}
        self._generations = itertools.count(1_700_000_000_000_001)
        self.kept: list[str] = []
        self.most: int | None = None
        self.ends: list[int] = []
        self._changed: dict[tuple[str, str], float] = {}
        self._uploads: dict[str, tuple[str, Json, Path, Request]] = {}
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.api = self._routes()

    def _routes(self) -> Api:
        api = Api(self, "storage")
        for front in ("/storage/v1/b", "/upload/storage/v1/b"):
            api.on("POST", f"{front}/{{bucket}}/o", "InsertObject")(self.insert)
            api.on("PUT", f"{front}/{{bucket}}/o", "ResumeUpload")(self.resume)
        api.on("POST", "/storage/v1/b", "InsertBucket")(self.create_bucket)
        api.on("GET", "/storage/v1/b", "ListBuckets")(self.list_buckets)
        one = "/storage/v1/b/{bucket}"
        api.on("GET", one, "GetBucket")(self.get_bucket)
        api.on("PATCH", one, "PatchBucket")(self.patch_bucket)
        api.on("DELETE", one, "DeleteBucket")(self.delete_bucket)
        api.on("GET", f"{one}/o", "ListObjects")(self.every)
        api.on("GET", f"/download{one}/o/{{object:path}}", "GetObject")(self.get)
        api.on("GET", f"{one}/o/{{object:path}}", "GetObject")(self.get)
        api.on("PATCH", f"{one}/o/{{object:path}}", "PatchObject")(self.patch)
        api.on("DELETE", f"{one}/o/{{object:path}}", "DeleteObject")(self.delete)
        return api

    def advance(self) -> None:
        """Do nothing: nothing here takes time."""

    # --- buckets --------------------------------------------------------------------------------------------------

    def create_bucket(self, request: Request) -> Json:
        """Create a bucket."""
        body = body_of(request)
        name = str(body.get("name", ""))
        if not _BUCKET.fullmatch(name):
            raise Refusal("INVALID_ARGUMENT", f"Invalid bucket name: '{name}'")
        number = self._number(request)
        if self.buckets.get(name, {}).get("projectNumber", number) != number:
            text = "The requested bucket name is not available. The bucket namespace is shared by all users."
            raise Refusal("ALREADY_EXISTS", text)
        if name in self.buckets:
            raise Refusal("ALREADY_EXISTS", "Your previous request to create the named bucket succeeded.")
        check_labels(part(body, "labels"))
        return self.make_bucket(name, body, number)

    def _number(self, request: Request) -> str:
        """Return the number of the project that a request is about."""
        text = request.query.get("project") or self._project
        return text if text.isdigit() else number_of(text)

    def make_bucket(self, name: str, body: Json | None = None, number: str = "") -> Json:
        """Create a bucket without a request."""
        (self.folder / name).mkdir(mode=0o700, exist_ok=True)
        now, number = stamp(), number or number_of(self._project)
        self.buckets[name] = {
            "location": self._region.upper(), "labels": {}, "softDeletePolicy": {"retentionDurationSeconds": "604800"},
            **(body or {}), "kind": "storage#bucket", "id": name,
            "name": name, "projectNumber": number, "timeCreated": now, "updated": now, "etag": "CAE=",
            "metageneration": "1",
        }  # fmt: skip
        return self.buckets[name]

    def make_foreign(self, name: str, project: str = "999988887777", *, hidden: bool = False) -> None:
        """Create a bucket in another owner's project, where every caller may read and write objects.

        Args:
            name: Its name.
            project: Number of the project.
            hidden: Whether only its owner may see the bucket's metadata.
        """
        self.make_bucket(name)["projectNumber"] = project
        if hidden:
            self._hidden.add(name)

    def _bucket(self, name: str) -> Json:
        if name not in self.buckets:
            raise Refusal("NOT_FOUND", "The specified bucket does not exist.")
        return self.buckets[name]

    def list_buckets(self, request: Request) -> Json:
        """List the buckets of a project."""
        prefix, number = request.query.get("prefix", ""), self._number(request)
        return {
            "kind": "storage#buckets",
            "items": [
                one for name, one in self.buckets.items() if name.startswith(prefix) and one["projectNumber"] == number
            ],
        }

    def get_bucket(self, request: Request) -> Json:
        """Return one bucket."""
        if request.params["bucket"] in self._hidden:
            text = "mini@mini-project.iam does not have storage.buckets.get access to the Google Cloud Storage bucket."
            raise Refusal("PERMISSION_DENIED", text)
        return self._bucket(request.params["bucket"])

    def patch_bucket(self, request: Request) -> Json:
        """Change the labels of a bucket, or any of its other fields."""
        found = self._bucket(request.params["bucket"])
        found.update(body_of(request))
        return found

    def delete_bucket(self, request: Request) -> Response:
        """Delete an empty bucket."""
        name = request.params["bucket"]
        self._bucket(name)
        if next(self.names(name), None) is not None:
            raise Refusal("ABORTED", "The bucket you tried to delete is not empty.")
        self.drop_bucket(name)
        return Response(204)

    def drop_bucket(self, name: str) -> None:
        """Remove a bucket with all its objects, without a request."""
        del self.buckets[name]
        shutil.rmtree(self.folder / name, ignore_errors=True)

    # --- objects --------------------------------------------------------------------------------------------------

    def insert(self, request: Request) -> Json | Response:
        """Store an object that is sent whole, with its metadata, or in chunks."""
        bucket, query = request.params["bucket"], request.query
        self._bucket(bucket)
        kind = query.get("uploadType", "media")
        if kind == "resumable":
            return self._begin(bucket, request)
        about, content = self._parts(request) if kind == "multipart" else ({}, request.body)
        about.setdefault("contentType", request.headers.get("content-type", "application/octet-stream"))
        name = str(query.get("name") or about.get("name") or "")
        self._check_match(request, bucket, name)
        self._check_rate(bucket, name)
        path = self._path(bucket, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return self._stored(bucket, name, about)

    @staticmethod
    def _parts(request: Request) -> tuple[Json, bytes]:
        """Return the metadata and the bytes of a ``multipart/related`` body."""
        said = _BOUNDARY.search(request.headers["content-type"])
        if said is None:
            raise Refusal("INVALID_ARGUMENT", "The multipart body has no boundary.")
        _, description, rest = request.body.split(b"--" + said[1].encode(), 2)
        about: Json = json.loads(description.partition(b"\r\n\r\n")[2])
        head, _, media = rest.rpartition(b"\r\n--" + said[1].encode())[0].partition(b"\r\n\r\n")
        kind = _KIND.search(head)
        about.setdefault("contentType", kind[1].decode() if kind else "application/octet-stream")
        return about, media

    def _begin(self, bucket: str, request: Request) -> Response:
        about = body_of(request)
        about.setdefault("name", request.query.get("name"))
        self._check_match(request, bucket, str(about["name"]))
        about.setdefault("contentType", request.headers.get("x-upload-content-type", "application/octet-stream"))
        number = str(next(self.common.numbers))
        self._uploads[number] = (bucket, about, self.folder / f".upload-{number}", request)
        target = f"{request.base_url}{request.target}?uploadType=resumable&upload_id={number}"
        return Response(200, b"", {"location": target, "x-guploader-uploadid": number})

    def resume(self, request: Request) -> Json | Response:
        """Store the next chunk of an object."""
        found = self._uploads.get(request.query.get("upload_id", ""))
        if found is None:
            raise Refusal("NOT_FOUND", "No such upload.")
        bucket, about, path, first = found
        if self.ends and path.exists():
            path.unlink()
            del self._uploads[request.query["upload_id"]]
            return _ended(self.ends.pop())
        span, _, said = request.headers.get("content-range", "").partition("/")
        with path.open("ab") as file:
            begin = re.match(r"bytes (\d+)-", span)
            if begin and int(begin[1]) != file.tell():
                raise Refusal(
                    "INVALID_ARGUMENT", f"Invalid request. The upload has {file.tell()} bytes, not {begin[1]}."
                )
            file.write(request.body[: self.most])
        size = path.stat().st_size
        if said == "*" or (said.isdigit() and int(said) > size):
            return Response(308, b"", {"range": f"bytes=0-{size - 1}"} if size else {})
        name = str(about["name"])
        self._check_match(first, bucket, name)
        target = self._path(bucket, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
        del self._uploads[request.query["upload_id"]]
        return self._stored(bucket, name, about)

    def get(self, request: Request) -> Json | Response:
        """Return an object, or its metadata."""
        bucket, name = self._named(request)
        shown = self.about(bucket, name)
        self._check_match(request, bucket, name)
        if request.query.get("alt") != "media":
            return shown
        path = self._path(bucket, name)
        start, end, status = 0, path.stat().st_size, 200
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
        headers = {"content-type": shown["contentType"], "x-goog-hash": f"md5={shown['md5Hash']}"}
        if wanted and end:
            start, end, status = int(wanted[1]), min(end, int(wanted[2] or end) + 1), 206
            headers["content-range"] = f"bytes {start}-{end - 1}/{path.stat().st_size}"
        headers |= {"content-length": str(end - start), "x-goog-generation": shown["generation"]}
        return Response(status, _read(path, start, end), headers)

    def patch(self, request: Request) -> Json:
        """Change the metadata of an object."""
        bucket, name = self._named(request)
        self.about(bucket, name)
        self._check_rate(bucket, name)
        meta, body = self._meta[bucket, name], body_of(request)
        meta.custom = {**meta.custom, **texts(body, "metadata")}
        meta.content_type = text(body, "contentType") or meta.content_type
        meta.metageneration += 1
        return self.about(bucket, name)

    def delete(self, request: Request) -> Response:
        """Delete an object."""
        bucket, name = self._named(request)
        self.about(bucket, name)
        self._check_match(request, bucket, name)
        self._check_rate(bucket, name)
        path = self._path(bucket, name)
        path.unlink()
        if part(self.buckets[bucket], "softDeletePolicy").get("retentionDurationSeconds") != "0":
            self.kept.append(f"{bucket}/{name}")
        self._meta.pop((bucket, name), None)
        for folder in path.parents:
            if folder == self.folder / bucket or any(folder.iterdir()):
                break
            folder.rmdir()
        return Response(204)

    def every(self, request: Request) -> Json:
        """List the objects of a bucket, by prefix and down to a delimiter."""
        bucket, query = request.params["bucket"], request.query
        self._bucket(bucket)
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        names: list[str] = []
        folders: set[str] = set()
        for name in self.names(bucket):
            rest = name.removeprefix(prefix)
            if not name.startswith(prefix):
                continue
            if delimiter and delimiter in rest:
                folders.add(prefix + rest.partition(delimiter)[0] + delimiter)
            else:
                names.append(name)
        start, size = integer(query, "pageToken"), integer(query, "maxResults", 1000)
        items = [self.about(bucket, name) for name in names[start : start + size]]
        page: Json = {"kind": "storage#objects", "items": items}
        if folders:
            page["prefixes"] = sorted(folders)
        if start + size < len(names):
            page["nextPageToken"] = str(start + size)
        return page

    # --- helpers --------------------------------------------------------------------------------------------------

    def _named(self, request: Request) -> tuple[str, str]:
        bucket = request.params["bucket"]
        self._bucket(bucket)
        return bucket, unquote(request.target.partition("/o/")[2])

    def _path(self, bucket: str, name: str) -> Path:
        parts = name.split("/")
        too_long = any(len(part.encode("utf-8", "replace")) > _LONGEST_PART for part in parts)
        if not name or name.endswith("/") or any(part in {"", ".", ".."} for part in parts) or "\0" in name or too_long:
            raise Refusal("INVALID_ARGUMENT", f"This mini cloud cannot keep an object called {name!r}.")
        return self.folder.joinpath(bucket, *parts)

    def names(self, bucket: str) -> Iterator[str]:
        """Yield the names of the objects of a bucket."""
        root = self.folder / bucket
        yield from sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())

    def _check_match(self, request: Request, bucket: str, name: str) -> None:
        wanted = request.query.get("ifGenerationMatch")
        if wanted is None:
            return
        path = self._path(bucket, name)
        now = int(self.about(bucket, name)["generation"]) if path.is_file() else 0
        if integer(request.query, "ifGenerationMatch") != now:
            raise Refusal(
                "FAILED_PRECONDITION", "At least one of the pre-conditions you specified did not hold.", status=412
            )

    def _check_rate(self, bucket: str, name: str) -> None:
        """Refuse a second change of one object within a second.

        Source: https://cloud.google.com/storage/docs/gcs429
        """
        pace = self.common.pace
        if not pace.due(self._changed.get((bucket, name), -1.0), 1.0):
            text = f"The object {bucket}/{name} exceeded the rate limit for object mutation operations."
            raise Refusal("RESOURCE_EXHAUSTED", text, reason="rateLimitExceeded")
        self._changed[bucket, name] = pace.clock()

    def _stored(self, bucket: str, name: str, about: Json) -> Json:
        stat = self._path(bucket, name).stat()
        custom = {str(key): str(value) for key, value in part(about, "metadata").items()}
        self._meta[bucket, name] = Meta(
            next(self._generations), str(about["contentType"]), custom, (stat.st_mtime_ns, stat.st_size)
        )
        return self.about(bucket, name)

    def about(self, bucket: str, name: str) -> Json:
        """Return the metadata of an object; one that a job wrote or changed counts as new.

        Raises:
            Refusal: It does not exist.
        """
        path = self._path(bucket, name)
        if not path.is_file():
            raise Refusal("NOT_FOUND", f"No such object: {bucket}/{name}")
        stat = path.stat()
        seen = (stat.st_mtime_ns, stat.st_size)
        meta = self._meta.get((bucket, name))
        if meta is None or meta.seen != seen:
            meta = self._meta[bucket, name] = Meta(next(self._generations), "application/octet-stream", {}, seen)
        data = path.read_bytes()
        written = stamp(stat.st_mtime)
        return {
            "kind": "storage#object", "id": f"{bucket}/{name}/{meta.generation}", "name": name, "bucket": bucket,
            "generation": str(meta.generation), "metageneration": str(meta.metageneration), "size": str(len(data)),
            "contentType": meta.content_type, "timeCreated": written, "updated": written, "etag": f"C{meta.generation}",
            "md5Hash": base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode(),
            "metadata": meta.custom, "storageClass": "STANDARD",
        }  # fmt: skip


def _read(path: Path, start: int, end: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(start)
        while start < end and (block := file.read(min(_BLOCK, end - start))):
            start += len(block)
            yield block


__all__ = ["Storage"]
