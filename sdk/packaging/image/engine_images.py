"""Images into an engine and out of it: thin loads, user Dockerfiles, exports."""

from __future__ import annotations

import fnmatch
import json
import tarfile
import tempfile
import zlib
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from sdk.errors import ConfigError, NotFoundError, PackagingError, PlatformError, QuotaError, UnsupportedError
from sdk.names import suggest_name

from .engine import is_full
from .layers import Compressor, Entry, Layer, tree, write_tar
from .manifests import Image

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .engine import Engine
    from .store import Store

_BLOCK = 1 << 20
_MANY = 100  # images that are looked at for layers in common


def load(engine: Engine, image: Image, store: Store) -> str:
    """Bring an image into an engine; gives the id that the engine knows it by.

    Only layers above those that the engine has already are sent. An engine that does not take that gets all of them.

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
    found = find(engine, image)
    if found is None:
        common = _common(engine, image)
        found = (_send(engine, image, store, common) if common else None) or _send(engine, image, store, 0)
    if found is None:
        raise PlatformError(
            "the Docker Engine took the image but does not have it", operation="load", resource=image.id
        )
    return found


def find(engine: Engine, image: Image) -> str | None:
    """The id that the engine knows this very image by, if it has it."""
    for name in (image.id, tag(image)):
        try:
            about = engine.call("GET", f"/images/{name}/json")
        except NotFoundError:
            continue
        if about["RootFS"].get("Layers") == [layer.diff_id for layer in image.layers]:
            return str(about["Id"])
    return None


def tag(image: Image) -> str:
    """The name an image gets in an engine; one that no registry can answer to."""
    return f"localhost/mlport/{suggest_name(image.title or 'image')}:{image.id.removeprefix('sha256:')[:32]}"


def _common(engine: Engine, image: Image) -> int:
    """How many of the lowest layers the engine has, seen in one of its images."""
    wanted = [layer.diff_id for layer in image.layers]
    best = 0
    for item in engine.call("GET", "/images/json")[:_MANY]:
        try:
            have: list[str] = engine.call("GET", f"/images/{item['Id']}/json")["RootFS"].get("Layers") or []
        except NotFoundError:
            continue  # removed since
        same = next(
            (n for n, (a, b) in enumerate(zip(wanted, have, strict=False)) if a != b), min(len(wanted), len(have))
        )
        best = max(best, same)
    return min(best, len(wanted) - 1)


def _send(engine: Engine, image: Image, store: Store, skip: int) -> str | None:
    try:
        with engine.stream(
            "POST",
            "/images/load",
            params={"quiet": "1"},
            content=_archive(image, store, skip),
            headers={"content-type": "application/x-tar"},
        ) as pieces:
            _check_messages(b"".join(pieces), "load")
    except QuotaError:
        raise
    except (PlatformError, PackagingError, FileNotFoundError) as error:
        if skip:
            return None  # this engine wants all layers
        damaged = [layer.digest for layer in image.layers if not store.verified(layer.digest)]
        if damaged:
            raise PackagingError(
                f"layer {damaged[0]} was damaged on this disk",
                operation="load",
                resource=damaged[0],
                hint="build the image again",
            ) from error
        raise
    return find(engine, image)


def _archive(image: Image, store: Store, skip: int) -> Iterator[bytes]:
    """The image in the form of ``docker save``, without the blobs of the lowest ``skip`` layers."""
    names = [f"{layer.digest.removeprefix('sha256:')}.tar.gz" for layer in image.layers]
    config = f"{image.id.removeprefix('sha256:')}.json"
    index = json.dumps([{"Config": config, "RepoTags": [tag(image)], "Layers": names}]).encode()
    yield from _member("manifest.json", index)
    yield from _member(config, image.config)
    for layer, name in dict(zip(image.layers[skip:], names[skip:], strict=True)).items():
        yield from _header(name, layer.size)
        with store.path(layer.digest).open("rb") as file:
            while block := file.read(_BLOCK):
                yield block
        yield b"\0" * (-layer.size % 512)
    yield b"\0" * 1024


def _member(name: str, data: bytes) -> Iterator[bytes]:
    yield from _header(name, len(data))
    yield data + b"\0" * (-len(data) % 512)


def _header(name: str, size: int) -> Iterator[bytes]:
    info = tarfile.TarInfo(name)
    info.size = size
    yield info.tobuf(tarfile.PAX_FORMAT)


def _check_messages(data: bytes, operation: str) -> list[dict[str, Any]]:
    """The messages of a long answer; the engine says 200 first and then what went wrong."""
    messages: list[dict[str, Any]] = [json.loads(line) for line in data.splitlines() if line.strip().startswith(b"{")]
    for message in messages:
        if "error" in message:
            raise _failed(operation, str(message["error"]), messages)
    return messages


def _failed(operation: str, said: str, messages: Sequence[dict[str, Any]]) -> PlatformError | PackagingError:
    lines = "".join(str(item.get("stream", "")) for item in messages).splitlines()[-20:]
    text = "\n".join([f"the Docker Engine cannot {operation}: {said}", *lines])
    if is_full(said):
        return QuotaError(text, provider="docker", operation=operation, hint="free some with `docker system prune`")
    return PackagingError(text, operation=operation)


# --- user Dockerfiles -------------------------------------------------------------------------------------------


def build_dockerfile(
    engine: Engine, folder: str | Path, *, dockerfile: str = "Dockerfile", arguments: dict[str, str] | None = None
) -> str:
    """Build a Dockerfile by the engine's own builder; gives the id of the image.

    Args:
        engine: Builds it.
        folder: The context; what ``.dockerignore`` names in it is left out.
        dockerfile: Path inside the folder.
        arguments: Build arguments.

    Raises:
        ConfigError: There is no such Dockerfile.
        PackagingError: A step failed; with its last lines.
    """
    root = Path(folder).expanduser().resolve()
    if not (root / dockerfile).is_file():
        raise ConfigError(f"{root / dockerfile} does not exist", hint="name the Dockerfile with dockerfile=")
    with tempfile.TemporaryFile() as context:
        write_tar(_context(root, dockerfile), context)
        context.seek(0)
        params = {"dockerfile": dockerfile, "buildargs": json.dumps(arguments or {}), "rm": "1", "forcerm": "1"}
        blocks = iter(lambda: context.read(_BLOCK), b"")
        with engine.stream(
            "POST", "/build", params=params, content=blocks, headers={"content-type": "application/x-tar"}
        ) as pieces:
            messages = _check_messages(b"".join(pieces), "build")
    ids = [str(message["aux"]["ID"]) for message in messages if "ID" in message.get("aux", {})]
    if not ids:
        raise PackagingError("the Docker Engine named no image after the build", operation="build")
    return ids[-1]


def _context(root: Path, dockerfile: str) -> list[Entry]:
    rules = _rules(root / ".dockerignore")
    kept = {dockerfile, ".dockerignore"}
    entries = [
        entry for entry in tree(root, "", skip=frozenset()) if entry.path in kept or not _ignored(entry.path, rules)
    ]
    return sorted(entries, key=lambda entry: entry.path)


def _rules(path: Path) -> list[tuple[str, bool]]:
    if not path.is_file():
        return []
    lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
    return [
        (line.removeprefix("!").strip().strip("/").removeprefix("./"), line.startswith("!"))
        for line in lines
        if line and not line.startswith("#")
    ]


def _ignored(path: str, rules: Sequence[tuple[str, bool]]) -> bool:
    """Docker's rules: patterns from the root, the last that fits decides, ``!`` takes back."""
    above = [path, *(str(parent) for parent in PurePosixPath(path).parents if str(parent) != ".")]
    ignored = False
    for pattern, back in rules:
        if any(_fits(name.split("/"), pattern.split("/")) for name in above):
            ignored = not back
    return ignored


def _fits(parts: list[str], pattern: list[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_fits(parts[number:], pattern[1:]) for number in range(len(parts) + 1))
    return bool(parts) and fnmatch.fnmatchcase(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])


# --- out of an engine -------------------------------------------------------------------------------------------


def export(engine: Engine, name: str, store: Store) -> Image:
    """An image of an engine, with its blobs in the store, so that it can be pushed or built upon.

    Raises:
        NotFoundError: The engine has no such image.
    """
    with tempfile.TemporaryFile() as file:
        with engine.stream("GET", f"/images/{name}/get") as pieces:
            for piece in pieces:
                file.write(piece)
        file.seek(0)
        with tarfile.open(fileobj=file, mode="r:") as archive:
            (record,) = json.loads(_read(archive, "manifest.json"))
            config = _read(archive, record["Config"])
            layers = tuple(_keep(archive, layer, store) for layer in record["Layers"])
    image = Image(config, layers)
    if [layer.diff_id for layer in layers] != json.loads(config)["rootfs"]["diff_ids"]:
        raise PackagingError(f"the Docker Engine sent other layers than {name} has", operation="export", resource=name)
    store.put(config)
    store.put(image.manifest)
    return image


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    if file is None:
        raise PackagingError(f"the exported image lacks {name}", operation="export")
    return file.read()


def _keep(archive: tarfile.TarFile, name: str, store: Store) -> Layer:
    member = archive.getmember(name)
    member = archive.getmember(str(PurePosixPath(name).parent / member.linkname)) if member.issym() else member
    file = archive.extractfile(member)
    if file is None:
        raise PackagingError(f"the exported image lacks {name}", operation="export")
    with store.incoming() as (out, commit):
        stream = Compressor(out, 1)
        for block in _plain(file):
            stream.write(block)
        layer = stream.finish()
        commit(layer.digest)
    return layer


def _plain(file: Any) -> Iterator[bytes]:
    """Blocks of a layer; newer engines hand them out compressed."""
    first: bytes = file.read(_BLOCK)
    unpack = zlib.decompressobj(31) if first[:2] == b"\x1f\x8b" else None
    block = first
    while block:
        yield unpack.decompress(block) if unpack else block
        block = file.read(_BLOCK)
