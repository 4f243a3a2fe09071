"""Write the return value of a training function as a model, inside the training job.

The model is written as :func:`sdk.model` would have done. Only the locked requirements are installed where the job
runs, so the few modules needed here are packed with the program (:func:`shipped`). The client then makes the bundle
from the written files, without loading any of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from sdk.errors import SdkError
from sdk.packaging.flavours import flavour_of
from sdk.packaging.flavours.base import RoundTrip
from sdk.packaging.manifest import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

FACTS = "handover.json"
LIBRARY = "lib"
_SERVING = ("__init__", "failures", "fields", "times")
_SHIPPED = ("errors.py", "packaging/__init__.py", "packaging/flavours", "util/__init__.py", "util/cells.py")
_MODULES = ("answers", "columns", "examples", "handover", "libraries", "manifest", "needs", "pickling", "plain")


class ModelFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The job's facts about the model it wrote; the fields are those of a manifest."""

    flavour: str
    format: str
    file: str
    method: str
    options: dict[str, Any] = {}
    inputs: tuple[Tensor, ...] = ()
    columns: tuple[str, ...] | None = None
    rowwise: bool = False
    allow_nan: bool = False
    records: bool = False


def hand_over(obj: Any, folder: Path) -> bool:
    """Write the object and its facts into a new folder; return ``False`` if it cannot be a model.

    Raises:
        PackagingError: The object is a model, but not fitted, or cannot be written.
    """
    try:
        flavour = flavour_of(obj)
    except SdkError:
        return False
    traits = flavour.traits(obj)
    folder.mkdir(parents=True)
    saved = flavour.save(obj, folder, RoundTrip(traits.method))
    facts = ModelFacts(
        flavour=flavour.name,
        format=saved.format,
        file=saved.file,
        method=traits.method,
        options={**saved.options, **({"load": isinstance(obj, type)} if flavour.name == "class" else {})},
        inputs=traits.inputs,
        columns=traits.columns,
        rowwise=bool(traits.rowwise),
        allow_nan=traits.allow_nan,
        records=traits.records,
    )
    (folder / FACTS).write_bytes(msgspec.json.encode(facts))
    return True


def read_facts(folder: Path) -> ModelFacts | None:
    """Read a job's facts about its model; return ``None`` if it wrote none."""
    try:
        return msgspec.json.decode((folder / FACTS).read_bytes(), type=ModelFacts)
    except FileNotFoundError:
        return None


def shipped() -> Iterator[tuple[str, bytes]]:
    """Iterate over the modules that a job needs for the handover, as paths below its library folder and contents."""
    root = Path(__file__).parents[1]
    yield "sdk/__init__.py", b""
    for part in (*_SHIPPED, *(f"packaging/{one}.py" for one in _MODULES), *(f"serving/{one}.py" for one in _SERVING)):
        for path in sorted((root / part).rglob("*.py")) if (root / part).is_dir() else [root / part]:
            yield f"sdk/{path.relative_to(root).as_posix()}", path.read_bytes()
