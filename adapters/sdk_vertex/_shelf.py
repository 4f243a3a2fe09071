"""The folder of a target in its bucket, used by the core to store the inputs of jobs."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING

from sdk.adapter.shared import transfers
from sdk.adapter.shared.transfers import Meter
from sdk.adapter.shared.uploads import Stored
from sdk.errors import NotFoundError

from ._access import unix

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from ._bucket import Bucket

FOLDER = "mlport"


class Shelf:
    """An implementation of :class:`sdk.adapter.shared.uploads.RemoteFolder` in Cloud Storage.

    Args:
        bucket: The target's bucket.
        timeout: Seconds for each request.
    """

    def __init__(self, bucket: Bucket, timeout: float) -> None:
        self._bucket, self._timeout = bucket, timeout

    @property
    def place(self) -> str:
        """The address of the folder, ``gs://BUCKET/mlport``."""
        return place_of(self._bucket)

    def find(self, path: str) -> tuple[bytes, float] | None:
        """Return a small object and the time when it was written, or ``None`` if it does not exist."""
        name = f"{FOLDER}/{path}"
        about = self._bucket.about(name, timeout=self._timeout)
        if about is None:
            return None
        found = self._bucket.get(name, timeout=self._timeout)
        return None if found is None else (found.content, unix(about.get("updated")) or 0.0)

    def write(self, path: str, body: bytes) -> None:
        """Store a small object; create the bucket if needed."""
        put = functools.partial(
            self._bucket.put, f"{FOLDER}/{path}", body, "application/octet-stream", timeout=self._timeout
        )
        try:
            put()
        except NotFoundError:
            self._bucket.make(timeout=self._timeout)
            put()

    def objects(self, path: str) -> Iterator[Stored]:
        """Yield all objects below a path."""
        for about in self._bucket.names(f"{FOLDER}/{path}", timeout=self._timeout):
            name = str(about["name"]).removeprefix(f"{FOLDER}/")
            yield Stored(name, int(about["size"]), unix(about.get("updated")) or 0.0)

    def top(self, path: str) -> Iterator[str]:
        """Yield the names directly in a folder."""
        begin = f"{FOLDER}/{path}"
        for page in self._bucket.pages({"prefix": begin, "delimiter": "/"}, timeout=self._timeout):
            yield from (str(one["name"]).removeprefix(begin) for one in page.get("items") or ())
            yield from (str(one).removeprefix(begin) for one in page.get("prefixes") or ())

    def upload(self, files: Mapping[str, Path], meter: Meter) -> None:
        """Upload files, several at a time."""
        upload = functools.partial(self._bucket.upload, timeout=self._timeout, meter=meter)
        transfers.run((functools.partial(upload, file, f"{FOLDER}/{path}") for path, file in files.items()), meter)

    def clear(self, path: str) -> None:
        """Delete everything below a path, several objects at a time."""
        names = [one.path for one in self.objects(path)]
        transfers.run((functools.partial(self._delete, name) for name in names), Meter(None, "delete", None))

    def _delete(self, path: str) -> None:
        with contextlib.suppress(NotFoundError):  # another client was faster
            self._bucket.delete(f"{FOLDER}/{path}", timeout=self._timeout)

    def now(self) -> float:
        """Return Unix seconds by Google Cloud's clock."""
        return self._bucket.access.server_time()


def place_of(bucket: Bucket) -> str:
    """Return the address of the folder, without a trailing slash."""
    return f"gs://{bucket.name}/{FOLDER}"
