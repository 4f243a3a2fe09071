"""Turn local packages (a folder or a wheel given as requirement) into wheels that are packed in the bundle."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import sys
from typing import TYPE_CHECKING

from sdk.errors import ConfigError, PackagingError
from sdk.packaging import disk, uvrun, venv
from sdk.packaging.libraries import normal
from sdk.packaging.lock import Lock, only
from sdk.packaging.manifest import Sources
from sdk.packaging.requirements import is_path
from sdk.serving.pins import render
from sdk.util.paths import expand

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from sdk.serving.pins import Pin

_WHEEL = re.compile(r"(?P<name>[A-Za-z0-9_.]+)-(?P<version>[A-Za-z0-9_.!+]+)(-\d[^-]*)?-[^-]+-[^-]+-[^-]+\.whl")
_ZIP_EPOCH = "315532800"  # 1980-01-01, the first date a zip file can hold: the same source gives the same wheel


def collect(requirements: Sequence[str], folder: Path, sources: Sources | None = None) -> list[str]:
    """Put a wheel of every local package into ``folder`` and require it by name and version instead.

    Args:
        requirements: Requirement lines; paths name a wheel or a folder with ``pyproject.toml``.
        folder: The folder for the wheels; created only if there are any.
        sources: The origin of the packages needed to build.

    Raises:
        ConfigError: A path does not exist or is not a package.
        PackagingError: A package cannot be built.
    """
    return [_collect(line, folder, sources or Sources()) if is_path(line) else line for line in requirements]


def keep_locked(lock: Lock, links: Sequence[Path], folder: Path) -> None:
    """Copy the wheels of ``links`` that a lock names into ``folder``, so that they can be installed elsewhere."""
    hashes = {value for pin in lock.pins for value in pin.hashes}
    for wheel in sorted(path for link in links for path in link.glob("*.whl")):
        if disk.sha256_file(wheel) in hashes:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(wheel, folder / wheel.name)


def build_locked(lock: Lock, names: Collection[str], folder: Path) -> Lock:
    """Build a wheel of each of these locked packages from its source, and lock only that wheel.

    The build scripts of the packages run on this machine, in an environment without credentials.

    Args:
        lock: The lock, which has the hash of the source archive for these packages.
        names: Normal names of packages.
        folder: The folder for the wheels.

    Raises:
        ConfigError: A name is not in the lock, or is locked at two versions.
        PackagingError: A package cannot be built.
    """
    if not names:
        return lock
    made: dict[str, str] = {}
    for name in sorted(names):
        pins = [pin for pin in lock.pins if normal(pin.name) == name]
        if len(pins) != 1:
            what = "at two versions" if pins else "nowhere"
            raise ConfigError(f"build_from_source: {name!r} is locked {what}", hint="require one exact version of it")
        kept = _from_source(pins[0], lock)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(kept, folder / kept.name)
        made[name] = disk.sha256_file(kept)
    return Lock(render(only(lock.pins, made)), lock.python, lock.sources)


def _from_source(pin: Pin, lock: Lock) -> Path:
    """Return the wheel of a source archive; built once on this machine, so that the same model has the same digest."""
    base = venv.interpreter(lock.python)
    key = hashlib.sha256("\n".join([str(pin), lock.python, sys.platform, platform.machine()]).encode()).hexdigest()
    built = disk.subfolder(disk.cache_dir() / "built")
    place = built / key[:40]
    with disk.locked(built / f"{key[:40]}.lock"):
        if not any(place.glob("*.whl")):
            with disk.staging(built) as work, disk.writing(place):
                shutil.rmtree(place, ignore_errors=True)
                _install_source(pin, base, lock.sources, work)
                wheel = _built_wheel(pin, work / "cache")
                (work / "done").mkdir()
                shutil.copyfile(wheel, work / "done" / wheel.name)
                (work / "done").rename(place)
    return next(place.glob("*.whl"))


def _install_source(pin: Pin, base: Path, sources: Sources, work: Path) -> None:
    """Let uv fetch the source, verify its hash, build it with its declared build requirements, and keep the wheel."""
    (work / "source.lock").write_text(render([pin]))
    command: list[str | Path] = ["pip", "install", "--quiet", "--python", base, "--target", work / "site"]
    command += ["--no-deps", "--require-hashes", "--no-binary", pin.name, "--requirement", work / "source.lock"]
    env = uvrun.environment(sources, building=True) | _epoch()
    uvrun.run(
        [*command, "--cache-dir", work / "cache"], what=f"build {pin.name} from its source", env=env, building=True
    )


def _built_wheel(pin: Pin, cache: Path) -> Path:
    for path in sorted(cache.rglob("*.whl")):
        match = _WHEEL.fullmatch(path.name)
        if match and normal(match["name"]) == normal(pin.name) and path.is_file():
            return path
    raise PackagingError(f"uv built {pin.name} and left no wheel", hint="build its wheel and give it in find_links=")


def _epoch() -> dict[str, str]:
    return {"SOURCE_DATE_EPOCH": os.environ.get("SOURCE_DATE_EPOCH", _ZIP_EPOCH)}


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
    env = uvrun.environment(sources) | _epoch()
    uvrun.run(
        ["build", "--wheel", "--quiet", "--out-dir", folder, path.resolve()],
        what=f"build {path.name}",
        env=env,
        building=True,
    )
    (folder / ".gitignore").unlink(missing_ok=True)
    made = set(folder.glob("*.whl")) - before
    if len(made) != 1:
        raise PackagingError(f"building {path} gave {len(made)} wheels", hint="two requirements name the same package")
    return made.pop()
