"""Endpoints on disk: a folder of small records that is the truth, whatever process looks at it.

::

    STATE/endpoints/NAME/        0700; made complete under another name, then renamed
      records/gateway.json       labels and spec of the endpoint
      records/traffic.json       weights
      records/d-ID.json          one deployment with the whole table entry of its replicas, secrets included (0600)
      records/deleting           there from the moment the endpoint is being deleted
      token                      the bearer token (0600)
      gateway.lock table.json control.sock logs/ …     the gateway's own

Each change is the replacement of one record, so a crash leaves either the old or the new state. The gateway is then
brought to agree with the records by whoever looks next, see :mod:`sdk_local._gateway`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
import shutil
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdk.adapter import Labels
from sdk.packaging import disk

from ._processes import is_free

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

    from sdk.adapter import Resource
    from sdk.types import Json

_LONGEST_SOCKET_NAME = 24  # "b-" + deployment id + "-" + replica number + ".sock"
_OLD_LINK_S = 3600.0
_LONGEST_SOCKET_PATH = 100  # macOS has 104 bytes for the whole path, with its final NUL
_NEW, _GONE = ".new-", ".gone-"


@dataclass(frozen=True, slots=True)
class Record:
    """One resource as it is written down."""

    labels: Labels
    spec: Mapping[str, Json]
    created_at: float
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def encode(self) -> bytes:
        """The record as JSON."""
        values = {"labels": self.labels.to_tags(), "spec": self.spec, "created_at": self.created_at}
        return json.dumps({**values, "extra": self.extra}, sort_keys=True).encode()

    @property
    def etag(self) -> str:
        """A hash of the whole record."""
        return sha256(self.encode()).hexdigest()[:32]


def new_record(resource: Resource, created_at: float, extra: Mapping[str, Any] | None = None) -> Record:
    """The record of a resource; its labels hold the hash of its spec."""
    labels = replace(resource.labels, spec=resource.hash[:32])
    return Record(labels, dict(resource.spec or {}), created_at, extra or {})


def read_record(path: Path) -> Record | None:
    """The record in this file, ``None`` if there is none."""
    try:
        values = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    labels = Labels.from_tags(values["labels"])
    if labels is None:
        raise ValueError(f"{path} carries no mlport labels")
    return Record(labels, values["spec"], values["created_at"], values["extra"])


def write_record(path: Path, record: Record) -> None:
    """Replace a record; after a crash it is either the old or the new one."""
    replace_file(path, record.encode())


def create_record(path: Path, record: Record) -> None:
    """Write a record that must not be there yet.

    Raises:
        FileExistsError: It is.
    """
    with _written(path.parent, record.encode()) as fresh:
        os.link(fresh, path)  # unlike a rename, a link never replaces what is there
    disk.sync(path.parent)


def replace_file(path: Path, data: bytes) -> None:
    """Write a whole file in one step; its folder must be there, and is never made again by a late writer."""
    with _written(path.parent, data) as fresh:
        fresh.replace(path)
    disk.sync(path.parent)


@contextmanager
def _written(folder: Path, data: bytes) -> Generator[Path]:
    handle, name = tempfile.mkstemp(prefix=_NEW, dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class EndpointFolder:
    """The folder of one endpoint. ``path`` is where it is, ``short`` a way to it that socket paths can hold."""

    path: Path
    short: Path

    @property
    def name(self) -> str:
        """Name of the endpoint."""
        return self.path.name

    @property
    def records(self) -> Path:
        """Where the records are."""
        return self.path / "records"

    @property
    def gateway(self) -> Path:
        """The endpoint's own record."""
        return self.records / "gateway.json"

    @property
    def traffic(self) -> Path:
        """The record of the weights."""
        return self.records / "traffic.json"

    @property
    def deleting(self) -> Path:
        """The mark of an endpoint that is being deleted."""
        return self.records / "deleting"

    @property
    def pushed(self) -> Path:
        """Which table the gateway was handed last."""
        return self.records / "pushed"

    @contextmanager
    def locked(self) -> Generator[None]:
        """Hold the folder's lock, for the moment in which the records are turned into a table."""
        with _held(self.records):
            yield

    def deployment(self, deployment: str) -> Path:
        """The record of a deployment."""
        return self.records / f"d-{deployment}.json"

    def deployments(self) -> dict[str, Record]:
        """All deployments that are written down, by id."""
        found = {path: read_record(path) for path in sorted(self.records.glob("d-*.json"))}
        return {path.stem.removeprefix("d-"): record for path, record in found.items() if record is not None}

    def token(self) -> str:
        """The bearer token."""
        return (self.path / "token").read_text("ascii").strip()

    def create(self, record: Record) -> None:
        """Make the folder with its first record and a fresh token, in one step.

        Raises:
            FileExistsError: There is an endpoint of this name.
        """
        with staging(self.path.parent) as staged:
            (staged / "records").mkdir(mode=0o700)
            disk.write_file(staged / "token", secrets.token_urlsafe(32).encode())
            disk.write_file(staged / "records" / self.gateway.name, record.encode())
            publish(staged, self.path)

    def remove(self) -> None:
        """Take the folder away in one step, then empty it; nothing may run in it any more."""
        bury(self.path)


@contextmanager
def staging(parent: Path) -> Generator[Path]:
    """A private folder in ``parent`` to build in; it is locked as long as its builder lives, see :func:`sweep`."""
    with _held(disk.subfolder(parent)):  # nobody sweeps between the two steps
        folder = Path(tempfile.mkdtemp(prefix=_NEW, dir=parent))
        lock = contextlib.ExitStack()
        lock.enter_context(_held(folder))
    with lock:
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def sweep(parent: Path) -> None:
    """Remove what builders and removers that were killed have left in ``parent``."""
    with contextlib.suppress(FileNotFoundError), _held(parent):
        for path in [*parent.glob(f"{_NEW}*"), *parent.glob(f"{_GONE}*")]:
            if is_free(path):
                shutil.rmtree(path, ignore_errors=True)


def bury(folder: Path) -> None:
    """Take a folder away in one step, then empty it."""
    grave = folder.with_name(f"{_GONE}{folder.name}-{secrets.token_hex(4)}")
    with contextlib.suppress(FileNotFoundError):
        folder.rename(grave)
        disk.sync(folder.parent)
        shutil.rmtree(grave, ignore_errors=True)


@contextmanager
def _held(folder: Path) -> Generator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def publish(staged: Path, target: Path) -> None:
    """Give a finished folder its name, which must be free, so that it is there whole or not at all.

    Raises:
        FileExistsError: The name is taken.
    """
    disk.sync_tree(staged)
    try:
        staged.rename(target)
    except OSError as error:
        if error.errno in {errno.ENOTEMPTY, errno.EEXIST}:
            raise FileExistsError(errno.EEXIST, "exists", str(target)) from error
        raise
    disk.sync(target.parent)


class Endpoints:
    """All endpoints of one state folder."""

    def __init__(self, state_dir: Path) -> None:
        self.root = state_dir.resolve() / "endpoints"

    def folder(self, name: str) -> EndpointFolder:
        """The folder of an endpoint, whether or not it is there."""
        return EndpointFolder(self.root / name, self._short() / name)

    def names(self) -> Iterator[str]:
        """Names of the endpoints that are there; what a crash left of dead ones is swept on the way."""
        sweep(self.root)
        yield from (path.name for path in sorted(self.root.glob("[a-z]*")))

    def _short(self) -> Path:
        """The root itself, or a private link to it when sockets below it would have too long a path."""
        longest = len(os.fsencode(self.root)) + 1 + 23 + 1 + _LONGEST_SOCKET_NAME
        return self.root if longest <= _LONGEST_SOCKET_PATH else _link_to(self.root)


def _link_to(root: Path) -> Path:
    """A link with a short path, in a folder of our own that nobody else can write to."""
    folder = Path("/tmp") / f"mlport-{os.getuid()}"  # noqa: S108  checked below; TMPDIR is too long on macOS
    folder.mkdir(mode=0o700, exist_ok=True)
    facts = folder.lstat()
    if facts.st_uid != os.getuid() or facts.st_mode & 0o777 != 0o700 or folder.is_symlink():
        raise PermissionError(errno.EPERM, "is not a private folder of this user", str(folder))
    link = folder / sha256(os.fsencode(root)).hexdigest()[:12]
    if not link.is_symlink() or link.readlink() != root:
        fresh = link.with_name(f"{link.name}.{secrets.token_hex(4)}")
        fresh.symlink_to(root)
        fresh.replace(link)
        _sweep_links(folder)
    return link


def _sweep_links(folder: Path) -> None:
    """Remove old links of state folders that are gone; the folder of a young one may still be in the making."""
    for link in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another process sweeps as well
            if not link.exists() and time.time() - link.lstat().st_mtime > _OLD_LINK_S:
                link.unlink()
