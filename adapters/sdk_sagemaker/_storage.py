"""The bucket: inputs of jobs, what jobs leave, and leases.

::

    PREFIX/data/...           inputs: see sdk.plane.uploads
    PREFIX/jobs/NAME/...      what SageMaker writes of a job
    PREFIX/locks/NAME         leases
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from sdk import bounded
from sdk.adapter import LeaseRecord
from sdk.errors import AuthError, ConflictError, NotFoundError, UnreadableError

from ._bodies import to_tags
from ._errors import PROVIDER, Answer, from_answer, translate
from ._transfer import Transfers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from sdk.identities import Identities

    from ._aws import Aws

_BATCH = 1000  # keys of one DeleteObjects


class Storage:
    """The bucket of a target; made when it is first written to, if the target names none of its own.

    Args:
        aws: The way to AWS.
        identities: Whose buckets were seen before.
    """

    def __init__(self, aws: Aws, identities: Identities) -> None:
        self.aws = aws
        self._identities = identities
        self.transfers = Transfers(aws)

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
        for page in self.pages(Prefix=self.key(path)):
            yield from page.get("Contents") or ()

    def pages(self, **query: Any) -> Iterator[Mapping[str, Any]]:
        """A list of objects, page by page; none where there is no bucket."""
        with contextlib.suppress(NotFoundError):
            yield from self.aws.pages("s3", "list_objects_v2", self.aws.bucket, Bucket=self.aws.bucket, **query)

    def remove(self, path: str) -> None:
        """Delete everything below a path.

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
        self.transfers.download(key, file)

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
