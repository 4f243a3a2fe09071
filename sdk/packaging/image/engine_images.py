"""Transfer images into an engine and out of it: loads of missing layers only, and exports."""

from __future__ import annotations

import json
import tempfile
from typing import TYPE_CHECKING, Any

from sdk.errors import NotFoundError, PackagingError, PlatformError, QuotaError, UnsupportedError
from sdk.util import bounded, foreign
from sdk.util.names import suggest_name

from . import archives
from .builder import LABEL
from .engine import is_full

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .engine import Engine
    from .manifests import Image
    from .store import BlobStore

MESSAGES = bounded.Bound(64 << 20, 6 * 3600.0)  # the messages of an engine while it builds or loads an image
_MANY = 100  # the number of images searched for shared layers
_ALIKE = (f"{LABEL}lock.sha256", f"{LABEL}runtime")


def load(engine: Engine, image: Image, store: BlobStore, *, name: str | None = None) -> str:
    """Load an image into an engine; return the id that the engine knows it by.

    Only layers above those that the engine already has are sent. An engine that does not accept that gets all layers.

    Args:
        engine: The engine.
        image: The image.
        store: The store with its blobs.
        name: ``REPOSITORY:TAG`` that it gets there if it is new; :func:`tag` if omitted.

    Raises:
        UnsupportedError: The image is for another processor than the engine.
        QuotaError: The engine's disk is full.
    """
    if image.platform != engine.platform:
        raise UnsupportedError(
            f"image {image.title or image.id[:19]} is for {image.platform}, the Docker Engine runs {engine.platform}",
            provider="docker",
            hint=f'build it with platform="{engine.platform}"',
        )
    name = name or tag(image)
    found = find(engine, image, name)
    if found is None:
        common = _common(engine, image)
        found = (_send(engine, image, store, common, name) if common else None) or _send(engine, image, store, 0, name)
    if found is None:
        raise PlatformError(
            "the Docker Engine took the image but does not have it", operation="load", resource=image.id
        )
    return found


def find(engine: Engine, image: Image, name: str | None = None) -> str | None:
    """Return the id that the engine knows this exact image by, or ``None`` if it does not have it.

    Args:
        engine: The engine.
        image: The image.
        name: A name that it may have in addition to its id and :func:`tag`.
    """
    for one in dict.fromkeys((image.id, tag(image), name or image.id)):
        try:
            about = engine.call("GET", f"/images/{one}/json")
        except NotFoundError:
            continue
        if about["RootFS"].get("Layers") == [layer.diff_id for layer in image.layers]:
            return str(about["Id"])
    return None


def tag(image: Image) -> str:
    """Return the name of an image in an engine; no registry can have this name."""
    return f"localhost/mlport/{suggest_name(image.title or 'image')}:{image.id.removeprefix('sha256:')[:32]}"


def _common(engine: Engine, image: Image) -> int:
    """Return how many of the lowest layers the engine has in one of its images."""
    wanted = [layer.diff_id for layer in image.layers]
    best = 0
    for name in _candidates(engine, image):
        try:
            have: list[str] = engine.call("GET", f"/images/{name}/json")["RootFS"].get("Layers") or []
        except NotFoundError:
            continue  # removed since
        same = next(
            (n for n, (a, b) in enumerate(zip(wanted, have, strict=False)) if a != b), min(len(wanted), len(have))
        )
        best = max(best, same)
        if best >= len(wanted) - 1:
            break
    return min(best, len(wanted) - 1)


def _candidates(engine: Engine, image: Image) -> Iterator[str]:
    """Iterate over images that may share layers; those with the same dependencies and server come first."""
    alike = [f"{name}={image.labels[name]}" for name in _ALIKE if name in image.labels]
    filters = {"filters": json.dumps({"label": alike})} if len(alike) == len(_ALIKE) else {}
    seen: set[str] = set()
    for params in (filters, {}) if filters else ({},):
        for item in engine.call("GET", "/images/json", params=params)[:_MANY]:
            if item["Id"] not in seen:
                seen.add(item["Id"])
                yield str(item["Id"])


def _send(engine: Engine, image: Image, store: BlobStore, skip: int, name: str) -> str | None:
    try:
        with engine.stream(
            "POST",
            "/images/load",
            params={"quiet": "1"},
            content=archives.stream(image, store, name, skip=skip),
            headers={"content-type": "application/x-tar"},
            bound=MESSAGES,
        ) as pieces:
            check_messages(b"".join(pieces), "load")
    except QuotaError:
        raise
    except (PlatformError, PackagingError, FileNotFoundError) as error:
        if skip:
            return None  # this engine wants all layers
        bad = [layer.digest for layer in image.layers if not store.verified(layer.digest)]
        if bad:
            raise archives.damaged(bad[0], "load") from error
        raise
    return find(engine, image, name)


def check_messages(data: bytes, operation: str) -> list[dict[str, Any]]:
    """Return the messages of a long answer; the engine first sends status 200 and then any error as a message.

    Raises:
        QuotaError: The engine's disk is full.
        PackagingError: The operation failed; the message has its last lines.
    """
    messages: list[dict[str, Any]] = [
        foreign.table(line) for line in data.splitlines() if line.strip().startswith(b"{")
    ]
    for message in messages:
        detail: dict[str, Any] = message.get("errorDetail") or {}
        said = detail.get("message") or message.get("error")  # newer engines omit the plain field
        if said:
            raise _failed(operation, str(said), messages)
    return messages


def _failed(operation: str, said: str, messages: Sequence[dict[str, Any]]) -> PlatformError | PackagingError:
    lines = "".join(str(item.get("stream", "")) for item in messages).splitlines()[-20:]
    text = "\n".join([f"the Docker Engine cannot {operation}: {said}", *lines])
    if is_full(said):
        return QuotaError(text, provider="docker", operation=operation, hint="free some with `docker system prune`")
    return PackagingError(text, operation=operation)


def export(engine: Engine, name: str, store: BlobStore) -> Image:
    """Export an image from an engine, with its blobs in the store, so that it can be pushed or built upon.

    Raises:
        NotFoundError: The engine has no such image.
    """
    with tempfile.TemporaryFile() as file:
        with engine.stream("GET", f"/images/{name}/get", bound=bounded.IMAGE) as pieces:
            for piece in pieces:
                file.write(piece)
        file.seek(0)
        return archives.read(file, store, what=f"image {name} of the Docker Engine")
