"""Where an image begins: an image of a registry (or of an earlier build), or a root made of Debian packages."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sdk.errors import ConfigError, PackagingError
from sdk.packaging import disk

from . import debian
from .layers import Entry, Layer, with_parents
from .manifests import LIST_TYPE, OCI_INDEX_TYPE, ImageConfig, Platform
from .pyc import compiled

if TYPE_CHECKING:
    from pathlib import Path

    from .registry import Registry
    from .store import Store

DEBIAN = "debian-packages"


@dataclass(frozen=True, slots=True)
class Base:
    """What an image is built on: layers whose blobs are in the store, configuration, name and digest."""

    layers: tuple[Layer, ...]
    config: ImageConfig
    name: str
    digest: str


def from_debian(store: Store, folder: Path, platform: Platform, python: str) -> Base:
    """A base with Python, bash and coreutils from Debian packages of this machine's own mirror.

    Raises:
        ConfigError: Another Python or platform is wanted than the packages are for.
    """
    if python != debian.PYTHON or platform.architecture != "amd64":
        raise ConfigError(
            f"base = {DEBIAN!r} has Python {debian.PYTHON} for linux/amd64 only, not Python {python} for {platform}",
            hint="give base= an image of a registry",
        )
    debs = sorted(folder.glob("*.deb")) or debian.fetch(folder)
    key = "\n".join([*(f"{path.name} {disk.sha256_file(path)}" for path in debs), "pyc"])
    layer = store.layer(key, lambda: _debian_entries(debs, python), created_by="mlport base: Debian packages")
    config = ImageConfig(platform=platform, env={"PATH": "/usr/local/bin:/usr/bin", "LANG": "C.UTF-8"})
    return Base((layer,), config, DEBIAN, layer.diff_id)


def _debian_entries(debs: list[Path], python: str) -> list[Entry]:
    return with_parents(compiled(debian.entries(debs), python=python))


def from_registry(registry: Registry, store: Store, platform: Platform, name: str) -> Base:
    """An image of a registry; an index is resolved by platform, OCI is read like Docker's own format.

    Raises:
        PackagingError: No image for the platform, or layers in a form engines and clouds do not all read.
    """
    document, digest = registry.manifest()
    if document.get("mediaType") in {LIST_TYPE, OCI_INDEX_TYPE} or "manifests" in document:
        document, digest = registry.manifest(_for_platform(document, platform, name))
    raw = registry.config(document["config"]["digest"])
    config = ImageConfig.read(raw)
    if config.platform != platform:
        raise PackagingError(
            f"base {name} is for {config.platform}, not {platform}", operation="base", hint="give an image for it"
        )
    return Base(_layers(registry, store, document, raw, name), config, name, digest)


def _for_platform(index: dict[str, Any], platform: Platform, name: str) -> str:
    offered = [
        (Platform(p["architecture"], p["os"]), item) for item in index["manifests"] if (p := item.get("platform"))
    ]
    for candidate, item in offered:
        if candidate == platform:
            return str(item["digest"])
    have = ", ".join(sorted({str(candidate) for candidate, _ in offered})) or "nothing"
    raise PackagingError(f"base {name} has no image for {platform}", operation="base", hint=f"it has {have}")


def _layers(registry: Registry, store: Store, document: dict[str, Any], config: bytes, name: str) -> tuple[Layer, ...]:
    diff_ids: list[str] = json.loads(config)["rootfs"]["diff_ids"]
    found: list[Layer] = []
    for described, diff_id in zip(document["layers"], diff_ids, strict=True):
        if not described["mediaType"].endswith(("tar.gzip", "tar+gzip")):
            raise PackagingError(
                f"base {name} has a layer of type {described['mediaType']}",
                operation="base",
                hint="push the base with gzip layers: not every engine and cloud reads others",
            )
        registry.pull_blob(described["digest"], described["size"], store)
        found.append(Layer(diff_id, described["digest"], described["size"], created_by=f"base {name}"))
    return tuple(found)
