"""Detect what a model uses on this machine that is not packed: files beside its modules, and the user's modules.

Files are detected while the model is loaded and run on its example. Files that libraries open in C are not detected.
"""

from __future__ import annotations

import contextlib
import os
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdk.errors import ConfigError, PackagingError
from sdk.packaging import disk
from sdk.packaging.needs import OURS
from sdk.packaging.shipped import left_behind

if TYPE_CHECKING:
    from collections.abc import Collection, Generator

    from sdk.packaging.needs import Needs

_FILE_HINT = (
    "read it where the model is made and keep what is in it, give it with artifacts= to a class with load(folder), or "
    "pack the module and its folder with code="
)
_CODE = {".py", ".pyc", ".pyi", ".so", ".pyd", ".dll"}
_BESIDE = ("__file__", "__path__", "resources", "get_data", "__spec__")  # ways to find files beside a module
_MOST_SOURCE = 4 << 20
_watching: list[dict[str, bool]] = []
_installed: list[bool] = []


@contextlib.contextmanager
def files_read() -> Generator[dict[str, bool]]:
    """Record the files opened for reading within the block: absolute path, and whether the given path was relative."""
    if not _installed:  # an audit hook cannot be removed; outside such a block it does nothing
        _installed.append(True)
        sys.addaudithook(_hook)
    found: dict[str, bool] = {}
    _watching.append(found)
    try:
        yield found
    finally:
        _watching[:] = [one for one in _watching if one is not found]


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watching or event != "open":
        return
    path, mode, flags = arguments
    reads = mode.startswith("r") and "+" not in mode if isinstance(mode, str) else not flags & (os.O_WRONLY | os.O_RDWR)
    if isinstance(path, str) and reads:
        for found in _watching:
            found[os.path.abspath(path)] = not os.path.isabs(path)  # noqa: PTH100, PTH117  called for every file


def check(needs: Needs, shipped: Collection[str], read: dict[str, bool], *, asked: bool) -> None:
    """Refuse a model that uses files or modules the server will not have.

    Args:
        needs: The needs recorded while the model was written.
        shipped: Top-level modules that are packed as files.
        read: The files recorded by :func:`files_read`.
        asked: Whether the model was run on an example, so that the files it reads were recorded.

    Raises:
        ConfigError: Code imports a user's module that is not packed, or uses ``__file__`` and was not run.
        PackagingError: The model reads a file that is not packed.
    """
    for module, function in needs.own(shipped).items():
        otherwise = ", or import it at the top of the file"
        raise not_packed(f"{function} imports {module} when it is called", module, otherwise)
    for module, other in left_behind(needs.modules, shipped).items():
        raise not_packed(f"code: {other} imports {module}", module)
    roots = _folders(needs)
    for path, relative in read.items():
        is_near = relative or any(path.startswith(f"{root}{os.sep}") for root in roots)
        if is_near and _is_data(Path(path), relative=relative):
            raise PackagingError(
                f"the model reads {path} when it is called, and the server will not have this file",
                operation="pack",
                hint=_FILE_HINT,
            )
    if not asked and (user := needs.says_file()):
        what = f"{user} uses __file__, but its module does not travel as a file"
        raise ConfigError(what, hint=f"{_FILE_HINT}; give example= to have it tried")


def not_packed(what: str, module: str, otherwise: str = "") -> ConfigError:
    """Return the error about a user's module that the server will not have.

    Args:
        what: What refers to the module.
        module: Its name.
        otherwise: Another way to mend it, as the end of the hint.
    """
    if module.partition(".")[0] == OURS:
        return ConfigError(
            f"{what}, which the server does not have",
            hint=f"put what the model needs into a module that does not import {OURS}, and import it from there",
        )
    own: str | None = getattr(sys.modules.get(module), "__file__", None)
    place = _package_or_file(own) if own else f"{module}.py"
    return ConfigError(
        f"{what}, and this module of yours does not travel with the model",
        hint=f"give it in code= as well: {str(place)!r}{otherwise}",
    )


def _package_or_file(file: str) -> Path:
    path = Path(file)
    return path.parent if path.name == "__init__.py" else path


def _folders(needs: Needs) -> set[str]:
    """Return the folders of modules that are written with their code and may look for files beside them."""
    found: set[str] = set()
    for name in {*needs.whole, *(one.module for one in needs.functions)}:
        file = getattr(sys.modules.get(name), "__file__", None)
        if isinstance(file, str) and file.endswith(".py") and _looks_beside(Path(file)):
            found.add(os.path.realpath(os.path.dirname(file)))  # noqa: PTH120  for files opened by the real path
            found.add(os.path.dirname(os.path.abspath(file)))  # noqa: PTH100, PTH120
    return found


def _looks_beside(file: Path) -> bool:
    try:
        text = file.read_bytes() if file.stat().st_size < _MOST_SOURCE else b""
    except OSError:
        return False
    return any(word.encode() in text for word in _BESIDE)


def _is_data(path: Path, *, relative: bool) -> bool:
    """Check whether a file is the user's data: neither code, nor a dotfile, nor in a folder of Python or mlport.

    A source file that was opened by a relative path is data, unless Python loaded it as a module.
    """
    is_code = path.suffix in _CODE and not (relative and path.suffix == ".py" and not _is_loaded(path))
    if is_code or path.name.startswith(".") or not path.is_file():
        return False
    ours = [disk.state_dir().absolute(), *(Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib"))]
    return not any(path.is_relative_to(folder) for folder in ours)


def _is_loaded(path: Path) -> bool:
    """Check whether a source file belongs to an imported module, or to the program itself."""
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    return any(isinstance(file, str) and os.path.abspath(file) == str(path) for file in files)  # noqa: PTH100  as in the hook
