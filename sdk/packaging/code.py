"""Select which of the user's own modules and packages (``code=``) are packed with the model.

Keys, hidden files, caches, virtual environments, Git-ignored files and large data are left out; a log line sums it up.
"""

from __future__ import annotations

import keyword
import logging
import os
import re
import shutil
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from sdk.errors import ConfigError
from sdk.packaging import disk
from sdk.packaging.gitignore import Ignore
from sdk.util.paths import expand
from sdk.util.verbose import note

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

LARGEST_DATA = 10 << 20
LARGEST_TOTAL = 200 << 20

HIDDEN, CACHE, ENVIRONMENT, STATE = "hidden", "cache", "virtual environment", "mlport's own files"
KEY, IGNORED, LARGE = "key or credentials", "ignored by .gitignore", f"data above {LARGEST_DATA >> 20} MiB"
LINK, NOTHING, SPECIAL = "link out of the folder", "link to nothing", "neither file nor folder"
_EXPECTED = {HIDDEN, CACHE, ENVIRONMENT, STATE}

_LOG = logging.getLogger(__name__)
_CACHES = re.compile(r"__pycache__|node_modules|.*\.(pyc|pyo|egg-info)|.*~")
_NO_ARTIFACTS = {".git", ".DS_Store", ".venv"}
_IMPORTED = {".py", ".pyi", ".so", ".pyd"}
_KEYS = re.compile(
    r".*\.(pem|key|p8|p12|pfx|jks|keystore|kdbx|ppk)|id_(rsa|dsa|ecdsa|ed25519)(_sk)?(?!.*\.pub$)(\..*)?"
    r"|(.*\.)?env(\..*)?|\.(netrc|pypirc|npmrc|pgpass|git-credentials|dockercfg|htpasswd)|_netrc|kubeconfig"
    r"|(.*[-_.])?(credentials?|secrets?)(\.(json|csv|ini|toml|ya?ml|txt|cfg|db))?"
    r"|(client_secret|service[-_]account).*\.json",
    re.IGNORECASE,
)
_PRIVATE, _CERTIFICATE = b"PRIVATE KEY-----", b"-----BEGIN CERTIFICATE-----"
_HEAD = 1 << 16
_MODULE = re.compile(r"(?P<name>[^.]+)(\.[^.]+)*\.(py|so|pyd)")


@dataclass(slots=True)
class Code:
    """The files to pack, by their names below ``code/``, and the paths left out, with the reason."""

    files: dict[str, Path] = field(default_factory=dict[str, Path])
    left_out: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def modules(self) -> frozenset[str]:
        """The top-level names that can be imported from it."""
        return frozenset(name.partition("/")[0].partition(".")[0] for name in self.files)

    def add(self, name: str, file: Path) -> None:
        """Add a file under its name.

        Raises:
            ConfigError: Another file has that name.
        """
        other = self.files.setdefault(name, file)
        if not other.samefile(file):
            raise ConfigError(
                f"code: two of the paths are called {name}", hint=f"rename one of {other} and {file}, or leave it out"
            )


def copy_code(code: str | Path | Sequence[str | Path], folder: Path, *, by_name: bool = False) -> None:
    """Copy the user's modules and packages, and log what is packed and what is left out.

    Args:
        code: The paths. A folder on Python's path, such as ``.``, is packed as its content, without the folder.
        folder: The destination.
        by_name: Whether every folder is imported by its name.

    Raises:
        ConfigError: A path is missing, not importable or a key; two have the same name; or the total is too large.
    """
    found = collect(code, by_name=by_name)
    for name, file in found.files.items():
        target = folder / name
        if target.exists() and target.read_bytes() != file.read_bytes():
            raise ConfigError(f"code: two of the paths are called {name}", hint="give one of them another name")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    if found.files:
        _report(found)


def copy_artifacts(path: Path, target: Path) -> None:
    """Copy the file or folder of ``artifacts=``, except caches and keys: a model knows its own files.

    Raises:
        ConfigError: The path is missing or is a key, or nothing in the folder is to be packed.
    """
    if path.is_file():
        if is_key(path):
            raise _carries_key("artifacts", path)
        target.mkdir()
        shutil.copyfile(path, target / path.name)
        return
    if not path.is_dir():
        raise ConfigError(f"artifacts: {path} does not exist", hint="give a file or a folder")
    left: list[str] = []

    def stays(folder: str, names: list[str]) -> set[str]:
        caches = {name for name in names if name in _NO_ARTIFACTS or _CACHES.fullmatch(name)}
        keys = {name for name in names if (one := Path(folder, name)).is_file() and is_key(one)} - caches
        left.extend(sorted(str(Path(folder, name).relative_to(path)) for name in keys))
        return caches | keys

    shutil.copytree(path, target, ignore=stays, symlinks=False)
    if not any(one.is_file() for one in target.rglob("*")):
        reasons = (
            f"left out {_first(sorted(left))} ({KEY}); give keys as secrets=" if left else "give a folder with files"
        )
        raise ConfigError(f"artifacts: nothing in {path} is to be packed", hint=reasons)
    if left:
        note(f"artifacts: left out {_first(sorted(left))} ({KEY}); give keys as secrets=", _LOG)


def _first(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{', '.join(names[:5])}{more}"


def _carries_key(field: str, path: Path) -> ConfigError:
    return ConfigError(
        f"{field}: {path} looks like a key or credentials, which a model must not carry",
        hint="give it as secrets=, or rename it if it is neither",
    )


def collect(code: str | Path | Sequence[str | Path], *, by_name: bool = False) -> Code:
    """Decide which files of the paths of ``code=`` are packed; see :func:`copy_code`."""
    found = Code()
    paths = list(_paths(code))
    folders = {path: "" if not by_name and _is_root(path) else f"{path.name}/" for path in paths if path.is_dir()}
    for path, lead in folders.items():
        if lead:
            _check_name(path)
        _add_folder(found, path, lead)
    _check_total({name: file.stat().st_size for name, file in found.files.items()})
    for path in paths:
        if path not in folders:
            _add_file(found, path, folders)
    return found


def _paths(code: object) -> Iterator[Path]:
    """Iterate over the absolute paths; a link keeps its own name, because that name is imported."""
    items: Iterable[Any] = [code] if isinstance(code, str | Path) else code  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    for item in items:
        if not isinstance(item, str | Path):
            raise ConfigError(f"code: {item!r} is not a path", hint="give modules or package folders of yours")
        path = Path(os.path.abspath(expand(item, field="code")))  # noqa: PTH100  `resolve` would follow a link
        if not path.exists():
            raise ConfigError(f"code: {path} does not exist", hint="give modules or package folders of yours")
        yield path


def _is_root(folder: Path) -> bool:
    """Check whether Python imports the folder's modules by name: the current folder, or a non-package on sys.path."""
    if folder.resolve() == Path.cwd():
        return True
    return not (folder / "__init__.py").exists() and any(
        Path(entry).resolve() == folder.resolve() for entry in sys.path if entry
    )


def _check_name(path: Path) -> None:
    """Refuse a folder or module that cannot be imported under its name."""
    match = _MODULE.fullmatch(path.name)
    if match is None and not path.is_dir():
        return  # a data file
    name = match["name"] if match and not path.is_dir() else path.name
    if not name.isidentifier():
        why = f"Python cannot import a module called {name!r}"
    elif keyword.iskeyword(name):
        why = f"{name!r} is a keyword of Python, so it cannot be imported"
    elif name in sys.builtin_module_names:
        why = f"{name!r} is built into Python, which never imports another module of that name"
    else:
        return
    hint = "rename it"
    if path.is_dir():
        hint = 'rename it, or run from inside it and say code=".", which packs its content'
    raise ConfigError(f"code: {path}: {why}", hint=hint)


def _add_file(found: Code, path: Path, folders: Mapping[Path, str]) -> None:
    """Add a file named in ``code=``: at its place in a named folder that left it out, else at the top."""
    if is_key(path):
        raise _carries_key("code", path)
    for folder, lead in folders.items():
        if path.is_relative_to(folder) and (name := lead + path.relative_to(folder).as_posix()) not in found.files:
            found.left_out.pop(name, None)
            found.add(name, path)
            return
    _check_name(path)
    found.add(path.name, path)


def _add_folder(found: Code, folder: Path, lead: str) -> None:
    within = Code()
    own = {path.resolve() for path in disk.roots()}
    walk = _Walk(folder.resolve(), lead, within, own)
    walk.enter(folder.resolve(), PurePosixPath(), Ignore.above(folder.resolve()), ())
    if not within.files:
        reasons = "; ".join(sorted({f"{name} ({why})" for name, why in within.left_out.items()})[:5])
        raise ConfigError(f"code: nothing in {folder} is to be packed", hint=reasons or "give a folder with modules")
    for name, file in within.files.items():
        found.add(name, file)
    found.left_out |= within.left_out


@dataclass(frozen=True, slots=True)
class _Walk:
    """A traversal of one folder of ``code=``."""

    root: Path
    lead: str
    found: Code
    own: set[Path]

    def enter(self, folder: Path, inside: PurePosixPath, above: Ignore, trail: tuple[Path, ...]) -> None:
        """Collect a folder's files to pack; ``trail`` has the real folders above it, to detect links that lead back."""
        ignore = above.within(folder)
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise ConfigError(f"code: {folder} cannot be read: {error.strerror}", hint="check its mode") from error
        for entry in entries:
            path, name = Path(entry.path), inside / entry.name
            why = self._reason(path, ignore, (*trail, folder.resolve()))
            if why:
                self.found.left_out[f"{self.lead}{name}{'/' if path.is_dir() else ''}"] = why
            elif path.is_dir():
                self.enter(path, name, ignore, (*trail, folder.resolve()))
            else:
                self.found.add(f"{self.lead}{name}", path)

    def _reason(self, path: Path, ignore: Ignore, trail: tuple[Path, ...]) -> str | None:
        """Return why a path is left out, or ``None`` if it is packed."""
        why = _by_name(path) or self._by_link(path, trail) or self._by_kind(path)
        if why or path.is_dir():
            return why or (IGNORED if ignore.ignores(path, is_folder=True) else None)
        why = _by_content(path)
        return IGNORED if why != KEY and ignore.ignores(path, is_folder=False) else why

    def _by_link(self, path: Path, trail: tuple[Path, ...]) -> str | None:
        if not path.is_symlink():
            return None
        real = Path(os.path.realpath(path))
        if not path.exists():
            return NOTHING
        if not real.is_relative_to(self.root) or real in trail:
            return LINK
        return HIDDEN if any(part.startswith(".") for part in real.relative_to(self.root).parts) else None

    def _by_kind(self, path: Path) -> str | None:
        if path.is_dir():
            if (path / "pyvenv.cfg").exists() or (path / "conda-meta").is_dir():
                return ENVIRONMENT
            return STATE if path.resolve() in self.own else None
        return None if path.is_file() else SPECIAL


def _by_name(path: Path) -> str | None:
    if _CACHES.fullmatch(path.name):
        return CACHE
    return HIDDEN if path.name.startswith(".") and (path.is_dir() or not _KEYS.fullmatch(path.name)) else None


def _by_content(path: Path) -> str | None:
    if path.suffix in _IMPORTED:
        return None
    if is_key(path):
        return KEY
    return LARGE if path.stat().st_size > LARGEST_DATA else None


def is_key(path: Path) -> bool:
    """Check whether a file holds a private key or has the name of a key or credentials; certificates are public."""
    if path.suffix in _IMPORTED:
        return False
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise ConfigError(f"code: {path} cannot be read: {error.strerror}", hint="check its mode") from error
    is_named_so = any(_KEYS.fullmatch(name) for name in (path.name, path.resolve().name))
    return _PRIVATE in head or (is_named_so and _CERTIFICATE not in head)


def _check_total(sizes: dict[str, int]) -> None:
    total = sum(sizes.values())
    if total <= LARGEST_TOTAL:
        return
    largest = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))[:5]
    named = ", ".join(f"{name} ({_size(size)})" for name, size in largest)
    raise ConfigError(
        f"code: the folders have {_size(total)}, more than {_size(LARGEST_TOTAL)}; the largest files are {named}",
        hint="name what must stay here in .gitignore, and give data to a class with artifacts=",
    )


def _report(found: Code) -> None:
    """Log a summary, and each name at level debug; note on standard error what the user may miss."""
    size = sum(file.stat().st_size for file in found.files.values())
    files = "1 file" if len(found.files) == 1 else f"{len(found.files)} files"
    said = f"code: packed {files} ({_size(size)})"
    if found.left_out:
        counts = Counter(found.left_out.values())
        said += ", left out " + ", ".join(f"{count} ({why})" for why, count in sorted(counts.items()))
    _LOG.info(said)
    for name in found.files:
        _LOG.debug("code: packed %s", name)
    for name, why in found.left_out.items():
        _LOG.debug("code: left out %s (%s)", name, why)
    missed = [f"{name} ({why})" for name, why in found.left_out.items() if why == KEY]
    missed += [f"{name} ({why})" for name, why in found.left_out.items() if why not in {KEY, *_EXPECTED}]
    if missed:
        more = f" and {len(missed) - 5} more (-v or log level debug names all)" if len(missed) > 5 else ""
        advice = "name a file itself in code= to pack it, give keys as secrets="
        note(f"code: left out {', '.join(missed[:5])}{more}; {advice}", _LOG)


def _size(count: int) -> str:
    return f"{count / (1 << 20):.1f} MiB" if count >= 1 << 20 else f"{count / 1024:.1f} KiB"
