"""Owners of buckets: S3's condition on the owner of a bucket, and buckets of other accounts.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-owner-condition.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import AwsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..app import Request

_CONDITIONS = ("x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner")


class Owners:
    """The accounts of buckets, and the check of the condition on them.

    Attributes:
        foreign: The account of each bucket of another owner; all callers may read and write it, as a squatter allows.
        unconditional: Operations on buckets that were sent without the condition.
    """

    def __init__(self) -> None:
        self.foreign: dict[str, str] = {}
        self.unconditional: list[str] = []

    def before(self, operation: str, request: Request, account_of: Callable[[str], str | None]) -> None:
        """Refuse a request that expects another owner, or the creation of a bucket whose name is taken.

        Args:
            operation: Name of the operation.
            request: The request.
            account_of: Returns the account that owns a bucket here; ``None`` if the bucket does not exist.

        Raises:
            AwsError: With the answer of S3.
        """
        bucket = request.path.strip("/").partition("/")[0]
        expected = request.headers.get(_CONDITIONS[0])
        if operation == "CreateBucket":
            if bucket in self.foreign:
                text = "The requested bucket name is not available. The bucket namespace is shared by all users."
                raise AwsError("BucketAlreadyExists", text, 409)
            return
        if not bucket:
            return
        if expected is None:
            self.unconditional.append(f"{operation} {bucket}")
        elif expected != self.foreign.get(bucket, account_of(bucket) or expected):
            raise AwsError("AccessDenied", "Access Denied", 403)
        source = request.headers.get("x-amz-copy-source", "").lstrip("/").partition("/")[0]
        if source and request.headers.get(_CONDITIONS[1]) not in {None, self.foreign.get(source, account_of(source))}:
            raise AwsError("AccessDenied", "Access Denied", 403)
