"""The folder of a target in its bucket, used by the core to store the inputs of jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdk.adapter.shared.uploads import Stored

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from sdk.adapter.shared.transfers import Meter

    from ._storage import Storage


class Shelf:
    """An implementation of :class:`sdk.adapter.shared.uploads.RemoteFolder` in S3.

    Args:
        storage: The bucket.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    @property
    def place(self) -> str:
        """The address of the folder, ``s3://BUCKET/PREFIX``."""
        return self._storage.place

    def find(self, path: str) -> tuple[bytes, float] | None:
        """Return a small object and the time when it was written, or ``None`` if it does not exist."""
        found = self._storage.find(path)
        return None if found is None else (found[0], found[1]["LastModified"].timestamp())

    def write(self, path: str, body: bytes) -> None:
        """Store a small object; create the bucket if needed."""
        self._storage.put(path, body)

    def objects(self, path: str) -> Iterator[Stored]:
        """Yield all objects below a path."""
        begin = self._storage.key("")
        for item in self._storage.objects(path):
            modified = item["LastModified"].timestamp()
            yield Stored(str(item["Key"]).removeprefix(begin), int(item["Size"]), modified)

    def top(self, path: str) -> Iterator[str]:
        """Yield the names directly in a folder."""
        begin = self._storage.key(path)
        for page in self._storage.pages(Prefix=begin, Delimiter="/"):
            yield from (str(item["Key"]).removeprefix(begin) for item in page.get("Contents") or ())
            yield from (str(one["Prefix"]).removeprefix(begin) for one in page.get("CommonPrefixes") or ())

    def upload(self, files: Mapping[str, Path], meter: Meter) -> None:
        """Upload files, by their paths in the folder."""
        self._storage.transfers.upload({self._storage.key(path): file for path, file in files.items()}, meter)

    def clear(self, path: str) -> None:
        """Delete everything below a path; for a folder, also the parts of unfinished uploads."""
        self._storage.remove(path)
        if path.endswith("/"):
            self._storage.transfers.drop_parts(self._storage.key(path))

    def now(self) -> float:
        """Return Unix seconds by the AWS clock."""
        return self._storage.aws.server_time()
