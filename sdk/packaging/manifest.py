"""The manifest ``mlport.json`` that describes a bundle, in canonical JSON whose hash identifies the model."""

from __future__ import annotations

import hashlib
from typing import Any, Literal

import msgspec

SCHEMA = 1
MANIFEST = "mlport.json"
LOCK = "requirements.lock"
EXAMPLE = "example.json"


class Levels(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The levels of a column of categories.

    Args:
        values: The levels of the training table, in its order; moments and dates as ISO 8601 text.
        type: The pandas type of their index, such as ``"str"`` or ``"int64"``.
        ordered: Whether the categories are ordered.
    """

    values: tuple[bool | int | float | str, ...]
    type: str
    ordered: bool = False


class Tensor(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One named input or output.

    Args:
        name: Its name; a column name for tables.
        dtype: A numpy dtype name such as ``"float64"`` or ``"datetime64[us]"``, or ``"string"``, ``"date"`` or
            ``"decimal"``.
        shape: One number per axis, -1 where it varies; the first axis is the batch.
        column_type: The pandas type of a table's column if it is not the numpy type itself, such as ``"str"`` or
            ``"Int64"``; ``None`` in models packed by earlier versions.
        missing: The marker of a missing value if the type does not determine it: ``"nan"``, ``"None"``, ``"NaT"`` or
            ``"NA"``.
        levels: The levels of a column of categories, whose type is ``dtype``.
        required: Whether the model accepts no missing value here, although it accepts some elsewhere.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    column_type: str | None = None
    missing: str | None = None
    levels: Levels | None = None
    required: bool = False


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The inputs and outputs of a model.

    Args:
        inputs: The inputs; empty if unknown, in which case nothing is checked.
        outputs: The outputs; empty if unknown.
        columns: Column names in order if the model takes a table, else ``None``.
        rowwise: Whether the answer for a row is independent of other rows, so that requests may be split and joined.
        allow_nan: Whether the model accepts missing values, except in inputs that are ``required``.
        integer_columns: Whether the model names its columns by whole numbers; ``columns`` has them as text.
        records: Whether each row is a JSON object that the model gets as it is.
    """

    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    columns: tuple[str, ...] | None = None
    rowwise: bool = False
    allow_nan: bool = False
    integer_columns: bool | msgspec.UnsetType = msgspec.UNSET
    records: bool | msgspec.UnsetType = msgspec.UNSET


class FileRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """SHA-256 (hex) and size in bytes of one file."""

    sha256: str
    size: int


class Sources(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The origin of the locked packages if it is not the default; never with credentials.

    Args:
        index: URL of the package index that replaces the default one.
        extra_indexes: URLs that are searched first.
        torch_backend: The kind of PyTorch builds: ``"cpu"``, ``"cu126"``, …
    """

    index: str | None = None
    extra_indexes: tuple[str, ...] = ()
    torch_backend: str | None = None


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The description of a bundle; docs/bundle.md documents each field.

    The default of a new field must be ``msgspec.UNSET``, which is not written: else the digests of old bundles change.
    """

    name: str
    flavour: str
    format: str
    entry: str
    python: str
    lock_sha256: str
    method: str = "predict"
    trust: Literal["pickle"] | None = None
    libraries: dict[str, str] = {}
    signature: Signature = Signature()
    options: dict[str, Any] = {}
    sources: Sources = Sources()
    files: dict[str, FileRecord] = {}
    schema: int = SCHEMA

    def encode(self) -> bytes:
        """Return the manifest as canonical JSON: sorted keys, no spaces."""
        return msgspec.json.encode(self, order="sorted")

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the canonical JSON: the identity of the model."""
        return hashlib.sha256(self.encode()).hexdigest()


def decode_manifest(data: bytes) -> Manifest:
    """Decode a manifest.

    Raises:
        ValueError: The bytes are not a manifest of this schema, or not in canonical form.
    """
    manifest = msgspec.json.decode(data, type=Manifest)
    if manifest.schema != SCHEMA:
        raise ValueError(f"schema {manifest.schema} is not {SCHEMA}")
    if manifest.encode() != data:
        raise ValueError("it is not in canonical form")
    return manifest
