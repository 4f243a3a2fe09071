"""The workspace's own blob storage: leases that other machines see, the inputs of jobs, and the outputs of jobs."""

from __future__ import annotations

import contextlib
import functools
import threading
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, unquote
from xml.etree import ElementTree as ET

import httpx

from sdk.adapter import LeaseRecord
from sdk.adapter.registry import extra_of
from sdk.adapter.shared import transfers
from sdk.adapter.shared.transfers import Meter
from sdk.errors import ConflictError, NotFoundError, PlatformError, ThrottledError, UnavailableError
from sdk.util import bounded, foreign
from sdk.util.waiting import pause_after

from ._errors import PROVIDER, from_answer, from_transport
from ._json import table
from ._where import STORAGE_SCOPE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from sdk.adapter import Clock

    from ._arm import Arm
    from ._owners import Owners

DATASTORE = "workspaceblobstore"
_LARGEST_LISTING = 64 << 20  # a page has at most 5,000 names
_VERSION = "2023-11-03"
_SECRET_S = 3000.0  # a signature is valid for an hour
FOLDER = "mlport"
_PART = 206  # the status of an answer with the rest of a blob
_PAUSES_S = (1.0, 2.0, 4.0, 8.0)  # pauses before the rest of a blob is requested again


@dataclass(frozen=True, slots=True)
class Door:
    """Access to a container: its address, a signature for the query or a bearer token, and the expiry."""

    url: str
    query: tuple[tuple[str, str], ...]
    bearer: bool
    until: float


class Storage:
    """The container of the workspace's default datastore.

    Args:
        arm: The client of the resource manager.
        clock: Source of time.
        owners: Checks that the storage belongs to the workspace.
    """

    def __init__(self, arm: Arm, clock: Clock, owners: Owners) -> None:
        self.arm = arm
        self._owners = owners
        self._clock = clock
        self._lock = threading.Lock()
        self._door: Door | None = None

    # --- leases

    def read(self, key: str, timeout: float) -> LeaseRecord | None:
        """Return a stored lease."""
        found = self.get(f"{FOLDER}/{key}", timeout, operation="read lease")
        return None if found is None else LeaseRecord(found.text, found.headers["etag"])

    def write(self, key: str, body: str, expected: str | None, timeout: float) -> LeaseRecord:
        """Store a lease if the present one is as expected.

        Raises:
            ConflictError: The present lease is another one.
        """
        guard = {"if-none-match": "*"} if expected is None else {"if-match": expected}
        response = self.put(f"{FOLDER}/{key}", body.encode(), timeout, operation="write lease", guard=guard)
        return LeaseRecord(body, response.headers["etag"])

    def release(self, key: str, expected: str, timeout: float) -> None:
        """Remove a lease if it is the expected one.

        Raises:
            NotFoundError: The lease does not exist.
            ConflictError: The lease is another one.
        """
        self.delete(f"{FOLDER}/{key}", expected, timeout, operation="delete lease")

    # --- blobs

    def get(self, name: str, timeout: float, *, operation: str = "read blob") -> httpx.Response | None:
        """Return a small blob; ``None`` if it does not exist."""
        response = self._call("GET", name, operation, timeout, missing=True)
        return None if response.status_code == 404 else response

    def put(
        self,
        name: str,
        body: bytes,
        timeout: float,
        *,
        operation: str = "upload",
        guard: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Store a blob in one request; ``guard`` is a condition on the present blob."""
        headers = {"x-ms-blob-type": "BlockBlob", **(guard or {})}
        return self._call("PUT", name, operation, timeout, headers=headers, content=body)

    def put_block(self, name: str, block: str, data: bytes, timeout: float) -> None:
        """Send a block of a blob."""
        self._call("PUT", name, "upload", timeout, params={"comp": "block", "blockid": block}, content=data)

    def put_blocks(self, name: str, blocks: Iterable[str], timeout: float) -> None:
        """Combine blocks to a blob."""
        listed = "".join(f"<Latest>{one}</Latest>" for one in blocks)
        body = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{listed}</BlockList>'
        self._call("PUT", name, "upload", timeout, params={"comp": "blocklist"}, content=body.encode())

    def delete(self, name: str, expected: str, timeout: float, *, operation: str = "delete blob") -> None:
        """Remove a blob if its etag is the expected one; ``*`` for any.

        Raises:
            NotFoundError: The blob does not exist.
            ConflictError: The blob is another one.
        """
        self._call("DELETE", name, operation, timeout, headers={"if-match": expected})

    def pause(self, seconds: float) -> None:
        """Wait before a request is retried."""
        self._clock.sleep(seconds)

    def blobs(self, prefix: str, timeout: float) -> Iterator[ET.Element]:
        """Yield all blobs whose names start with ``prefix``, without the empty ones that stand for folders.

        Source: https://learn.microsoft.com/azure/storage/blobs/data-lake-storage-known-issues (certain)
        """
        for tree in self._pages({"prefix": prefix, "include": "metadata"}, timeout):
            yield from (node for node in tree.iterfind("./Blobs/Blob") if not _is_folder(node))

    def entries(self, folder: str, timeout: float) -> Iterator[ET.Element]:
        """Yield the blobs directly in a folder, and its folders, whose names end with a slash."""
        for tree in self._pages({"prefix": folder, "delimiter": "/"}, timeout):
            yield from tree.iterfind("./Blobs/*")

    def _pages(self, query: Mapping[str, str], timeout: float) -> Iterator[ET.Element]:
        marker = ""
        for fetching in bounded.turns("the list of blobs"):
            params = {"restype": "container", "comp": "list", **query, **({"marker": marker} if marker else {})}
            with fetching:
                response = self._call("GET", "", "list blobs", timeout, params=params)
            with foreign.understood("the list of blobs"):
                tree = _listing(response.content)
            yield tree
            marker = tree.findtext("./NextMarker") or ""
            if not marker:
                return

    # --- outputs of jobs

    def download(self, prefix: str, directory: Path, timeout: float) -> int:
        """Copy all blobs under a prefix into a folder, several at a time; return how many there were.

        Raises:
            PlatformError: A blob's name leads out of the folder.
            NotFoundError: No blob has the prefix.
        """
        meter, count = Meter(None, "download", None), 0

        def tasks() -> Iterator[Callable[[], None]]:
            nonlocal count
            for node in self.blobs(prefix, timeout):
                name = name_of(node)
                count += 1
                yield functools.partial(self._fetch, name, _place(name, prefix, directory), timeout, meter)

        transfers.run(tasks(), meter)
        if not count:
            raise NotFoundError(
                f"there is nothing under {prefix} in the container of {DATASTORE}",
                provider=PROVIDER,
                operation="download",
                resource=prefix,
                hint="the job left nothing, or wrote it elsewhere than into MLPORT_OUTPUT_DIR",
            )
        return count

    def _fetch(self, name: str, file: Path, timeout: float, meter: Meter) -> None:
        """Copy one blob; after an interruption continue from there, as long as it is the same blob."""
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as target:
            copy, vain = _Copy(target, meter), 0
            while True:
                start = target.tell()
                part = {"range": f"bytes={start}-", "if-match": copy.etag} if start else {}
                try:
                    self._call("GET", name, "download", timeout, headers=part, target=copy)
                except (UnavailableError, ThrottledError) as error:
                    vain = vain + 1 if target.tell() == start else 1
                    if vain > len(_PAUSES_S):
                        raise
                    self._clock.sleep(pause_after(error, _PAUSES_S[vain - 1]))
                else:
                    return

    # --- calls

    def _call(
        self,
        method: str,
        name: str,
        operation: str,
        timeout: float,
        *,
        headers: dict[str, str] | None = None,
        params: dict[str, str] | None = None,
        content: bytes | None = None,
        missing: bool = False,
        target: _Copy | None = None,
    ) -> httpx.Response:
        door = self._opened(timeout)
        given = {"x-ms-version": _VERSION, **(headers or {})}
        if door.bearer:
            given["authorization"] = f"Bearer {self.arm.tokens.get(STORAGE_SCOPE)}"
        url = f"{door.url}/{quote(name)}" if name else door.url
        try:
            request = self.arm.http.build_request(
                method,
                url,
                params=[*(params or {}).items(), *door.query],
                headers=given,
                content=content,
                timeout=timeout,
                extensions=(bounded.ANSWER if target is None else bounded.FILE).extensions,
            )
            response = self.arm.http.send(request, stream=target is not None)
            if target is not None:
                target.take(response)
        except httpx.TransportError as error:
            raise from_transport(error, operation, name) from error
        if response.is_success or (missing and response.status_code == 404):
            return response
        if response.status_code in {409, 412}:
            raise ConflictError(
                f"{operation}: {name} is another one by now", provider=PROVIDER, operation=operation, resource=name,
                status=response.status_code,
            )  # fmt: skip
        with self._lock:
            self._door = None  # perhaps the signature has expired: the next call requests another one
        raise from_answer(response, operation, name)

    def verify(self, timeout: float) -> None:
        """Refuse a foreign storage account before files or a job are sent.

        Raises:
            SecurityError: The default datastore is not in the workspace's own account.
        """
        self._opened(timeout)

    def _opened(self, timeout: float) -> Door:
        with self._lock:
            if self._door is None or self._door.until <= self._clock.monotonic():
                self._door = self._open(timeout)
            return self._door

    def _open(self, timeout: float) -> Door:
        path = f"{self.arm.workspace_path}/datastores/{DATASTORE}"
        store: dict[str, Any] = self.arm.call("GET", path, "read datastore", timeout=timeout).json()["properties"]
        self._owners.check_store(store)
        account = f"https://{store['accountName']}.blob.{self.arm.place.storage}"
        self.arm.place.check("the default datastore", account, f"blob.{self.arm.place.storage}")
        url = str(httpx.URL(account).copy_with(fragment=None)).rstrip("/") + f"/{store['containerName']}"
        until = self._clock.monotonic() + _SECRET_S
        if table(store.get("credentials")).get("credentialsType") == "None":
            return Door(url, (), bearer=True, until=until)
        body = {"expirableSecret": True, "expireAfterHours": 1}
        secret: dict[str, Any] = self.arm.call(
            "POST", f"{path}/listSecrets", "open datastore", timeout=timeout, body=body
        ).json()
        if secret.get("sasToken"):
            return Door(url, tuple(parse_qsl(str(secret["sasToken"]).lstrip("?"))), bearer=False, until=until)
        if secret.get("key"):
            return Door(url, self._signed(store, str(secret["key"])), bearer=False, until=until)
        return Door(url, (), bearer=True, until=until)  # of another kind: use the user's own rights

    def _signed(self, store: dict[str, Any], key: str) -> tuple[tuple[str, str], ...]:
        """Return a signature for the container, made with the account's key."""
        from datetime import UTC, datetime, timedelta

        with extra_of(PROVIDER):
            from azure.storage.blob import ContainerSasPermissions, generate_container_sas

        sas: str = generate_container_sas(
            store["accountName"],
            store["containerName"],
            account_key=key,
            permission=ContainerSasPermissions(read=True, write=True, delete=True, list=True),
            expiry=datetime.fromtimestamp(self.arm.server_time(), UTC) + timedelta(hours=1),
        )
        return tuple(parse_qsl(sas))


class _Copy:
    """The transfer of a blob into a file.

    Args:
        file: The file to write to.
        meter: Counts the bytes.

    Attributes:
        etag: Azure's etag of the blob whose bytes are in the file.
    """

    def __init__(self, file: IO[bytes], meter: Meter) -> None:
        self._file, self._meter = file, meter
        self.etag = ""

    def take(self, response: httpx.Response) -> None:
        """Write the body of an answer to the file; read that of a refusal into memory, for the error."""
        with contextlib.closing(response):
            if not response.is_success:
                response.read()
                return
            if response.status_code != _PART:
                self._file.seek(0)
                self._file.truncate()
            self.etag = response.headers.get("etag", "")
            for piece in response.iter_raw():
                self._file.write(piece)
                self._meter.add(len(piece))


def _place(name: str, prefix: str, directory: Path) -> Path:
    """Return the file to which a blob is copied.

    Raises:
        PlatformError: The blob's name leads out of the folder.
    """
    parts = name.removeprefix(prefix).split("/")
    if not all(parts) or {".", ".."} & set(parts):
        raise PlatformError(f"a blob has an unsafe name: {name!r}", provider=PROVIDER, operation="download")
    return directory.joinpath(*parts)


def name_of(entry: ET.Element) -> str:
    """Return the name of a blob or folder; one that XML cannot hold is percent-encoded.

    Source: https://learn.microsoft.com/rest/api/storageservices/list-blobs (certain)
    """
    node = entry.find("./Name")
    name = "" if node is None else node.text or ""
    return unquote(name) if node is not None and node.get("Encoded") == "true" else name


def _is_folder(blob: ET.Element) -> bool:
    """Check whether an entry is only a folder marker, as hierarchical storage and tools that mount it leave them."""
    marked = (node.text for node in blob.iterfind("./Metadata/*") if node.tag.lower() == "hdi_isfolder")
    kind = blob.findtext("./Properties/ResourceType") or ""
    return "true" in marked or kind == "directory" or name_of(blob).endswith("/")


def _listing(content: bytes) -> ET.Element:
    """Parse a page of names; one that declares entities, which can grow without end, does not come from Azure."""
    if len(content) > _LARGEST_LISTING or b"<!" in content or b"\0" in content:  # UTF-16 would hide a declaration
        raise PlatformError("the list of blobs is larger than a page or declares entities", provider=PROVIDER)
    try:
        return ET.fromstring(content)  # noqa: S314  see above: no entities
    except ET.ParseError as error:
        raise PlatformError(f"the list of blobs cannot be read: {error}", provider=PROVIDER) from error
