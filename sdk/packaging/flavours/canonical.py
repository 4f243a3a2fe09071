"""Make library files depend only on their content, so that the same model always has the same digest."""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING, Any, NamedTuple, cast

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LARGEST = 64 << 20
_RATIO = 200
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first date a zip file can hold


class Skops(NamedTuple):
    """A skops file, the modules that it names, the scikit-learn types that it creates, and its schema."""

    data: bytes
    modules: set[str]
    types: set[str]
    schema: Any


def canonical_skops(data: bytes) -> Skops:
    """Return a skops file with running numbers instead of memory addresses, and the modules and types that it names."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        schema = json.loads(read_member(archive, "schema.json"))
        _check_size(archive, len(data))
        members = {name: archive.read(name) for name in archive.namelist() if name != "schema.json"}
    numbers: dict[int, int] = {}
    names: dict[str, str] = {}
    modules: set[str] = set()
    types: set[str] = set()
    for node in _nodes(schema):
        if isinstance(module := node.get("__module__"), str):
            modules.add(module)
            if module.partition(".")[0] == "sklearn":
                types.add(f"{module}.{node.get('__class__')}")
        if isinstance(address := node.get("__id__"), int):
            node["__id__"] = numbers.setdefault(address, len(numbers) + 1)
        if isinstance(file := node.get("file"), str) and file in members:
            suffix = file.rpartition(".")[2]
            node["file"] = names.setdefault(file, f"{len(names) + 1}.{suffix}")
    members = {names.get(name, name): content for name, content in members.items()}
    members["schema.json"] = json.dumps(schema, separators=(",", ":")).encode()
    return Skops(zip_bytes(members), modules, types, schema)


def read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    """Read a description inside an archive from an untrusted source.

    Raises:
        ValueError: The member is larger than any description.
    """
    if archive.getinfo(name).file_size > _LARGEST:
        raise ValueError(f"{name} in it has more than {_LARGEST:,} bytes")
    return archive.read(name)


def _check_size(archive: zipfile.ZipFile, packed: int) -> None:
    """Refuse an archive that unpacks to too much; Python reads at most as much of a member as its entry says."""
    if sum(entry.file_size for entry in archive.infolist()) > max(_RATIO * packed, 64 << 20):
        raise ValueError(f"it unpacks to more than {_RATIO} times its size")


def canonical_keras(path: Path) -> None:
    """Remove the date from a ``.keras`` file, in place."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    metadata = json.loads(members["metadata.json"])
    metadata["date_saved"] = "1980-01-01@00:00:00"
    members["metadata.json"] = json.dumps(metadata, sort_keys=True).encode()
    path.write_bytes(zip_bytes(members))


def zip_bytes(members: dict[str, bytes]) -> bytes:
    """Return an uncompressed zip file of these members, sorted by name, with a fixed date."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), members[name])
    return buffer.getvalue()


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Iterate over all JSON objects, parents first, in the order of the file."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            node = cast("dict[str, Any]", item)
            yield node
            waiting += reversed(list(node.values()))
        elif isinstance(item, list):
            waiting += item[::-1]  # pyright: ignore[reportUnknownMemberType]  # any JSON list
