"""Models: a fitted object, function, class, file or image as an immutable value with a digest."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from ..errors import ConfigError
from ..util.durations import parse_duration
from ..util.names import check_name, name_of
from ..util.paths import expand

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Unpack

    from .lock import Lock
    from .manifest import Manifest, Signature
    from .packing import Packing

_IMAGE = re.compile(r"(?P<repository>[A-Za-z0-9][A-Za-z0-9._:/-]*)@sha256:(?P<digest>[0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Model:
    """A model that can be deployed anywhere: its name, its digest and the location of its bundle.

    Make one with :func:`sdk.model`, :meth:`from_path`, :meth:`from_mlflow` or :meth:`from_image`. Two models with the
    same digest consist of the same files, byte for byte, so deploying one of them again changes nothing.

    Args:
        name: The model's name.
        digest: SHA-256 (64 hex characters) of its manifest, which holds the hash of every file; for a ready-made
            image the digest of the image.
        path: Folder of the bundle; ``None`` for an image.
        manifest: The recorded facts about the model; ``None`` for an image.
        image: The ready-made image, ``repository@sha256:…``, else ``None``.
    """

    name: str
    digest: str
    path: Path | None = field(default=None, compare=False)
    manifest: Manifest | None = field(default=None, compare=False, repr=False)
    image: str | None = None

    def __repr__(self) -> str:
        kind = f"{self.manifest.flavour}/{self.manifest.format}" if self.manifest else self.image
        return f"<Model {self.name} {self.digest[:12]} {kind}>"

    @property
    def flavour(self) -> str:
        """The kind of the model, such as ``"sklearn"``; ``"image"`` for a ready-made image."""
        return self.manifest.flavour if self.manifest else "image"

    @property
    def signature(self) -> Signature | None:
        """The types of inputs and outputs; ``None`` for an image."""
        return self.manifest.signature if self.manifest else None

    @property
    def example(self) -> list[Any] | None:
        """Rows that the model is known to answer, as plain Python values; ``None`` if packed without an example."""
        from .bundle import example_in

        return None if self.path is None else example_in(self.path)

    @property
    def lock(self) -> Lock | None:
        """The hash-locked requirements; ``None`` for an image."""
        from .lock import Lock

        if self.path is None or self.manifest is None:
            return None
        return Lock.of(self.path, self.manifest)

    def save(self, target: str | Path) -> Path:
        """Copy the bundle to a new folder, or into a new ``.tar.gz`` with reproducible bytes.

        Raises:
            ConfigError: The target exists, or the model is a ready-made image.
            PackagingError: The target cannot be written.
        """
        from . import archive, disk

        if self.path is None:
            raise ConfigError("a ready-made image has no files to save", hint=f"pull {self.image} instead")
        target = expand(target)
        if target.exists():
            raise ConfigError(f"{target} exists", hint="name a folder or file that does not")
        if target.name.endswith((".zip", ".tar")):
            raise ConfigError(f"{target.name}: no such archive is written", hint="end the name in .tar.gz, or in none")
        with disk.staging_outside(target.resolve().parent) as work, disk.writing(target):
            if target.name.endswith((".tar.gz", ".tgz")):
                made = archive.write(self.path, work / "bundle")
            else:
                made = shutil.copytree(self.path, work / "bundle")
            made.rename(target)
        return target

    @classmethod
    def load(cls, source: str | Path) -> Model:
        """Load a saved model into the store, after checking every file. None of its code is run.

        Args:
            source: The folder of a bundle, or a ``.tar.gz``, ``.tar`` or ``.zip`` of it.

        Raises:
            PackagingError: The source is not a bundle, or the archive is unsafe.
            LockMismatchError: A file is missing, changed or unexpected.
        """
        from . import archive, bundle, disk

        source = expand(source)
        models = disk.state_dir() / "models"
        if source.is_dir() and source.resolve().parent == models:
            return _known(source, bundle.verify(source))
        with disk.staging(models) as work, disk.writing(models):
            if source.is_file():
                archive.extract(source, work / "bundle")
            elif source.is_dir():
                bundle.verify(source)  # before a byte is copied, so that links in it are never followed
                shutil.copytree(source, work / "bundle")
            else:
                raise ConfigError(f"{source} does not exist", hint="give the folder or archive of a saved model")
            manifest = bundle.verify(work / "bundle")
            return _known(bundle.store(work / "bundle", manifest, models), manifest)

    @classmethod
    def from_path(
        cls,
        path: str | Path,
        *,
        name: str | None = None,
        trust: Literal["pickle"] | None = None,
        example: Any = None,
        method: str = "predict",
        rowwise: bool | None = None,
        allow_nan: bool = False,
        **packing: Unpack[Packing],
    ) -> Model:
        """Make a model from a file in a library's own format; the file is copied and hashed, never loaded here.

        Args:
            path: ``.onnx``, ``.pt``/``.pth`` (TorchScript), ``.ubj``/``.json`` (XGBoost), ``.txt`` (LightGBM),
                ``.keras`` or ``.skops``; with ``trust="pickle"`` also ``.pkl``, ``.pickle`` and ``.joblib``.
            name: 3 to 23 lower-case letters, digits and inner hyphens, a letter first; derived from the file's name if
                left out.
            trust: ``"pickle"`` states that you trust the author of this pickle: loading a pickle runs code of its
                author. The file is bound to the model by its hash.
            example: A few rows; they set names, types and shapes of the input.
            method: Method to call, for estimators.
            rowwise: Whether each row is answered independently of the others, so that requests may be split and joined.
                Known for XGBoost, LightGBM and scikit-learn; ``False`` for other files unless you set it.
            allow_nan: Whether missing numbers are accepted.
            **packing: See :class:`sdk.packaging.packing.Packing`.

        Raises:
            ConfigError: The file does not exist, has an unsupported format, or is a pickle without ``trust``.

        Example:
            >>> Model.from_path("churn.pkl", name="churn")  # doctest: +SKIP
        """
        from . import files, pack

        about = files.FileOptions(trust, example, method, rowwise, allow_nan)
        source = expand(path)
        manifest, folder = files.pack_file(source, _named(name, source.stem, "file"), about, pack.unpacked(packing))
        return _known(folder, manifest)

    @classmethod
    def from_mlflow(
        cls,
        folder: str | Path,
        *,
        name: str | None = None,
        trust: Literal["pickle"] | None = None,
        example: Any = None,
        rowwise: bool = False,
        allow_nan: bool = False,
        **packing: Unpack[Packing],
    ) -> Model:
        """Make a model from one saved by MLflow, with the signature and requirements that MLflow recorded.

        Args:
            folder: The folder with the file ``MLmodel``.
            name: As in :meth:`from_path`; derived from the folder's name if left out.
            trust: ``"pickle"`` if the folder holds pickles and you trust their author.
            example: A few rows. They then set names, types and shapes of the input instead of MLflow's signature, which
                does not support categories, time zones or missing whole numbers. Without an example, times have no
                zone, and columns that MLflow calls optional are required.
            rowwise: As in :meth:`from_path`, but ``False`` unless you set it.
            allow_nan: As in :meth:`from_path`.
            **packing: See :class:`sdk.packaging.packing.Packing`.

        Raises:
            ConfigError: The folder is not an MLflow model with a Python function, holds pickles without ``trust``, or
                has an input of a type that a request cannot carry.
        """
        from . import mlflow, pack

        about = mlflow.MlflowOptions(trust, rowwise, allow_nan, example)
        source = expand(folder)
        given = _named(name, source.resolve().name, "folder")
        manifest, path = mlflow.pack_mlflow(source, given, about, pack.unpacked(packing))
        return _known(path, manifest)

    @classmethod
    def from_image(cls, image: str, *, name: str | None = None) -> Model:
        """Make a model from a ready-made serving image, named by digest so that it is the same one everywhere.

        Args:
            image: ``repository@sha256:<64 hex>``.
            name: As in :meth:`from_path`; derived from the repository if left out.

        Raises:
            ConfigError: The image is not named by digest.

        Example:
            >>> Model.from_image("registry.example/team/churn@sha256:" + "ab" * 32).name
            'churn'
        """
        from ..util.names import suggest_name

        match = _IMAGE.fullmatch(image)
        if not match:
            raise ConfigError(
                f"image {image!r} is not named by digest",
                hint="write it as repository@sha256:<64 hex>; `docker inspect` shows it under RepoDigests",
            )
        last = match["repository"].rpartition("/")[2].partition(":")[0]
        return cls(check_name(name or suggest_name(last), what="model"), match["digest"], image=image)


def model(
    obj: Any,
    *,
    name: str,
    example: Any = None,
    method: str | None = None,
    rowwise: bool | None = None,
    allow_nan: bool | None = None,
    artifacts: str | Path | None = None,
    engine: Literal["onnx", "auto"] | None = None,
    p95_ms: float | None = None,
    default: Any = msgspec.UNSET,
    answer_within: str | float | None = None,
    **packing: Unpack[Packing],
) -> Model:
    """Make a model of a fitted object, a network, a function, or a class with ``predict``.

    The object is written in the safest format that can be read back without loss. Its libraries are locked with hashes
    at the versions installed now. Everything is stored under the hash of its content.

    Args:
        obj: Fitted scikit-learn, XGBoost, LightGBM, Keras or PyTorch object; function of the rows; class or object
            with ``predict(rows)`` and perhaps ``load(folder)``; all of them may be ``async``.
        name: 3 to 23 lower-case letters, digits and inner hyphens, a letter first.
        example: A few rows: array, list, DataFrame, dict of arrays or lists by input name, or a list of dicts, which
            makes a function or class a model that takes any JSON. The model is called with them, which gives the
            signature, and its answer must be one that the server can send. Up to 64 KiB of the rows are stored with the
            model for smoke tests.
        method: Method to call; ``"predict"`` by default.
        rowwise: Whether each row is answered independently of the others, so that requests may be split and joined.
            Known for estimators and seen in the example's answer; ``False`` for functions and classes unless you set
            it.
        allow_nan: Whether missing values are accepted. If left out, the model is tested for each column of the example,
            with a few calls.
        artifacts: File or folder that is passed to the ``load`` method of a class.
        engine: ``"onnx"`` serves an estimator of scikit-learn, XGBoost or LightGBM, or a pipeline of them, with ONNX
            Runtime, which is much faster for forests and needs none of these libraries where it serves. Its answers are
            compared with the estimator's on the example and a thousand rows like it, and it is refused if they differ.
            Missing numbers are accepted only with ``allow_nan=True``; then include some in the example. ``"auto"`` uses
            ONNX Runtime if that is possible and takes at most half of the time, and else the estimator itself; a log
            line reports the choice and the reason.
        p95_ms: The latency in milliseconds below which 95 % of the requests should stay. The server joins waiting
            requests into calls that take at most half of it; at most 20 ms if it is left out.
        default: The prediction for one row (the whole answer of a model that does not answer row by row) that a request
            gets if the model's own answer would come later than ``p95_ms``, or the server is overloaded. The answer
            is marked as the default (``Prediction.default``). Without it, late answers are late.
        answer_within: The longest time for each call of the model while it is packed, and for loading it: seconds, or
            text such as ``"30m"``; 10 minutes if left out.
        **packing: Requirements, own code and package indexes; see :class:`sdk.packaging.packing.Packing`.

    Raises:
        ConfigError: An argument is wrong, or the answer to the example cannot be sent; the message has the reason.
        PackagingError: The object is not fitted, cannot be written, gives no answer in time, or its libraries cannot be
            locked.

    Example:
        >>> import numpy as np
        >>> def double(rows):
        ...     return rows * 2
        >>> model(double, name="double", example=np.ones((2, 3))).signature.outputs  # doctest: +SKIP
        (Tensor(name='predict', dtype='float64', shape=(-1, 3)),)
    """
    from ..serving import fields
    from . import objects, pack

    if p95_ms is not None and not fields.is_milliseconds(p95_ms):
        raise ConfigError(f"p95_ms must be a number above 0, got {p95_ms!r}", hint="give milliseconds: p95_ms=50")
    if default is not msgspec.UNSET and p95_ms is None:
        raise ConfigError("default needs p95_ms: the time after which it is given", hint="give milliseconds: p95_ms=50")
    seconds = None if answer_within is None else parse_duration(answer_within, field="answer_within")
    wishes = objects.ObjectOptions(example, method, rowwise, allow_nan, artifacts, engine, p95_ms, default, seconds)
    manifest, folder = objects.pack_object(obj, check_name(name, what="model"), wishes, pack.unpacked(packing))
    return _known(folder, manifest)


def _named(name: str | None, text: str, source: str) -> str:
    """Return the given name, or one derived from the name of the file or folder."""
    if name is None:
        return name_of(text, source=f"the {source} name", fix='give one: name="…" (--name on the command line)')
    return check_name(name, what="model")


def _known(folder: Path, manifest: Manifest) -> Model:
    return Model(manifest.name, manifest.digest, folder, manifest)
