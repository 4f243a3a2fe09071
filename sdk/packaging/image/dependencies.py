"""Build the layer of the locked packages, and their bill of materials."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from importlib.metadata import PathDistribution
from pathlib import Path
from typing import TYPE_CHECKING

from sdk.errors import PackagingError
from sdk.packaging import disk, uvrun
from sdk.packaging.libraries import normal

from . import pyc, sbom
from .layers import Entry, ImageLayer, opaque, tree, with_parents
from .manifests import canonical

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sdk.packaging.lock import Lock

    from .manifests import Platform
    from .store import BlobStore

SITE = "opt/mlport/site"
SBOM = "opt/mlport/sbom.cdx.json"

_TRIPLES = {"amd64": "x86_64-manylinux_2_28", "arm64": "aarch64-manylinux_2_28"}
_MACHINES = {62: "amd64", 183: "arm64"}  # ELF e_machine
_NOTES = ("REQUESTED", "INSTALLER", "direct_url.json", "uv_cache.json")
_MISSING = re.compile(r"([A-Za-z0-9._-]+)==\S+ has no (?:usable )?wheels")


def layer(lock: Lock, wheels: Path, platform: Platform, store: BlobStore, *, fresh: bool) -> tuple[ImageLayer, bytes]:
    """Return the layer with the locked packages for this platform, and their bill of materials, which it contains too.

    Args:
        lock: The packages with their hashes.
        wheels: The folder with the model's own wheels, if it exists.
        platform: The platform of the image.
        store: The store for the layer.
        fresh: Whether to hide the packages of the layers below.

    Raises:
        PackagingError: A package has no wheel for the platform, or one with binaries for another platform.
    """
    local = sorted(wheels.glob("*.whl")) if wheels.is_dir() else []
    hashes = [disk.sha256_file(path) for path in local]
    made_of = [lock.sha256, lock.sources.torch_backend, str(platform), lock.python, pyc.tag(lock.python), fresh, hashes]
    key = canonical(["dependencies with versions", made_of]).decode()
    found = store.find(key)
    bill = store.recall(f"sbom {key}")
    if found is not None and bill is not None:
        return found, bill
    with disk.working_folder() as folder:
        site = folder / "site"
        _install(lock, wheels if local else None, platform, site)
        bill = sbom.of_packages(lock, installed_in(site))
        files = list(_guarded(without_litter(tree(site, SITE)), platform))
        entries = [*pyc.compiled(files, python=lock.python), Entry(SBOM, bill), *([opaque(SITE)] if fresh else [])]
        store.remember(f"sbom {key}", bill)
        return store.pack(key, with_parents(entries), created_by="mlport dependencies"), bill


def installed_in(site: Path) -> dict[str, str]:
    """Return the distributions in a folder: exact version by normal name, from their own metadata.

    Raises:
        PackagingError: A distribution occurs twice or has no name or version, as a wheel may include other packages.
    """
    found: dict[str, str] = {}
    for path in sorted(one for kind in ("dist-info", "egg-info") for one in site.glob(f"*.{kind}")):
        try:
            about = PathDistribution(path).metadata
            name, version = (str(about[field]) if field in about else "" for field in ("Name", "Version"))
        except (OSError, ValueError):
            name = version = ""
        if not name or not version:
            raise _odd(path, "does not say which package and version it is")
        if normal(name) in found:
            raise _odd(path, f"is a second version of {normal(name)}")
        found[normal(name)] = version
    return found


def _odd(path: Path, what: str) -> PackagingError:
    return PackagingError(
        f"{path.name} {what}; one of the locked wheels brought it along",
        operation="build",
        resource=path.name,
        hint="lock another version of that package, or get the model from somebody else",
    )


def _install(lock: Lock, wheels: Path | None, platform: Platform, site: Path) -> None:
    triple = _TRIPLES.get(platform.architecture)
    if triple is None:
        raise PackagingError(
            f"no packages can be chosen for {platform}", operation="build", hint="use linux/amd64 or linux/arm64"
        )
    listing = site.parent / "requirements.lock"
    listing.write_text(lock.installable)
    command: list[str | Path] = ["pip", "install", "--quiet", "--target", site, "--python-version", lock.python]
    command += ["--python-platform", triple, "--only-binary", ":all:", "--no-compile", "--no-deps", "--require-hashes"]
    command += ["--link-mode", "copy", "--requirement", listing]
    if lock.sources.torch_backend:
        command += ["--torch-backend", lock.sources.torch_backend]
    env = uvrun.environment(lock.sources, [wheels] if wheels else [])
    try:
        uvrun.run(command, what=f"install the locked requirements for {platform}", env=env)
    except PackagingError as error:
        raise _explained(error, platform) from error


def _explained(error: PackagingError, platform: Platform) -> PackagingError:
    missing = _MISSING.search(error.message)
    if missing is None:
        return error
    name = missing[1]
    return PackagingError(
        f"package {name} has no wheel for {platform}",
        operation="build",
        resource=name,
        hint=f"require another version of {name}, or build its wheel on {platform} and give the file in requirements=",
    )


def _guarded(entries: Iterable[Entry], platform: Platform) -> Iterator[Entry]:
    """Refuse binaries of another processor, which a wheel with a wrong name may contain."""
    for entry in entries:
        if isinstance(entry.content, Path) and (entry.path.endswith(".so") or ".so." in entry.path):
            with entry.content.open("rb") as file:
                head = file.read(20)
            machine = _MACHINES.get(int.from_bytes(head[18:20], "little"))
            if head[:4] == b"\x7fELF" and machine != platform.architecture:
                raise PackagingError(
                    f"{entry.path.removeprefix(SITE + '/')} is built for {machine or 'an unknown processor'}, "
                    f"not for {platform}",
                    operation="build",
                    resource=entry.path,
                    hint=f"give a wheel of this package for {platform}",
                )
        yield entry


def without_litter(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Drop files that differ between machines and are not needed: scripts and the installer's notes."""
    for entry in entries:
        note = ".dist-info/" in entry.path and entry.path.endswith(_NOTES)
        if not note and not entry.path.startswith(f"{SITE}/bin") and not entry.path.endswith("/.lock"):
            yield _sorted_record(entry) if entry.path.endswith(".dist-info/RECORD") else entry


def _sorted_record(entry: Entry) -> Entry:
    """Return the list of a package's files in sorted order, without those left out."""
    content = entry.content.read_bytes() if isinstance(entry.content, Path) else entry.content or b""
    try:
        rows = list(csv.reader(io.StringIO(content.decode(), newline="")))
    except (ValueError, csv.Error) as error:
        raise _odd(Path(entry.path).parent, f"has a list of files that cannot be read: {error}") from error
    kept = sorted(row for row in rows if row and not row[0].startswith(("../", "bin/")) and not row[0].endswith(_NOTES))
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n").writerows(kept)
    return replace(entry, content=out.getvalue().encode())
