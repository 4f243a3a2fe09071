"""Records on disk: one schema for each kind, checked at every read; a damaged record is set aside.

A record that cannot be used is renamed to ``NAME.damaged-XXXX``, so that it blocks nothing and can be inspected. It is
then rebuilt from the actual state, see :mod:`sdk_local._rebuild`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from sdk.adapter import Labels
from sdk.errors import UnreadableError
from sdk.packaging import disk
from sdk.serving.gateway.table import Replica
from sdk.util import foreign, kept, scratch

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from pathlib import Path

    from sdk.adapter import Resource
    from sdk.adapter.types import Json

DAMAGE, DELETING = "damage", "deleting"
_LARGEST = 16 << 20
_log = logging.getLogger(__name__)

Run = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}$")]
_Seconds = Annotated[float, Meta(ge=0, le=1e11)]
_Price = Annotated[float, Meta(ge=0)] | None
_Share = Annotated[int, Meta(ge=0, le=100)]
_Count = Annotated[int, Meta(ge=1, le=10_000)]
_Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]*$")]


class Form(msgspec.Struct):
    """The fields of every record; the subclasses refine them for each kind."""

    labels: dict[str, str]
    spec: dict[str, Any]
    created_at: _Seconds
    extra: dict[str, Any]


class _GatewaySpec(msgspec.Struct):
    port: Annotated[int, Meta(ge=0, le=65_535)]
    expires_at: Annotated[int, Meta(ge=0)] = 0


class _Marked(msgspec.Struct):
    run: Run


class GatewayForm(Form):
    """The record of an endpoint."""

    spec: _GatewaySpec  # type: ignore[assignment]
    extra: _Marked  # type: ignore[assignment]


class _TrafficSpec(msgspec.Struct):
    weights: dict[str, _Share]


class TrafficForm(Form):
    """The record of the weights of an endpoint's deployments."""

    spec: _TrafficSpec  # type: ignore[assignment]


class _DeploymentSpec(msgspec.Struct):
    deployment: str
    model: _Digest
    replicas: _Count
    deployment_hash: str = ""
    model_name: str = ""
    cpu: float | None = None
    memory_gib: float | None = None
    gpu: int = 0
    tags: dict[str, str] = {}


class _Failure(msgspec.Struct):
    reason: str
    log: list[str]


class _DeploymentExtra(msgspec.Struct):
    usd_per_hour: _Price
    replicas: list[Replica]
    failure: _Failure | None = None
    deleting: bool = False


class DeploymentForm(Form):
    """The record of one deployment, with the table entries of its replicas."""

    spec: _DeploymentSpec  # type: ignore[assignment]
    extra: _DeploymentExtra  # type: ignore[assignment]


class JobForm(Form):
    """The record of a training job."""

    extra: _Marked  # type: ignore[assignment]


class _Places(msgspec.Struct):
    python: Annotated[str, Meta(pattern=r"^/")]
    folder: Annotated[str, Meta(pattern=r"^/")]


class MaterialForm(Form):
    """The record of the environment that belongs to a model or program."""

    extra: _Places  # type: ignore[assignment]


class OutcomeForm(msgspec.Struct):
    """The state of a job, as its runner writes it."""

    state: str
    reason: str | None
    exit_code: int | None
    started_at: float | None
    ended_at: float | None


class PushedForm(msgspec.Struct):
    """A note about the last table that was sent to the gateway."""

    generation: Annotated[int, Meta(ge=0)]
    content: str


@dataclass(frozen=True, slots=True)
class Record:
    """One resource as stored on disk."""

    labels: Labels
    spec: Mapping[str, Json]
    created_at: float
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def damage(self) -> str:
        """Why the record had to be rebuilt; empty for an original record."""
        return str(self.extra.get(DAMAGE, ""))

    def encode(self) -> bytes:
        """Return the record as JSON."""
        values = {"labels": self.labels.to_tags(), "spec": self.spec, "created_at": self.created_at}
        return json.dumps({**values, "extra": self.extra}, sort_keys=True).encode()

    @property
    def etag(self) -> str:
        """A hash of the whole record."""
        return sha256(self.encode()).hexdigest()[:32]


def new_record(resource: Resource, created_at: float, extra: Mapping[str, Any] | None = None) -> Record:
    """Return the record of a resource; its labels hold the hash of its spec."""
    labels = replace(resource.labels, spec=resource.hash[:32])
    kept = {key: value for key, value in (extra or {}).items() if key != DAMAGE}  # a new record has no damage
    return Record(labels, dict(resource.spec or {}), created_at, kept)


def read_record(path: Path, form: type[Form], name: str | None = None) -> Record | None:
    """Return the record in a file, ``None`` if it is missing or damaged; a damaged one is set aside.

    Args:
        path: The file.
        form: The schema of its kind of record.
        name: The endpoint or job that it must belong to.
    """
    values = read_values(path, form)
    if values is None:
        return None
    labels = Labels.from_tags(values["labels"])
    if labels is None or (name is not None and labels.endpoint != name):
        set_aside(path, "its labels are not those of this resource")
        return None
    return Record(labels, values["spec"], values["created_at"], values["extra"])


def read_values(path: Path, form: type[msgspec.Struct]) -> dict[str, Any] | None:
    """Return the values in a file as they were written, under the same rules as :func:`read_record`."""
    try:
        data = kept.read_regular(path, _LARGEST)
        if data is None:
            return None
        msgspec.json.decode(data, type=form)
        return foreign.table(data, path.name)
    except (ValueError, RecursionError, UnreadableError) as error:
        set_aside(path, str(error))
        return None


def set_aside(path: Path, reason: str) -> None:
    """Rename a damaged file and log it once; not an error if another process was faster."""
    aside = kept.set_aside(path)
    if aside is not None:
        _log.warning("%s is damaged (%s); it was set aside as %s", path, reason, aside.name)


def asides(path: Path) -> list[Path]:
    """Return the files that were set aside for a record."""
    return sorted(path.parent.glob(f"{path.name}{kept.ASIDE}*"))


def damaged_names(folder: Path, prefix: str, suffix: str) -> list[str]:
    """Return the names between prefix and suffix of records in a folder that have files set aside."""
    found = {path.name.partition(kept.ASIDE)[0] for path in folder.glob(f"{prefix}*{suffix}{kept.ASIDE}*")}
    return sorted(name.removeprefix(prefix).removesuffix(suffix) for name in found)


def damage_of(path: Path) -> str:
    """Describe what happened to a record that is missing although it should exist."""
    found = asides(path)
    return f"its record {path.name} " + (f"was damaged and set aside as {found[-1].name}" if found else "is missing")


def keep(path: Path, record: Record) -> Record:
    """Store a rebuilt record, so that it stays the same; on a full disk it is rebuilt at every look."""
    with contextlib.suppress(OSError):
        create_record(path, record)
    return record


def remove_record(path: Path) -> None:
    """Remove a record with all files that were set aside for it."""
    path.unlink(missing_ok=True)
    for aside in asides(path):
        scratch.discard(aside)


def write_record(path: Path, record: Record) -> None:
    """Replace a record; after a crash it is either the old or the new one."""
    replace_file(path, record.encode())


def create_record(path: Path, record: Record) -> None:
    """Write a record that must not exist yet.

    Raises:
        FileExistsError: The record exists.
    """
    with _written(path.parent, record.encode()) as fresh:
        os.link(fresh, path)  # unlike a rename, a link never replaces an existing file
    disk.sync(path.parent)


def replace_file(path: Path, data: bytes) -> None:
    """Write a whole file in one step; its folder must exist, and a late writer never creates it again."""
    with _written(path.parent, data) as fresh:
        kept.replace(fresh, path)
    disk.sync(path.parent)


@contextmanager
def _written(folder: Path, data: bytes) -> Generator[Path]:
    with scratch.file(folder) as (fresh, file):
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        yield fresh
