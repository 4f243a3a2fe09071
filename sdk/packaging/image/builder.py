"""Builds a model's image: base, locked dependencies, runtime, code, model, each a layer of its own.

Only what changed is packed again: a new model rewrites one layer. The same inputs give the same image id on every
machine; nothing depends on the clock, the user or the order of files.
"""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sdk.errors import ConfigError, PackagingError
from sdk.packaging import disk, uvrun, venv

from .layers import Entry, Layer, tree, with_parents
from .manifests import Format, Image, ImageConfig, Platform, canonical
from .pyc import compiled
from .sbom import bill_of_materials

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sdk.model import Model
    from sdk.packaging.lock import Lock

    from .bases import Base
    from .store import Store

ROOT = "opt/mlport"
PORT = 8080
_TRIPLES = {"amd64": "x86_64-manylinux_2_28", "arm64": "aarch64-manylinux_2_28"}
_LABEL = "dev.mlport."


def build(
    model: Model,
    base: Base,
    store: Store,
    *,
    format: Format = "docker",  # noqa: A002  the word every image tool uses
    progress: Callable[[str], None] | None = None,
) -> Image:
    """The image of a model on this base; every blob of it is in the store afterwards.

    Raises:
        ConfigError: The model is a ready-made image, or was made for another Python than the base has.
        PackagingError: A package has no wheel for the platform.
    """
    if model.path is None or model.manifest is None or model.lock is None:
        raise ConfigError(f"model {model.name!r} is a ready-made image", hint="deploy it as it is")
    say = progress or _silent
    python, platform = model.manifest.python, base.config.platform
    say("dependencies")
    dependencies = _dependencies(model.lock, model.path / "wheels", platform, store)
    say("runtime")
    runtime = _runtime(python, store)
    say("model")
    parts = list(_bundle(model.path, python, store))
    sbom = bill_of_materials(model.lock, base)
    layers = (*base.layers, dependencies, runtime, *parts)
    config = _config(base, model, runtime, hashlib.sha256(sbom).hexdigest())
    image = Image(config.document(layers), layers, format)
    store.put(image.config)
    store.put(image.manifest)
    store.put(sbom)
    return image


def _silent(_: str) -> None:
    """Progress that nobody wants."""


def _config(base: Base, model: Model, runtime: Layer, sbom_sha256: str) -> ImageConfig:
    manifest = model.manifest
    if manifest is None:  # pragma: no cover  build() has checked it
        raise AssertionError
    labels = {
        "org.opencontainers.image.title": model.name,
        "org.opencontainers.image.base.name": base.name,
        "org.opencontainers.image.base.digest": base.digest,
        "com.amazonaws.sagemaker.capabilities.accept-bind-to-port": "true",
        f"{_LABEL}model.sha256": model.digest,
        f"{_LABEL}lock.sha256": manifest.lock_sha256,
        f"{_LABEL}runtime": runtime.diff_id,
        f"{_LABEL}sbom.sha256": sbom_sha256,
    }
    env = {
        **base.config.env,
        "PYTHONPATH": f"/{ROOT}/runtime:/{ROOT}/site",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": "/tmp",  # noqa: S108  the one writable folder of a read-only container
    }
    return replace(
        base.config,
        env=env,
        labels={**base.config.labels, **labels},
        entrypoint=("python", "-m", "mlport_serving"),
        command=("serve",),
        working_dir="/",
        ports=(PORT,),
        user="",  # platforms expect root; the entrypoint drops it for `serve`
    )


def _dependencies(lock: Lock, wheels: Path, platform: Platform, store: Store) -> Layer:
    local = sorted(wheels.glob("*.whl")) if wheels.is_dir() else []
    key = canonical(["deps", lock.sha256, str(platform), lock.python, [disk.sha256_file(path) for path in local]])

    def entries() -> list[Entry]:
        with tempfile.TemporaryDirectory(prefix="mlport-deps-") as folder:
            site = Path(folder) / "site"
            _install(lock, wheels if local else None, platform, site)
            found = compiled(_without_litter(tree(site, f"{ROOT}/site")), python=lock.python)
            return [_held(entry) for entry in with_parents(found)]

    return store.layer(key.decode(), entries, created_by="mlport dependencies")


def _held(entry: Entry) -> Entry:
    """The entry with its bytes in memory, as the folder it came from goes away."""
    return replace(entry, content=entry.content.read_bytes()) if isinstance(entry.content, Path) else entry


def _without_litter(entries: Iterator[Entry]) -> Iterator[Entry]:
    """Leaves out what differs from machine to machine and is not needed: scripts, installer's notes."""
    notes = ("REQUESTED", "INSTALLER", "direct_url.json", "uv_cache.json")
    for entry in entries:
        note = ".dist-info/" in entry.path and entry.path.endswith(notes)
        if not note and not entry.path.startswith(f"{ROOT}/site/bin") and not entry.path.endswith("/.lock"):
            yield _sorted_record(entry) if entry.path.endswith(".dist-info/RECORD") else entry


def _sorted_record(entry: Entry) -> Entry:
    content = entry.content.read_bytes() if isinstance(entry.content, Path) else entry.content or b""
    litter = (b"../", b"bin/")
    lines = [
        line
        for line in content.splitlines(keepends=True)
        if not line.startswith(litter)
        and not any(name in line for name in (b"REQUESTED", b"INSTALLER", b"direct_url", b"uv_cache"))
    ]
    return Entry(entry.path, b"".join(sorted(lines)))


def _install(lock: Lock, wheels: Path | None, platform: Platform, site: Path) -> None:
    triple = _TRIPLES.get(platform.architecture)
    if triple is None:
        raise PackagingError(
            f"no packages can be chosen for {platform}", operation="build", hint="use linux/amd64 or linux/arm64"
        )
    listing = site.parent / "requirements.lock"
    listing.write_text(lock.text)
    command: list[str | Path] = ["pip", "install", "--quiet", "--target", site, "--python-version", lock.python]
    command += ["--python-platform", triple, "--only-binary", ":all:", "--no-compile", "--no-deps", "--require-hashes"]
    command += ["--link-mode", "copy", "--requirement", listing]
    if lock.sources.torch_backend:
        command += ["--torch-backend", lock.sources.torch_backend]
    env = uvrun.environment(lock.sources, [wheels] if wheels else [])
    uvrun.run(command, what=f"install the locked requirements for {platform}", env=env)


def _runtime(python: str, store: Store) -> Layer:
    folder = venv.runtime()
    entries = with_parents(compiled(tree(folder, f"{ROOT}/runtime"), python=python))
    return store.layer(_key("runtime", entries), lambda: entries, created_by="mlport runtime")


def _bundle(bundle: Path, python: str, store: Store) -> Iterator[Layer]:
    """The user's code if there is any, then the model: what changes most comes last."""
    files = list(tree(bundle, f"{ROOT}/model"))
    code = [entry for entry in files if entry.path.startswith(f"{ROOT}/model/code/")]
    rest = [entry for entry in files if entry not in code and not entry.path.startswith(f"{ROOT}/model/wheels/")]
    for name, part in (("code", list(compiled(code, python=python))), ("model", rest)):
        if part:
            entries = with_parents(part)
            yield store.layer(_key(name, entries), lambda entries=entries: entries, created_by=f"mlport {name}")  # type: ignore[misc]  # bound now on purpose


def _key(name: str, entries: Sequence[Entry]) -> str:
    from .layers import content_key

    return f"{name} {content_key(entries)}"
