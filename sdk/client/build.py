"""The verb that builds images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ..executor import Event
from .base import ClientBase, seconds_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ..packaging.image import BuiltImage, Image
    from ..packaging.model import Model
    from ..packaging.training import Program

_BUILD_S = 3600.0


class BuildVerbs(ClientBase):
    """The verb ``build``."""

    def build(
        self,
        model: Model | Program | str | Path,
        *,
        base: str | Path | BuiltImage | Image | None = None,
        push: str | None = None,
        platform: str | None = None,
        format: Literal["docker", "oci"] = "docker",  # noqa: A002  # the word every image tool uses
        archive: str | Path | None = None,
        load: bool = False,
        labels: Mapping[str, str] | None = None,
        insecure: bool = False,
        ca: str | Path | None = None,
        timeout: str | float | None = None,
    ) -> BuiltImage:
        """Build the image that serves a model on every platform, without a daemon, and store it where requested.

        A deploy builds the image automatically. Use this verb to inspect the image, to keep it, to push it to your own
        registry, or to build other images on it: for example a company's base image, then a pipeline's image, then
        specialised models, where each adds a few layers to the previous one.

        Args:
            model: A model, a ready-made image, or a folder with a Dockerfile, which the Docker Engine builds unchanged.
            base: The base image: ``HOST/REPOSITORY:TAG``, ``HOST/REPOSITORY@sha256:…``, an image built before, a file
                that ``archive=`` or ``docker save`` wrote, a Dockerfile or its folder, or ``"debian-packages"``. By
                default the public Python image of the model's Python version.
            push: ``HOST/REPOSITORY:TAG`` of a registry to push to, with the credentials of ``docker login``.
            platform: ``linux/amd64`` or ``linux/arm64``, independent of this machine; by default the engine's platform
                with ``load``, else ``linux/amd64``.
            format: ``"docker"`` (schema 2, which every cloud accepts) or ``"oci"``.
            archive: A new file to write the image to, in the format of ``docker save``, or as an OCI layout.
            load: Whether to load the image into the Docker Engine.
            labels: Additional labels; they are part of the image's identity.
            insecure: Whether to use plain HTTP for the registries; registries on this machine always use it.
            ca: A PEM file with a certificate authority to trust in addition to those of the system.
            timeout: Seconds, or text such as ``"20m"``, for all registry operations; one hour by default.

        Raises:
            ConfigError: The base, platform, reference or file cannot be used; the error names which.
            PackagingError: A package has no wheel for the platform, a Dockerfile fails, or the disk is full.
            PlatformError: A registry or the engine refused the request or was unreachable; nothing was published.

        Example:
            >>> built = sdk.build(model, base=pipeline, archive="churn.tar")
            >>> built.image.extends(pipeline)
            True
        """
        from ..packaging.image.made import BuildRequest, make
        from ..packaging.image.registries import Registries

        registries = Registries(
            clock=self._clock,
            timeout_s=seconds_of(timeout, _BUILD_S),
            insecure=insecure or None,
            ca=ca,
        )
        return make(BuildRequest(model, base, push, platform, format, archive, load, labels), registries, self._making)

    def _making(self, what: str, done: int, total: int | None) -> None:
        self._progress(Event(what, f"{100 * done // total} %" if total else ""))
