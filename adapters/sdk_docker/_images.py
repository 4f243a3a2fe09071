"""Images in the engine, named by a hash of their content."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sdk.adapter import Labels, Live
from sdk.errors import ConfigError, ConflictError, NotFoundError, UnsupportedError
from sdk.packaging.image import build_image, content_of, open_store
from sdk.packaging.image.builder import LABEL
from sdk.packaging.image.engine_images import load
from sdk.packaging.image.manifests import Platform

from ._engine import seconds
from ._errors import PROVIDER, gone
from ._plan import IMAGE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdk.adapter import Materials, Resource

    from ._engine import Host

REPOSITORY = "localhost/mlport-bundle"  # no registry has this name


def name_of(image: str) -> str:
    """Return the name of an image in the engine."""
    return f"{REPOSITORY}:{image}"


def read(host: Host, image: str, owner: str, timeout: float) -> Live | None:
    """Return one image as a resource."""
    about = _inspect(host, name_of(image), timeout)
    return None if about is None else _live(image, about, owner)


def every(host: Host, owner: str, timeout: float) -> Iterator[Live]:
    """Yield all images that were made for endpoints and jobs."""
    for item in host.engine.call("GET", "/images/json", timeout_s=timeout):
        for name in item.get("RepoTags") or ():
            repository, _, image = name.rpartition(":")
            live = read(host, image, owner, timeout) if repository == REPOSITORY else None
            if live is not None:
                yield live


def make(host: Host, resource: Resource, materials: Materials, timeout: float) -> None:
    """Build the image of a model or program, or fetch a ready-made one, and tag it in the engine.

    Raises:
        ConfigError: A ready-made image cannot serve behind the gateway.
        UnsupportedError: The image is for another platform than the engine's.
    """
    spec: Any = resource.spec or {}
    ready: str | None = spec.get("image")
    about = _present(host, ready, timeout) if ready else None
    if about is None:
        store = open_store()
        image = build_image(
            content_of(materials),
            base=spec.get("base"),
            platform=str(host.engine.platform),
            store=store,
            progress=materials.progress,
        )
        # It gets its last name at once: under a second one, it would survive a killed client, and its own deletion.
        about = _inspect(host, load(host.engine, image, store, name=name_of(resource.id)), timeout) or {}
    if ready:
        _check(host, ready, about)
    params = {"repo": REPOSITORY, "tag": resource.id}
    host.engine.call("POST", f"/images/{about['Id']}/tag", params=params, timeout_s=timeout)


def _present(host: Host, ready: str, timeout: float) -> dict[str, Any] | None:
    """Return a ready-made image that the engine has: pulled by name, or built there with the digest as its id."""
    return _inspect(host, ready, timeout) or _inspect(host, ready.partition("@")[2], timeout)


def _check(host: Host, ready: str, about: dict[str, Any]) -> None:
    """Refuse a ready-made image that would fail only when it runs."""
    platform = Platform(str(about.get("Architecture", "")), str(about.get("Os", "linux")))
    if platform != host.engine.platform:
        raise UnsupportedError(
            f"image {ready} is for {platform}, the Docker Engine runs {host.engine.platform}",
            provider=PROVIDER,
            hint=f"build it for {host.engine.platform}",
        )
    labels: dict[str, str] = about["Config"].get("Labels") or {}
    if f"{LABEL}runtime" not in labels:
        raise ConfigError(
            f"image {ready} has no mlport server in it, which also is the gateway of an endpoint",
            hint="build it with `mlport build`, or write a Dockerfile that begins with FROM such an image",
        )


def delete(host: Host, image: str, timeout: float) -> None:
    """Remove the image's name; the engine removes the image when nothing else names or uses it."""
    if read(host, image, "", timeout) is None:
        raise gone(IMAGE, image)
    path = f"/images/{name_of(image)}"
    try:
        host.engine.call("DELETE", path, timeout_s=timeout)
    except ConflictError:  # a container that is not ours runs it, which keeps the image but not the name
        host.engine.call("DELETE", path, params={"force": "1"}, timeout_s=timeout)


def _inspect(host: Host, name: str, timeout: float) -> dict[str, Any] | None:
    try:
        about: dict[str, Any] = host.engine.call("GET", f"/images/{name}/json", timeout_s=timeout)
    except NotFoundError:
        return None
    return about


def _live(image: str, about: dict[str, Any], owner: str) -> Live:
    labels: dict[str, str] = about["Config"].get("Labels") or {}
    digest = labels.get(f"{LABEL}model.sha256") or labels.get(f"{LABEL}program.sha256", "")
    tagged = about.get("Metadata", {}).get("LastTagTime") or about.get("Created", "")
    return Live(
        IMAGE,
        image,
        "ready",
        raw=str(about["Id"]),
        labels=Labels("shared", owner, "", model=digest[:32]),
        created_at=seconds(tagged),
        details={"image": str(about["Id"])},
    )
