"""Images in the engine, found by a name made of what they hold."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from sdk.adapter import Labels, Live
from sdk.errors import NotFoundError, PackagingError
from sdk.packaging.image import build_image, content_of, open_store
from sdk.packaging.image.engine_images import load

from ._errors import gone
from ._plan import IMAGE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdk.adapter import Materials, Resource

    from ._engine import Host

REPOSITORY = "localhost/mlport-bundle"  # no registry can answer to it


def name_of(image: str) -> str:
    """The name an image has in the engine."""
    return f"{REPOSITORY}:{image}"


def read(host: Host, image: str, owner: str, timeout: float) -> Live | None:
    """One image as a resource."""
    try:
        about = host.engine.call("GET", f"/images/{name_of(image)}/json", timeout_s=timeout)
    except NotFoundError:
        return None
    return _live(image, about, owner)


def every(host: Host, owner: str, timeout: float) -> Iterator[Live]:
    """All images that were made for endpoints and jobs."""
    for item in host.engine.call("GET", "/images/json", timeout_s=timeout):
        for name in item.get("RepoTags") or ():
            repository, _, image = name.rpartition(":")
            live = read(host, image, owner, timeout) if repository == REPOSITORY else None
            if live is not None:
                yield live


def make(host: Host, resource: Resource, materials: Materials, timeout: float) -> None:
    """Build the image of a model or program, bring it into the engine and give it its name."""
    spec: Any = resource.spec or {}
    if materials.model is not None and materials.model.path is None:
        raise PackagingError(f"model {resource.id} has no files, only an image")
    content, store = content_of(materials), open_store()
    image = build_image(
        content, base=spec["base"], platform=str(host.engine.platform), store=store, progress=materials.progress
    )
    found = load(host.engine, image, store)
    params = {"repo": REPOSITORY, "tag": resource.id}
    host.engine.call("POST", f"/images/{found}/tag", params=params, timeout_s=timeout)


def delete(host: Host, image: str, timeout: float) -> None:
    """Take the name away; the engine removes what nothing else names or uses."""
    if read(host, image, "", timeout) is None:
        raise gone(IMAGE, image)
    host.engine.call("DELETE", f"/images/{name_of(image)}", timeout_s=timeout)


def _live(image: str, about: dict[str, Any], owner: str) -> Live:
    labels: dict[str, str] = about["Config"].get("Labels") or {}
    digest = labels.get("dev.mlport.model.sha256") or labels.get("dev.mlport.program.sha256", "")
    tagged = about.get("Metadata", {}).get("LastTagTime") or about["Created"]
    return Live(
        IMAGE,
        image,
        "ready",
        raw=str(about["Id"]),
        labels=Labels("shared", owner, "", model=digest[:32]),
        created_at=seconds(tagged),
        details={"image": str(about["Id"])},
    )


def seconds(stamp: str) -> float | None:
    """Unix seconds of a time of the engine, ``None`` for its zero."""
    if stamp.startswith("0001"):
        return None
    return datetime.fromisoformat(stamp).timestamp()
