"""Local data of jobs in a platform's storage: stored by content, uploaded once, and removed by ``gc --shared``.

::

    data/ID/...        the files of one input; ID is a hash of their names and contents
    data/ID.complete   written last: an input without it is incomplete

A job needs its inputs until it has ended. After that nothing needs them, so ``gc --shared`` removes them.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ...errors import ConfigError, ConflictError, NotFoundError, PlatformError
from ...util import foreign
from ..interface import Labels, Live, Ref, Resource, spec_hash
from .transfers import Meter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ..interface import Materials
    from ..types import Json

DATA = "Data"
UNFINISHED = ".unfinished"
"""The suffix of an input's id in the name of its unfinished upload, which is never mistaken for the input itself."""
STALE_S = 24 * 3600.0  # an upload without progress for so long is abandoned: platforms end connections long before
_FOLDER, _DONE, _KEEP = "data", ".complete", "data/.keep"
UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\ufffe\uffff]")
"""Characters of file names that no storage takes: lists in XML cannot hold them, and Cloud Storage refuses line ends.

Sources: https://cloud.google.com/storage/docs/objects#naming (certain), https://www.w3.org/TR/xml/#charsets (certain)
"""
_NAME_BYTES = 900  # of the 1024 that the platforms take; the rest is for the folder and the id of the input


_Stamps = dict[str, tuple[int, int] | None]


class Stored(NamedTuple):
    """A stored object: its path, its size in bytes, and the time it was written, in Unix seconds."""

    path: str
    size: int
    modified: float


class RemoteFolder(Protocol):
    """The folder of a target in its platform's storage; paths are relative to it."""

    @property
    def place(self) -> str:
        """The address of the folder, without a slash at the end."""
        ...

    def find(self, path: str) -> tuple[bytes, float] | None:
        """Return a small object and the time it was written; ``None`` if it does not exist."""
        ...

    def write(self, path: str, body: bytes) -> None:
        """Store a small object; create the storage if it does not exist."""
        ...

    def objects(self, path: str) -> Iterator[Stored]:
        """Yield all objects whose path begins with ``path``; none if the storage does not exist."""
        ...

    def top(self, path: str) -> Iterator[str]:
        """Yield the names directly in a folder; its path ends with a slash, as do the names of subfolders."""
        ...

    def upload(self, files: Mapping[str, Path], meter: Meter) -> None:
        """Store files, each under its path."""
        ...

    def clear(self, path: str) -> None:
        """Delete all objects whose path begins with ``path``, and unfinished uploads there."""
        ...

    def now(self) -> float:
        """Return the Unix seconds of the platform's clock."""
        ...


class Inputs:
    """The inputs of a target's jobs.

    Args:
        owner: The owner label of the listed inputs.
        provider: The provider's name, for errors.
        storage: The platform's name of its storage.
        unfit: The parts of file names that the storage refuses or changes.
    """

    def __init__(self, owner: str, provider: str, storage: str, *, unfit: re.Pattern[str] = UNFIT) -> None:
        self._owner, self._provider, self._storage, self._unfit = owner, provider, storage, unfit
        self._known: dict[str, tuple[Path, _Stamps]] = {}  # planned inputs by digest

    def plan(self, channel: str, path: Path, labels: Labels) -> Resource:
        """Return one input as a resource; read all of its content to compute its id."""
        files = list(files_of(path))
        if not files:
            raise ConfigError(
                f"data.{channel}: there is no file in {str(path)!r}, and {self._storage} has no empty folders",
                hint="name a folder with files, or leave the input out",
                provider=self._provider,
            )
        stamps = _stamps(files)
        digest = hashlib.sha256()
        for relative, file in files:
            self._check_name(channel, relative)
            with file.open("rb") as stream:
                digest.update(f"{relative}\0{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
        content = digest.hexdigest()
        self._known[content] = (path, stamps)
        spec: dict[str, Json] = {"digest": content, "files": len(files)}
        own = Labels("shared", labels.owner, labels.txn)
        summary = f"{channel}: {len(files)} file(s) to {self._storage}"
        return Resource(DATA, content[:32], spec, own, summary=summary)

    def plan_all(self, paths: Mapping[str, Path], labels: Labels) -> dict[str, tuple[Resource, str]]:
        """Return the data of each channel as :meth:`plan` does, with the name of its file, empty for a folder."""
        return {
            channel: (self.plan(channel, path, labels), path.name if path.is_file() else "")
            for channel, path in paths.items()
        }

    def _check_name(self, channel: str, name: str) -> None:
        try:
            size = len(name.encode())
        except UnicodeEncodeError as error:
            raise ConfigError(
                f"data.{channel}: the file name {name!r} is not UTF-8", hint="rename the file", provider=self._provider
            ) from error
        if odd := self._unfit.search(name):
            raise ConfigError(
                f"data.{channel}: the file name {name!r} has {odd[0]!r}, which {self._storage} does not keep",
                hint="rename the file",
                provider=self._provider,
            )
        if size > _NAME_BYTES:
            raise ConfigError(
                f"data.{channel}: the path {name[:60]}… has {size} bytes, {self._storage} takes {_NAME_BYTES} here",
                hint="use shorter names",
                provider=self._provider,
            )

    def read(self, store: RemoteFolder, name: str) -> Live | None:
        """Return a complete input, or an abandoned upload for a name with the suffix :data:`UNFINISHED`."""
        if name.endswith(UNFINISHED):
            return self._read_unfinished(store, name.removesuffix(UNFINISHED))
        found = store.find(_mark(name))
        if found is None:
            return None
        text, written = found
        spec: dict[str, Json] = foreign.table(text, f"the record of input {name}")
        labels = Labels("shared", self._owner, "", spec=spec_hash(spec)[:32])
        return Live(DATA, name, "ready", raw=address(store, name), spec=spec, labels=labels, created_at=written)

    def _read_unfinished(self, store: RemoteFolder, name: str) -> Live | None:
        """Return an unfinished upload, once it is certain that it is no longer in progress."""
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

    def make(self, store: RemoteFolder, resource: Resource, materials: Materials) -> None:
        """Upload an input, then mark it as complete.

        Raises:
            ConfigError: The input was planned by another process.
            ConflictError: Its files changed after they were planned.
        """
        spec: Any = resource.spec or {}
        known = self._known.get(str(spec["digest"]))
        if known is None:
            raise ConfigError(
                f"the data {resource.id} is not at hand", hint="run the same verb again", provider=self._provider
            )
        path, stamps = known
        found = list(files_of(path))
        if _stamps(found) != stamps:
            raise self._changed(resource.id, "before")
        files = {f"{_folder(resource.id)}{relative}": file for relative, file in found}
        if store.find(_KEEP) is None:
            store.write(_KEEP, b"")  # creates the storage before a large file is sent
        missing = _missing(store, resource.id, files)
        total = sum(file.stat().st_size for file in missing.values())
        meter = Meter(materials.progress, f"upload {len(missing)} file(s) to {self._storage}", total)
        try:
            store.upload(missing, meter)
        except (FileNotFoundError, PlatformError) as error:  # such as a checksum that does not match what was sent
            if _stamps(files_of(path)) == stamps:
                raise
            self._clear(store, resource.id)
            raise self._changed(resource.id, "during") from error
        if _stamps(files_of(path)) != stamps:
            self._clear(store, resource.id)
            raise self._changed(resource.id, "during")
        if left := _missing(store, resource.id, files):
            raise ConflictError(
                f"the data {resource.id} was changed during its upload: {next(iter(left))} is missing or of another "
                "size",
                hint="run the same verb again, which uploads only what is missing",
                provider=self._provider,
            )
        store.write(_mark(resource.id), json.dumps(spec).encode())

    def _clear(self, store: RemoteFolder, name: str) -> None:
        """Delete an unfinished upload whose stored files may be of other content of the same size."""
        if store.find(_mark(name)) is None:
            store.clear(_folder(name))

    def _changed(self, name: str, when: str) -> ConflictError:
        return ConflictError(
            f"the data {name} was changed {when} its upload",
            hint="run the same verb again when its files no longer change",
            provider=self._provider,
        )

    def delete(self, store: RemoteFolder, name: str) -> None:
        """Delete an input: first the mark that it is complete, then its files.

        Raises:
            NotFoundError: The input does not exist.
        """
        if self.read(store, name) is None:
            raise NotFoundError(
                f"{DATA} {name} is not there", provider=self._provider, operation=f"read {DATA}", resource=name
            )
        whole = name.removesuffix(UNFINISHED)
        store.clear(_mark(whole))
        store.clear(_folder(whole))

    def every(self, store: RemoteFolder) -> Iterator[Live]:
        """Yield all inputs and abandoned uploads; each input is read once, not each of its files."""
        found = list(store.top(f"{_FOLDER}/"))
        whole = {name.removesuffix(_DONE) for name in found if name.endswith(_DONE)}
        begun = {name.rstrip("/") for name in found if name.endswith("/")}
        for name in [*sorted(whole), *(f"{one}{UNFINISHED}" for one in sorted(begun - whole))]:
            live = self.read(store, name)
            if live is not None:
                yield live


def address(store: RemoteFolder, name: str) -> str:
    """Return the address of the files of an input, with a slash at the end."""
    return f"{store.place}/{_folder(name)}"


def of_addresses(place: str, found: Iterable[str]) -> list[Ref]:
    """Return the inputs among the addresses that a job reads; ``place`` is the address of the store.

    Example:
        >>> of_addresses("s3://b/mlport", ["s3://b/mlport/data/0a1b/rows.csv", "s3://b/other/"])
        [Ref(kind='Data', id='0a1b')]
    """
    begin = f"{place}/{_FOLDER}/"
    ids = {one.partition(begin)[2].partition("/")[0] for one in found if begin in one}
    return [Ref(DATA, one) for one in sorted(ids - {""})]


def files_of(path: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files of an input with their names in its channel, sorted."""
    if path.is_file():
        yield path.name, path
        return
    for file in sorted(_below(path)):
        yield file.relative_to(path).as_posix(), file


def _below(folder: Path) -> Iterator[Path]:
    """Yield all files below a folder, also behind links, as a program would find them on the local machine.

    Raises:
        ConfigError: A folder cannot be read or contains itself, or a link leads nowhere.
    """

    def refuse(error: OSError) -> None:
        raise _unusable(error.filename, error.strerror or "cannot be read") from error

    above: dict[str, frozenset[Path]] = {str(folder): frozenset({folder.resolve()})}
    for where, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        ways = above.pop(where)
        for name in folders:
            real = (inner := Path(where, name)).resolve()
            if real in ways:
                raise _unusable(inner, "is a link to a folder that contains it")
            above[str(inner)] = ways | {real}
        for name in files:
            file = Path(where, name)
            if file.is_file():
                yield file
            elif file.is_symlink():
                raise _unusable(file, "is a link that leads nowhere")


def _unusable(path: object, why: str) -> ConfigError:
    return ConfigError(f"data: {str(path)!r}: {why}", hint="mend it, move it out of the folder, or name other data")


def _stamps(files: Iterable[tuple[str, Path]]) -> _Stamps:
    """Return what changes with a file's content, by name; ``None`` for a file that is gone."""
    stamps: _Stamps = {}
    for name, file in files:
        try:
            found = file.stat()
        except FileNotFoundError:
            stamps[name] = None
        else:
            stamps[name] = (found.st_size, found.st_mtime_ns)
    return stamps


def _folder(name: str) -> str:
    return f"{_FOLDER}/{name}/"


def _mark(name: str) -> str:
    return f"{_FOLDER}/{name}{_DONE}"


def _missing(store: RemoteFolder, name: str, files: Mapping[str, Path]) -> dict[str, Path]:
    """Return the files of an input that are not stored; sizes suffice, because the id identifies the contents."""
    there = {one.path: one.size for one in store.objects(_folder(name))}
    return {path: file for path, file in files.items() if there.get(path) != file.stat().st_size}
