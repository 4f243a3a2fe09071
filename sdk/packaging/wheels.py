"""Local packages (a folder or a wheel given as requirement) as wheels that travel inside the bundle."""

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING

from sdk.errors import ConfigError, PackagingError
from sdk.packaging import disk, uvrun
from sdk.packaging.lock import is_path
from sdk.packaging.manifest import Sources
from sdk.paths import expand

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_WHEEL = re.compile(r"(?P<name>[A-Za-z0-9_.]+)-(?P<version>[A-Za-z0-9_.!+]+)(-\d[^-]*)?-[^-]+-[^-]+-[^-]+\.whl")
_ZIP_EPOCH = "315532800"  # 1980-01-01, the first date a zip file can hold: the same source gives the same wheel


def collect(requirements: Sequence[str], folder: Path, sources: Sources | None = None) -> list[str]:
    """Put every local package into ``folder`` and require it by name and version instead.

    Args:
        requirements: Requirement lines; paths name a wheel or a folder with ``pyproject.toml``.
        folder: Where the wheels go; made only when there is one.
        sources: Where the packages needed to build come from.

    Raises:
        ConfigError: A path does not exist or is no package.
        PackagingError: A package cannot be built.
    """
    return [_collect(line, folder, sources or Sources()) if is_path(line) else line for line in requirements]


def keep_locked(lock: str, links: Sequence[Path], folder: Path) -> None:
    """Copy into ``folder`` the wheels of ``links`` that a lock names, so that they can be installed elsewhere."""
    for wheel in sorted(path for link in links for path in link.glob("*.whl")):
        if f"--hash=sha256:{disk.sha256_file(wheel)}" in lock:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(wheel, folder / wheel.name)


def _collect(line: str, folder: Path, sources: Sources) -> str:
    path = expand(line, field="requirements")
    if path.is_dir():
        wheel = _build(path, folder, sources)
    elif path.suffix == ".whl" and path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        wheel = folder / path.name
        shutil.copyfile(path, wheel)
    else:
        raise ConfigError(
            f"requirements: {line} does not exist", hint="give a folder with pyproject.toml, or a .whl file"
        )
    match = _WHEEL.fullmatch(wheel.name)
    if not match:
        raise ConfigError(f"requirements: {wheel.name} is no valid wheel name", hint="build the wheel again")
    return f"{match['name']}=={match['version']}"


def _build(path: Path, folder: Path, sources: Sources) -> Path:
    if not any((path / name).is_file() for name in ("pyproject.toml", "setup.py")):
        raise ConfigError(f"requirements: {path} has no pyproject.toml", hint="use code= for plain modules")
    before = set(folder.glob("*.whl"))
    env = uvrun.environment(sources) | {"SOURCE_DATE_EPOCH": os.environ.get("SOURCE_DATE_EPOCH", _ZIP_EPOCH)}
    uvrun.run(["build", "--wheel", "--quiet", "--out-dir", folder, path.resolve()], what=f"build {path.name}", env=env)
    (folder / ".gitignore").unlink(missing_ok=True)
    made = set(folder.glob("*.whl")) - before
    if len(made) != 1:
        raise PackagingError(f"building {path} gave {len(made)} wheels", hint="two requirements name the same package")
    return made.pop()
