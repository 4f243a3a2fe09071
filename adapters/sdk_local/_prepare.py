"""Shared material on this machine: a locked environment for a model or a training program, recorded by its digest.

Building it is the slow part of a deployment (wheels are downloaded and unpacked), so it is a resource of its own, which
later deployments with the same lock reuse.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sdk.adapter import Live
from sdk.errors import NotFoundError, PackagingError
from sdk.packaging import bundle, disk, venv
from sdk.packaging.lock import Lock
from sdk.packaging.manifest import LOCK

from ._errors import PROVIDER, translate
from ._plan import MODEL
from ._records import MaterialForm, Record, new_record, read_record, set_aside

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdk.adapter import Materials, Resource


class Prepared:
    """Material that is ready to run, one record per digest; equal locks share one environment."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir.resolve()
        self.root = self.state_dir / "prepared"

    def make(self, resource: Resource, materials: Materials, now: float) -> None:
        """Verify the files and build the environment that they are locked to.

        Raises:
            LockMismatchError: A file differs from what was recorded.
            PackagingError: The environment cannot be built.
        """
        folder = self._source(resource, materials)
        if materials.progress:
            materials.progress(f"environment for {resource.summary or resource.id}", 0, None)
        python = environment_of(folder)
        record = new_record(resource, now, {"python": str(python), "folder": str(folder)})
        disk.write_file(disk.subfolder(self.root) / f"{resource.kind}-{resource.id}.json", record.encode())

    def read(self, kind: str, digest: str) -> Live | None:
        """Return the material as a resource; ``None`` also if part of it is missing, so that it is built again."""
        record = self.record(kind, digest)
        if record is None:
            return None
        return Live(
            kind, digest, "ready", raw="ready", spec=record.spec, labels=record.labels, created_at=record.created_at
        )

    def record(self, kind: str, digest: str) -> Record | None:
        """Return the record of complete material; ``None`` if the record or part of the material is missing."""
        with translate(f"Read{kind}", digest):
            record = self._record(self.root / f"{kind}-{digest}.json")
        if record is None:
            return None
        parts = (Path(str(record.extra["python"])), Path(str(record.extra["folder"])) / LOCK)
        return record if all(part.exists() for part in parts) else None

    def existing(self, kind: str, digest: str) -> Record:
        """Return the record of complete material.

        Raises:
            NotFoundError: The material is missing or incomplete.
        """
        record = self.record(kind, digest)
        if record is None:
            raise NotFoundError(f"{kind} {digest} is not prepared", provider=PROVIDER, resource=digest)
        return record

    def delete(self, kind: str, digest: str) -> None:
        """Delete the record, and the environment if no other record uses it; the model itself stays.

        An environment outside of the state folder stays as well, since other state folders share that cache.
        """
        path = self.root / f"{kind}-{digest}.json"
        with translate(f"Delete{kind}", digest):
            record = self._record(path)
            if record is None:
                raise NotFoundError(f"{kind} {digest} is not there", provider=PROVIDER, resource=digest)
            path.unlink()
            python = str(record.extra["python"])
            environment = Path(python).parents[1]
            used = python in {str(other.extra["python"]) for other in self._records()}
            if not used and environment.is_relative_to(self.state_dir):
                venv.remove(environment)

    def all(self) -> Iterator[Live]:
        """Yield all complete material."""
        for path in sorted(self.root.glob("*-*.json")):
            kind, _, digest = path.stem.partition("-")
            live = self.read(kind, digest)
            if live is not None:
                yield live

    def _records(self) -> Iterator[Record]:
        for path in self.root.glob("*-*.json"):
            record = self._record(path)
            if record is not None:
                yield record

    @staticmethod
    def _record(path: Path) -> Record | None:
        """Return a record; a damaged one is set aside, and the material built again when it is needed."""
        record = read_record(path, MaterialForm)
        if record is None:
            return None
        environment = Path(str(record.extra["python"])).parents[1]  # it is removed with the record, so it must be ours
        if not venv.is_environment(environment):
            set_aside(path, f"{environment} is no environment of mlport")
            return None
        return record

    def _source(self, resource: Resource, materials: Materials) -> Path:
        digest = str((resource.spec or {})["digest"])
        if resource.kind == MODEL:
            path = materials.model.path if materials.model is not None else self.state_dir / "models" / digest
        else:
            path = materials.job.bundle if materials.job is not None else self.state_dir / "programs" / digest
        if path is None:
            raise PackagingError(f"model {digest[:12]} has no files, only an image", hint='use provider = "docker"')
        return Path(path)


def environment_of(folder: Path) -> Path:
    """Verify the files in ``folder``, and return the Python of the environment that they are locked to."""
    manifest = bundle.verify(folder)
    lock = Lock.of(folder, manifest)
    wheels = folder / "wheels"
    return venv.environment(lock, wheels=wheels if wheels.is_dir() else None)
