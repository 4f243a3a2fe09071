"""Pack models saved by MLflow: convert their signature and requirements, and copy the folder unchanged."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, cast

from sdk.errors import ConfigError, MissingExtraError
from sdk.packaging import axes, columns, disk, examples
from sdk.packaging.files import PICKLES, TRUST_HINT
from sdk.packaging.manifest import Signature, Tensor
from sdk.packaging.pack import Parts, publish
from sdk.packaging.requirements import RequirementLists, read_requirements, requirement_name, requirement_names
from sdk.util import foreign

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from sdk.packaging.manifest import Manifest
    from sdk.packaging.packing import Packing

_TYPES = {
    "boolean": "bool",
    "integer": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
    "string": "string",
    "str": "string",
    "object": "string",
    "datetime": "datetime64[ns]",
}
# Types whose values are JSON of any form: only the names of such columns are known, their types are up to the model.
_NESTED = frozenset({"array", "object", "map", "any", "sparkml_vector"})
_NAMES = {"inputs": "input", "outputs": "predict"}
_LARGEST = 4 << 20
_DEEPEST = 32
_MOST_ALIASES = 100
_LONGEST_NUMBER = 100
_MINOR = re.compile(r"3\.\d+")


@dataclass(frozen=True, slots=True)
class MlflowOptions:
    """The user's statements about the model folder."""

    trust: Literal["pickle"] | None
    rowwise: bool
    allow_nan: bool
    example: Any = None


def pack_mlflow(source: Path, name: str, about: MlflowOptions, packing: Packing) -> tuple[Manifest, Path]:
    """Pack an MLflow model folder; see :meth:`sdk.packaging.model.Model.from_mlflow`."""
    described = _described(source)
    flavour = _python_function(described, source)
    _check_pickles(source, about)
    prepared = None if about.example is None else examples.prepare(examples.pandas_table(about.example))
    signature = _signature(described, about, prepared)

    def write(folder: Path) -> Parts:
        shutil.copytree(source, folder / "model" / "mlflow", ignore=shutil.ignore_patterns("__pycache__"))
        modules = columns.libraries(signature)
        return Parts(name, "mlflow", "mlflow", "model/mlflow", modules, signature, trust=about.trust)

    needs = _requirements(source, packing)
    return publish(
        write,
        packing,
        example=None if prepared is None else examples.encode(prepared),
        needs=needs.lines,
        constraints=needs.constraints,
        python=_python(flavour),
    )


def _signature(described: Mapping[str, Any], about: MlflowOptions, prepared: Any) -> Signature:
    """Return MLflow's signature; an example, which is more precise about types than MLflow, replaces its inputs."""
    inputs, names = _inputs(described, has_example=prepared is not None)
    if prepared is not None:
        given = examples.columns(prepared)
        if absent := sorted(set(names or ()) - set(given or ())):
            message = f"example lacks the columns {', '.join(absent)} of the model's signature"
            raise ConfigError(message, hint="give rows as the model takes them")
        stated = () if names else inputs
        inputs, names = axes.inputs_of(prepared, stated), given
    return Signature(
        inputs=inputs,
        outputs=_outputs(described),
        columns=names,
        rowwise=about.rowwise,
        allow_nan=about.allow_nan or (prepared is not None and examples.has_missing(prepared)),
        integer_columns=examples.integer_columns(prepared),
    )


def _described(source: Path) -> Mapping[str, Any]:
    path = source / "MLmodel"
    if not path.is_file():
        raise ConfigError(f"folder: {source} has no file MLmodel", hint="give the folder that mlflow saved")
    if not find_spec("yaml"):
        raise MissingExtraError("MLflow models need PyYAML", hint='pip install "mlport[mlflow]"')
    yaml: Any = import_module("yaml")
    try:
        text = disk.read_small(path, _LARGEST).decode("utf-8")
        _check_yaml(yaml, text)
        described: Any = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"folder: {path} is no YAML: {error}", hint="save the model with mlflow again") from error
    if not isinstance(described, dict):
        raise ConfigError(f"folder: {path} holds no settings", hint="save the model with mlflow again")
    return cast("dict[str, Any]", described)


def _check_yaml(yaml: Any, text: str) -> None:
    """Refuse YAML that makes a small file a large value: merge keys, repeated references, long numbers, deep nesting.

    Tags are refused too: a tag would choose how a value is read, including merge keys.
    """
    depth = aliases = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        aliases += isinstance(event, yaml.AliasEvent)
        merges = isinstance(event, yaml.ScalarEvent) and (event.value == "<<" or _is_long_number(event))
        if depth > _DEEPEST or aliases > _MOST_ALIASES or merges or getattr(event, "tag", None) is not None:
            raise ValueError("it has tags, or is nested or refers to itself more than a model's description does")


def _is_long_number(scalar: Any) -> bool:
    """Check whether an unquoted text would become a number that takes long to read, or cannot be printed again."""
    value: str = scalar.value
    return scalar.style is None and len(value) > _LONGEST_NUMBER and value.lstrip("+-.")[:1].isdigit()


def _python_function(described: Mapping[str, Any], source: Path) -> Mapping[str, Any]:
    flavours = described.get("flavors")
    found = cast("dict[str, Any]", flavours).get("python_function") if isinstance(flavours, dict) else None
    if not isinstance(found, dict):
        raise ConfigError(
            f"folder: the model in {source} has no python_function flavour",
            hint="log it with an MLflow flavour that has one, such as mlflow.pyfunc",
        )
    return cast("dict[str, Any]", found)


def _check_pickles(source: Path, about: MlflowOptions) -> None:
    for path in sorted(source.rglob("*")):
        if path.is_symlink():
            raise ConfigError(f"folder: {path} is a link", hint="copy the file it points to into the folder")
        if path.suffix.lower() in PICKLES and about.trust != "pickle":
            raise ConfigError(
                f"folder: {path.relative_to(source)} is a pickle, and loading a pickle runs code of whoever made it",
                hint=TRUST_HINT,
            )


def _python(flavour: Mapping[str, Any]) -> str | None:
    match = _MINOR.match(str(flavour.get("python_version", "")))
    return match[0] if match else None


def _requirements(source: Path, packing: Packing) -> RequirementLists:
    """Return MLflow's recorded requirements, except for packages that the user requires; always include MLflow."""
    path = source / "requirements.txt"
    recorded = read_requirements(path, foreign=True) if path.is_file() else RequirementLists()
    given = requirement_names(read_requirements(packing.get("requirements") or ()).lines)
    kept = [line for line in recorded.lines if requirement_name(line) not in given]
    if not (requirement_names(recorded.lines) | given) & {"mlflow", "mlflow-skinny"}:
        kept.append("mlflow-skinny")
    return RequirementLists(kept, [line for line in recorded.constraints if requirement_name(line) not in given])


def _specs(described: Mapping[str, Any], side: str) -> Sequence[Mapping[str, Any]]:
    """Return MLflow's specification of one side of the model; empty if it was saved without a signature."""
    signature: Any = described.get("signature")
    text = cast("dict[str, Any]", signature).get(side) if isinstance(signature, dict) else None
    specs: Sequence[Mapping[str, Any]] = foreign.parse(text, f"MLmodel: the signature's {side}") if text else ()
    return specs


def _inputs(described: Mapping[str, Any], *, has_example: bool) -> tuple[tuple[Tensor, ...], tuple[str, ...] | None]:
    """Return the inputs of MLflow's signature, and the column names if it is a table.

    Raises:
        ConfigError: A request cannot carry one of them; the message names it.
    """
    specs = _specs(described, "inputs")
    is_table = bool(specs) and all(spec.get("type") != "tensor" and spec.get("name") for spec in specs)
    names = tuple(str(spec["name"]) for spec in specs) if is_table else None
    strange = next((spec for spec in specs if _dtype(spec) is None and str(spec.get("type")) not in _NESTED), None)
    if strange is not None and not has_example:
        what = f"the input {strange.get('name')!r} has MLflow's type {strange.get('type')}"
        raise ConfigError(
            f"folder: {what}, which a request cannot carry",
            hint="save the model with text there (base64 for bytes), or give example= as the model takes it",
        )
    if any(_dtype(spec) is None for spec in specs):
        return (), names
    return tuple(_tensor(spec, _unnamed("inputs", number)) for number, spec in enumerate(specs)), names


def _outputs(described: Mapping[str, Any]) -> tuple[Tensor, ...]:
    """Return the outputs of MLflow's signature; empty if a type is unknown."""
    specs = _specs(described, "outputs")
    if any(_dtype(spec) is None for spec in specs):
        return ()
    return tuple(_tensor(spec, _unnamed("outputs", number)) for number, spec in enumerate(specs))


def _unnamed(side: str, number: int) -> str:
    return _NAMES[side] + (str(number) if number else "")


def _tensor(spec: Mapping[str, Any], unnamed: str) -> Tensor:
    shape = tuple(spec["tensor-spec"]["shape"]) if spec.get("type") == "tensor" else (-1,)
    return Tensor(str(spec.get("name") or unnamed), _dtype(spec) or "", shape)


def _dtype(spec: Mapping[str, Any]) -> str | None:
    if spec.get("type") == "tensor":
        dtype = str(spec["tensor-spec"]["dtype"])
        return _TYPES.get(dtype, dtype)
    kind = str(spec.get("type"))
    return None if kind == "object" and spec.get("properties") is not None else _TYPES.get(kind)
