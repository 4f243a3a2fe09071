"""Transfers of files to and from S3: failed requests are repeated, large files sent in parts and in parallel.

A large file is sent in parts. If a part fails, only that part is sent again. If a process is killed, the parts of its
upload are not listed as an object but are billed all the same, so they are removed later.
Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/abort-mpu.html
"""

from __future__ import annotations

import contextlib
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from sdk.adapter.shared.uploads import STALE_S
from sdk.errors import AuthError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping
    from pathlib import Path

    from sdk.adapter.shared.transfers import Meter

    from ._aws import Aws

_PART = 16 << 20
_PARALLEL = 8  # requests at a time, for one file or for several


class Transfers:
    """Uploads and downloads of whole files.

    Args:
        aws: The connection to AWS.
    """

    def __init__(self, aws: Aws) -> None:
        self._aws = aws

    def upload(self, files: Mapping[str, Path], meter: Meter) -> None:
        """Upload files to the bucket, each under its whole key; the first failure ends the whole upload."""
        with self._manager("PutObject") as manager:
            futures = [
                manager.upload(str(file), self._aws.bucket, key, subscribers=self._counted(meter))
                for key, file in files.items()
            ]
            for future in futures:
                future.result()

    def download(self, key: str, file: Path) -> None:
        """Download one object, by its whole key."""
        with self._manager("GetObject") as manager:
            manager.download(self._aws.bucket, key, str(file)).result()

    @contextmanager
    def _manager(self, operation: str) -> Generator[Any]:
        module = import_module("s3transfer.manager")
        config = module.TransferConfig(
            multipart_threshold=_PART, multipart_chunksize=_PART, max_request_concurrency=_PARALLEL
        )
        with (
            self._aws.translated("s3", operation, self._aws.bucket),
            module.TransferManager(self._aws.client("s3", "files"), config) as manager,
        ):
            yield manager

    @staticmethod
    def _counted(meter: Meter) -> list[Any]:
        subscriber = import_module("boto3.s3.transfer").ProgressCallbackInvoker
        return [subscriber(meter.add)]

    def drop_parts(self, prefix: str) -> None:
        """Remove the parts of dead uploads below a prefix; recent ones may still be in progress elsewhere.

        An identity that may not list uploads removes none, such as one with only AmazonSageMakerFullAccess.
        """
        with contextlib.suppress(AuthError):
            for key, upload in self._stale(prefix):
                self._aws.find("s3", "abort_multipart_upload", key, Bucket=self._aws.bucket, Key=key, UploadId=upload)

    def _stale(self, prefix: str) -> Iterator[tuple[str, str]]:
        now = self._aws.server_time()
        listed = self._aws.pages("s3", "list_multipart_uploads", prefix, Bucket=self._aws.bucket, Prefix=prefix)
        for page in listed:
            yield from stale_uploads(page.get("Uploads") or (), now)


def stale_uploads(uploads: Iterable[Mapping[str, Any]], now: float) -> Iterator[tuple[str, str]]:
    """Yield the key and ID of multipart uploads that started too long ago to be in progress.

    Example:
        >>> from datetime import UTC, datetime
        >>> begun = datetime.fromtimestamp(0, UTC)
        >>> list(stale_uploads([{"Key": "a", "UploadId": "1", "Initiated": begun}], STALE_S))
        [('a', '1')]
        >>> list(stale_uploads([{"Key": "a", "UploadId": "1", "Initiated": begun}], STALE_S - 1))
        []
    """
    for one in uploads:
        if now - one["Initiated"].timestamp() >= STALE_S:
            yield str(one["Key"]), str(one["UploadId"])
