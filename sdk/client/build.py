"""The verb that makes images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ..executor import Event
from .base import ClientBase, seconds_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ..model import Model
    from ..packaging.image import BuiltImage, Image
    from ..packaging.training import Program

_BUILD_S = 3600.0


class BuildVerbs(ClientBase):
    """build."""

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
        """Builds the image that serves a model on every platform, without a daemon, and brings it where you want it.

        A deploy does this by itself; build when the image is to be looked at, kept, pushed to a registry of yours, or
        built upon: a company's base, then a pipeline's image, then specialised models, each a few layers on the last.

        Args:
            model: A model, a ready-made image, or a folder with a Dockerfile, which the Docker Engine builds as it is.
            base: What to build on: ``HOST/REPOSITORY:TAG``, ``HOST/REPOSITORY@sha256:…``, an image built before, a file
                that ``archive=`` or ``docker save`` wrote, a Dockerfile or its folder, or ``"debian-packages"``. The
                public Python image of the model's Python version when left out.
            push: ``HOST/REPOSITORY:TAG`` of a registry; you are who ``docker login`` says.
            platform: ``linux/amd64`` or ``linux/arm64``, whatever this machine is; by default the engine's with
                ``load``, else ``linux/amd64``.
            format: ``"docker"`` (schema 2, which every cloud takes) or ``"oci"``.
            archive: A new file for the image, as ``docker save`` writes it, or an OCI layout.
            load: Brings it into the Docker Engine.
            labels: More labels; they are part of the image's identity.
            insecure: Whether the registries are reached by plain HTTP; this machine's own always are.
            ca: File in PEM form with an authority that is trusted beside the system's.
            timeout: Seconds, or text such as ``"20m"``, for all registries; an hour by default.

        Raises:
            ConfigError: The base, platform, reference or file cannot be used; names which.
            PackagingError: A package has no wheel for the platform, a Dockerfile fails, or the disk is full.
            PlatformError: A registry or the engine refused or could not be reached; nothing was published.

        Example:
            >>> built = sdk.build(model, base=pipeline, archive="churn.tar")
            >>> built.image.extends(pipeline)
            True
        """
        from ..packaging.image.made import Order, make
        from ..packaging.image.registries import Registries

        registries = Registries(
            clock=self._clock,
            timeout_s=seconds_of(timeout, _BUILD_S),
            insecure=insecure or None,
            ca=ca,
        )
        return make(Order(model, base, push, platform, format, archive, load, labels), registries, self._making)

    def _making(self, what: str, done: int, total: int | None) -> None:
        self._progress(Event(what, f"{100 * done // total} %" if total else ""))
