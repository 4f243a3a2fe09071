"""Build a sealed bundle in the store from a live object or files."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from sdk.errors import ConfigError
from sdk.packaging import bundle, disk, uvrun, wheels
from sdk.packaging.code import copy_code
from sdk.packaging.libraries import closure, installed, normal
from sdk.packaging.lock import Lock, compile_lock
from sdk.packaging.manifest import EXAMPLE, LOCK, Manifest, Signature, Sources
from sdk.packaging.packing import Packing
from sdk.packaging.requirements import (
    is_name,
    is_path,
    otherwise,
    read_requirements,
    requirement_name,
    requirement_names,
)
from sdk.util import scratch
from sdk.util.paths import expand
from sdk.util.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

_OWN_ARGUMENTS = (
    "allow_nan", "answer_within", "artifacts", "default", "engine", "example", "method", "name", "p95_ms", "rowwise",
    "trust",
)  # fmt: skip
"""The arguments besides :class:`Packing` of the functions that make a model."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The values of a manifest that are not determined by the files on disk."""

    name: str
    flavour: str
    format: str
    entry: str
    modules: frozenset[str]
    signature: Signature
    method: str = "predict"
    trust: Literal["pickle"] | None = None
    options: Mapping[str, Any] | None = None


def python_minor() -> str:
    """Return the running Python's minor version, such as ``"3.11"``."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def publish(
    write: Callable[[Path], Parts],
    packing: Packing,
    *,
    example: bytes | None = None,
    needs: Iterable[str] = (),
    constraints: Iterable[str] = (),
    python: str | None = None,
) -> tuple[Manifest, Path]:
    """Build a bundle in a temporary folder and move it into the store.

    Args:
        write: Writes the model into the given folder and returns what it wrote.
        packing: The user's options.
        example: JSON body of an example request.
        needs: Requirement lines in addition to those that the modules imply.
        constraints: Constraints on versions in addition to the user's.
        python: Python minor version; the running one when left out.
    """
    models = disk.state_dir() / "models"
    scratch.sweep(disk.roots())
    with disk.staging(models) as work, disk.writing(models):
        folder = work / "bundle"
        (folder / "model").mkdir(parents=True)
        copy_code(packing.get("code", ()), folder / "code")
        parts = write(folder)
        sources = sources_of(packing)
        lock, libraries = lock_for(
            parts.modules,
            packing,
            folder / "wheels",
            sources=sources,
            needs=needs,
            constraints=constraints,
            python=python or python_minor(),
        )
        (folder / LOCK).write_text(lock.text)
        if example is not None:
            (folder / EXAMPLE).write_bytes(example)
        manifest = bundle.seal(folder, _manifest(parts, lock, libraries))
        return manifest, bundle.store(folder, manifest, models)


def _manifest(parts: Parts, lock: Lock, libraries: dict[str, str]) -> Manifest:
    return Manifest(
        name=parts.name,
        flavour=parts.flavour,
        format=parts.format,
        entry=parts.entry,
        trust=parts.trust,
        python=lock.python,
        libraries=libraries,
        lock_sha256=lock.sha256,
        signature=parts.signature,
        method=parts.method,
        options=dict(parts.options or {}),
        sources=lock.sources,
    )


def sources_of(packing: Packing) -> Sources:
    """Return the checked origin of packages.

    Raises:
        ConfigError: An index is not a URL, or holds credentials.
    """
    index = packing.get("index_url")
    extra = tuple(uvrun.check_index("extra_index_urls", url) for url in packing.get("extra_index_urls", ()))
    checked = uvrun.check_index("index_url", index) if index else None
    return Sources(index=checked, extra_indexes=extra, torch_backend=packing.get("torch_backend"))


def links_of(packing: Packing) -> list[Path]:
    """Return the folders of wheels, which must exist."""
    folders = [expand(item).resolve() for item in packing.get("find_links", ())]
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"find_links: {folder} is no folder", hint="give folders that hold wheels")
    return folders


def builds_of(packing: Packing) -> frozenset[str]:
    """Return the normal names of the packages that may be built from source.

    Raises:
        ConfigError: An item is not a package name, such as ``":all:"``.
    """
    names = packing.get("build_from_source", ())
    for name in [names] if isinstance(names, str) else names:
        if isinstance(names, str) or not is_name(name):
            raise ConfigError(
                f"build_from_source: {name!r} is no list of package names", hint='write it like ["annoy"]'
            )
    return frozenset(map(normal, names))


def lock_for(
    modules: Iterable[str],
    packing: Packing,
    wheel_folder: Path,
    *,
    sources: Sources,
    needs: Iterable[str],
    python: str,
    constraints: Iterable[str] = (),
) -> tuple[Lock, dict[str, str]]:
    """Return the lock for these modules and options, and the exact versions of the model's direct libraries."""
    wishes = read_requirements(packing.get("requirements") or ())
    given = [line for line in wishes.lines if not is_path(line)]
    local = {wheels.collect([line], wheel_folder, sources)[0] for line in wishes.lines if is_path(line)}
    limits = [*wishes.constraints, *constraints]
    limited = requirement_names(limits)
    needs = list(needs)
    stated = {requirement_name(line) for line in needs if requirement_name(line) != normal(line)}
    own = requirement_names(local) | requirement_names(given) | stated
    needed = installed(modules)
    found = {name: version for name, version in needed.items() if name not in own}
    # Where the markers of the user's lines do not apply, the version installed here is locked.
    marked = {name: [line for line in given if requirement_name(line) == name] for name in needed}
    besides = {name: marker for name, lines in marked.items() if (marker := otherwise(lines))}
    here = python == python_minor()  # another Python may need other versions than those installed here
    exact = (f"{name}=={version}" if here and name not in limited else name for name, version in found.items())
    rest = {f"{name}=={needed[name]} ; {marker}" for name, marker in besides.items() if here}
    lines = {*exact, *local, *needs, *given, *rest}
    free = {line for line in given if requirement_name(line) == normal(line)}  # no version: pin the one installed now
    pins = {name: version for name, version in closure({*found, *free}).items() if name not in own or name in free}
    lock = compile_lock(
        lines,
        python=python,
        pins={name: version for name, version in pins.items() if name not in limited} if here else {},
        constraints=limits,
        preferred=pins,
        sources=with_backend(sources, found, packing),
        wheels=wheel_folder if wheel_folder.is_dir() else None,
        find_links=links_of(packing),
        build=builds_of(packing),
    )
    wheels.keep_locked(lock, links_of(packing), wheel_folder)
    lock = wheels.build_locked(lock, builds_of(packing), wheel_folder)
    versions = lock.versions | {name: needed[name] for name in besides if lock.has(name, needed[name])}
    direct = {normal(requirement_name(line)) for line in lines}
    return lock, {name: versions[name] for name in sorted(direct) if name in versions}


def with_backend(sources: Sources, found: Mapping[str, str], packing: Packing) -> Sources:
    """Return sources with the PyTorch backend of a special build (``+cpu``), which the default index does not have."""
    local = found.get("torch", "").partition("+")[2]
    elsewhere = packing.get("find_links") or sources.index or sources.extra_indexes or uvrun.has_links()
    if not local or sources.torch_backend or elsewhere:
        return sources
    return Sources(index=sources.index, extra_indexes=sources.extra_indexes, torch_backend=local)


def unpacked(keys: Mapping[str, Any]) -> Packing:
    """Return the packing options, after refusing unknown keys.

    Raises:
        ConfigError: An argument is unknown.
    """
    for key in keys:
        if key not in Packing.__annotations__:
            known = [*_OWN_ARGUMENTS, *Packing.__annotations__]
            raise ConfigError(f"unknown argument {key!r}", hint=did_you_mean(key, known))
    return cast("Packing", keys)
