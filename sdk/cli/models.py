"""Reads the MODEL and SCRIPT arguments: files, ``module:object``, stored digests, images."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError

if TYPE_CHECKING:
    from ..model import Model

_OBJECT = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


def resolve(text: str, *, name: str | None = None, trust: str | None = None) -> Model:
    """The model that an argument names.

    Raises:
        ConfigError: It names nothing.
    """
    from ..model import Model, model

    given = {} if name is None else {"name": name}
    if "@sha256:" in text:
        return Model.from_image(text, **given)
    path = Path(text)
    if (path / "mlport.json").is_file():
        return Model.load(path)
    if (path / "MLmodel").is_file():
        return Model.from_mlflow(path, **_trusted(given, trust))
    if path.exists():
        return Model.from_path(path, **_trusted(given, trust))
    if _OBJECT.fullmatch(text):
        found = _import(text)
        return (
            found if isinstance(found, Model) else model(found, name=name or text.rpartition(".")[2].rpartition(":")[2])
        )
    raise ConfigError(f"{text!r} is no model", hint="give a file, a folder, module:object or image@sha256:…")


def with_dockerfile(text: str) -> Path | None:
    """The folder that an argument names, if it holds a Dockerfile and no model."""
    path = Path(text)
    if not (path / "Dockerfile").is_file() or (path / "mlport.json").is_file() or (path / "MLmodel").is_file():
        return None
    return path


def _trusted(given: dict[str, Any], trust: str | None) -> dict[str, Any]:
    return given if trust is None else {**given, "trust": trust}


def script(text: str) -> Any:
    """The path of a script, or the function that ``module:function`` names."""
    return _import(text) if not Path(text).exists() and _OBJECT.fullmatch(text) else text


def _import(text: str) -> Any:
    """An object of the user's own code, looked for in this folder first as ``python`` does."""
    module_name, _, attribute = text.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"cannot import {text!r}: {error}", hint="write module:object as Python would import it"
        ) from error
    return found
