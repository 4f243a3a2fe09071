"""Lock requirements with hashes: one list for training, serving and every target."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from sdk.errors import LockMismatchError, PackagingError
from sdk.packaging import disk, uvrun
from sdk.packaging.libraries import closure, normal
from sdk.packaging.manifest import LOCK, Sources
from sdk.packaging.requirements import requirement_name
from sdk.serving import pins as grammar
from sdk.util import kept

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from sdk.packaging.manifest import Manifest
    from sdk.serving.pins import Pin

RUNTIME = ("httptools>=0.6.4,<1", "msgspec>=0.19,<1", "numpy>=1.26", "uvicorn>=0.34,<1", "uvloop>=0.21,<1")
"""The requirements of the model server itself, in every environment."""

_COMMENT = re.compile(r"^ *#.*\n", re.MULTILINE)
_NO_WHEEL = re.compile(
    r"`([A-Za-z0-9._-]+)` because building from source is disabled|([A-Za-z0-9._-]+)==\S+ has no usable"
)
_PLAIN = Sources()


@dataclass(frozen=True, slots=True)
class Lock:
    """Requirements with exact versions and hashes, for one Python minor version on any platform.

    Args:
        text: The lock; :mod:`sdk.serving.pins` has its grammar.
        python: Python minor version, such as ``"3.11"``.
        sources: The origin of the packages.
    """

    text: str
    python: str
    sources: Sources = _PLAIN

    @classmethod
    def of(cls, folder: Path, manifest: Manifest) -> Lock:
        """Return the lock of the bundle in ``folder``, after parsing every line.

        Raises:
            LockMismatchError: It is missing, not the one that the manifest names, or has more than versions and hashes.
        """
        try:
            data = disk.read_small(folder / LOCK, grammar.MOST_BYTES)
        except (OSError, ValueError) as error:
            raise _unusable(folder, f"cannot be read: {error}") from error
        if hashlib.sha256(data).hexdigest() != manifest.lock_sha256:
            raise _unusable(folder, "is not the one that the manifest names")
        lock = cls(data.decode("utf-8", errors="replace"), manifest.python, manifest.sources)
        try:
            grammar.parse(lock.text)
        except ValueError as error:
            raise _unusable(folder, f"is no list of exact versions with hashes: {error}") from error
        return lock

    @property
    def pins(self) -> tuple[Pin, ...]:
        """The locked versions.

        Raises:
            PackagingError: A line is not an exact version with hashes.
        """
        try:
            return grammar.parse(self.text)
        except ValueError as error:
            raise PackagingError(f"the lock is no list of exact versions with hashes: {error}", hint=_AGAIN) from error

    @property
    def installable(self) -> str:
        """The text for an installer, rendered from the parsed pins: no other text of an untrusted file reaches it."""
        return grammar.render(self.pins)

    @property
    def sha256(self) -> str:
        """SHA-256 of the text, as hex."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def has(self, name: str, version: str) -> bool:
        """Check whether a distribution is locked at this version, on any platform."""
        return any((normal(pin.name), pin.version) == (name, version) for pin in self.pins)

    @property
    def versions(self) -> dict[str, str]:
        """The exact version for each normal name; where platforms differ, the first line counts."""
        found: dict[str, str] = {}
        for pin in self.pins:
            found.setdefault(normal(pin.name), pin.version)
        return found


_AGAIN = "pack the model again with sdk.model(), or fetch the bundle again"


def _unusable(folder: Path, why: str) -> LockMismatchError:
    return LockMismatchError(f"{LOCK} in {folder} {why}", resource=LOCK, hint=_AGAIN)


def compile_lock(
    requirements: Iterable[str],
    *,
    python: str,
    pins: Mapping[str, str] | None = None,
    constraints: Sequence[str] = (),
    preferred: Mapping[str, str] | None = None,
    sources: Sources = _PLAIN,
    wheels: Path | None = None,
    find_links: Sequence[Path] = (),
    build: Collection[str] = (),
) -> Lock:
    """Resolve requirements to exact versions with hashes; the result is cached and used again, also offline.

    Only wheels are considered, so that no code of a package runs; the packages in ``build`` are the exception.

    Args:
        requirements: Requirement lines; see :func:`sdk.packaging.requirements.read_requirements`.
        python: Python minor version, such as ``"3.11"``.
        pins: Exact versions by name, for those of these packages that are needed.
        constraints: The user's constraints on the versions of packages, for those that are needed.
        preferred: Versions by name to use unless something else conflicts with them; packages needed by the model
            server are preferred in the version installed here.
        sources: The origin of the packages.
        wheels: A folder of local wheels, which take precedence over an index.
        find_links: More folders of wheels, which may hold packages that are on no index.
        build: Normal names of packages that are taken as source, whose build scripts may run.

    Raises:
        PackagingError: No network and no cached result, conflicting versions, or a package without a wheel.
    """
    lines = sorted({*requirements, *RUNTIME})
    soft = closure(map(requirement_name, RUNTIME)) | dict(preferred or {})
    question = _Question(
        lines, sorted({*_exact(pins or {}), *constraints}), _exact(soft), python, sources, sorted(build)
    )
    local = _local_hashes(wheels)
    kept = disk.cache_dir() / "locks" / f"{question.key(local)}.json"
    text = _kept(kept)
    if text is None:
        links = [*([wheels] if wheels else []), *find_links]
        text = _normalised(_resolve(question, links), local)
        disk.write_file(kept, json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest(), "text": text}).encode())
    return Lock(text, python, sources)


def _exact(versions: Mapping[str, str]) -> list[str]:
    return sorted(f"{name}=={version}" for name, version in versions.items())


@dataclass(frozen=True, slots=True)
class _Question:
    """Requirements, constraints, and versions to prefer unless something conflicts with them."""

    lines: Sequence[str]
    constraints: Sequence[str]
    preferred: Sequence[str]
    python: str
    sources: Sources
    build: Sequence[str]

    def key(self, local: Mapping[str, str]) -> str:
        where = [self.sources.index, self.sources.extra_indexes, self.sources.torch_backend]
        question = [self.lines, self.constraints, self.preferred]
        parts = [question, self.python, where, sorted(local.items()), uvrun.uv_version(), "universal"]
        parts += [self.build] if self.build else []
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _kept(path: Path) -> str | None:
    """Return the cached lock in the current format, or ``None`` if it is missing or damaged."""
    try:
        record = json.loads(kept.recall(path, 2 * grammar.MOST_BYTES) or b"")
        text, wanted = str(record["text"]), str(record["sha256"])
        sound = hashlib.sha256(text.encode()).hexdigest() == wanted
        return grammar.render(grammar.parse(text)) if sound else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _resolve(question: _Question, links: Sequence[Path]) -> str:
    sources = question.sources
    with disk.working_folder() as folder:
        wanted, exact, answer = (folder / name for name in ("requirements.in", "constraints.txt", "answer.txt"))
        wanted.write_text("".join(f"{line}\n" for line in question.lines))
        exact.write_text("".join(f"{line}\n" for line in question.constraints))
        answer.write_text("".join(f"{line}\n" for line in question.preferred))  # uv prefers the versions in there
        command: list[str | Path] = ["pip", "compile", wanted, "--constraint", exact, "--output-file", answer]
        command += ["--python-version", question.python, "--generate-hashes"]
        command += ["--no-header", "--no-annotate", "--no-sources", "--quiet", "--only-binary", ":all:"]
        for name in question.build:
            command += ["--no-binary", name]
        command += ["--torch-backend", sources.torch_backend] if sources.torch_backend else ["--universal"]
        env = uvrun.environment(sources, links, building=bool(question.build))
        try:
            uvrun.run(command, what="lock the requirements", env=env, building=bool(question.build))
        except PackagingError as error:
            raise _explained(error) from error
        return answer.read_text("utf-8")


def _explained(error: PackagingError) -> PackagingError:
    """Return the error with advice for a package that is offered as source only."""
    missing = _NO_WHEEL.search(error.message)
    if missing is None:
        return error
    name = missing[1] or missing[2]
    return PackagingError(
        error.message,
        operation=error.operation,
        resource=name,
        hint=f"require a version of {name} that has a wheel, or, if you trust its author to run code on this machine, "
        f'say build_from_source=["{name}"]',
    )


def _local_hashes(wheels: Path | None) -> dict[str, str]:
    """Return the SHA-256 of each local wheel by normal name."""
    files = sorted(wheels.glob("*.whl")) if wheels else []
    return {normal(file.name.split("-")[0]): disk.sha256_file(file) for file in files}


def _normalised(text: str, local: Mapping[str, str]) -> str:
    """Convert uv's output to the stored form: without comments, and with only our own file for a local package."""
    try:
        pins = grammar.parse(_COMMENT.sub("", text))
    except ValueError as error:
        raise PackagingError(
            f"uv wrote a lock that cannot be used: {error}", operation="lock the requirements", hint="report this"
        ) from error
    return grammar.render(only(pins, local))


def only(pins: Iterable[Pin], local: Mapping[str, str]) -> Iterable[Pin]:
    """Iterate over the pins, with only our own file for a local package, even if an index has the same version."""
    for pin in pins:
        sha256 = local.get(normal(pin.name))
        yield msgspec.structs.replace(pin, hashes=(sha256,)) if sha256 else pin
