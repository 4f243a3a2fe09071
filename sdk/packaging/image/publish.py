"""Manage images as a shared resource of an adapter: compute the wanted image, look it up in the registry, publish it.

An adapter plans with :func:`image_id`, reads with :func:`published` and creates with :func:`publish`. This module and
:func:`image_id` load nothing heavy, because planning must stay fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sdk.adapter.resources import spec_hash
from sdk.errors import ConfigError, NotFoundError
from sdk.packaging import runtime
from sdk.util import foreign

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Unpack

    from sdk.adapter.specs import Materials
    from sdk.packaging.model import Model
    from sdk.packaging.training import Program

    from .auth import Credentials
    from .manifests import Platform
    from .references import Reference
    from .registries import Reach, Registries
    from .registry_client import RegistryClient

    Login = Callable[[str], Credentials | None]
    Progress = Callable[[str, int, int | None], None]

_PLATFORM = "linux/amd64"


@dataclass(frozen=True, slots=True)
class PublishedImage:
    """An image in a registry.

    Args:
        reference: The address of the image, by digest.
        digest: ``sha256:…`` of its manifest.
        size: Bytes of its compressed layers and configuration.
        labels: The labels of the image.
        created: Its declared creation time, in Unix seconds; ``None`` for reproducible images, which declare none.
    """

    reference: str
    digest: str
    size: int
    labels: Mapping[str, str]
    created: float | None


def image_id(digest: str, base: str | None = None, platform: str = _PLATFORM, *, ready: str | None = None) -> str:
    """Return the id of the image of a model or program: 32 hex characters, also its tag in the registry.

    The id also depends on the model server of this mlport version: after an upgrade of mlport, a new deployment of the
    same model gets a new image, so that it does not run the old server. A running deployment keeps its image.

    Args:
        digest: The digest of the model, program or ready-made image, 64 hex characters.
        base: The base as in the settings; ``None`` for the default.
        platform: The platform of the image.
        ready: The address of a ready-made image, which is used unchanged, so that only its digest counts.

    Example:
        >>> image_id("ab" * 32, ready="example.com/model@sha256:" + "ab" * 32)
        'abababababababababababababababab'
    """
    if ready is not None:
        return digest[:32]
    server = runtime.digest()
    return spec_hash({"digest": digest, "base": base, "platform": platform, "server": server})[:32]


def content_of(materials: Materials) -> Model | Program:
    """Return the content for an image: the model of a deployment or the program of a job.

    Raises:
        ConfigError: The materials have neither.
        LockMismatchError: The program's files differ from those that were sealed.
    """
    from sdk.packaging import bundle
    from sdk.packaging.model import Model
    from sdk.packaging.training import Program

    if materials.job is not None:
        return Program(materials.job.digest, materials.job.bundle, bundle.verify(materials.job.bundle))
    if not isinstance(materials.model, Model):
        raise ConfigError("the model is not at hand", hint="deploy it again")
    return materials.model


def publish(
    content: Model | Program,
    reference: str,
    *,
    base: str | None = None,
    platform: str = _PLATFORM,
    login: Login | None = None,
    labels: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    **reach: Unpack[Reach],
) -> str:
    """Publish the image of a model or program in a registry; return its address, ``HOST/REPOSITORY@sha256:…``.

    A ready-made image is copied from registry to registry and keeps its digest, unless it is OCI, which not every
    cloud takes, or an index: then it becomes one image in Docker's own format. Blobs that the registry already has, in
    this repository or, for a copy, in the source's repository, are not sent.

    Args:
        content: A model, ready-made image or training program; see :func:`content_of`.
        reference: ``HOST/REPOSITORY:TAG``.
        base: As in :func:`~sdk.packaging.image.build_image`.
        platform: ``linux/amd64`` or ``linux/arm64``.
        login: Returns user name and password for a host; if omitted, the credentials of ``docker login``.
        labels: More labels for an image that is built.
        progress: Called with each step, and for transfers with the bytes sent and the total.
        **reach: ``clock``, ``timeout_s``, ``transport``, ``insecure`` and ``ca``: see
            :class:`~sdk.packaging.image.registries.Reach`.

    Raises:
        ConfigError: The reference, base or platform cannot be used.
        PackagingError: The image cannot be built; nothing was published.
        PlatformError: A registry refused or could not be reached; nothing was published.
    """
    from . import build
    from .references import Reference

    place = Reference.parse(reference)
    ways = _ways(login, reach)
    ready = getattr(content, "image", None)
    if ready is not None:
        return _copy(Reference.parse(ready), place, platform, ways, progress)
    store = build.open_store()
    image = build.build_image(
        content, base=base, platform=platform, labels=labels, store=store, registries=ways, progress=progress
    )
    return build.push_image(image, reference, store=store, registries=ways, progress=progress)


def published(
    reference: str,
    *,
    platform: str = _PLATFORM,
    login: Login | None = None,
    **reach: Unpack[Reach],
) -> PublishedImage | None:
    """Return the image under a tag or digest of a registry, ``None`` if there is none; no layer is fetched.

    Args:
        reference: ``HOST/REPOSITORY:TAG`` or ``HOST/REPOSITORY@sha256:…``.
        platform: The platform to choose from an index.
        login: As in :func:`publish`.
        **reach: As in :func:`publish`.

    Raises:
        PlatformError: The registry refused or could not be reached.
        PackagingError: The image there is not for this platform.
    """
    from .manifests import Platform
    from .references import Reference

    place = Reference.parse(reference)
    with _ways(login, reach).open(place) as registry:
        try:
            return _described(registry, place, Platform.parse(platform))
        except NotFoundError:
            return None


def _described(registry: RegistryClient, place: Reference, platform: Platform) -> PublishedImage:
    from . import bases
    from .manifests import ImageConfig, digest_of

    with foreign.understood(f"the manifest of {place}"):
        data = registry.manifest(place.name)
        document: dict[str, Any] = foreign.table(data, f"the manifest of {place}")
        if bases.is_index(document):
            data = registry.manifest(bases.for_platform(document, platform, place))
            document = foreign.table(data, f"the manifest of {place}")
        config = registry.config(document["config"]["digest"])
        digest = digest_of(data)
        return PublishedImage(
            place.at(digest),
            digest,
            sum(int(item["size"]) for item in (document["config"], *document["layers"])),
            ImageConfig.read(config).labels,
            _seconds(foreign.table(config, f"the configuration of {place}").get("created")),
        )


def _copy(source: Reference, place: Reference, platform: str, ways: Registries, progress: Progress | None) -> str:
    from . import bases, build
    from .manifests import Platform

    store = build.open_store()
    lenders = (source.repository,) if source.host == place.host and source.repository != place.repository else ()
    image, _ = bases.pull(source, Platform.parse(platform), store, lambda: ways.open(source), layers=False)
    with ways.open(source) as origin, ways.open(place, write=True, mount_from=lenders) as registry:

        def fetch(digest: str, size: int) -> None:
            origin.pull_blob(digest, size, store)

        return place.at(registry.push(image, store, fetch=fetch, progress=progress))


def _ways(login: Login | None, reach: Reach) -> Registries:
    from .logins import docker_login
    from .registries import Registries

    return Registries(login or docker_login, **reach)


def _seconds(created: str | None) -> float | None:
    """Return Unix seconds; ``None`` for 1970 and before, which mean that the time is unknown."""
    return (max(0.0, datetime.fromisoformat(created).timestamp()) or None) if created else None
