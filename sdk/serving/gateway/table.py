"""The routing table: which deployments an endpoint has, where they answer and within which limits."""

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
    """A table that cannot be used; the message names the field and the fix."""


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Every limit of the data plane and the supervisor: bytes, seconds and counts."""

    max_body: int = 25 * 1024 * 1024
    max_head: int = 16 * 1024
    max_headers: int = 100
    max_url: int = 8 * 1024
    header_s: float = 10.0
    """From the first byte of a request to the end of its headers; also the life of a silent new connection."""
    body_s: float = 30.0
    """Grace after which a body must have come in at `min_rate` on average."""
    min_rate: float = 1000.0
    """Bytes a second."""
    idle_s: float = 75.0
    """Life of a keep-alive connection between two requests."""
    write_s: float = 30.0
    """Grace after which an answer that waits for its client must have been read at `min_rate` on average."""
    connect_s: float = 5.0
    response_s: float = 300.0
    """From the last byte sent to a replica to the first byte of its answer, and between two bytes of it."""
    max_connections: int = 4096
    max_inflight: int = 1024
    """Requests one replica may have open; more are answered 503."""
    hold_s: float = 2.0
    """How long a request waits for a replica when the gateway or the last ready replica has just been started again."""
    drain_s: float = 30.0
    """How long requests in flight may keep a removed replica, or a stopping gateway, alive."""
    stop_s: float = 10.0
    """From SIGTERM to SIGKILL of a replica's processes."""
    start_s: float = 300.0
    """How long a new replica may take to become ready."""
    probe_s: float = 1.0
    """Between two health checks, and the time each may take twice over."""
    stuck_s: float = 30.0
    """A running replica that fails its health checks for so long is restarted."""
    backoff_s: float = 0.5
    """Pause before the first restart, doubled up to 64 times that."""
    log_bytes: int = 8 * 1024 * 1024
    """Size at which a replica's log file is rotated; one older file is kept."""


class ProcessLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one replica's process may use; None leaves the system's own limit."""

    memory_bytes: int | None = None
    open_files: int | None = None
    file_bytes: int | None = None
    cpus: int | None = None


class Spawn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The program behind a replica that the gateway starts and keeps alive; `env` is its whole environment.

    `locks` are files that its processes hold locked as long as one of them lives, such as those of devices; while
    somebody else holds one the program is not started.
    """

    argv: list[str]
    env: dict[str, str] = {}
    cwd: str | None = None
    limits: ProcessLimits = ProcessLimits()
    locks: list[str] = []


class Replica(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One server of a deployment. Its content never changes under one id."""

    id: str
    address: str
    spawn: Spawn | None = None


class Deployment(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One model behind the endpoint; weight 0 is reached by the `x-mlport-deployment` header only."""

    weight: int
    replicas: list[Replica]
    health: str = "/v2/health/ready"


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole of what a gateway serves, replaced as one by a higher generation."""

    generation: int
    deployments: dict[str, Deployment] = {}
    limits: Limits = Limits()
    schema: int = 1


def parse(data: bytes) -> Table:
    """Read and check a table.

    Raises:
        TableError: Not JSON, an unknown or wrong field, or a rule of `check` is broken.

    """
    try:
        table = msgspec.json.decode(data, type=Table)
    except (msgspec.DecodeError, RecursionError) as error:
        raise TableError(f"table: {error}") from None
    check(table)
    return table


def encode(table: Table) -> bytes:
    """Write the table so that equal tables give equal bytes."""
    return msgspec.json.encode(table, order="sorted")


def check(table: Table) -> None:
    """Refuse a table whose parts do not fit together."""
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
    """Read the last acknowledged table, or None when there is none yet.

    Raises:
        TableError: It is damaged.

    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    return parse(data)


def restore(path: Path) -> Table | None:
    """Read the last acknowledged table; a damaged one is set aside, as its manager will give it again."""
    clear_way(path, stat.S_ISREG)
    try:
        return load(path)
    except TableError as error:
        set_aside(path, str(error))
        return None


def clear_way(path: Path, is_fit: Callable[[int], bool]) -> None:
    """Set aside what has this name and is of another kind: a folder where a file belongs, a link, a file without mode.

    Args:
        path: The name.
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
    """Rename a damaged file and say so."""
    aside = path.with_name(f"{path.name}.damaged-{secrets.token_hex(4)}")
    with contextlib.suppress(FileNotFoundError):
        path.rename(aside)
        sys.stderr.write(f"mlport gateway: {path} is damaged ({reason}); it was set aside as {aside.name}\n")


def save(path: Path, data: bytes) -> None:
    """Replace a file so that after a crash it is either wholly old or wholly new."""
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
