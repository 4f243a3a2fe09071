"""Images in a registry, as runners need them: configuration, layers, and a folder with the unpacked mlport layers."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from sdk.packaging import disk
from sdk.packaging.image.layers import ImageLayer
from sdk.packaging.image.manifests import OCI_MANIFEST_TYPE, Image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sdk.packaging.image.store import BlobStore

_RUNTIME_LABEL = "dev.mlport.runtime"
_OURS = {f"mlport {part}" for part in ("dependencies", "runtime", "code", "model", "program")}
_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"


def image_of(store: BlobStore, digest: str) -> Image | None:
    """Return the image of a manifest whose blobs are in a store; ``None`` when some are missing."""
    data = store.read(digest)
    document: dict[str, Any] = json.loads(data) if data else {}
    config = store.read(document["config"]["digest"]) if "config" in document else None
    if config is None:
        return None
    about: dict[str, Any] = json.loads(config)
    history = [item.get("created_by", "") for item in about.get("history") or () if not item.get("empty_layer")]
    diff_ids: list[str] = about["rootfs"]["diff_ids"]
    authors = history if len(history) == len(diff_ids) else [""] * len(diff_ids)
    layers = tuple(
        ImageLayer(diff_id, item["digest"], item["size"], item["mediaType"], created_by)
        for diff_id, item, created_by in zip(diff_ids, document["layers"], authors, strict=True)
    )
    return Image(config, layers, "oci" if document.get("mediaType") == OCI_MANIFEST_TYPE else "docker")


def own_layers(image: Image) -> tuple[ImageLayer, ...]:
    """Return the layers with code and dependencies: those mlport made, or all layers of an image it did not make."""
    if _RUNTIME_LABEL not in image.labels:
        return image.layers
    return tuple(layer for layer in image.layers if layer.created_by in _OURS)


def unpack(image: Image, store: BlobStore, cache: Path) -> Path:
    """Return a folder with the own layers of an image, unpacked one over the other; made once per image.

    Lower layers that two mlport images share are unpacked once and hard-linked: nothing writes there. An image that
    mlport did not make may write to its files, so it gets its own copies.
    """
    layers = own_layers(image)
    if _RUNTIME_LABEL in image.labels and len(layers) > 1:
        return _stack(layers, store, cache)
    return _made(cache / image.id.removeprefix("sha256:"), lambda root: _over(None, layers, store, root))


def _stack(layers: tuple[ImageLayer, ...], store: BlobStore, cache: Path) -> Path:
    """Return a folder with these layers, over which others are unpacked."""
    below = _stack(layers[:-1], store, cache) if len(layers) > 1 else None
    return _made(cache / _name(layers), lambda root: _over(below, layers[-1:], store, root))


def _name(layers: tuple[ImageLayer, ...]) -> str:
    return hashlib.sha256("".join(layer.digest for layer in layers).encode()).hexdigest()


def _made(target: Path, fill: Callable[[Path], None]) -> Path:
    """Return a folder that is filled once; it appears only when it is complete."""
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with disk.staging(target.parent) as work:
        root = work / "root"
        fill(root)
        try:
            root.rename(target)
        except OSError:  # another thread was faster
            if not target.is_dir():
                raise
    return target


def _over(below: Path | None, layers: tuple[ImageLayer, ...], store: BlobStore, root: Path) -> None:
    """Unpack layers over a folder that is left unchanged."""
    if below is None:
        root.mkdir()
    else:
        shutil.copytree(below, root, symlinks=True, copy_function=os.link)
    for layer in layers:
        _apply(store.path(layer.digest), root)


def _apply(blob: Path, root: Path) -> None:
    with tarfile.open(blob, "r:*") as archive:
        for member in archive:
            place = _place(root, member.name)
            if place is not None:
                _member(archive, member, place, root)


def _place(root: Path, name: str) -> Path | None:
    """Return where an entry goes; ``None`` if that is outside the root, also by a link that an earlier entry made."""
    parts = [part for part in PurePosixPath(name).parts if part not in {"/", "."}]
    if not parts or ".." in parts:
        return None
    place = root.joinpath(*parts)
    return place if place.parent.resolve().is_relative_to(root.resolve()) else None


def _member(archive: tarfile.TarFile, member: tarfile.TarInfo, place: Path, root: Path) -> None:
    if place.name == _OPAQUE:
        for inside in _children(place.parent):
            _remove(inside)
        return
    if place.name.startswith(_WHITEOUT):
        _remove(place.with_name(place.name.removeprefix(_WHITEOUT)))
        return
    if member.isdir():
        if place.is_symlink() or place.is_file():
            place.unlink()
        place.mkdir(parents=True, exist_ok=True)
        return
    _remove(place)
    place.parent.mkdir(parents=True, exist_ok=True)
    if member.issym():
        place.symlink_to(member.linkname)
    elif member.islnk():
        source = _place(root, member.linkname)
        if source is not None and source.is_file() and not source.is_symlink():
            os.link(source, place)
    elif member.isreg():
        _file(archive, member, place)


def _file(archive: tarfile.TarFile, member: tarfile.TarInfo, place: Path) -> None:
    source = archive.extractfile(member)
    if source is not None:
        with source, place.open("xb") as file:
            shutil.copyfileobj(source, file)
        place.chmod(member.mode & 0o755 | 0o444)


def _children(folder: Path) -> Iterator[Path]:
    return folder.iterdir() if folder.is_dir() and not folder.is_symlink() else iter(())


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)
