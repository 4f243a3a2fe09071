"""The bucket: data of jobs by content, what jobs leave, and leases.

::

    PREFIX/data/ID/...        the files of one input; ID is made of their names and contents
    PREFIX/data/ID.complete   written last: what has none is not whole
    PREFIX/jobs/NAME/...      what SageMaker writes of a job
    PREFIX/locks/NAME         leases
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from typing import TYPE_CHECKING, Any

from sdk import bounded, foreign
from sdk.adapter import Labels, LeaseRecord, Live, Resource, spec_hash
from sdk.errors import ConfigError, ConflictError, NotFoundError, UnreadableError

from ._bodies import to_tags
from ._errors import PROVIDER, gone, translate
from ._plan import DATA

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sdk.adapter import Materials
    from sdk.identities import Identities
    from sdk.types import Json

    from ._aws import Aws

_BATCH = 1000  # keys of one DeleteObjects
_DONE = ".complete"


class Storage:
    """The bucket of a target; made when it is first written to, if the target names none of its own.

    Args:
        aws: The way to AWS.
        owner: The label value of what is listed.
        identities: Whose buckets were seen before.
    """

    def __init__(self, aws: Aws, owner: str, identities: Identities) -> None:
        self.aws = aws
        self.owner = owner
        self._identities = identities
        self._known: dict[str, Path] = {}  # what was found where, by digest

    @property
    def place(self) -> str:
        """``s3://BUCKET/PREFIX``."""
        return f"s3://{self.aws.bucket}/{self.aws.options.prefix}"

    def key(self, path: str) -> str:
        """A key in the bucket."""
        return f"{self.aws.options.prefix}/{path}"

    def find(self, path: str) -> tuple[bytes, dict[str, Any]] | None:
        """A small object, and what S3 says of it; ``None`` when it, or the bucket, is not there."""
        about = self.aws.find("s3", "get_object", path, Bucket=self.aws.bucket, Key=self.key(path))
        if about is None:
            return None
        with translate("GetObject", path):
            return _small(about["Body"], path), about

    def put(self, path: str, body: bytes, **params: Any) -> dict[str, Any]:
        """Write an object, and make the bucket when it is missing."""
        request: dict[str, Any] = {"Bucket": self.aws.bucket, "Key": self.key(path), "Body": body, **params}
        name, identity = self._identity()
        self._identities.compare(name, identity)
        try:
            stored = self.aws.call("s3", "put_object", path, **request)
        except NotFoundError:
            if self.aws.options.bucket is not None or self._exists():
                raise
            self._make()
            stored = self.aws.call("s3", "put_object", path, **request)
        self._identities.once(name, lambda: identity)
        return stored

    def verify(self) -> None:
        """Refuse a bucket of somebody else before a job is told to write there.

        Raises:
            SecurityError: It is one, or was one of another account before.
        """
        name, identity = self._identity()

        def look() -> dict[str, str]:
            self._identities.compare(name, identity)
            self.aws.call("s3", "head_bucket", self.aws.bucket, Bucket=self.aws.bucket)
            return identity

        with contextlib.suppress(NotFoundError):
            self._identities.once(name, look)

    def _identity(self) -> tuple[str, dict[str, str]]:
        """The bucket, and the owner that S3 is asked to enforce with every call."""
        return f"s3://{self.aws.bucket}", {"account": self.aws.bucket_owner}

    def _exists(self) -> bool:
        return self.aws.find("s3", "head_bucket", self.aws.bucket, Bucket=self.aws.bucket) is not None

    def _make(self) -> None:
        name, region = self.aws.bucket, self.aws.region
        where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        try:
            self.aws.call("s3", "create_bucket", name, Bucket=name, **where)
        except ConflictError:
            return  # somebody else was faster
        tags = {"TagSet": to_tags({"mlport": "1"})}
        self.aws.call("s3", "put_bucket_tagging", name, Bucket=name, Tagging=tags)

    def keys(self, path: str) -> Iterator[str]:
        """All keys below a path, whole; none where there is no bucket."""
        try:
            for page in self.aws.pages("s3", "list_objects_v2", path, Bucket=self.aws.bucket, Prefix=self.key(path)):
                yield from (str(item["Key"]) for item in page.get("Contents") or ())
        except NotFoundError:
            return

    def remove(self, path: str) -> None:
        """Delete everything below a path."""
        keys = list(self.keys(path))
        for start in range(0, len(keys), _BATCH):
            batch = [{"Key": key} for key in keys[start : start + _BATCH]]
            self.aws.call(
                "s3", "delete_objects", path, Bucket=self.aws.bucket, Delete={"Objects": batch, "Quiet": True}
            )

    def download(self, key: str, file: Path) -> None:
        """Fetch one object, by its whole key."""
        with self.aws.translated("s3", "GetObject", key):
            self.aws.client("s3").download_file(self.aws.bucket, key, str(file))

    # --- data of jobs

    def plan(self, name: str, path: Path, labels: Labels) -> Resource:
        """One input as a resource; reads all of it, to know what it is."""
        files = list(_files(path))
        digest = hashlib.sha256()
        for relative, file in files:
            with file.open("rb") as stream:
                digest.update(f"{relative}\0{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
        content = digest.hexdigest()
        self._known[content] = path
        spec: dict[str, Json] = {"digest": content, "files": len(files)}
        return Resource(DATA, content[:32], spec, labels, summary=f"{name}: {len(files)} file(s) to S3")

    def read_data(self, name: str) -> Live | None:
        """An input, if all of it is there."""
        found = self.find(f"data/{name}{_DONE}")
        if found is None:
            return None
        text, about = found
        spec: dict[str, Json] = foreign.table(text, f"the record of input {name}")
        return Live(
            DATA,
            name,
            "ready",
            raw=f"{self.place}/data/{name}/",
            spec=spec,
            labels=Labels("shared", self.owner, "", spec=spec_hash(spec)[:32]),
            created_at=about["LastModified"].timestamp(),
        )

    def make_data(self, resource: Resource, materials: Materials) -> None:
        """Upload an input, then say that it is whole."""
        spec: Any = resource.spec or {}
        path = self._known.get(str(spec["digest"]))
        if path is None:
            raise ConfigError(
                f"the data {resource.id} is not at hand", hint="run the same verb again", provider=PROVIDER
            )
        marker = f"data/{resource.id}{_DONE}"
        self.put("data/.keep", b"")  # makes the bucket before a large file is on its way
        for number, (relative, file) in enumerate(_files(path)):
            if materials.progress:
                materials.progress(f"upload {relative}", number, int(spec["files"]))
            key = self.key(f"data/{resource.id}/{relative}")
            with self.aws.translated("s3", "PutObject", key):
                self.aws.client("s3").upload_file(str(file), self.aws.bucket, key)
        self.put(marker, json.dumps(spec).encode())

    def delete_data(self, name: str) -> None:
        """Delete an input; first what says that it is whole.

        Raises:
            NotFoundError: It is not there.
        """
        if self.read_data(name) is None:
            raise gone(DATA, name)
        self.remove(f"data/{name}{_DONE}")
        self.remove(f"data/{name}/")

    def every_data(self) -> Iterator[Live]:
        """All inputs that are whole."""
        for key in self.keys("data/"):
            name = key.rpartition("/")[2]
            if name.endswith(_DONE):
                found = self.read_data(name.removesuffix(_DONE))
                if found is not None:
                    yield found

    # --- leases

    def lease_read(self, key: str) -> LeaseRecord | None:
        """The stored lease."""
        found = self.find(key)
        return None if found is None else LeaseRecord(found[0].decode(), found[1]["ETag"])

    def lease_write(self, key: str, body: str, expected: str | None) -> LeaseRecord:
        """Write a lease if the stored one is the expected one, by S3's conditional writes.

        Raises:
            ConflictError: It is not.
        """
        condition = {"IfNoneMatch": "*"} if expected is None else {"IfMatch": expected}
        try:
            about = self.put(key, body.encode(), **condition)
        except NotFoundError as error:
            raise ConflictError(
                f"the lease {key} is gone", provider=PROVIDER, operation="PutObject", resource=key
            ) from error
        return LeaseRecord(body, about["ETag"])

    def lease_delete(self, key: str, expected: str) -> None:
        """Delete a lease if it is the expected one."""
        name = self.key(key)
        self.aws.call("s3", "delete_object", key, Bucket=self.aws.bucket, Key=name, IfMatch=expected)


def _small(body: Any, path: str) -> bytes:
    """The content of a small object.

    Raises:
        UnreadableError: It is none of ours.
    """
    data: bytes = body.read(bounded.SMALL.most + 1)
    if len(data) > bounded.SMALL.most:
        body.close()
        raise UnreadableError(
            f"{path} cannot be read: it has more than {bounded.SMALL.most:,} bytes", provider=PROVIDER
        )
    return data


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    """The files of an input with the names they have in the channel, sorted."""
    if path.is_file():
        yield path.name, path
        return
    for file in sorted(path.rglob("*")):
        if file.is_file():
            yield file.relative_to(path).as_posix(), file
