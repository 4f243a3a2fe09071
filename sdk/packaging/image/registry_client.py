"""Push and pull images over the registry HTTP API v2, without an engine.

Blobs are pushed first, in parallel; each is skipped if the registry has it or can mount it from another repository.
The manifest is last, so that an interrupted push publishes nothing. After a lost connection or a 5xx, the transfer
of that blob starts again.
"""

from __future__ import annotations

import hashlib
import ssl
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urljoin

import httpx

from sdk.errors import (
    AuthError,
    ConfigError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    PlatformError,
    ThrottledError,
    UnavailableError,
    UnreadableError,
)
from sdk.util import bounded, foreign
from sdk.util.certificates import authorities

from .archives import damaged
from .auth import Credentials, RegistryAuth
from .manifests import LIST_TYPE, MANIFEST_TYPE, OCI_INDEX_TYPE, OCI_MANIFEST_TYPE, Image, digest_of
from .progress import Transfer

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping
    from pathlib import Path

    from sdk.util.waiting import Deadline, Retry

    from .progress import Progress
    from .references import Reference
    from .store import BlobStore

_ACCEPT = f"{MANIFEST_TYPE}, {OCI_MANIFEST_TYPE}, {LIST_TYPE}, {OCI_INDEX_TYPE}"
_BLOCK = 1 << 20
_PARALLEL = 4
_TIMEOUT = httpx.Timeout(30, read=120, write=120)
_AS_IT_IS = {"accept-encoding": "identity"}
_LARGEST_BLOB = 1 << 50
_FIRST_BYTE = {**_AS_IT_IS, "range": "bytes=0-0"}


class RegistryClient:
    """A client of one repository of a registry.

    Args:
        reference: The address of the repository.
        retry: The retry policy for calls that can be repeated.
        deadline: The deadline for all calls together.
        credentials: Returns user name and password, or ``None``, when the registry asks for them.
        write: Whether the right to push is needed.
        mount_from: Other repositories of the same registry that may already have the blobs.
        insecure: Whether to use plain HTTP; if omitted, only on loopback, and not there with a ``ca``.
        ca: File with an additional trusted certificate authority.
        transport: Another transport for the network.
    """

    def __init__(
        self,
        reference: Reference,
        *,
        retry: Retry,
        deadline: Deadline,
        credentials: Callable[[], Credentials | None] = lambda: None,
        write: bool = True,
        mount_from: tuple[str, ...] = (),
        insecure: bool | None = None,
        ca: str | Path | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._reference = reference
        self._retry, self._deadline = retry, deadline
        self._mount_from = mount_from
        plain = (reference.loopback and ca is None) if insecure is None else insecure
        self._base = reference.api(plain=plain)
        scopes = [f"repository:{reference.repository}:{'pull,push' if write else 'pull'}"]
        scopes += [f"repository:{name}:pull" for name in mount_from]
        verify = _trusting(ca) if ca is not None else authorities()
        self._tokens = bounded.client(bounded.TOKEN, timeout=_TIMEOUT, verify=verify, transport=transport)
        auth = RegistryAuth(credentials, scopes, self._tokens, plain_host=httpx.URL(self._base).host if plain else None)
        self._http = bounded.client(bounded.SMALL, timeout=_TIMEOUT, verify=verify, auth=auth, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()
        self._tokens.close()

    # --- push ---------------------------------------------------------------------------------------------------

    def push(
        self,
        image: Image,
        store: BlobStore,
        *,
        fetch: Callable[[str, int], object] | None = None,
        progress: Progress | None = None,
    ) -> str:
        """Push an image; return the digest that the registry stored it under.

        Args:
            image: The image to push.
            store: The store with its blobs.
            fetch: Fetches a blob of this digest and size into the store when the registry needs it. If omitted, the
                store has all blobs.
            progress: Called with the bytes that the registry has and the total.

        Raises:
            PlatformError: The registry refused, or stored other content.
        """
        store.put(image.config)
        blobs = {layer.digest: layer.size for layer in image.layers} | {image.id: len(image.config)}
        transfer = Transfer("push", blobs, progress)

        def find(digest: str) -> Path:
            if fetch is not None:
                fetch(digest, blobs[digest])
            return store.path(digest)

        def push(digest: str) -> None:
            try:
                self._retry.run(lambda: self._upload(digest, find, transfer), self._deadline)
            except (InvalidRequestError, UnavailableError, FileNotFoundError) as error:
                if fetch is not None or store.verified(digest):  # fetch has verified what it fetched
                    raise
                raise damaged(digest, "push") from error
            transfer.at(digest, blobs[digest])

        with ThreadPoolExecutor(_PARALLEL) as pool:
            # leaving the pool waits for the other uploads, so that nothing is sent after an error was raised
            for done in [pool.submit(push, digest) for digest in blobs]:
                done.result()
        self._put_manifest(image)
        return image.digest

    def _upload(self, digest: str, find: Callable[[str], Path], transfer: Transfer) -> None:
        if self._has_blob(digest):
            return
        location = self._begin(digest)
        if location is None:
            return
        path = find(digest)
        size = path.stat().st_size
        url = httpx.URL(location).copy_merge_params({"digest": digest})
        headers = {"content-length": str(size), "content-type": "application/octet-stream"}
        stream = _File(path, digest, transfer)
        self._send("PUT", str(url), ok=(201,), headers=headers, content=stream)

    def _has_blob(self, digest: str) -> bool:
        """Check whether the registry has a blob; it may redirect to the storage behind it.

        Such a redirect is often signed only for GET, so that HEAD is refused:
        https://github.com/containerd/stargz-snapshotter/pull/167

        A registry whose process died during an upload can be left with an empty record of the blob, and from then on
        answer 500 to HEAD; another upload repairs it. If the cause is another one, the upload will fail too.
        """
        url, operation = f"{self._base}/blobs/{digest}", "HEAD"
        self._deadline.check(f"{operation} {url}")
        try:
            response = self._http.request(operation, url, follow_redirects=True)
            if response.history and response.status_code not in {200, 404}:
                unread = bounded.of_size(_LARGEST_BLOB, raw=True).extensions  # registries may send the whole blob
                with self._http.stream(
                    "GET", url, follow_redirects=True, headers=_FIRST_BYTE, extensions=unread
                ) as begun:  # fmt: skip
                    return begun.status_code in {200, 206}
        except httpx.HTTPError as error:
            raise self._lost(operation, error) from error
        if response.status_code not in {200, 404} and not response.is_server_error:
            raise self._refused(operation, response)
        return response.status_code == 200

    def _begin(self, digest: str) -> str | None:
        """Return the address for the upload; ``None`` if the blob was mounted from another repository."""
        for source in self._mount_from:
            query = {"mount": digest, "from": source}
            response = self._send("POST", f"{self._base}/blobs/uploads/", ok=(201, 202, 401), params=query)
            if response.status_code == 201:
                return None
            if response.status_code == 202:
                return self._place(response)
        return self._place(self._send("POST", f"{self._base}/blobs/uploads/", ok=(202,)))

    def _place(self, response: httpx.Response) -> str:
        """Return the address for the upload that the registry's answer names."""
        try:
            return str(httpx.URL(urljoin(str(response.url), response.headers["location"])))
        except (KeyError, ValueError, httpx.InvalidURL) as error:
            text = f"registry {self._reference.host} names no place to upload to ({error})"
            raise UnreadableError(text, operation="POST", resource=str(self._reference)) from error

    def _put_manifest(self, image: Image) -> None:
        url = f"{self._base}/manifests/{self._reference.name if self._reference.tag else image.digest}"
        headers = {"content-type": image.media_type}

        def put() -> httpx.Response:
            return self._send("PUT", url, ok=(201,), headers=headers, content=image.manifest)

        try:
            stored = self._retry.run(put, self._deadline).headers.get("docker-content-digest", image.digest)
        except (InvalidRequestError, ConflictError):
            if not self._has(self._reference.name if self._reference.tag else image.digest, image.digest):
                raise
            return  # registries with immutable tags refuse an image that they already have
        if stored != image.digest:
            raise PlatformError(
                f"the registry stored {stored}, not {image.digest}",
                operation="PutManifest",
                resource=str(self._reference),
            )

    def _has(self, name: str, digest: str) -> bool:
        try:
            return digest_of(self.manifest(name)) == digest
        except PlatformError:
            return False

    # --- pull ---------------------------------------------------------------------------------------------------

    def manifest(self, wanted: str) -> bytes:
        """Return the manifest or index under a tag or digest; under a digest, its bytes are verified.

        Raises:
            NotFoundError: The registry has no such manifest.
        """
        data = self._retry.run(lambda: self._small("manifests", wanted, _ACCEPT), self._deadline)
        found = digest_of(data)
        if wanted.startswith("sha256:") and found != wanted:
            raise PlatformError(f"the registry sent {found} for {wanted}", operation="GetManifest", resource=wanted)
        return data

    def config(self, digest: str) -> bytes:
        """Return a small blob such as an image's configuration; its bytes are verified."""
        data = self._retry.run(lambda: self._small("blobs", digest, "*/*"), self._deadline)
        if digest_of(data) != digest:
            raise PlatformError(f"the registry sent {digest_of(data)} for {digest}", operation="GetBlob")
        return data

    def pull_blob(
        self, digest: str, size: int, store: BlobStore, *, moved: Callable[[str, int], None] = lambda _, __: None
    ) -> Path:
        """Return the path of a blob in the store, fetched if it is missing, and kept only if its bytes are correct.

        ``moved`` is called with its digest and the number of bytes received.
        """
        if not store.verified(digest):
            self._retry.run(lambda: self._fetch_whole(digest, size, store, moved), self._deadline)
        return store.path(digest)

    def pull_blobs(self, blobs: Mapping[str, int], store: BlobStore, *, progress: Progress | None = None) -> None:
        """Fetch several blobs of these sizes into the store, in parallel."""
        transfer = Transfer("pull", blobs, progress)
        with ThreadPoolExecutor(_PARALLEL) as pool:
            for done in [pool.submit(self.pull_blob, *blob, store, moved=transfer.at) for blob in blobs.items()]:
                done.result()

    def _fetch_whole(self, digest: str, size: int, store: BlobStore, moved: Callable[[str, int], None]) -> None:
        try:
            self._fetch(digest, size, store, moved)
        except UnreadableError as error:
            text = f"blob {digest} arrived damaged: more than {size} bytes"
            raise UnavailableError(text, operation="GetBlob", resource=digest) from error

    def _fetch(self, digest: str, size: int, store: BlobStore, moved: Callable[[str, int], None]) -> None:
        seen = hashlib.sha256()
        received = 0
        with store.incoming() as (file, commit), self._stream(f"{self._base}/blobs/{digest}", size) as response:
            try:
                for block in response.iter_raw(_BLOCK):
                    received += len(block)
                    seen.update(block)
                    file.write(block)
                    moved(digest, received)
            except httpx.HTTPError as error:
                raise self._lost("GetBlob", error) from error
            if received != size or f"sha256:{seen.hexdigest()}" != digest:
                raise UnavailableError(
                    f"blob {digest} arrived damaged: {received} of {size} bytes", operation="GetBlob", resource=digest
                )
            commit(digest)

    @contextmanager
    def _stream(self, url: str, size: int) -> Generator[httpx.Response]:
        """Stream an answer; a redirect to another host is followed without our credentials."""
        within = bounded.of_size(size, raw=True).extensions
        with ExitStack() as stack:
            try:
                response = stack.enter_context(
                    self._http.stream("GET", url, follow_redirects=True, headers=_AS_IT_IS, extensions=within)
                )
            except httpx.HTTPError as error:
                raise self._lost("GetBlob", error) from error
            if response.status_code != 200:
                response.read()
                raise self._refused("GetBlob", response)
            yield response

    def _small(self, kind: str, name: str, accept: str) -> bytes:
        response = self._send(
            "GET", f"{self._base}/{kind}/{name}", ok=(200,), headers={"accept": accept}, follow_redirects=True
        )
        foreign.table(response.content, f"{kind} {name} of {self._reference.host}")  # callers may rely on a JSON object
        return response.content

    # --- calls --------------------------------------------------------------------------------------------------

    def _send(self, method: str, url: str, *, ok: tuple[int, ...], **rest: Any) -> httpx.Response:
        self._deadline.check(f"{method} {url}")
        try:
            response = self._http.request(method, url, **rest)
        except httpx.HTTPError as error:
            raise self._lost(method, error) from error
        if response.status_code not in ok:
            raise self._refused(method, response)
        return response

    def _lost(self, operation: str, error: httpx.HTTPError) -> UnavailableError:
        unsent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
        said, host = str(error) or type(error).__name__, self._reference.host
        return UnavailableError(
            f"{'cannot reach' if unsent else 'lost the connection to'} registry {host}: {said}",
            operation=operation,
            resource=str(self._reference),
            sent=not unsent or operation == "PUT",  # an earlier attempt may have arrived
            hint="name the registry's authority with ca=" if "CERTIFICATE_VERIFY_FAILED" in said else None,
        )

    def _refused(self, operation: str, response: httpx.Response) -> PlatformError:
        status = response.status_code
        kind = UnavailableError if status >= 500 else _REFUSALS.get(status, PlatformError)
        return kind(
            f"registry {self._reference.host} answered {status} to {operation}{_reason(response)}",
            operation=operation,
            resource=str(self._reference),
            status=status,
            hint=_HINTS.get(status),
        )


_REFUSALS: dict[int, type[PlatformError]] = {
    400: InvalidRequestError,
    401: AuthError,
    403: AuthError,
    404: NotFoundError,
    409: ConflictError,
    429: ThrottledError,
}
_HINTS = {
    401: "check the credentials of the registry",
    403: "ask for the right to push to this repository",
    404: "check the repository's name; some registries want it created first",
}


def _trusting(ca: str | Path) -> ssl.SSLContext:
    """Return a TLS context that trusts the system's authorities and this one."""
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(ca)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"ca: {ca} holds no certificate: {error}", hint="give a file in PEM form") from None
    return context


def _reason(response: httpx.Response) -> str:
    try:
        errors = foreign.of_response(response)["errors"]
        return ": " + "; ".join(f"{item.get('code')} {item.get('message', '')}".strip() for item in errors)
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""


class _File(httpx.SyncByteStream):
    """A file as a request body that can be sent again, as needed after a 401."""

    def __init__(self, path: Path, digest: str, transfer: Transfer) -> None:
        self._path, self._digest, self._transfer = path, digest, transfer

    def __iter__(self) -> Iterator[bytes]:
        sent = 0
        with self._path.open("rb") as file:
            while block := file.read(_BLOCK):
                yield block
                sent += len(block)
                self._transfer.at(self._digest, sent)
