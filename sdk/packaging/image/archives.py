"""Write and read images as files (``docker save`` format or OCI layout), for machines that share no registry."""

from __future__ import annotations

import json
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from sdk.errors import ConfigError, PackagingError
from sdk.packaging import disk
from sdk.util import bounded, foreign

from .layers import Compressor, ImageLayer
from .manifests import OCI_INDEX_TYPE, Image, canonical, digest_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

    from .store import BlobStore

_BLOCK = 1 << 20
_GZIP = b"\x1f\x8b"


# --- writing ------------------------------------------------------------------------------------------------------


def write(image: Image, store: BlobStore, path: Path, name: str) -> Path:
    """Write an image as one file, completely or not at all; ``docker load`` and skopeo can read it.

    Args:
        image: The image; format ``"docker"`` is written as ``docker save`` does, format ``"oci"`` as an OCI layout.
        store: The store with its blobs.
        path: The new file.
        name: ``REPOSITORY:TAG`` that the image gets where it is loaded.

    Raises:
        ConfigError: The file exists.
        PackagingError: The disk is full, or a layer was damaged on this disk.
    """
    if path.exists():
        raise ConfigError(f"archive: {path} exists", hint="name a file that does not")
    for layer in image.layers:
        if not store.verified(layer.digest):
            raise damaged(layer.digest, "write")
    blocks = _layout(image, store, name) if image.format == "oci" else stream(image, store, name)
    with disk.staging_outside(path.resolve().parent) as work, disk.writing(path):
        with (work / "image").open("wb") as file:
            for block in blocks:
                file.write(block)
        disk.sync(work / "image")
        (work / "image").rename(path)
    return path


def damaged(digest: str, operation: str) -> PackagingError:
    """Return the error for a blob that was damaged on this disk; the next build creates it again."""
    return PackagingError(
        f"layer {digest} was damaged on this disk",
        operation=operation,
        resource=digest,
        hint="build the image again",
    )


def stream(image: Image, store: BlobStore, name: str, *, skip: int = 0) -> Iterator[bytes]:
    """Iterate over the image in ``docker save`` format, without the blobs of the lowest ``skip`` layers."""
    names = [f"{layer.digest.removeprefix('sha256:')}.tar.gz" for layer in image.layers]
    config = f"{image.id.removeprefix('sha256:')}.json"
    index = json.dumps([{"Config": config, "RepoTags": [name], "Layers": names}]).encode()
    yield from _member("manifest.json", index)
    yield from _member(config, image.config)
    for layer, file in dict(zip(image.layers[skip:], names[skip:], strict=True)).items():
        yield from _blob(file, store.path(layer.digest), layer.size)
    yield b"\0" * 1024


def _layout(image: Image, store: BlobStore, name: str) -> Iterator[bytes]:
    """Iterate over the image as OCI layout: https://github.com/opencontainers/image-spec/blob/main/image-layout.md."""
    described = {"mediaType": image.media_type, "digest": image.digest, "size": len(image.manifest)}
    described |= {"annotations": {"org.opencontainers.image.ref.name": name}}
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX_TYPE, "manifests": [described]}
    yield from _member("oci-layout", canonical({"imageLayoutVersion": "1.0.0"}))
    yield from _member("index.json", canonical(index))
    for data in (image.manifest, image.config):
        yield from _member(_place(digest_of(data)), data)
    for digest, size in {layer.digest: layer.size for layer in image.layers}.items():
        yield from _blob(_place(digest), store.path(digest), size)
    yield b"\0" * 1024


def _place(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _blob(name: str, path: Path, size: int) -> Iterator[bytes]:
    yield from _header(name, size)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block
    yield b"\0" * (-size % 512)


def _member(name: str, data: bytes) -> Iterator[bytes]:
    yield from _header(name, len(data))
    yield data + b"\0" * (-len(data) % 512)


def _header(name: str, size: int) -> Iterator[bytes]:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    yield info.tobuf(tarfile.PAX_FORMAT)


# --- reading ------------------------------------------------------------------------------------------------------


def load(path: Path, store: BlobStore) -> Image:
    """Read the image in a file of either format, and put its blobs into the store.

    Raises:
        ConfigError: The file has no image, or more than one.
        PackagingError: The file is damaged.
    """
    with path.open("rb") as file:
        return read(file, store, what=str(path))


def read(file: IO[bytes], store: BlobStore, *, what: str) -> Image:
    """Read an image from an open file of either format; ``what`` names the file in errors."""
    try:
        with tarfile.open(fileobj=file, mode="r:*") as archive:
            config, names = _contents(archive, what)
            layers = tuple(_keep(archive, name, store) for name in names)
    except (tarfile.TarError, EOFError, zlib.error, MemoryError) as error:  # a header may claim any size
        why = str(error) or "it asks for too much memory"
        raise PackagingError(f"{what} is no whole image archive: {why}", operation="read") from error
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(f"{what} holds no image: {error}", hint="give what `docker save` or skopeo wrote") from error
    image = Image(config, layers)
    with foreign.understood(f"the configuration of {what}"):
        wanted: list[str] = foreign.parse(config, "the configuration")["rootfs"]["diff_ids"]
    if [layer.diff_id for layer in layers] != wanted:
        raise PackagingError(f"{what} has other layers than its configuration says", operation="read")
    store.put(config)
    store.put(image.manifest)
    return image


def _contents(archive: tarfile.TarFile, what: str) -> tuple[bytes, list[str]]:
    """Read the configuration, and the file names of the layers."""
    if "manifest.json" in archive.getnames():
        records: list[dict[str, Any]] = foreign.parse(_read(archive, "manifest.json"), "manifest.json")
        if len(records) != 1:
            raise ConfigError(f"{what} holds {len(records)} images", hint="give a file with one")
        return _read(archive, records[0]["Config"]), list(records[0]["Layers"])
    index: dict[str, Any] = foreign.parse(_read(archive, "index.json"), "index.json")
    if len(index["manifests"]) != 1:
        raise ConfigError(f"{what} holds {len(index['manifests'])} images", hint="give a file with one")
    manifest: dict[str, Any] = foreign.parse(_read(archive, _place(index["manifests"][0]["digest"])), "the manifest")
    return _read(archive, _place(manifest["config"]["digest"])), [_place(one["digest"]) for one in manifest["layers"]]


def _file(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    member = archive.getmember(name)
    if member.issym() or member.islnk():  # only once: links may lead to each other
        member = archive.getmember(
            str(PurePosixPath(name).parent / member.linkname) if member.issym() else member.linkname
        )
    file = archive.extractfile(member) if member.isreg() and not member.issparse() else None
    if file is None:
        raise KeyError(f"{name} is no file")
    return file


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    """Read a manifest or configuration, which is small."""
    data = _file(archive, name).read(bounded.SMALL.most + 1)
    if len(data) > bounded.SMALL.most:
        raise ValueError(f"{name} has more than {bounded.SMALL.most:,} bytes")
    return data


def _keep(archive: tarfile.TarFile, name: str, store: BlobStore) -> ImageLayer:
    file = _file(archive, name)
    with store.incoming() as (out, commit):
        stream = Compressor(out, 1)
        for block in _plain(file):
            stream.write(block)
        layer = stream.finish()
        commit(layer.digest)
    return layer


def _plain(file: IO[bytes]) -> Iterator[bytes]:
    """Iterate over the uncompressed blocks of a layer; newer engines and layouts store layers compressed."""
    block = file.read(_BLOCK)
    unpack = zlib.decompressobj(31) if block[:2] == _GZIP else None
    left = bounded.IMAGE.most
    while plain := unpack.decompress(block, _BLOCK) if unpack else block:
        left -= len(plain)
        if left < 0:
            raise ValueError(f"a layer has more than {bounded.IMAGE.most:,} bytes")
        yield plain
        block = (unpack.unconsumed_tail if unpack else b"") or file.read(_BLOCK)
    if unpack and not unpack.eof:
        raise EOFError("a layer ends in the middle")
