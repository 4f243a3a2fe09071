"""Create locked virtual environments and the runtime folder, once each, stored under the hash of their content."""

from __future__ import annotations

import compileall
import csv
import hashlib
import io
import json
import platform
import py_compile
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sdk.packaging import disk, uvrun
from sdk.packaging import runtime as server
from sdk.util import kept, scratch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sdk.packaging.lock import Lock

_KEY = re.compile(r"[0-9a-f]{40}")
_MOST_MARKER, _MOST_RECORD = 1 << 16, 64 << 20  # bytes
_RUNTIME = "mlport_serving"


def environment(lock: Lock, *, wheels: Path | None = None, find_links: Sequence[Path] = ()) -> Path:
    """Return the Python of an environment with exactly the packages of ``lock``; create it if it is missing or damaged.

    Two processes that need the same environment create it once. A partial or damaged one is created again.

    Args:
        lock: The locked requirements.
        wheels: Folder of the bundle's local wheels.
        find_links: More folders of wheels.

    Returns:
        Path of ``bin/python`` inside the environment.

    Raises:
        PackagingError: No network, no such Python, no wheel, a wheel with another hash, or no space.
    """
    base = interpreter(lock.python)
    key = hashlib.sha256("\n".join([lock.sha256, *_facts(base)]).encode()).hexdigest()[:40]
    envs = disk.subfolder(disk.cache_dir() / "envs")
    folder = envs / key
    with disk.locked(envs / f"{key}.lock"):
        if not is_sound(folder):
            _make(folder, base, lock, [*([wheels] if wheels else []), *find_links])
    return folder / "bin" / "python"


def interpreter(python: str) -> Path:
    """Return an interpreter of this minor version: the running one, else one that ``uv`` finds.

    Raises:
        PackagingError: This machine has no such interpreter.
    """
    if python == f"{sys.version_info.major}.{sys.version_info.minor}":
        return Path(sys.executable)
    found = uvrun.run(["python", "find", "--no-python-downloads", python], what=f"find Python {python}")
    return Path(found.strip())


def is_environment(folder: Path) -> bool:
    """Check whether a folder is an environment that was created here, complete or not, and may be removed as such."""
    return bool(_KEY.fullmatch(folder.name)) and folder.parent.name == "envs" and ".." not in folder.parts


def remove(folder: Path) -> None:
    """Remove an environment; its mark goes first, so that what a killed process leaves of it counts as unfinished."""
    with disk.locked(folder.with_name(f"{folder.name}.lock")):
        (folder / scratch.COMPLETE).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)


def is_sound(folder: Path) -> bool:
    """Check whether the environment is complete and every file exists with its recorded size."""
    try:
        json.loads(kept.recall(folder / scratch.COMPLETE, _MOST_MARKER) or b"")
        return (folder / "bin" / "python").exists() and all(_size(path) == size for path, size in _recorded(folder))
    except (OSError, ValueError, csv.Error):
        return False


def _make(folder: Path, base: Path, lock: Lock, links: Sequence[Path]) -> None:
    with disk.writing(folder):
        shutil.rmtree(folder, ignore_errors=True)
        try:
            uvrun.run(["venv", "--quiet", "--no-project", "--python", base, folder], what="make an environment")
            _install(folder, lock, links)
            disk.close_tree(folder)
            about = {"lock": lock.sha256, "python": lock.python}
            disk.write_file(folder / scratch.COMPLETE, json.dumps(about).encode())
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def _install(folder: Path, lock: Lock, links: Sequence[Path]) -> None:
    listing = folder / "requirements.lock"
    listing.write_text(lock.installable)
    command: list[str | Path] = [
        "pip",
        "install",
        "--quiet",
        "--python",
        folder / "bin" / "python",
        "--require-hashes",
        "--no-deps",
        "--only-binary",
        ":all:",
    ]
    command += ["--requirement", listing]
    if lock.sources.torch_backend:
        command += ["--torch-backend", lock.sources.torch_backend]
    uvrun.run(command, what="install the locked requirements", env=uvrun.environment(lock.sources, links))


def _recorded(folder: Path) -> Iterator[tuple[Path, int]]:
    for record in folder.glob("lib/python*/site-packages/*.dist-info/RECORD"):
        text = (kept.recall(record, _MOST_RECORD) or b"damaged").decode("utf-8")
        for name, _, size, *_ in csv.reader(io.StringIO(text, newline="")):
            if size:
                yield record.parents[1] / name, int(size)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _facts(base: Path) -> list[str]:
    """Return what an environment depends on besides its lock: the exact interpreter and the kind of machine."""
    if base == Path(sys.executable):
        version = platform.python_version()
    else:
        command = [str(base), "-I", "-c", "import platform; print(platform.python_version())"]
        env = uvrun.allowed_environment()
        version = subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout.strip()  # noqa: S603  an interpreter that uv named
    return [version, str(base.resolve()), sys.platform, platform.machine(), *platform.libc_ver()]


def runtime() -> Path:
    """Return the folder to put on ``PYTHONPATH`` so that ``python -m mlport_serving`` runs the model server.

    It is a compiled copy of :mod:`sdk.serving` under the hash of its files: a running server keeps its own
    code when mlport is upgraded.
    """
    return publish_runtime(server.SOURCE, server.files())


def publish_runtime(source: Path, files: Sequence[Path]) -> Path:
    """Copy these files of ``source`` as the runtime package, unless an intact copy exists, and return its folder."""
    names = [path.relative_to(source).as_posix() for path in files]
    contents = [disk.sha256_file(path) for path in files]
    parts = [sys.implementation.cache_tag or "", *(f"{sha} {name}" for name, sha in zip(names, contents, strict=True))]
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:40]
    root = disk.subfolder(disk.cache_dir() / "runtime")
    folder = root / key
    with disk.locked(root / f"{key}.lock"):
        if not all(_same(folder / _RUNTIME / name, sha) for name, sha in zip(names, contents, strict=True)):
            _publish(source, names, folder)
    return folder


def _same(path: Path, sha256: str) -> bool:
    return path.is_file() and disk.sha256_file(path) == sha256


def _publish(source: Path, names: Sequence[str], folder: Path) -> None:
    with disk.staging(folder.parent) as staged, disk.writing(folder):
        for name in names:
            copy = staged / "new" / _RUNTIME / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, copy)
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH  # no stat of the source at every start
        made = staged / "new"
        compileall.compile_dir(made, quiet=2, invalidation_mode=mode, stripdir=str(made), prependdir=str(folder))
        disk.close_tree(made)
        disk.sync_tree(made)
        if folder.exists():
            folder.rename(staged / "old")
        made.rename(folder)
