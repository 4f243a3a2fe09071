"""The model bundle: it is found, read and verified before any of its content is loaded.

A bundle is an immutable folder with `mlport.json` (the manifest), `model/`, optional `code/` and
`requirements.lock`. The model digest is the sha256 of the manifest's bytes, and the manifest holds the sha256 of every
other file, so the digest covers the whole bundle.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import msgspec

from . import fields, pins
from .failures import EXIT_BUNDLE, StartError
from .signature import ServedSignature

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MANIFEST = "mlport.json"


class File(msgspec.Struct, frozen=True):
    """The record of one file: hex sha256 and size in bytes."""

    sha256: str
    size: int


class ServedManifest(msgspec.Struct, frozen=True):
    """The content of `mlport.json`."""

    schema: int
    name: str
    flavour: str
    format: str
    entry: str
    python: str
    files: dict[str, File]
    libraries: dict[str, str] = {}
    signature: ServedSignature = msgspec.field(default_factory=ServedSignature)
    method: str = "predict"
    options: dict[str, Any] = {}
    trust: str | None = None
    lock_sha256: str = ""


class Bundle(msgspec.Struct, frozen=True):
    """A bundle on disk: its folder, manifest and digest."""

    folder: Path
    manifest: ServedManifest
    digest: str

    @property
    def entry(self) -> Path:
        """The file or folder that the flavour's loader reads first."""
        return self.folder / self.manifest.entry


def find(folders: Iterable[Path]) -> Bundle:
    """Return the first bundle in `folders`, also one nested one or two levels deeper, as on some platforms.

    Raises:
        StartError: no folder holds a bundle, a folder holds several, or the manifest cannot be read.
    """
    tried: list[str] = []
    for folder in folders:
        tried.append(str(folder))
        for pattern in (MANIFEST, f"*/{MANIFEST}", f"*/*/{MANIFEST}"):
            found = sorted(folder.glob(pattern))
            if len(found) > 1:
                raise _refused(f"{folder} holds {len(found)} bundles; set MLPORT_MODEL_DIR to the one to serve")
            if found:
                return read(found[0].parent)
        if folder.is_dir() and not os.access(folder, os.R_OK | os.X_OK):
            raise _unreadable(f"folder {folder}")
    raise _refused(
        f"no model bundle ({MANIFEST}) in {', '.join(tried)}", "set MLPORT_MODEL_DIR to the folder of the bundle"
    )


def read(folder: Path) -> Bundle:
    """Read the manifest of the bundle in `folder`; the other files are not read yet.

    Raises:
        StartError: the manifest is damaged or of a newer schema.
    """
    try:
        with (folder / MANIFEST).open("rb") as file:
            data = file.read(fields.MOST_BYTES + 1)
        manifest = msgspec.json.decode(data[: fields.MOST_BYTES], type=ServedManifest)
    except OSError as error:
        raise _refused(f"cannot read {folder / MANIFEST}: {error.strerror}") from error
    except (msgspec.MsgspecError, RecursionError) as error:
        raise _refused(f"{folder / MANIFEST} is damaged: {error}", "package the model again") from error
    if manifest.schema != 1:
        raise _refused(f"bundle schema {manifest.schema} is newer than this server", "update mlport and build again")
    if wrong := fields.fault(manifest):
        raise _refused(f"{folder / MANIFEST} cannot be used: {wrong}", "package the model again")
    return Bundle(folder.resolve(), manifest, hashlib.sha256(data).hexdigest())


def verify(bundle: Bundle, *, expected_digest: str | None = None) -> None:
    """Refuse a bundle or an environment that differs from the manifest's record.

    Raises:
        StartError: names the difference and the command that fixes it.
    """
    if expected_digest and bundle.digest != expected_digest.removeprefix("sha256:"):
        raise _refused(
            f"model in {bundle.folder} has digest {bundle.digest}, expected {expected_digest}",
            "remove the other model's mount, or unset MLPORT_MODEL_DIGEST to serve it",
        )
    _verify_files(bundle)
    _verify_python(bundle)
    _verify_libraries(bundle)


def _verify_files(bundle: Bundle) -> None:
    again = f"package the model {bundle.manifest.name!r} again and deploy it; this copy must not be served"
    recorded = bundle.manifest.files
    if MANIFEST in recorded:
        raise _refused("the manifest records itself", again)
    entry = bundle.manifest.entry
    if entry not in recorded and not any(name.startswith(f"{entry.rstrip('/')}/") for name in recorded):
        raise _refused(f"the entry {entry!r} is not among the recorded files", again)
    present = {str(path.relative_to(bundle.folder)) for path in _walk(bundle.folder)}
    if missing := sorted(recorded.keys() - present):
        raise _refused(f"file {missing[0]} of the bundle is missing", again)
    if extra := sorted(present - recorded.keys() - {MANIFEST}):
        raise _refused(f"file {extra[0]} is not part of the bundle's record", again)
    for name, record in recorded.items():
        _verify_file(bundle.folder / name, name, record, again)


def _walk(folder: Path) -> Iterator[Path]:
    """Yield everything below a folder except folders; a link to a folder counts as a link."""

    def refuse(error: OSError) -> None:
        raise _unreadable(f"folder {error.filename}") from None

    for where, folders, files in os.walk(folder, onerror=refuse):
        paths = [Path(where, name) for name in folders if Path(where, name).is_symlink()]
        yield from paths + [Path(where, name) for name in files]


def _unreadable(what: str) -> StartError:
    mend = "make it readable for everybody, or set MLPORT_RUN_AS=0 to serve as root"
    return _refused(f"{what} cannot be read by user {os.geteuid()}", mend)


def _verify_file(path: Path, name: str, record: File, again: str) -> None:
    if any(one.is_symlink() for one in (path, *list(path.parents)[: len(PurePosixPath(name).parts) - 1])):
        raise _refused(f"file {name} of the bundle is a link", again)
    if path.stat().st_size != record.size:
        raise _refused(f"file {name} has {path.stat().st_size} bytes, recorded were {record.size}", again)
    try:
        with path.open("rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
    except PermissionError:
        raise _unreadable(f"file {name}") from None
    if actual != record.sha256:
        raise _refused(f"file {name} was changed: sha256 {actual}, recorded was {record.sha256}", again)


def _verify_python(bundle: Bundle) -> None:
    actual = f"{sys.version_info.major}.{sys.version_info.minor}"
    wanted = ".".join(bundle.manifest.python.split(".")[:2])
    if actual != wanted:
        raise _refused(
            f"the model was packaged for Python {wanted}, this is Python {actual}",
            f"uv venv --python {wanted} && {_install(bundle)}",
        )


def _verify_libraries(bundle: Bundle) -> None:
    for name, wanted in sorted(bundle.manifest.libraries.items()):
        try:
            actual = metadata.version(name)
        except metadata.PackageNotFoundError:
            raise _refused(f"{name} {wanted} is not installed, the model needs it", _install(bundle)) from None
        if _plain(actual) != _plain(wanted):
            raise _refused(f"the model was packaged with {name} {wanted}, installed is {actual}", _install(bundle))


def _plain(version: str) -> str:
    return re.sub(r"[-_.]+", ".", version).lower()


def _install(bundle: Bundle) -> str:
    """Return the command that fixes the environment; a lock that is not pure data is never passed to an installer."""
    path = bundle.folder / "requirements.lock"
    try:
        pins.parse(path.read_text("utf-8") if path.is_file() else "")
    except (OSError, ValueError):
        return "package the model again, its requirements.lock cannot be used"
    return f"uv pip install --require-hashes -r {path} --only-binary :all:"


def _refused(message: str, mend: str = "") -> StartError:
    return StartError(message, mend=mend, exit_code=EXIT_BUNDLE)
