"""Resolution of the MODEL and SCRIPT arguments: files, ``module:object``, ``job:NAME``, stored digests, images."""

from __future__ import annotations

import importlib
import re
import sys
import sysconfig
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, SdkError
from ..packaging.usercode import exits_raised
from .parse import CsvTable

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..client.job import Job
    from ..packaging.model import Model

_DIGEST = re.compile(r"[0-9a-f]{12,64}")
_ARCHIVES = (".tar.gz", ".tgz", ".tar", ".zip")  # what `Model.load` reads; model files never have such names
_OBJECT = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


def resolve(
    text: str, job: Callable[[str], Job], *, name: str | None = None, trust: str | None = None, example: Any = None
) -> Model:
    """Return the model that an argument names.

    Args:
        text: The argument.
        job: Finds training jobs.
        name: Name of the model.
        trust: What a model file may do.
        example: Rows to pack the model with.

    Raises:
        ConfigError: The argument does not name a model, or there is an example for one that is packed already.
    """
    from ..packaging.model import Model, model

    named: dict[str, Any] = {} if name is None else {"name": name}
    rows: dict[str, Any] = {} if example is None else {"example": _rows(example)}
    if text.startswith("job:"):
        return job(text.removeprefix("job:")).result(**_trusted(named, trust), **rows)
    if "@sha256:" in text:
        found = Model.from_image(text, **named)
    elif text and Path(text).exists():
        if not _is_packed(Path(text)):
            return _saved(Path(text), _trusted({**named, **rows}, trust))
        found = Model.load(text)
    elif _DIGEST.fullmatch(text):
        found = _stored(text)
    elif _OBJECT.fullmatch(text):
        found = _import(text)
        if not isinstance(found, Model):
            return model(found, name=name or _name_of(text), **rows)
    else:
        raise _not_found(text)
    if rows:
        raise ConfigError(f"--example: {text} is packed already", hint="leave it out, or pack the model with example=")
    return found


def _rows(example: Any) -> Any:
    return example.rows(None) if isinstance(example, CsvTable) else example


def _not_found(text: str) -> ConfigError:
    """Return the error for an argument that names no model, depending on its form."""
    hint = "give a file, a folder, module:object, job:NAME, a stored digest or image@sha256:…"
    if not text.strip():
        return ConfigError("MODEL is empty", hint=hint)
    if "://" in text:
        return ConfigError(
            f"{text!r} is an address: models are read from this machine", hint="download it, then give the file"
        )
    if Path(f"{text}.py").is_file():
        return ConfigError(f"{text!r} is a module", hint=f"name the model in it: {text}:NAME")
    if "/" in text or Path(text).suffix:
        return ConfigError(f"there is no file {text!r} in {Path.cwd()}", hint=hint)
    return ConfigError(f"{text!r} is not a model", hint=hint)


def _name_of(text: str) -> str:
    """Return the name of a model that is given as ``module:object``."""
    from ..util.names import name_of

    return name_of(text.partition(":")[2].rpartition(".")[2], source="the object", fix="give one with --name")


def _is_packed(path: Path) -> bool:
    return (path / "mlport.json").is_file() or path.name.lower().endswith(_ARCHIVES)


def _saved(path: Path, given: dict[str, Any]) -> Model:
    from ..packaging.model import Model

    if (path / "MLmodel").is_file():
        return Model.from_mlflow(path, **given)
    if path.is_dir():
        hint = "give a model file, or a folder that `Model.save` or MLflow wrote (with mlport.json or MLmodel in it)"
        raise ConfigError(f"the folder {str(path)!r} holds no model", hint=hint)
    if path.suffix == ".py":
        raise ConfigError(f"{str(path)!r} is Python code", hint=f"name the model in it: {path.stem}:NAME")
    return Model.from_path(path, **given)


def _stored(digest: str) -> Model:
    """Load the model that was packed on this machine under a digest, or the beginning of one."""
    from ..packaging.disk import state_dir
    from ..packaging.model import Model

    found = sorted((state_dir() / "models").glob(f"{digest}*/mlport.json"))
    if len(found) != 1:
        several = f"{len(found)} models on this machine begin with" if found else "no model on this machine has"
        raise ConfigError(f"{several} the digest {digest}", hint="give more of it, or the model's file")
    return Model.load(found[0].parent)


def with_dockerfile(text: str) -> Path | None:
    """Return the folder that an argument names, if it holds a Dockerfile and no model."""
    path = Path(text)
    if not (path / "Dockerfile").is_file() or (path / "mlport.json").is_file() or (path / "MLmodel").is_file():
        return None
    return path


def _trusted(given: dict[str, Any], trust: str | None) -> dict[str, Any]:
    return given if trust is None else {**given, "trust": trust}


def script(text: str) -> Any:
    """Return the path of a script, or the function that ``module:function`` names."""
    return _import(text) if not Path(text).exists() and _OBJECT.fullmatch(text) else text


def _import(text: str) -> Any:
    """Import an object of the user's own code; the current folder is searched first, as with ``python``."""
    module_name, _, attribute = text.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        with exits_raised():
            found: Any = importlib.import_module(module_name)
            for part in attribute.split("."):
                found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        if _is_inside(error, module_name):
            raise ConfigError(f"cannot import {text!r}: {_raised(error)}", hint=_mending(error)) from error
        raise ConfigError(
            f"cannot import {text!r}: {error}", hint="write module:object as Python would import it"
        ) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if isinstance(error, SdkError):
            raise
        raise ConfigError(f"cannot import {text!r}: {_raised(error)}", hint=_mending(error)) from error
    return found


def _is_inside(error: ImportError | AttributeError, module_name: str) -> bool:
    """Check whether the module was found and its own code raised the error."""
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing is not None and f"{module_name}.".startswith(f"{missing}."):
        return False
    return any(_is_own(frame.filename) for frame in traceback.extract_tb(error.__traceback__))


def _mending(error: BaseException) -> str:
    """Return the next step after an error in the user's module."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"install what has the module {error.name}, for {sys.executable}, or run mlport in the folder it is in"
    return "-v shows the stack trace"


def _is_own(filename: str) -> bool:
    """Check whether code is the user's own, and not Python's, a library's or mlport's."""
    path = Path(filename)
    if filename.startswith("<") or path.is_relative_to(Path(__file__).parents[1]):
        return False
    return not any(path.is_relative_to(sysconfig.get_path(kind)) for kind in ("stdlib", "purelib", "platlib"))


def _raised(error: BaseException) -> str:
    """Return what an import raised and in which line.

    For example ``ZeroDivisionError: division by zero (models.py, line 3)``. The line is the user's own, even if a
    library raised the error.
    """
    frames = traceback.extract_tb(error.__traceback__)
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, SyntaxError) or not frames:  # a SyntaxError names its file and line itself
        return said
    frame = next((frame for frame in reversed(frames) if _is_own(frame.filename)), frames[-1])
    return f"{said} ({Path(frame.filename).name}, line {frame.lineno})"
