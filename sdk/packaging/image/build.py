"""Build, push and pull images: the functions that adapters and the command line call."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdk.errors import ConfigError, ThrottledError, UnavailableError
from sdk.packaging import disk, uvrun

from . import bases, debian
from .bases import Base
from .builder import Content, build
from .manifests import Format, Image, Platform
from .references import Reference
from .registries import Registries
from .store import BlobStore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sdk.packaging.model import Model
    from sdk.packaging.training import Program

    from .progress import Progress


def open_store() -> BlobStore:
    """Open the user's own store of layers, kept between builds."""
    return BlobStore(disk.cache_dir() / "images")


def build_image(
    content: Model | Program,
    *,
    base: str | Image | None = None,
    platform: str = "linux/amd64",
    format: Format = "docker",  # noqa: A002  the word every image tool uses
    labels: Mapping[str, str] | None = None,
    store: BlobStore | None = None,
    registries: Registries | None = None,
    progress: Progress | None = None,
) -> Image:
    """Build the image that serves a model or runs a training program; the same inputs give the same image everywhere.

    Args:
        content: A model or a training program. A ready-made image is fetched and stays unchanged.
        base: ``HOST/REPOSITORY:TAG`` or ``HOST/REPOSITORY@sha256:…``, an image built before, or
            ``"debian-packages"``. If omitted, the public Python image of the model's Python version; without a
            network, Debian packages.
        platform: ``linux/amd64`` or ``linux/arm64``, independent of this machine.
        format: ``"docker"`` (schema 2, which every cloud takes) or ``"oci"``.
        labels: More labels; they are part of the image's identity.
        store: The store for the layers; the user's own if omitted.
        registries: The settings for reaching registries.
        progress: Called with each step.

    Raises:
        ConfigError: The base or platform cannot be used with this model.
        PackagingError: A package has no wheel for the platform, or the disk is full.
        PlatformError: The registry of the base refused.

    Example:
        >>> image = build_image(model, base="debian-packages")  # doctest: +SKIP
        >>> push_image(image, "localhost:5000/churn:v1")  # doctest: +SKIP
        'localhost:5000/churn@sha256:…'
    """
    store, registries = store or open_store(), registries or Registries()
    wanted = _platform(platform)
    say = progress or _quiet
    ready = getattr(content, "image", None)
    if ready is not None:
        say(f"fetch {ready}", 0, None)
        return pull_image(ready, platform=platform, store=store, registries=registries, progress=progress)
    bundle = Content.of(content)
    under = _Ground(store, registries, progress).base(base, wanted, bundle.manifest.python)
    say(f"base {under.name}", 0, None)
    return build(bundle, under, store, format=format, labels=labels, progress=lambda what: say(what, 0, None))


def push_image(
    image: Image,
    reference: str,
    *,
    mount_from: tuple[str, ...] = (),
    store: BlobStore | None = None,
    registries: Registries | None = None,
    progress: Progress | None = None,
) -> str:
    """Push an image, and return its address by digest.

    Args:
        image: An image of :func:`build_image`, with the same store.
        reference: ``HOST/REPOSITORY`` and, to give it a name for people, ``:TAG``.
        mount_from: Other repositories of that registry that may already have the layers.
        store: As in :func:`build_image`.
        registries: The settings for reaching registries.
        progress: Called with the bytes that the registry has and the total.

    Raises:
        PackagingError: A layer was damaged on this disk.
        PlatformError: The registry refused or could not be reached; then nothing was published.
    """
    place = Reference.parse(reference)
    with (registries or Registries()).open(place, write=True, mount_from=mount_from) as registry:
        return place.at(registry.push(image, store or open_store(), progress=progress))


def pull_image(
    reference: str,
    *,
    platform: str = "linux/amd64",
    store: BlobStore | None = None,
    registries: Registries | None = None,
    progress: Progress | None = None,
) -> Image:
    """Return an image of a registry in Docker's own format, with its blobs in the store; fetch only missing ones.

    Raises:
        PackagingError: No image for this platform, or layers in a format that not all engines and clouds read.
        PlatformError: The registry refused or could not be reached.
    """
    ground = _Ground(store or open_store(), registries or Registries(), progress)
    return ground.pulled(reference, _platform(platform))[0]


def _platform(text: str) -> Platform:
    try:
        return Platform.parse(text)
    except ValueError as error:
        raise ConfigError(f"platform: {error}", hint="use linux/amd64 or linux/arm64") from None


@dataclass(frozen=True, slots=True)
class _Ground:
    """The source of bases."""

    store: BlobStore
    registries: Registries
    progress: Progress | None

    def base(self, base: str | Image | None, platform: Platform, python: str) -> Base:
        if isinstance(base, Image):
            if base.platform != platform:
                raise ConfigError(
                    f"base is for {base.platform}, not {platform}", hint="build it for that platform first"
                )
            return Base.of(base, base.title or "image")
        replaceable = base is None and _replaceable(platform, python)
        if base != bases.DEBIAN and not (replaceable and uvrun.offline()):
            try:
                return self._first((base,) if base else bases.defaults(python), platform)
            except UnavailableError:
                if not replaceable:
                    raise
        return bases.from_debian(self.store, disk.cache_dir() / "debs", platform, python)

    def _first(self, names: Sequence[str], platform: Platform) -> Base:
        """Return the image from the first of its registries that does not throttle the pull."""
        *others, last = names
        for name in others:
            with contextlib.suppress(ThrottledError):
                return Base.of(*self._named(name, platform))
        return Base.of(*self._named(last, platform))

    def _named(self, name: str, platform: Platform) -> tuple[Image, str, str]:
        image, digest = self.pulled(name, platform)
        return image, name, digest

    def pulled(self, name: str, platform: Platform) -> tuple[Image, str]:
        reference = Reference.parse(name)
        return bases.pull(
            reference, platform, self.store, lambda: self.registries.open(reference), progress=self.progress
        )


def _replaceable(platform: Platform, python: str) -> bool:
    """Check whether Debian packages can replace the public image."""
    return python == debian.PYTHON and platform.architecture == "amd64" and shutil.which("apt-get") is not None


def _quiet(_what: str, _done: int, _total: int | None) -> None:
    """Ignore progress."""
