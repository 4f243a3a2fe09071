"""The folder of a target in the workspace's blob storage, in which the core keeps the inputs of jobs.

A large file is sent in blocks, which are retried one by one if a request fails, and combined to the file at the end.
Source: https://learn.microsoft.com/rest/api/storageservices/put-block-list
"""

from __future__ import annotations

import base64
import contextlib
import functools
import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from sdk.adapter.shared import transfers
from sdk.adapter.shared.transfers import Meter
from sdk.adapter.shared.uploads import UNFIT, Stored
from sdk.errors import NotFoundError, ThrottledError, UnavailableError
from sdk.util.waiting import pause_after

from ._storage import DATASTORE, FOLDER, name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from xml.etree import ElementTree as ET

    from ._storage import Storage

# Azure makes slashes of backslashes and drops dots at the end of a name. Source (likely, a report of tests):
# https://stackoverflow.com/questions/54805654
UNFIT_NAMES = re.compile(rf"{UNFIT.pattern}|\\|\.(?=/|$)")
PLACE = f"azureml://datastores/{DATASTORE}/paths/{FOLDER}"
_BLOCK = 8 << 20  # bytes of a block; a file up to this size is sent in one request
_PAUSES_S = (1.0, 2.0, 4.0, 8.0)  # pauses before a request is retried


class Shelf:
    """A :class:`sdk.adapter.shared.uploads.RemoteFolder` in the workspace's blob storage.

    Args:
        storage: The client of the blob storage.
        timeout: Seconds for each request.
    """

    def __init__(self, storage: Storage, timeout: float) -> None:
        self._storage, self._timeout = storage, timeout

    @property
    def place(self) -> str:
        """The folder's address for jobs."""
        return PLACE

    def find(self, path: str) -> tuple[bytes, float] | None:
        """Return a small blob and when it was written."""
        found = self._storage.get(f"{FOLDER}/{path}", self._timeout)
        return None if found is None else (found.content, _moment(found.headers.get("last-modified")))

    def write(self, path: str, body: bytes) -> None:
        """Store a small blob; the container already exists, as the workspace's own."""
        self._patiently(functools.partial(self._storage.put, f"{FOLDER}/{path}", body, self._timeout))

    def objects(self, path: str) -> Iterator[Stored]:
        """Yield all blobs below a path."""
        for node in self._storage.blobs(f"{FOLDER}/{path}", self._timeout):
            yield Stored(_name(node), int(node.findtext("./Properties/Content-Length") or 0), _written(node))

    def top(self, path: str) -> Iterator[str]:
        """Yield the names directly in a folder."""
        for node in self._storage.entries(f"{FOLDER}/{path}", self._timeout):
            yield _name(node).removeprefix(path)

    def upload(self, files: Mapping[str, Path], meter: Meter) -> None:
        """Store files, several at a time."""
        transfers.run((functools.partial(self._upload, file, path, meter) for path, file in files.items()), meter)

    def _upload(self, file: Path, path: str, meter: Meter) -> None:
        name, size = f"{FOLDER}/{path}", file.stat().st_size
        if size <= _BLOCK:
            self.write(path, file.read_bytes())
            meter.add(size)
            return
        blocks: list[str] = []
        with file.open("rb") as source:
            while data := source.read(_BLOCK):
                blocks.append(base64.b64encode(b"%08d" % len(blocks)).decode())
                self._patiently(functools.partial(self._storage.put_block, name, blocks[-1], data, self._timeout))
                meter.add(len(data))
        self._patiently(functools.partial(self._storage.put_blocks, name, blocks, self._timeout))

    def _patiently(self, request: Callable[[], object]) -> None:
        """Make a request and retry temporary failures: repeating it stores the same."""
        for pause in _PAUSES_S:
            try:
                request()
            except (UnavailableError, ThrottledError) as error:
                self._storage.pause(pause_after(error, pause))
            else:
                return
        request()

    def clear(self, path: str) -> None:
        """Delete the blobs below a path, several at a time."""
        names = [one.path for one in self.objects(path)]
        transfers.run((functools.partial(self._delete, name) for name in names), Meter(None, "delete", None))

    def _delete(self, path: str) -> None:
        with contextlib.suppress(NotFoundError):  # another client was faster
            self._storage.delete(f"{FOLDER}/{path}", "*", self._timeout)

    def now(self) -> float:
        """Return the time by Azure's clock."""
        return self._storage.arm.server_time()


def _name(node: ET.Element) -> str:
    """Return the path of a blob, or of a folder, below the target's own folder."""
    return name_of(node).removeprefix(f"{FOLDER}/")


def _written(node: ET.Element) -> float:
    return _moment(node.findtext("./Properties/Last-Modified"))


def _moment(text: str | None) -> float:
    return parsedate_to_datetime(text).timestamp() if text else 0.0
