"""Build an image: base, locked dependencies, runtime, code and model, each a separate layer.

Only changed parts are packed again: a new model rewrites one layer. The same inputs give the same image id on every
machine; nothing depends on the clock, the user or the order of files. If a base already has the dependencies or the
runtime, those layers are not repeated: a specialised model costs one layer.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sdk.errors import ConfigError
from sdk.packaging import venv
from sdk.packaging.lock import Lock

from . import dependencies, pyc
from .layers import Entry, ImageLayer, content_key, opaque, tree, with_parents
from .manifests import Format, Image, ImageConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from sdk.packaging.manifest import Manifest
    from sdk.packaging.model import Model
    from sdk.packaging.training import Program

    from .bases import Base
    from .store import BlobStore

ROOT = "opt/mlport"
PORT = 8080
NOBODY = 65532
LABEL = "dev.mlport."
_SITE_LABEL, _RUNTIME_LABEL = f"{LABEL}lock.sha256", f"{LABEL}runtime"
_TRAIN = ("MLPORT_TRAIN_SCRIPT", "MLPORT_TRAIN_FUNCTION", "MLPORT_CODE_DIR")


@dataclass(frozen=True, slots=True)
class Content:
    """The content of an image: the bundle of a model or of a training program."""

    name: str
    digest: str
    path: Path
    manifest: Manifest

    @classmethod
    def of(cls, value: Model | Program) -> Content:
        """Return the bundle of a model or program.

        Raises:
            ConfigError: The model is a ready-made image.
        """
        if value.path is None or value.manifest is None:
            raise ConfigError("a ready-made image has no files to build from", hint="deploy it as it is")
        return cls(value.manifest.name, value.digest, value.path, value.manifest)

    @property
    def kind(self) -> str:
        """The kind of bundle, ``program`` or ``model``; also its folder in the image."""
        return "program" if self.manifest.flavour == "train" else "model"

    @property
    def lock(self) -> Lock:
        """The hash-locked requirements of the bundle."""
        return Lock.of(self.path, self.manifest)


def build(
    content: Content,
    base: Base,
    store: BlobStore,
    *,
    format: Format = "docker",  # noqa: A002  the word every image tool uses
    labels: Mapping[str, str] | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Image:
    """Build the image of a bundle on this base; afterwards every blob of it is in the store.

    Raises:
        ConfigError: The bundle was made for another Python than the base has.
        PackagingError: A package has no wheel for the platform.
    """
    _check_python(content, base)
    below = base.config.labels
    layers = list(base.layers)
    stamps = {key: below[key] for key in (_RUNTIME_LABEL, f"{LABEL}sbom.sha256") if key in below}
    if below.get(_SITE_LABEL) != content.manifest.lock_sha256:
        progress("dependencies")
        packages, bill = dependencies.layer(
            content.lock, content.path / "wheels", base.config.platform, store, fresh=_SITE_LABEL in below
        )
        layers.append(packages)
        stamps[f"{LABEL}sbom.sha256"] = hashlib.sha256(bill).hexdigest()
    progress("runtime")
    runtime = _runtime(content.manifest.python, store, fresh=False)
    if below.get(_RUNTIME_LABEL) != runtime.diff_id:
        covering = _RUNTIME_LABEL in below
        layers.append(_runtime(content.manifest.python, store, fresh=True) if covering else runtime)
        stamps[_RUNTIME_LABEL] = runtime.diff_id
    progress(content.kind)
    layers += _bundle(content, store, fresh=f"{LABEL}{content.kind}.sha256" in below)
    config = _config(base, content, stamps, labels or {})
    image = Image(config.document(layers), tuple(layers), format)
    store.put(image.config)
    store.put(image.manifest)
    return image


def _check_python(content: Content, base: Base) -> None:
    """Compare with the Python that the base declares; without a declaration, a mismatch shows only at start-up."""
    said = base.config.labels.get(f"{LABEL}python") or base.config.env.get("PYTHON_VERSION")
    if said and ".".join(said.split(".")[:2]) != content.manifest.python:
        raise ConfigError(
            f"base {base.name} has Python {said}, but {content.name!r} was packed with {content.manifest.python}",
            hint=f"give a base with Python {content.manifest.python}, or pack it again with Python {said}",
        )


def _config(base: Base, content: Content, stamps: Mapping[str, str], own: Mapping[str, str]) -> ImageConfig:
    below = base.config.labels
    kept = {key: value for key, value in below.items() if key.startswith((f"{LABEL}model.", f"{LABEL}program."))}
    others = {key: value for key, value in below.items() if not key.startswith(LABEL)}
    labels = {
        **others,
        **own,
        **kept,
        "org.opencontainers.image.title": content.name,
        "org.opencontainers.image.base.name": base.name,
        "org.opencontainers.image.base.digest": base.digest,
        "com.amazonaws.sagemaker.capabilities.accept-bind-to-port": "true",
        f"{LABEL}python": content.manifest.python,
        _SITE_LABEL: content.manifest.lock_sha256,
        f"{LABEL}{content.kind}.sha256": content.digest,
        **({f"{LABEL}parent": base.id} if _RUNTIME_LABEL in below else {}),
        **stamps,
    }
    env = {
        **_environment(base, content),
        "PYTHONPATH": f"/{ROOT}/runtime:/{ROOT}/site",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": "/tmp",  # noqa: S108  the only writable folder of a read-only container
        "MLPORT_RUN_AS": str(NOBODY),
    }
    serves = f"{LABEL}model.sha256" in labels
    return replace(
        base.config,
        env=env,
        labels=labels,
        entrypoint=("python", "-P", "-m", "mlport_serving"),
        command=("serve" if serves else "train",),
        working_dir="/",
        ports=(PORT,),
        user="",  # platforms expect root; the entrypoint drops it for `serve`
    )


def _environment(base: Base, content: Content) -> dict[str, str]:
    if content.kind == "model":
        return {**base.config.env, "MLPORT_MODEL_DIGEST": content.digest}
    folder, entry = f"/{ROOT}/program", content.manifest.entry
    way = "MLPORT_TRAIN_SCRIPT" if content.manifest.format == "script" else "MLPORT_TRAIN_FUNCTION"
    kept = {key: value for key, value in base.config.env.items() if key not in _TRAIN}
    return {**kept, way: f"{folder}/{entry}", "MLPORT_CODE_DIR": f"{folder}/code"}


def _runtime(python: str, store: BlobStore, *, fresh: bool) -> ImageLayer:
    place = f"{ROOT}/runtime"
    sources = [*tree(venv.runtime(), place), *([opaque(place)] if fresh else [])]
    key = f"runtime {pyc.tag(python)} {content_key(sources)}"
    return store.layer(key, lambda: with_parents(pyc.compiled(sources, python=python)), created_by="mlport runtime")


def _bundle(content: Content, store: BlobStore, *, fresh: bool) -> Iterator[ImageLayer]:
    """Iterate over a bundle's layers: the user's code and wheels, if any, then the rest, which changes more often.

    On top of an earlier bundle it is one layer, which hides the earlier one. Nothing is compiled here: the server
    refuses a bundle with a file that is not in its manifest.
    """
    place = f"{ROOT}/{content.kind}"
    files = list(tree(content.path, place))
    if fresh:
        yield _packed(content.kind, [*files, opaque(place)], store)
        return
    slow = (f"{place}/code/", f"{place}/wheels/")
    code = [entry for entry in files if entry.path.startswith(slow)]
    if code:
        yield _packed("code", code, store)
    yield _packed(content.kind, [entry for entry in files if not entry.path.startswith(slow)], store)


def _packed(name: str, files: list[Entry], store: BlobStore) -> ImageLayer:
    files.sort(key=lambda entry: entry.path)
    return store.layer(f"{name} {content_key(files)}", lambda: with_parents(files), created_by=f"mlport {name}")
