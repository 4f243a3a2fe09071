"""The routing table: the deployments of an endpoint, their addresses and limits."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
import sys
from typing import TYPE_CHECKING

import msgspec

from .addresses import split_address

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


class TableError(ValueError):
    """Raised for an invalid table; the message names the field and the fix."""


class GatewayLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All limits of the data plane and the supervisor: bytes, seconds and counts."""

    max_body: int = 25 * 1024 * 1024
    max_head: int = 16 * 1024
    max_headers: int = 100
    max_url: int = 8 * 1024
    header_s: float = 10.0
    """Time from the first byte of a request to the end of its headers; also the life of a silent new connection."""
    body_s: float = 30.0
    """Grace period after which a body must have arrived at `min_rate` on average."""
    min_rate: float = 1000.0
    """Bytes per second."""
    idle_s: float = 75.0
    """Life of a keep-alive connection between two requests."""
    write_s: float = 30.0
    """Grace period after which a client must have read a pending response at `min_rate` on average."""
    connect_s: float = 5.0
    response_s: float = 300.0
    """Time from the last byte sent to a replica to the first byte of its response, and between two of its bytes."""
    max_connections: int = 4096
    max_inflight: int = 1024
    """Requests that one replica may have in flight; further ones are answered 503."""
    hold_s: float = 2.0
    """How long a request waits for a replica just after a restart of the gateway or of the last ready replica."""
    drain_s: float = 30.0
    """How long requests in flight may keep a removed replica, or a stopping gateway, alive."""
    stop_s: float = 10.0
    """Time from SIGTERM to SIGKILL of a replica's processes."""
    start_s: float = 300.0
    """How long a new replica may take to become ready."""
    probe_s: float = 1.0
    """Pause between two health checks; each check may take twice as long."""
    stuck_s: float = 30.0
    """A running replica that fails its health checks for this long is restarted."""
    backoff_s: float = 0.5
    """Pause before the first restart; it doubles with each restart up to 64 times this value."""
    log_bytes: int = 8 * 1024 * 1024
    """Size at which a replica's log file is rotated; one older file is kept."""


class ProcessLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The resource limits of one replica's process; None leaves the system's own limit."""

    memory_bytes: int | None = None
    open_files: int | None = None
    file_bytes: int | None = None
    cpus: int | None = None


class Spawn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The program behind a replica that the gateway starts and keeps alive; `env` is its whole environment.

    `locks` are files that its processes hold locked as long as one of them lives, such as those of devices; the program
    is not started while another process holds one.
    """

    argv: list[str]
    env: dict[str, str] = {}
    cwd: str | None = None
    limits: ProcessLimits = ProcessLimits()
    locks: list[str] = []


class Replica(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One server of a deployment; the content of an id never changes."""

    id: str
    address: str
    spawn: Spawn | None = None


class Deployment(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One model behind the endpoint; at weight 0 it gets only requests with its `x-mlport-deployment` header."""

    weight: int
    replicas: list[Replica]
    health: str = "/v2/health/ready"


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The complete configuration of a gateway, replaced as a whole by a higher generation."""

    generation: int
    deployments: dict[str, Deployment] = {}
    limits: GatewayLimits = GatewayLimits()
    schema: int = 1


def parse(data: bytes) -> Table:
    """Parse and check a table.

    Raises:
        TableError: The data is not JSON, has an unknown or invalid field, or violates a rule of `check`.

    """
    try:
        table = msgspec.json.decode(data, type=Table)
    except (msgspec.DecodeError, RecursionError) as error:
        raise TableError(f"table: {error}") from None
    check(table)
    return table


def encode(table: Table) -> bytes:
    """Encode the table so that equal tables give equal bytes."""
    return msgspec.json.encode(table, order="sorted")


def check(table: Table) -> None:
    """Refuse a table whose parts are inconsistent."""
    if table.schema != 1:
        raise TableError(f"schema: {table.schema} is not known; send 1")
    if table.generation < 1:
        raise TableError(f"generation: {table.generation} must be 1 or more")
    for name, value in msgspec.structs.asdict(table.limits).items():
        if value <= 0:
            raise TableError(f"limits.{name}: {value} must be more than 0")
    weights = sum(deployment.weight for deployment in table.deployments.values())
    if weights not in {0, 100}:
        raise TableError(f"deployments: the weights sum to {weights}; make them sum to 100, or all 0")
    replica_ids: set[str] = set()
    addresses: set[str] = set()
    for name, deployment in table.deployments.items():
        _check_deployment(name, deployment)
        for replica in deployment.replicas:
            _check_replica(name, replica)
            if replica.id in replica_ids or replica.address in addresses:
                raise TableError(f"deployments.{name}: replica {replica.id} or its address appears twice")
            replica_ids.add(replica.id)
            addresses.add(replica.address)


def _check_deployment(name: str, deployment: Deployment) -> None:
    if not _ID.fullmatch(name):
        raise TableError(f"deployments: {name!r} must match {_ID.pattern}")
    if not 0 <= deployment.weight <= 100:
        raise TableError(f"deployments.{name}.weight: {deployment.weight} must be 0 to 100")
    if not deployment.replicas:
        raise TableError(f"deployments.{name}.replicas: give at least one")
    if not re.fullmatch(r"/[\x21-\x7e]*", deployment.health):
        raise TableError(f"deployments.{name}.health: {deployment.health!r} must be a path such as /v2/health/ready")


def _check_replica(deployment: str, replica: Replica) -> None:
    where = f"deployments.{deployment}.replicas"
    if not _ID.fullmatch(replica.id):
        raise TableError(f"{where}: id {replica.id!r} must match {_ID.pattern}")
    try:
        split_address(replica.address)
    except ValueError as error:
        raise TableError(f"{where}.{replica.id}.address: {error}") from None
    spawn = replica.spawn
    if spawn is not None and not spawn.argv:
        raise TableError(f"{where}.{replica.id}.spawn.argv: name the program to run")
    if spawn is not None and any("\0" in text for text in [*spawn.argv, *spawn.env, *spawn.env.values()]):
        raise TableError(f"{where}.{replica.id}.spawn: a NUL byte cannot be passed to a program")


def load(path: Path) -> Table | None:
    """Read the last acknowledged table; return None if there is none yet.

    Raises:
        TableError: The file is damaged.

    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    return parse(data)


def restore(path: Path) -> Table | None:
    """Read the last acknowledged table; set aside a damaged one, as its manager will send it again."""
    clear_way(path, stat.S_ISREG)
    try:
        return load(path)
    except TableError as error:
        set_aside(path, str(error))
        return None


def clear_way(path: Path, is_fit: Callable[[int], bool]) -> None:
    """Set aside an entry of this name that is of another kind, such as a folder or a link instead of a file.

    An entry of the right kind that its owner cannot read and write gets mode 0600, or 0700 for a folder.

    Args:
        path: The path of the entry.
        is_fit: One of the tests of `stat`, such as `stat.S_ISREG`.

    """
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if not is_fit(mode):
        set_aside(path, "it is of another kind")
    elif not mode & stat.S_IRUSR or not mode & stat.S_IWUSR:
        path.chmod(0o700 if stat.S_ISDIR(mode) else 0o600)


def set_aside(path: Path, reason: str) -> None:
    """Rename a damaged file and report it on standard error."""
    aside = path.with_name(f"{path.name}.damaged-{secrets.token_hex(4)}")
    with contextlib.suppress(FileNotFoundError):
        path.rename(aside)
        sys.stderr.write(f"mlport gateway: {path} is damaged ({reason}); it was set aside as {aside.name}\n")


def save(path: Path, data: bytes) -> None:
    """Replace a file so that after a crash its content is either entirely old or entirely new."""
    fresh = path.with_suffix(".new")
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        clear_way(path, stat.S_ISREG)
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
