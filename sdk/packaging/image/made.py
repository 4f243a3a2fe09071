"""Carry out an order of ``mlport build``: prepare the base, build the image, then write, load or push it."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdk.errors import ConfigError
from sdk.util.names import suggest_name
from sdk.util.paths import expand

from . import archives, bases, build
from .dockerfiles import build_dockerfile
from .engine import Engine
from .engine_images import export, load, tag
from .manifests import Format, Image
from .references import Reference

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdk.packaging.model import Model
    from sdk.packaging.training import Program

    from .progress import Progress
    from .registries import Registries
    from .store import BlobStore


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """An image, and the places it was delivered to.

    Args:
        name: The name of the model, or of the folder with the Dockerfile.
        image: The image itself; another image can be built on it.
        reference: ``HOST/REPOSITORY@sha256:…`` if it was pushed.
        archive: The file if it was written to one.
        loaded: The id in the Docker Engine if it was loaded.
    """

    name: str
    image: Image = field(repr=False)
    reference: str | None = None
    archive: Path | None = None
    loaded: str | None = None

    @property
    def id(self) -> str:
        """The engine's image id, ``sha256:…``: the same inputs give the same id on every machine."""
        return self.image.id

    @property
    def digest(self) -> str:
        """The digest, ``sha256:…``, by which registries and clouds identify the image."""
        return self.image.digest

    @property
    def size(self) -> int:
        """The size of its compressed layers, in bytes."""
        return sum(layer.size for layer in self.image.layers)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "name": self.name,
            "id": self.id,
            "digest": self.digest,
            "platform": str(self.image.platform),
            "format": self.image.format,
            "size": self.size,
            "layers": [
                {"digest": one.digest, "diff_id": one.diff_id, "size": one.size, "created_by": one.created_by}
                for one in self.image.layers
            ],
            "labels": dict(self.image.labels),
            "reference": self.reference,
            "archive": str(self.archive) if self.archive else None,
            "loaded": self.loaded,
        }

    def __str__(self) -> str:
        lines = [f"{self.name}  {self.id}  {self.image.platform}  {_megabytes(self.size)}"]
        lines += [f"  {_megabytes(one.size):>9}  {one.diff_id[7:19]}  {one.created_by}" for one in self.image.layers]
        for what, where in (("pushed", self.reference), ("written", self.archive), ("loaded", self.loaded)):
            lines += [f"{what} {where}"] if where else []
        return "\n".join(lines)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """The parameters of a build; see :meth:`sdk.Client.build`."""

    content: Model | Program | str | Path
    base: str | Path | BuiltImage | Image | None = None
    push: str | None = None
    platform: str | None = None
    format: Format = "docker"
    archive: str | Path | None = None
    load: bool = False
    labels: Mapping[str, str] | None = None

    def check(self) -> None:
        """Check all parameters that can be checked before any work.

        Raises:
            ConfigError: The reference, format or archive cannot be used.
        """
        if self.push is not None and Reference.parse(self.push).digest:
            raise ConfigError(f"push: {self.push!r} names a digest", hint="push to HOST/REPOSITORY:TAG")
        if self.format not in {"docker", "oci"}:
            raise ConfigError(f"format: {self.format!r} is neither docker nor oci", hint="SageMaker takes docker only")
        if self.archive is not None and expand(self.archive).exists():
            raise ConfigError(f"archive: {self.archive} exists", hint="name a file that does not")


def make(order: BuildRequest, registries: Registries, progress: Progress, store: BlobStore | None = None) -> BuiltImage:
    """Build the image, then write, load and push it: the step that others can see is last.

    Raises:
        ConfigError: A part of the order is invalid.
        PackagingError: The image cannot be built.
        PlatformError: The engine or a registry refused; then nothing was published.
    """
    order.check()
    store = store or build.open_store()
    with Engine() as engine:  # connects at its first call
        if order.platform is None:
            order = replace(order, platform=str(engine.platform) if order.load else "linux/amd64")
        name, image = _image(order, engine, store, registries, progress)
        made = BuiltImage(name, image)
        if order.archive is not None:
            progress("write", 0, None)
            path = archives.write(image, store, expand(order.archive), _name(order, image))
            made = replace(made, archive=path)
        if order.load:
            progress("load", 0, None)
            made = replace(made, loaded=load(engine, image, store))
    if order.push is not None:
        progress("push", 0, None)
        place = build.push_image(image, order.push, store=store, registries=registries, progress=progress)
        made = replace(made, reference=place)
    return made


def _name(order: BuildRequest, image: Image) -> str:
    return order.push or tag(image)


def _image(
    order: BuildRequest, engine: Engine, store: BlobStore, registries: Registries, progress: Progress
) -> tuple[str, Image]:
    content, platform = order.content, order.platform or ""
    if isinstance(content, str | Path):
        image = _from_dockerfile(expand(content), engine, store, progress)
        if str(image.platform) != platform and order.platform:
            raise ConfigError(f"platform: the engine builds for {image.platform}, not {platform}")
        return suggest_name(expand(content).resolve().name), replace(image, format=order.format)
    image = build.build_image(
        content,
        base=_base(order.base, engine, store, progress),
        platform=platform,
        format=order.format,
        labels=order.labels,
        store=store,
        registries=registries,
        progress=progress,
    )
    return image.title or getattr(content, "name", "image"), image


def _base(
    base: str | Path | BuiltImage | Image | None, engine: Engine, store: BlobStore, progress: Progress
) -> str | Image | None:
    """Convert a base for the builder: local Dockerfiles and image archives become images first."""
    if isinstance(base, BuiltImage):
        return base.image
    if base is None or isinstance(base, Image):
        return base
    if base == bases.DEBIAN:
        return bases.DEBIAN
    path = expand(base)
    if path.is_dir() or (path.is_file() and not tarfile.is_tarfile(path)):
        return _from_dockerfile(path, engine, store, progress)
    if path.is_file():
        return archives.load(path, store)
    return str(base)


def _from_dockerfile(path: Path, engine: Engine, store: BlobStore, progress: Progress) -> Image:
    """Return the image that the engine builds from a Dockerfile, given as its file or its folder."""
    progress(f"Dockerfile in {path}", 0, None)
    folder, name = (path, "Dockerfile") if path.is_dir() else (path.parent, path.name)
    return export(engine, build_dockerfile(engine, folder, dockerfile=name), store)
