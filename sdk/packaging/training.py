"""Seal training programs (a script or function with its code and lock), and pack the models that they leave.

A program is a bundle whose flavour is ``train``: the same manifest, the same lock, the same store rules. The output of
a job becomes a model with *that* lock and *that* code, so that data passes through the same pipeline as in training.
"""

from __future__ import annotations

import ast
import hashlib
import json
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from sdk.errors import ConfigError, LockMismatchError, PackagingError
from sdk.packaging import axes, bundle, disk, examples, files, fitted, handover, pickling
from sdk.packaging.code import collect, copy_code
from sdk.packaging.lock import Lock
from sdk.packaging.manifest import EXAMPLE, LOCK, MANIFEST, Manifest, Signature
from sdk.packaging.pack import lock_for, python_minor, sources_of
from sdk.serving.columns import whole_inputs
from sdk.serving.fields import is_relative
from sdk.serving.parts import PYTHON
from sdk.util import foreign
from sdk.util.paths import expand

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sdk.packaging.packing import Packing

FLAVOUR = "train"
SCRIPT, FUNCTION = "script", "cloudpickle"
CODE = "code"
TRAINED_BY = "trained_by"


@dataclass(frozen=True, slots=True)
class Program:
    """A sealed training program: its digest, folder and manifest."""

    digest: str
    path: Path
    manifest: Manifest

    @property
    def code_sha256(self) -> str:
        """The hash of the paths and contents of all its code."""
        return code_hash(self.manifest)


def job_bundle(entry: str | Path | Callable[..., Any], packing: Packing | None = None) -> Program:
    """Seal a script or a function with everything it needs to run elsewhere.

    Args:
        entry: Path of a ``.py`` file, or a function. Modules beside a script that it imports are packed too; those of
            a function are written into it by value.
        packing: Requirements, further code and package indexes; see :class:`sdk.packaging.packing.Packing`. Libraries
            that the code imports are locked at the versions installed now, without being named.

    Raises:
        ConfigError: The script does not exist, or ``entry`` is neither a path nor a function.
        PackagingError: The function cannot be written, or the libraries cannot be locked.

    Example:
        >>> job_bundle("train.py", {"requirements": ["pyarrow"]}).digest  # doctest: +SKIP
    """
    packing = packing or {}
    programs = disk.state_dir() / "programs"
    with disk.staging(programs) as work, disk.writing(programs):
        folder = work / "program"
        (folder / CODE).mkdir(parents=True)
        copy_code(packing.get("code", ()), folder / CODE)
        entry_file, kind, modules = _write(entry, folder, packing)
        lock, libraries = lock_for(
            modules, packing, folder / "wheels", sources=sources_of(packing), needs=(), python=python_minor()
        )
        (folder / LOCK).write_text(lock.text)
        manifest = Manifest(
            name=_name(entry),
            flavour=FLAVOUR,
            format=kind,
            entry=entry_file,
            method=FLAVOUR,
            python=lock.python,
            libraries=libraries,
            lock_sha256=lock.sha256,
            sources=lock.sources,
        )
        sealed = bundle.seal(folder, manifest)
        disk.close_tree(folder)
        return Program(sealed.digest, bundle.store(folder, sealed, programs), sealed)


def load(digest: str) -> Program:
    """Return a program from this machine's store, by its digest or at least the first 32 characters of it.

    Raises:
        PackagingError: The program is not in the store.
        LockMismatchError: A file of the program was changed.
    """
    found = sorted((disk.state_dir() / "programs").glob(f"{digest}*"))
    if len(found) != 1 or len(digest) < 32:
        raise PackagingError(f"training program {digest!r} is not on this machine", hint="train again from here")
    manifest = bundle.verify(found[0])
    return Program(manifest.digest, found[0], manifest)


def _write(entry: str | Path | Callable[..., Any], folder: Path, packing: Packing) -> tuple[str, str, set[str]]:
    """Write the entry into the folder; return its name there, its kind and the modules it imports."""
    if isinstance(entry, str | Path):
        return _write_script(expand(entry, field="script"), folder)
    if not callable(entry):
        raise ConfigError(f"a {type(entry).__name__} cannot train", hint="give the path of a script, or a function")
    shipped = collect(packing.get("code", ())).modules
    data, needs = pickling.dump(entry, shipped=shipped)
    modules = needs.modules
    (folder / "function.pkl").write_bytes(data)
    for name, content in handover.shipped():
        path = folder / handover.LIBRARY / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    safe = {"skops"} if "sklearn" in {name.partition(".")[0] for name in modules} and find_spec("skops") else set[str]()
    return "function.pkl", FUNCTION, modules | safe | {"cloudpickle"}


def _write_script(script: Path, folder: Path) -> tuple[str, str, set[str]]:
    if script.suffix != ".py" or not script.is_file():
        raise ConfigError(f"training script {script} is no .py file", hint="give the path of an existing script")
    names, beside = imported(script)
    for path in [script, *sorted(beside)]:
        if path.is_dir():
            copy_code(path, folder / CODE, by_name=True)
            continue
        target = folder / CODE / path.name
        if target.exists() and target.read_bytes() != path.read_bytes():
            raise ConfigError(f"code: two of the paths are called {path.name}", hint="give one of them another name")
        shutil.copyfile(path, target)
    return f"{CODE}/{script.name}", SCRIPT, names


def imported(script: Path) -> tuple[set[str], set[Path]]:
    """Return the modules that a script imports, without running it, and the imported files and folders beside it."""
    names: set[str] = set()
    beside: set[Path] = set()
    waiting = [script]
    while waiting:
        path = waiting.pop()
        for source in [path] if path.is_file() else sorted(path.rglob("*.py")):
            for name in _imports(source):
                names.add(name)
                near = _beside(script.parent, name.partition(".")[0])
                if near is not None and near not in beside and near != script:
                    beside.add(near)
                    waiting.append(near)
    return {name for name in names if _beside(script.parent, name.partition(".")[0]) is None}, beside


def _imports(source: Path) -> Iterable[str]:
    try:
        tree = ast.parse(source.read_bytes(), filename=str(source))
    except SyntaxError as error:
        raise ConfigError(f"{source} line {error.lineno}: {error.msg}", hint="correct the script") from error
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def _beside(folder: Path, name: str) -> Path | None:
    module, package = folder / f"{name}.py", folder / name
    if module.is_file():
        return module
    return package if package.is_dir() and any(package.glob("*.py")) else None


def _name(entry: str | Path | Callable[..., Any]) -> str:
    return Path(entry).stem if isinstance(entry, str | Path) else str(getattr(entry, "__name__", type(entry).__name__))


# --- the output of a job ------------------------------------------------------------------------------------------


def result(
    program: Program,
    output: Path,
    *,
    name: str,
    trust: Literal["pickle"] | None = None,
    example: Any = None,
    method: str = "predict",
    rowwise: bool | None = None,
    allow_nan: bool = False,
) -> tuple[Manifest, Path]:
    """Make a model from a job's output, with the lock and the code of the program that made it, without loading it.

    Args:
        program: The program that the job ran.
        output: The job's output folder: one model file, or the bundle of a saved model, at any depth.
        name: Name of the model.
        trust: ``"pickle"`` if a script left a pickle; the return value of a function needs no trust, as mlport itself
            wrote it inside the job.
        example: A few rows; sets names, types and shapes of the input.
        method: Method to call, for estimators.
        rowwise: Whether each row is answered independently of the others; known for estimators.
        allow_nan: Whether missing numbers are accepted.

    Raises:
        PackagingError: The output has no model, or more than one.
        LockMismatchError: The output is a saved model with another lock or other code than the program.
    """
    path = _model_file(program, output)
    if path.name == MANIFEST:
        return _saved(program, path.parent)
    facts = _facts(path.parent) if program.manifest.format == FUNCTION else None
    if facts is None:
        about = files.FileOptions(_trust(program, path, trust), example, method, rowwise, allow_nan)
        facts, trust = _recognised(path, about, program), about.trust
    whole = whole_inputs(facts.inputs)
    given = examples.pandas_table(example)
    if given is not None:
        known = fitted.Fitted(facts.columns, records=facts.records)
        tabular = facts.flavour in files.TABULAR and _makes_tables(program)
        given = fitted.table(given, known, tabular=tabular)
    arranged = examples.arranged(given, python=facts.flavour in PYTHON or facts.records, whole=whole)
    prepared = None if arranged is None else examples.prepare(arranged, whole)
    manifest = Manifest(
        name=name,
        flavour=facts.flavour,
        format=facts.format,
        entry=f"model/{facts.file}",
        trust=trust,
        method=facts.method,
        python=program.manifest.python,
        libraries=program.manifest.libraries,
        lock_sha256=program.manifest.lock_sha256,
        sources=program.manifest.sources,
        signature=_signature(facts, prepared),
        options={**facts.options, TRAINED_BY: {"program": program.digest, "code_sha256": program.code_sha256}},
    )
    return _seal(program, manifest, path, None if prepared is None else examples.encode(prepared))


def _makes_tables(program: Program) -> bool:
    return "pandas" in Lock.of(program.path, program.manifest).versions


def _recognised(path: Path, about: files.FileOptions, program: Program) -> handover.ModelFacts:
    found = files.recognise(path, about.trust)
    makes_tables = _makes_tables(program) and not found.fitted.categories
    return handover.ModelFacts(
        flavour=found.flavour,
        format=found.format,
        file=f"model{path.suffix.lower()}",
        method=about.method,
        options=found.options,
        inputs=found.inputs,
        columns=found.fitted.names if makes_tables else None,
        rowwise=files.is_rowwise(found, about, found.inputs),
        allow_nan=about.allow_nan,
        records=found.fitted.records,
    )


def _seal(program: Program, manifest: Manifest, source: Path, example: bytes | None) -> tuple[Manifest, Path]:
    models = disk.state_dir() / "models"
    with disk.staging(models) as work, disk.writing(models):
        folder = work / "bundle"
        (folder / "model").mkdir(parents=True)
        shutil.copyfile(source, folder / manifest.entry)
        _inherit(program, folder)
        if example is not None:
            (folder / EXAMPLE).write_bytes(example)
        sealed = bundle.seal(folder, manifest)
        check_pipeline(program, sealed)
        return sealed, bundle.store(folder, sealed, models)


def check_pipeline(program: Program, model: Manifest) -> None:
    """Refuse a model that would not run in the environment and with the code it was trained with.

    Raises:
        LockMismatchError: The hashes of the locks or of the code differ.
    """
    pairs = (
        ("lock", program.manifest.lock_sha256, model.lock_sha256),
        ("code", program.code_sha256, code_hash(model)),
    )
    for what, trained, served in pairs:
        if trained != served:
            raise LockMismatchError(
                f"the model has another {what} ({served[:12]}) than the job that made it ({trained[:12]})",
                resource=model.name,
                hint="save the model as a file in the output folder and let mlport pack it",
            )


def code_hash(manifest: Manifest) -> str:
    """Return one hash of the paths and contents of all code in a bundle."""
    code = {name: record.sha256 for name, record in manifest.files.items() if name.startswith(f"{CODE}/")}
    return hashlib.sha256(json.dumps(code, sort_keys=True).encode()).hexdigest()


def _model_file(program: Program, output: Path) -> Path:
    bundles = sorted(output.rglob(MANIFEST))
    if len(bundles) == 1:
        return bundles[0]
    if program.manifest.format == FUNCTION:
        facts = _facts(output / "model")
        if facts is not None:
            return output / "model" / facts.file
        if (output / "model.pkl").is_file():
            return output / "model.pkl"
    suffixes = {".onnx", ".pt", ".pth", ".ubj", ".keras", ".skops", ".txt", *files.PICKLES}
    named = sorted(path for path in output.rglob("model.*") if path.suffix in suffixes | {".json"})
    found = named or sorted(path for path in output.rglob("*") if path.suffix in suffixes)
    if len(found) == 1:
        return found[0]
    listed = ", ".join(sorted(str(path.relative_to(output)) for path in output.rglob("*") if path.is_file())[:10])
    raise PackagingError(
        f"the job left {len(found) or 'no'} model files ({listed or 'nothing'})",
        operation="result",
        hint="write exactly one, such as model.skops or model.onnx, into the folder $MLPORT_OUTPUT_DIR",
    )


def _facts(folder: Path) -> handover.ModelFacts | None:
    """Read a job's facts about its model, which are untrusted: a job may have written anything."""
    with foreign.understood(f"{handover.FACTS} of the job"):
        facts = handover.read_facts(folder)
    if facts is not None and (not is_relative(facts.file) or "/" in facts.file):
        raise PackagingError(f"the job left a model in {facts.file!r}, which is no name of a file", operation="result")
    return facts


def _trust(program: Program, path: Path, trust: Literal["pickle"] | None) -> Literal["pickle"] | None:
    own = program.manifest.format == FUNCTION and path.name == "model.pkl"
    return "pickle" if own else trust


def _inherit(program: Program, folder: Path) -> None:
    """Give the model the lock, the local wheels and the code of its program."""
    shutil.copyfile(program.path / LOCK, folder / LOCK)
    for part in (CODE, "wheels"):
        if any((program.path / part).glob("*")):
            shutil.copytree(program.path / part, folder / part)


def _signature(facts: handover.ModelFacts, prepared: Any) -> Signature:
    inputs = (
        facts.inputs
        if prepared is None
        else axes.inputs_of(prepared, facts.inputs if facts.flavour in axes.STATED else ())
    )
    columns = facts.columns if prepared is None else examples.columns(prepared)
    whole = examples.integer_columns(prepared)
    nan = facts.allow_nan or (prepared is not None and examples.has_missing(prepared))
    rowwise = facts.rowwise and not whole_inputs(inputs)
    records = (facts.records or msgspec.UNSET) if prepared is None else examples.are_records(prepared)
    return Signature(inputs, (), columns, rowwise, nan, whole, records)


def _saved(program: Program, folder: Path) -> tuple[Manifest, Path]:
    manifest = bundle.verify(folder)
    check_pipeline(program, manifest)
    models = disk.state_dir() / "models"
    with disk.staging(models) as work, disk.writing(models):
        shutil.copytree(folder, work / "bundle")
        return manifest, bundle.store(work / "bundle", manifest, models)
