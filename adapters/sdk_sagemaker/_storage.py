"""The bucket of a target: inputs of jobs, results of jobs, and leases.

::

    PREFIX/data/...           inputs: see sdk.adapter.shared.uploads
        PREFIX/jobs/NAME/...      results that SageMaker writes for a job
    PREFIX/locks/NAME         leases
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from sdk.adapter import LeaseRecord
from sdk.errors import AuthError, ConflictError, NotFoundError, UnreadableError
from sdk.util import bounded

from ._bodies import to_tags
from ._errors import PROVIDER, Answer, from_answer, translate
from ._transfer import Transfers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from sdk.adapter.identities import Identities

    from ._aws import Aws

_BATCH = 1000  # keys per DeleteObjects call


class Storage:
    """The bucket of a target; created at the first write, unless the target names a bucket.

    Args:
        aws: The connection to AWS.
        identities: The recorded owners of buckets used before.
    """

    def __init__(self, aws: Aws, identities: Identities) -> None:
        self.aws = aws
        self._identities = identities
        self.transfers = Transfers(aws)

    @property
    def place(self) -> str:
        """The address of the target's folder, ``s3://BUCKET/PREFIX``."""
        return f"s3://{self.aws.bucket}/{self.aws.options.prefix}"

    def key(self, path: str) -> str:
        """Return the key in the bucket for a path below the prefix."""
        return f"{self.aws.options.prefix}/{path}"

    def find(self, path: str) -> tuple[bytes, dict[str, Any]] | None:
        """Return a small object and S3's metadata of it, or ``None`` if the object or the bucket does not exist."""
        about = self.aws.find("s3", "get_object", path, Bucket=self.aws.bucket, Key=self.key(path))
        if about is None:
            return None
        with translate("GetObject", path):
            return _small(about["Body"], path), about

    def put(self, path: str, body: bytes, **params: Any) -> dict[str, Any]:
        """Write an object; create the bucket if it is missing."""
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
        """Refuse a bucket of another account before a job is started that writes to it.

        Raises:
            SecurityError: The bucket belongs to another account, or did so before.
        """
        name, identity = self._identity()

        def look() -> dict[str, str]:
            self._identities.compare(name, identity)
            self.aws.call("s3", "head_bucket", self.aws.bucket, Bucket=self.aws.bucket)
            return identity

        with contextlib.suppress(NotFoundError):
            self._identities.once(name, look)

    def _identity(self) -> tuple[str, dict[str, str]]:
        """Return the bucket, and the owner that S3 enforces with every call."""
        return f"s3://{self.aws.bucket}", {"account": self.aws.bucket_owner}

    def _exists(self) -> bool:
        return self.aws.find("s3", "head_bucket", self.aws.bucket, Bucket=self.aws.bucket) is not None

    def _make(self) -> None:
        """Create the bucket; leave out its tag if this identity may create a bucket but not tag it."""
        self.aws.defaults.make_new_bucket()
        name, region = self.aws.bucket, self.aws.region
        where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        try:
            self.aws.call("s3", "create_bucket", name, Bucket=name, **where)
        except ConflictError:
            return  # another client was faster
        tags = {"TagSet": to_tags({"mlport": "1"})}
        with contextlib.suppress(AuthError):
            self.aws.call("s3", "put_bucket_tagging", name, Bucket=name, Tagging=tags)

    def objects(self, path: str) -> Iterator[Mapping[str, Any]]:
        """Yield all objects below a path as S3 lists them; none if the bucket does not exist."""
        for page in self.pages(Prefix=self.key(path)):
            yield from page.get("Contents") or ()

    def pages(self, **query: Any) -> Iterator[Mapping[str, Any]]:
        """Yield a list of objects, page by page; none if the bucket does not exist."""
        with contextlib.suppress(NotFoundError):
            yield from self.aws.pages("s3", "list_objects_v2", self.aws.bucket, Bucket=self.aws.bucket, **query)

    def remove(self, path: str) -> None:
        """Delete everything below a path.

        Raises:
            PlatformError: Some objects were not deleted: S3 answers 200 and names those objects in the body.
        """
        keys = [str(item["Key"]) for item in self.objects(path)]
        for start in range(0, len(keys), _BATCH):
            batch = [{"Key": key} for key in keys[start : start + _BATCH]]
            answer = self.aws.call(
                "s3", "delete_objects", path, Bucket=self.aws.bucket, Delete={"Objects": batch, "Quiet": True}
            )
            _check_deleted(answer.get("Errors") or (), path)

    def download(self, key: str, file: Path) -> None:
        """Download one object, by its whole key."""
        self.transfers.download(key, file)

    # --- leases

    def lease_read(self, key: str) -> LeaseRecord | None:
        """Read the stored lease."""
        found = self.find(key)
        return None if found is None else LeaseRecord(found[0].decode(), found[1]["ETag"])

    def lease_write(self, key: str, body: str, expected: str | None) -> LeaseRecord:
        """Write a lease if the stored one is the expected one, by S3's conditional writes.

        Raises:
            ConflictError: The stored lease is not the expected one.
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
    """Read the content of a small object.

    Raises:
        UnreadableError: The object is too large to have been written by mlport.
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
