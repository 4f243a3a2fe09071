"""Image configuration and manifest documents, in canonical JSON so that the same image has the same bytes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from ...util import foreign
from .layers import LAYER_TYPE, ImageLayer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
LIST_TYPE = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
OCI_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
CREATED = "1970-01-01T00:00:00Z"

Format = Literal["docker", "oci"]


def canonical(value: object) -> bytes:
    """Encode a value as JSON with sorted keys and no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest_of(data: bytes) -> str:
    """Return the digest ``sha256:…`` of some bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Platform:
    """The operating system and processor architecture that an image runs on."""

    architecture: str = "amd64"
    os: str = "linux"

    def __str__(self) -> str:
        return f"{self.os}/{self.architecture}"

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Parse a text such as ``linux/amd64``.

        Raises:
            ValueError: The text has another form.
        """
        system, sign, architecture = text.partition("/")
        if not sign or not system or not architecture or "/" in architecture:
            raise ValueError(f"{text!r} is not a platform such as linux/amd64")
        return cls(architecture, system)


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """The start configuration of an image's containers; docs/images.md documents what platforms may override."""

    platform: Platform = field(default_factory=Platform)
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    working_dir: str = "/"
    ports: tuple[int, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    user: str = ""
    stop_signal: str = "SIGTERM"

    def document(self, layers: Sequence[ImageLayer]) -> bytes:
        """Return the configuration blob; its digest is the image's identity, independent of the layers' compressor."""
        config: dict[str, Any] = {
            "Env": [f"{key}={value}" for key, value in sorted(self.env.items())],
            "Entrypoint": list(self.entrypoint) or None,
            "Cmd": list(self.command) or None,
            "WorkingDir": self.working_dir,
            "ExposedPorts": {f"{port}/tcp": {} for port in sorted(self.ports)} or None,
            "Labels": dict(sorted(self.labels.items())) or None,
            "User": self.user,
            "StopSignal": self.stop_signal,
        }
        return canonical({
            "architecture": self.platform.architecture,
            "os": self.platform.os,
            "created": CREATED,
            "config": {key: value for key, value in config.items() if value is not None},
            "history": [{"created": CREATED, "created_by": layer.created_by or "mlport"} for layer in layers],
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        })  # fmt: skip

    @classmethod
    def read(cls, document: bytes) -> ImageConfig:
        """Read the part of a base image's configuration that its children inherit."""
        value: dict[str, Any] = foreign.parse(document, "the configuration of the image")
        config: dict[str, Any] = value.get("config") or {}
        return cls(
            platform=Platform(value["architecture"], value["os"]),
            env=dict(text.split("=", 1) for text in config.get("Env") or ()),
            entrypoint=tuple(config.get("Entrypoint") or ()),
            command=tuple(config.get("Cmd") or ()),
            working_dir=config.get("WorkingDir") or "/",
            ports=tuple(int(port.split("/")[0]) for port in config.get("ExposedPorts") or ()),
            labels=config.get("Labels") or {},
            user=config.get("User") or "",
        )


@dataclass(frozen=True, slots=True)
class Image:
    """An image: its configuration document and layers. The blobs themselves are in a store.

    ``id`` (the config digest) is the identity; ``digest`` (of the manifest) also depends on the compressor.
    ``original`` is the image's manifest in a registry, kept byte for byte so that its digest does not change.
    """

    config: bytes
    layers: tuple[ImageLayer, ...]
    format: Format = "docker"
    original: bytes | None = field(default=None, repr=False)

    @property
    def id(self) -> str:
        """The digest of the configuration, which is the engine's image id."""
        return digest_of(self.config)

    @property
    def manifest(self) -> bytes:
        """The manifest document."""
        if self.original is not None:
            return self.original
        oci = self.format == "oci"
        layer_type = OCI_LAYER_TYPE if oci else LAYER_TYPE
        return canonical({
            "schemaVersion": 2,
            "mediaType": self.media_type,
            "config": {
                "mediaType": OCI_CONFIG_TYPE if oci else CONFIG_TYPE,
                "digest": self.id,
                "size": len(self.config),
            },
            "layers": [
                {"mediaType": layer_type, "digest": layer.digest, "size": layer.size} for layer in self.layers
            ],
        })  # fmt: skip

    @property
    def media_type(self) -> str:
        """The media type of the manifest."""
        return OCI_MANIFEST_TYPE if self.format == "oci" else MANIFEST_TYPE

    @property
    def digest(self) -> str:
        """The digest of the manifest, by which registries and clouds pin the image."""
        return digest_of(self.manifest)

    @property
    def platform(self) -> Platform:
        """The platform that the image runs on."""
        return ImageConfig.read(self.config).platform

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels of the image."""
        return ImageConfig.read(self.config).labels

    @property
    def title(self) -> str:
        """The name of the model or program that the image was made for; empty if unknown."""
        return self.labels.get("org.opencontainers.image.title", "")

    def extends(self, parent: Image) -> bool:
        """Check whether this image is built on top of another: its layers begin with all of the parent's."""
        below = [layer.diff_id for layer in parent.layers]
        return [layer.diff_id for layer in self.layers[: len(below)]] == below
