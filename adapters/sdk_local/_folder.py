"""Endpoints on disk: a folder of small records, the only source of truth for every process that reads it.

::

        STATE/endpoints/NAME/        0700; completed under another name, then renamed
      records/gateway.json       labels and spec of the endpoint
      records/traffic.json       weights
      records/d-ID.json          one deployment with the whole table entry of its replicas, secrets included (0600)
            records/ending-ID          exists from the moment a deployment is being deleted
            records/deleting           exists from the moment the endpoint is being deleted
      token                      the bearer token (0600)
            gateway.lock table.json control.sock logs/ …     files of the gateway

Each change is the replacement of one record, so a crash leaves either the old or the new state. The next process that
reads the endpoint applies the records to the gateway, see :mod:`sdk_local._gateway`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from sdk.adapter.shared import tokens
from sdk.errors import InvalidNameError
from sdk.packaging import disk
from sdk.util import kept, scratch
from sdk.util.names import check_name

from . import _rebuild
from ._records import (
    DELETING,
    DeploymentForm,
    GatewayForm,
    PushedForm,
    Record,
    TrafficForm,
    damaged_names,
    read_record,
    read_values,
    remove_record,
    set_aside,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

_LONGEST_SOCKET_NAME = 24  # "b-" + deployment id + "-" + replica number + ".sock"
_LONGEST_TOKEN = 4096
_OLD_LINK_S = 3600.0
_LONGEST_SOCKET_PATH = 100  # macOS has 104 bytes for the whole path, with its final NUL


@dataclass(frozen=True, slots=True)
class EndpointFolder:
    """The folder of one endpoint.

    Args:
        path: Path of the folder.
        short: A path to the folder that is short enough for sockets.
        owner: The endpoint's owner if no record names one.
    """

    path: Path
    short: Path
    owner: str

    @property
    def name(self) -> str:
        """The name of the endpoint."""
        return self.path.name

    @property
    def records(self) -> Path:
        """The folder of the records."""
        return self.path / "records"

    @property
    def gateway(self) -> Path:
        """The path of the endpoint's own record."""
        return self.records / "gateway.json"

    @property
    def traffic(self) -> Path:
        """The path of the record of the weights."""
        return self.records / "traffic.json"

    @property
    def deleting(self) -> Path:
        """The path of the file that marks the endpoint for deletion."""
        return self.records / "deleting"

    @property
    def pushed(self) -> Path:
        """The path of the note about the last table that was sent to the gateway."""
        return self.records / "pushed"

    @contextmanager
    def locked(self) -> Generator[None]:
        """Hold the folder's lock while the records are converted to a table."""
        with held(self.records):
            yield

    def deployment(self, deployment: str) -> Path:
        """Return the path of a deployment's record."""
        return self.records / f"d-{deployment}.json"

    def ending(self, deployment: str) -> Path:
        """Return the path of the file that marks a deployment for deletion: empty, since the disk may be full."""
        return self.records / f"ending-{deployment}"

    def forget(self, deployment: str) -> None:
        """Remove all files about a deployment."""
        remove_record(self.deployment(deployment))
        self.ending(deployment).unlink(missing_ok=True)

    def read(self) -> Record | None:
        """Return the endpoint's own record, rebuilt if it is damaged; ``None`` if the endpoint does not exist."""
        record = read_record(self.gateway, GatewayForm, self.name)
        if record is not None or not self.path.is_dir():
            return record
        if not self.records.is_dir():
            set_aside(self.records, "it is no folder")
            self.records.mkdir(mode=0o700, exist_ok=True)
        return _rebuild.endpoint(self)

    def read_traffic(self) -> Record | None:
        """Return the record of the weights, rebuilt if it is damaged."""
        return read_record(self.traffic, TrafficForm, self.name) or _rebuild.traffic(self)

    def read_deployment(self, deployment: str) -> Record | None:
        """Return the record of one deployment."""
        return self.deployments().get(deployment)

    def deployments(self) -> dict[str, Record]:
        """Return the records of all deployments, by id; damaged ones are rebuilt."""
        names = [path.stem.removeprefix("d-") for path in sorted(self.records.glob("d-*.json"))]
        found = {name: read_record(self.deployment(name), DeploymentForm, self.name) for name in names}
        sound = {name: record for name, record in found.items() if record is not None}
        damaged = [name for name in damaged_names(self.records, "d-", ".json") if name not in sound]
        found_all = sound | {name: _rebuild.deployment(self, name) for name in damaged}
        ending = {name for name in found_all if self.ending(name).exists()}
        return {
            name: replace(record, extra={**record.extra, DELETING: True}) if name in ending else record
            for name, record in found_all.items()
        }

    def read_pushed(self) -> dict[str, Any]:
        """Return generation and content hash of the last table that was sent to the gateway."""
        return read_values(self.pushed, PushedForm) or {"generation": 0, "content": ""}

    def token(self) -> str:
        """Return the bearer token; empty if it is damaged."""
        try:
            data = kept.read_regular(self.path / "token", _LONGEST_TOKEN) or b""
        except ValueError:
            return ""
        return tokens.sound(data.strip())

    def new_token(self) -> None:
        """Replace a damaged token; the gateway reads the new one when it restarts."""
        set_aside(self.path / "token", "it is no token")
        disk.write_file(self.path / "token", tokens.new_token())

    def create(self, record: Record) -> None:
        """Create the folder with its first record and a new token, in one step.

        Raises:
            FileExistsError: An endpoint of this name exists.
        """
        with staging(self.path.parent) as staged:
            (staged / "records").mkdir(mode=0o700)
            disk.write_file(staged / "token", tokens.new_token())
            disk.write_file(staged / "records" / self.gateway.name, record.encode())
            publish(staged, self.path)

    def remove(self) -> None:
        """Remove the folder in one step, then delete its content; no process may run in it any more."""
        scratch.bury(self.path)


@contextmanager
def staging(parent: Path) -> Generator[Path]:
    """Create a private folder in ``parent`` to build in."""
    with scratch.folder(disk.subfolder(parent)) as folder:
        yield folder


def named_folders(parent: Path) -> Iterator[str]:
    """Yield the names of endpoints or jobs in ``parent``; remove leftovers, and set aside what is not a folder."""
    scratch.sweep_folder(parent)
    for path in sorted(parent.glob("[a-z]*")):
        with contextlib.suppress(InvalidNameError):  # no endpoint or job has such a name
            check_name(path.name)
            if path.is_dir() and not path.is_symlink():
                yield path.name
            else:
                set_aside(path, "it is no folder")


@contextmanager
def held(folder: Path) -> Generator[None]:
    """Hold the lock of a folder, which the processes of all clients share."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def publish(staged: Path, target: Path) -> None:
    """Rename a finished folder to its final name, which must be free, so that it appears complete or not at all.

    Raises:
        FileExistsError: The name is taken.
    """
    disk.close_tree(staged)
    disk.sync_tree(staged)
    try:
        staged.rename(target)
    except OSError as error:
        if error.errno in {errno.ENOTEMPTY, errno.EEXIST}:
            raise FileExistsError(errno.EEXIST, "exists", str(target)) from error
        raise
    disk.sync(target.parent)


class Endpoints:
    """The endpoints of one state folder."""

    def __init__(self, state_dir: Path, owner: str = "") -> None:
        self.root = state_dir.resolve() / "endpoints"
        self._owner = owner

    def folder(self, name: str) -> EndpointFolder:
        """Return the folder of an endpoint, whether or not it exists."""
        return EndpointFolder(self.root / name, self._short() / name, self._owner)

    def names(self) -> Iterator[str]:
        """Yield the names of the existing endpoints; remove what a crash left of deleted ones."""
        yield from named_folders(self.root)

    def _short(self) -> Path:
        """Return the root, or a private link to it when the paths of sockets below it would be too long."""
        longest = len(os.fsencode(self.root)) + 1 + 23 + 1 + _LONGEST_SOCKET_NAME
        return self.root if longest <= _LONGEST_SOCKET_PATH else _link_to(self.root)


def _link_to(root: Path) -> Path:
    """Return a link to ``root`` with a short path, in a private folder that no other user can write to."""
    folder = scratch.short_folder()
    link = folder / sha256(os.fsencode(root)).hexdigest()[:12]
    if not link.is_symlink() or link.readlink() != root:
        fresh = link.with_name(f"{link.name}.{secrets.token_hex(4)}")
        fresh.symlink_to(root)
        fresh.replace(link)
        _sweep_links(folder)
    return link


def _sweep_links(folder: Path) -> None:
    """Remove old links to state folders that no longer exist; the folder of a young link may still be in creation."""
    for link in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another process sweeps as well
            if not link.exists() and time.time() - link.lstat().st_mtime > _OLD_LINK_S:
                link.unlink()
