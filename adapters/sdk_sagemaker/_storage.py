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
from sdk.errors import AuthError, ConfigError, ConflictError, NotFoundError, UnreadableError
from sdk.transfers import Meter

from ._bodies import to_tags
from ._errors import PROVIDER, Answer, from_answer, gone, translate
from ._plan import DATA
from ._transfer import STALE_S, Transfers, check_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from sdk.adapter import Materials
    from sdk.identities import Identities
    from sdk.types import Json

    from ._aws import Aws

_BATCH = 1000  # keys of one DeleteObjects
_DONE = ".complete"
UNFINISHED = ".unfinished"
"""What follows the id of an input in the name of what is left of its upload: never taken for the input itself."""


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
        self._transfers = Transfers(aws)

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
        try:
            return self._put(path, body, **params)
        except NotFoundError:
            if self.aws.options.bucket is not None or self._exists():
                raise
            self._make()
            return self._put(path, body, **params)

    def _put(self, path: str, body: bytes, **params: Any) -> dict[str, Any]:
        name, identity = self._identity()
        self._identities.compare(name, identity)
        stored = self.aws.call(
            "s3", "put_object", path, Bucket=self.aws.bucket, Key=self.key(path), Body=body, **params
        )
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
        """Make the bucket, without a tag where this identity may make one but not tag it."""
        self.aws.defaults.make_new_bucket()
        name, region = self.aws.bucket, self.aws.region
        where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        try:
            self.aws.call("s3", "create_bucket", name, Bucket=name, **where)
        except ConflictError:
            return  # somebody else was faster
        tags = {"TagSet": to_tags({"mlport": "1"})}
        with contextlib.suppress(AuthError):
            self.aws.call("s3", "put_bucket_tagging", name, Bucket=name, Tagging=tags)

    def objects(self, path: str) -> Iterator[Mapping[str, Any]]:
        """All objects below a path as S3 lists them; none where there is no bucket."""
        for page in self._pages(Prefix=self.key(path)):
            yield from page.get("Contents") or ()

    def _pages(self, **query: Any) -> Iterator[Mapping[str, Any]]:
        with contextlib.suppress(NotFoundError):
            yield from self.aws.pages("s3", "list_objects_v2", self.aws.bucket, Bucket=self.aws.bucket, **query)

    def remove(self, path: str) -> None:
        """Delete everything below a path, parts of dead uploads included.

        Raises:
            PlatformError: Some of it was not deleted: S3 answers 200 and names those objects in the body.
        """
        keys = [str(item["Key"]) for item in self.objects(path)]
        for start in range(0, len(keys), _BATCH):
            batch = [{"Key": key} for key in keys[start : start + _BATCH]]
            answer = self.aws.call(
                "s3", "delete_objects", path, Bucket=self.aws.bucket, Delete={"Objects": batch, "Quiet": True}
            )
            _check_deleted(answer.get("Errors") or (), path)

    def download(self, key: str, file: Path) -> None:
        """Fetch one object, by its whole key."""
        self._transfers.download(key, file)

    # --- data of jobs

    def plan(self, name: str, path: Path, labels: Labels) -> Resource:
        """One input as a resource; reads all of it, to know what it is."""
        files = list(_files(path))
        for relative, _ in files:
            check_name(relative)
        digest = hashlib.sha256()
        for relative, file in files:
            with file.open("rb") as stream:
                digest.update(f"{relative}\0{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
        content = digest.hexdigest()
        self._known[content] = path
        spec: dict[str, Json] = {"digest": content, "files": len(files)}
        return Resource(DATA, content[:32], spec, labels, summary=f"{name}: {len(files)} file(s) to S3")

    def read_data(self, name: str) -> Live | None:
        """An input, if all of it is there; under a name of its own what is left of an upload that was given up."""
        if name.endswith(UNFINISHED):
            return self._read_unfinished(name.removesuffix(UNFINISHED))
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
        files = {self.key(f"data/{resource.id}/{relative}"): file for relative, file in _files(path)}
        self.put("data/.keep", b"")  # makes the bucket before a large file is on its way
        missing = self._missing(resource.id, files)
        meter = Meter(materials.progress, f"upload {len(missing)} file(s) to S3", _size(missing))
        self._transfers.upload(missing, meter)
        if left := self._missing(resource.id, files):
            raise ConflictError(
                f"the data {resource.id} was changed during its upload: {next(iter(left))} is missing or of another "
                "size",
                hint="run the same verb again, which uploads only what is missing",
                provider=PROVIDER,
            )
        self.put(f"data/{resource.id}{_DONE}", json.dumps(spec).encode())

    def _missing(self, name: str, files: Mapping[str, Path]) -> dict[str, Path]:
        """The files of an input that S3 does not have: the id names the contents, so the sizes tell which are whole."""
        there = {str(item["Key"]): int(item["Size"]) for item in self.objects(f"data/{name}/")}
        return {key: file for key, file in files.items() if there.get(key) != file.stat().st_size}

    def delete_data(self, name: str) -> None:
        """Delete an input; first what says that it is whole.

        Raises:
            NotFoundError: It is not there.
        """
        if self.read_data(name) is None:
            raise gone(DATA, name)
        whole = name.removesuffix(UNFINISHED)
        self.remove(f"data/{whole}{_DONE}")
        self.remove(f"data/{whole}/")
        self._transfers.drop_parts(self.key(f"data/{whole}/"))

    def every_data(self) -> Iterator[Live]:
        """All inputs, also what is left of uploads that never came to their end; one look at each, not at each file."""
        whole: set[str] = set()
        begun: set[str] = set()
        for page in self._pages(Prefix=self.key("data/"), Delimiter="/"):
            names = (str(item["Key"]).rpartition("/")[2] for item in page.get("Contents") or ())
            whole |= {name.removesuffix(_DONE) for name in names if name.endswith(_DONE)}
            begun |= {str(one["Prefix"]).rstrip("/").rpartition("/")[2] for one in page.get("CommonPrefixes") or ()}
        for name in [*sorted(whole), *(f"{one}{UNFINISHED}" for one in sorted(begun - whole))]:
            found = self.read_data(name)
            if found is not None:
                yield found

    def _read_unfinished(self, name: str) -> Live | None:
        """What is left of an upload, once it is certain that nothing is on its way any more."""
        if self.find(f"data/{name}{_DONE}") is not None:
            return None
        last = max((item["LastModified"].timestamp() for item in self.objects(f"data/{name}/")), default=None)
        if last is None or self.aws.server_time() - last < STALE_S:
            return None
        return Live(
            DATA,
            f"{name}{UNFINISHED}",
            "failed",
            raw=f"{self.place}/data/{name}/",
            labels=Labels("shared", self.owner, ""),
            created_at=last,
            reason="its upload never came to its end",
        )

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


def _check_deleted(errors: Sequence[Mapping[str, Any]], path: str) -> None:
    for one in errors:
        answer = Answer(str(one.get("Code", "")), f"{one.get('Key')}: {one.get('Message', '')}", 200)
        raise from_answer(answer, "DeleteObjects", f"{path} ({len(errors)} not deleted)")


def _size(files: Mapping[str, Path]) -> int:
    return sum(file.stat().st_size for file in files.values())


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    """The files of an input with the names they have in the channel, sorted."""
    if path.is_file():
        yield path.name, path
        return
    for file in sorted(path.rglob("*")):
        if file.is_file():
            yield file.relative_to(path).as_posix(), file
