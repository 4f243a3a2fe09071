"""Local data of jobs in the storage of a platform: kept by content, sent once, and counted by ``gc --shared``.

::

    data/ID/...        the files of one input; ID is made of their names and contents
    data/ID.complete   written last: an input without it is not whole

A job needs its inputs until it is over. After that nothing does, so ``gc --shared`` removes them.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from .. import foreign
from ..adapter import Labels, Live, Ref, Resource, spec_hash
from ..errors import ConfigError, ConflictError, NotFoundError
from ..transfers import Meter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from ..adapter import Materials
    from ..types import Json

DATA = "Data"
UNFINISHED = ".unfinished"
"""What follows the id of an input in the name of what is left of its upload: never taken for the input itself."""
STALE_S = 24 * 3600.0  # an upload without any progress for so long is dead: platforms end connections long before
_FOLDER, _DONE, _KEEP = "data", ".complete", "data/.keep"
_NAME_BYTES = 900  # of the 1024 that the platforms take; the rest is for the folder and the id of the input


class Stored(NamedTuple):
    """A stored object: its path, its bytes, and when it was written, in unix seconds."""

    path: str
    size: int
    modified: float


class Store(Protocol):
    """The folder of a target in its platform's storage; paths are relative to it."""

    @property
    def place(self) -> str:
        """Its address, without a slash at the end."""
        ...

    def find(self, path: str) -> tuple[bytes, float] | None:
        """A small object and when it was written; ``None`` when it is not there."""
        ...

    def write(self, path: str, body: bytes) -> None:
        """Store a small object, and make the storage where it is missing."""
        ...

    def objects(self, path: str) -> Iterator[Stored]:
        """All objects whose path begins so; none where there is no storage."""
        ...

    def top(self, path: str) -> Iterator[str]:
        """The names directly in a folder, whose path ends with a slash; those of folders end with a slash too."""
        ...

    def upload(self, files: Mapping[str, Path], meter: Meter) -> None:
        """Store files, each under its path."""
        ...

    def clear(self, path: str) -> None:
        """Delete all objects whose path begins so, and what is left of uploads there."""
        ...

    def now(self) -> float:
        """Unix seconds by the platform's clock."""
        ...


class Inputs:
    """The inputs of a target's jobs.

    Args:
        owner: The label value of what is listed.
        provider: Named in errors.
        storage: What the platform calls its storage.
    """

    def __init__(self, owner: str, provider: str, storage: str) -> None:
        self._owner, self._provider, self._storage = owner, provider, storage
        self._known: dict[str, Path] = {}  # what was planned, by digest

    def plan(self, channel: str, path: Path, labels: Labels) -> Resource:
        """One input as a resource; reads all of it, to know what it is."""
        files = list(files_of(path))
        digest = hashlib.sha256()
        for relative, file in files:
            self._check_name(channel, relative)
            with file.open("rb") as stream:
                digest.update(f"{relative}\0{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
        content = digest.hexdigest()
        self._known[content] = path
        spec: dict[str, Json] = {"digest": content, "files": len(files)}
        own = Labels("shared", labels.owner, labels.txn)
        summary = f"{channel}: {len(files)} file(s) to {self._storage}"
        return Resource(DATA, content[:32], spec, own, summary=summary)

    def _check_name(self, channel: str, name: str) -> None:
        try:
            size = len(name.encode())
        except UnicodeEncodeError as error:
            raise ConfigError(
                f"data.{channel}: the file name {name!r} is not UTF-8", hint="rename the file", provider=self._provider
            ) from error
        if size > _NAME_BYTES:
            raise ConfigError(
                f"data.{channel}: the path {name[:60]}… has {size} bytes, {self._storage} takes {_NAME_BYTES} here",
                hint="use shorter names",
                provider=self._provider,
            )

    def read(self, store: Store, name: str) -> Live | None:
        """An input, if all of it is there; under a name of its own what is left of an upload that was given up."""
        if name.endswith(UNFINISHED):
            return self._read_unfinished(store, name.removesuffix(UNFINISHED))
        found = store.find(_mark(name))
        if found is None:
            return None
        text, written = found
        spec: dict[str, Json] = foreign.table(text, f"the record of input {name}")
        labels = Labels("shared", self._owner, "", spec=spec_hash(spec)[:32])
        return Live(DATA, name, "ready", raw=address(store, name), spec=spec, labels=labels, created_at=written)

    def _read_unfinished(self, store: Store, name: str) -> Live | None:
        """What is left of an upload, once it is certain that nothing is on its way any more."""
        if store.find(_mark(name)) is not None:
            return None
        last = max((one.modified for one in store.objects(_folder(name))), default=None)
        if last is None or store.now() - last < STALE_S:
            return None
        return Live(
            DATA,
            f"{name}{UNFINISHED}",
            "failed",
            raw=address(store, name),
            labels=Labels("shared", self._owner, ""),
            created_at=last,
            reason="its upload never came to its end",
        )

    def make(self, store: Store, resource: Resource, materials: Materials) -> None:
        """Upload an input, then say that it is whole.

        Raises:
            ConfigError: It was planned by another process.
            ConflictError: Its files have changed meanwhile.
        """
        spec: Any = resource.spec or {}
        path = self._known.get(str(spec["digest"]))
        if path is None:
            raise ConfigError(
                f"the data {resource.id} is not at hand", hint="run the same verb again", provider=self._provider
            )
        files = {f"{_folder(resource.id)}{relative}": file for relative, file in files_of(path)}
        if store.find(_KEEP) is None:
            store.write(_KEEP, b"")  # makes the storage before a large file is on its way
        missing = _missing(store, resource.id, files)
        total = sum(file.stat().st_size for file in missing.values())
        store.upload(missing, Meter(materials.progress, f"upload {len(missing)} file(s) to {self._storage}", total))
        if left := _missing(store, resource.id, files):
            raise ConflictError(
                f"the data {resource.id} was changed during its upload: {next(iter(left))} is missing or of another "
                "size",
                hint="run the same verb again, which uploads only what is missing",
                provider=self._provider,
            )
        store.write(_mark(resource.id), json.dumps(spec).encode())

    def delete(self, store: Store, name: str) -> None:
        """Delete an input; first what says that it is whole.

        Raises:
            NotFoundError: It is not there.
        """
        if self.read(store, name) is None:
            raise NotFoundError(
                f"{DATA} {name} is not there", provider=self._provider, operation=f"read {DATA}", resource=name
            )
        whole = name.removesuffix(UNFINISHED)
        store.clear(_mark(whole))
        store.clear(_folder(whole))

    def every(self, store: Store) -> Iterator[Live]:
        """All inputs, also what is left of uploads that never came to their end; one look at each, not at each file."""
        found = list(store.top(f"{_FOLDER}/"))
        whole = {name.removesuffix(_DONE) for name in found if name.endswith(_DONE)}
        begun = {name.rstrip("/") for name in found if name.endswith("/")}
        for name in [*sorted(whole), *(f"{one}{UNFINISHED}" for one in sorted(begun - whole))]:
            live = self.read(store, name)
            if live is not None:
                yield live


def address(store: Store, name: str) -> str:
    """Where the files of an input are, with a slash at the end."""
    return f"{store.place}/{_folder(name)}"


def of_addresses(place: str, found: Iterable[str]) -> list[Ref]:
    """The inputs among the addresses that a job reads; ``place`` is what comes before the folder of all inputs.

    Example:
        >>> of_addresses("s3://b/mlport", ["s3://b/mlport/data/0a1b/rows.csv", "s3://b/other/"])
        [Ref(kind='Data', id='0a1b')]
    """
    begin = f"{place}/{_FOLDER}/"
    ids = {one.partition(begin)[2].partition("/")[0] for one in found if begin in one}
    return [Ref(DATA, one) for one in sorted(ids - {""})]


def files_of(path: Path) -> Iterator[tuple[str, Path]]:
    """The files of an input with the names that they have in its channel, sorted."""
    if path.is_file():
        yield path.name, path
        return
    for file in sorted(path.rglob("*")):
        if file.is_file():
            yield file.relative_to(path).as_posix(), file


def _folder(name: str) -> str:
    return f"{_FOLDER}/{name}/"


def _mark(name: str) -> str:
    return f"{_FOLDER}/{name}{_DONE}"


def _missing(store: Store, name: str, files: Mapping[str, Path]) -> dict[str, Path]:
    """The files of an input that are not stored: the id names the contents, so the sizes tell which are whole."""
    there = {one.path: one.size for one in store.objects(_folder(name))}
    return {path: file for path, file in files.items() if there.get(path) != file.stat().st_size}
