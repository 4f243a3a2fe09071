"""Images as the shared resource of an adapter: which one is wanted, is it in the registry, bring it there.

An adapter plans with :func:`image_id`, reads with :func:`published` and creates with :func:`publish`. This module and
:func:`image_id` load nothing heavy: planning must stay quick.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sdk import foreign
from sdk.errors import ConfigError, NotFoundError
from sdk.packaging import runtime
from sdk.resources import spec_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Unpack

    from sdk.model import Model
    from sdk.packaging.training import Program
    from sdk.specs import Materials

    from .auth import Credentials
    from .manifests import Platform
    from .references import Reference
    from .registries import Reach, Registries
    from .registry import Registry

    Login = Callable[[str], Credentials | None]
    Progress = Callable[[str, int, int | None], None]

_PLATFORM = "linux/amd64"


@dataclass(frozen=True, slots=True)
class PublishedImage:
    """An image that a registry has.

    Args:
        reference: Where it is, by digest.
        digest: ``sha256:…`` of its manifest.
        size: Bytes of its compressed layers and configuration.
        labels: What is written on it.
        created: When it says that it was made, in Unix seconds; ``None`` for reproducible images, which do not say.
    """

    reference: str
    digest: str
    size: int
    labels: Mapping[str, str]
    created: float | None


def image_id(digest: str, base: str | None = None, platform: str = _PLATFORM, *, ready: str | None = None) -> str:
    """The id of the image made of a model or program: 32 hex characters, also its tag in the registry.

    It depends on the model server of this mlport as well: after an upgrade of mlport, a new deployment of the same
    model gets a new image, so that it does not run the old server. A deployment that runs keeps the image it has.

    Args:
        digest: Of the model, program or ready-made image, 64 hex characters.
        base: As in the settings; ``None`` for the default.
        platform: What it runs on.
        ready: Where a ready-made image is; it is taken as it is, so nothing but its digest counts.

    Example:
        >>> image_id("ab" * 32, ready="example.com/model@sha256:" + "ab" * 32)
        'abababababababababababababababab'
    """
    if ready is not None:
        return digest[:32]
    server = runtime.digest()
    return spec_hash({"digest": digest, "base": base, "platform": platform, "server": server})[:32]


def content_of(materials: Materials) -> Model | Program:
    """What an image is to be made of: the model of a deployment or the program of a job.

    Raises:
        ConfigError: There is neither.
        LockMismatchError: The program's files are not those that were sealed.
    """
    from sdk.packaging import bundle
    from sdk.packaging.training import Program

    if materials.job is not None:
        return Program(materials.job.digest, materials.job.bundle, bundle.verify(materials.job.bundle))
    if materials.model is None:
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
    """Bring the image of a model or program to a registry; where it is then, ``HOST/REPOSITORY@sha256:…``.

    A ready-made image is copied from registry to registry and keeps its digest, unless it is OCI, which not every
    cloud takes, or an index: then it becomes one image in Docker's own form. Blobs that the registry has, in this
    repository or, for a copy, in that of the source, are not sent.

    Args:
        content: A model, ready-made image or training program; see :func:`content_of`.
        reference: ``HOST/REPOSITORY:TAG``.
        base: As in :func:`~sdk.packaging.image.build_image`.
        platform: ``linux/amd64`` or ``linux/arm64``.
        login: Gives user name and password for a host; what ``docker login`` left when left out.
        labels: More labels of an image that is built.
        progress: Told what is being done, and of each blob how many bytes of how many have been sent.
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
    """What a registry has under a tag or digest, ``None`` when it has nothing there; no layer is fetched.

    Args:
        reference: ``HOST/REPOSITORY:TAG`` or ``HOST/REPOSITORY@sha256:…``.
        platform: Which image of an index.
        login: As in :func:`publish`.
        **reach: As in :func:`publish`.

    Raises:
        PlatformError: The registry refused or could not be reached.
        PackagingError: What is there is not for this platform.
    """
    from .manifests import Platform
    from .references import Reference

    place = Reference.parse(reference)
    with _ways(login, reach).open(place) as registry:
        try:
            return _described(registry, place, Platform.parse(platform))
        except NotFoundError:
            return None


def _described(registry: Registry, place: Reference, platform: Platform) -> PublishedImage:
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
    """Unix seconds; the year 1970 and before says nothing."""
    return (max(0.0, datetime.fromisoformat(created).timestamp()) or None) if created else None
