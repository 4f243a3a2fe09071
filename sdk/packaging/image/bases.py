"""Provide the base of an image: an image from a registry or an earlier build, or a root of Debian packages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from sdk.errors import ConfigError, PackagingError, UnavailableError, UnreadableError
from sdk.packaging import disk
from sdk.util import bounded, foreign

from . import debian, pyc, sbom
from .layers import Entry, ImageLayer, with_parents
from .manifests import LIST_TYPE, MANIFEST_TYPE, OCI_INDEX_TYPE, Image, ImageConfig, Platform

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from .progress import Progress
    from .references import Reference
    from .registry_client import RegistryClient
    from .store import BlobStore

DEBIAN = "debian-packages"
_GZIP = re.compile(r"application/vnd\.(docker\.image\.rootfs\.diff\.tar\.gzip|oci\.image\.layer\.v1\.tar\+gzip)")
_TAG_FOR_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Base:
    """The base of an image: layers whose blobs are in the store, configuration, image id, name and digest."""

    layers: tuple[ImageLayer, ...]
    config: ImageConfig
    id: str
    name: str
    digest: str

    @classmethod
    def of(cls, image: Image, name: str, digest: str | None = None) -> Base:
        """Return an image as a base."""
        return cls(image.layers, ImageConfig.read(image.config), image.id, name, digest or image.digest)


def defaults(python: str) -> tuple[str, ...]:
    """Return the public images for a Python minor version: the same image in two registries.

    Docker Hub limits how often an address pulls without a login, and a shared address soon exceeds that. Amazon's
    public registry has the same official images and its own limits.
    Sources: https://docs.docker.com/docker-hub/usage/ https://gallery.ecr.aws/docker/library/python
    """
    name = f"library/python:{python}-slim-bookworm"
    return f"docker.io/{name}", f"public.ecr.aws/docker/{name}"


def from_debian(store: BlobStore, folder: Path, platform: Platform, python: str) -> Base:
    """Build a base with Python, bash and coreutils from Debian packages of this machine's own mirror.

    Raises:
        ConfigError: The packages are for another Python or platform.
    """
    if python != debian.PYTHON or platform.architecture not in debian.ARCHITECTURES.values():
        raise ConfigError(
            f"base = {DEBIAN!r} has Python {debian.PYTHON} for linux/amd64 and linux/arm64, "
            f"not Python {python} for {platform}",
            hint="give base= an image of a registry",
        )
    debs = debian.fetch(folder / platform.architecture, architecture=platform.architecture)
    hashes = [(path.name, disk.sha256_file(path)) for path in debs]
    key = "\n".join([*(f"{name} {sha256}" for name, sha256 in hashes), pyc.tag(python)])

    def entries() -> list[Entry]:
        bill = Entry("usr/share/sbom/base.cdx.json", sbom.of_debs(hashes))
        return with_parents(pyc.compiled([*debian.entries(debs), bill], python=python))

    layer = store.layer(key, entries, created_by="mlport base: Debian packages")
    config = ImageConfig(
        platform=platform,
        env={"PATH": "/usr/local/bin:/usr/bin", "LANG": "C.UTF-8", "PYTHON_VERSION": debian.PYTHON},
    )
    image = Image(config.document([layer]), (layer,))
    return Base.of(image, DEBIAN, layer.diff_id)


def pull(
    reference: Reference,
    platform: Platform,
    store: BlobStore,
    open_registry: Callable[[], RegistryClient],
    *,
    layers: bool = True,
    progress: Progress | None = None,
) -> tuple[Image, str]:
    """Return an image of a registry and its digest there; an index is resolved by platform.

    The registry is not contacted if everything is in the store already; a tag is resolved at most once a day.

    Args:
        reference: The address of the image.
        platform: The platform to choose from an index.
        store: Receives the blobs.
        open_registry: Opens a client when something must be fetched.
        layers: Whether the layers are fetched too.
        progress: Called with the bytes received and the total.

    Raises:
        PackagingError: No image for the platform, or layers in a format that not all engines and clouds read.
    """
    with foreign.understood(f"the manifest of {reference}"), _Source(reference, store, open_registry) as source:
        digest = reference.digest or source.resolve()
        document = source.manifest(digest)
        if is_index(document):
            digest = for_platform(document, platform, reference)
            document = source.manifest(digest)
        config = source.blob(document["config"]["digest"], _size(document["config"]))
        found = ImageConfig.read(config).platform
        if found != platform:
            raise PackagingError(
                f"{reference} is for {found}, not {platform}", operation="base", hint="give an image for it"
            )
        found_layers = _layers(document, config, reference)
        if layers:
            source.fetch({layer.digest: layer.size for layer in found_layers}, progress)
        original = store.read(digest) if document.get("mediaType") == MANIFEST_TYPE else None
        return Image(config, found_layers, original=original), digest


def _layers(document: dict[str, Any], config: bytes, reference: Reference) -> tuple[ImageLayer, ...]:
    diff_ids: list[str] = foreign.table(config, f"the configuration of {reference}")["rootfs"]["diff_ids"]
    found: list[ImageLayer] = []
    for described, diff_id in zip(document["layers"], diff_ids, strict=True):
        _check_type(described["mediaType"], reference)
        about = f"base {reference.repository}"
        found.append(ImageLayer(diff_id, described["digest"], _size(described), created_by=about))
    total = sum(layer.size for layer in found)
    if total > bounded.IMAGE.most:
        raise UnreadableError(f"{reference} cannot be read: its layers claim {total:,} bytes")
    return tuple(found)


def _size(described: dict[str, Any]) -> int:
    """Return the size that a manifest claims for a blob; a fetch never takes more than that."""
    size = described["size"]
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ValueError(f"size is {str(size)[:40]}")
    return size


class _Source:
    """A repository accessed through the store: the registry is contacted only for missing blobs."""

    def __init__(self, reference: Reference, store: BlobStore, open_registry: Callable[[], RegistryClient]) -> None:
        self._reference, self._store, self._open = reference, store, open_registry
        self._registry: RegistryClient | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._registry is not None:
            self._registry.close()

    def resolve(self) -> str:
        """Return the digest of the tag; the last known one if the registry is unavailable."""
        key = f"tag {self._reference}"
        known = self._store.recall(key, max_age_s=_TAG_FOR_S)
        if known is None:
            try:
                known = self._store.put(self._remote().manifest(self._reference.name)).encode()
            except UnavailableError:
                known = self._store.recall(key)
                if known is None:
                    raise
            else:
                self._store.remember(key, known)
        return known.decode()

    def manifest(self, digest: str) -> dict[str, Any]:
        data = self._store.read(digest)
        if data is None:
            data = self._remote().manifest(digest)
            self._store.put(data)
        return foreign.table(data, f"the manifest of {self._reference}")

    def blob(self, digest: str, size: int) -> bytes:
        if size > bounded.SMALL.most:
            raise UnreadableError(f"{self._reference} cannot be read: its configuration has {size:,} bytes")
        data = self._store.read(digest)
        if data is None:
            self.fetch({digest: size})
            data = self._store.read(digest) or b""
        return data

    def fetch(self, blobs: Mapping[str, int], progress: Progress | None = None) -> None:
        """Fetch missing blobs; present ones were checked on arrival, and registries and engines check them again."""
        missing = {digest: size for digest, size in blobs.items() if self._store.size(digest) != size}
        if missing:
            self._remote().pull_blobs(missing, self._store, progress=progress)

    def _remote(self) -> RegistryClient:
        if self._registry is None:
            self._registry = self._open()
        return self._registry


def is_index(document: dict[str, Any]) -> bool:
    """Check whether a manifest lists images of several platforms."""
    return document.get("mediaType") in {LIST_TYPE, OCI_INDEX_TYPE} or "manifests" in document


def for_platform(index: dict[str, Any], platform: Platform, reference: Reference) -> str:
    """Return the digest of the image for this platform.

    Raises:
        PackagingError: The index has no such image.
    """
    offered = [
        (Platform(p["architecture"], p["os"]), item) for item in index["manifests"] if (p := item.get("platform"))
    ]
    for candidate, item in offered:
        if candidate == platform:
            return str(item["digest"])
    have = ", ".join(sorted({str(candidate) for candidate, _ in offered})) or "nothing"
    raise PackagingError(f"{reference} has no image for {platform}", operation="base", hint=f"it has {have}")


def _check_type(media_type: str, reference: Reference) -> None:
    if not _GZIP.fullmatch(media_type):
        raise PackagingError(
            f"{reference} has a layer of type {media_type}",
            operation="base",
            hint="push it again with gzip layers: not every engine and cloud reads others",
        )
