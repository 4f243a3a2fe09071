"""Hash-locked requirements: one list for training, serving and every target."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sdk.errors import ConfigError, PackagingError
from sdk.packaging import disk, uvrun
from sdk.packaging.libraries import closure, normal
from sdk.packaging.manifest import Sources
from sdk.paths import expand

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

RUNTIME = ("httptools>=0.6.4,<1", "msgspec>=0.19,<1", "numpy>=1.26", "uvicorn>=0.34,<1", "uvloop>=0.21,<1")
"""What the model server itself needs in every environment."""

_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)(.*?)\s*\\?$", re.MULTILINE)
_REQUIREMENT = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[A-Za-z0-9._,\s-]*\])?\s*(?:(?:===?|~=|!=|[<>]=?)\s*[A-Za-z0-9].*|;.*)?"
)
_NO_WHEEL = "has no usable wheels"
_PLAIN = Sources()


@dataclass(frozen=True, slots=True)
class Lock:
    """Requirements with exact versions and hashes, for one Python minor version on any platform.

    Args:
        text: The lock in pip's requirements format.
        python: Python minor version, such as ``"3.11"``.
        sources: Where the packages come from.
    """

    text: str
    python: str
    sources: Sources = _PLAIN

    @property
    def sha256(self) -> str:
        """SHA-256 of the text, as hex."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def versions(self) -> dict[str, str]:
        """Normal name to exact version; where platforms differ, the first line counts."""
        found: dict[str, str] = {}
        for match in _PIN.finditer(self.text):
            found.setdefault(normal(match[1]), match[2])
        return found


def read_requirements(requirements: Sequence[str | Path] | str | Path) -> list[str]:
    """The requirements of a list or of a requirements file, comments left out.

    Raises:
        ConfigError: The file does not exist, or a line is an option, a link or no requirement at all.
    """
    if isinstance(requirements, str | Path):
        path = Path(requirements)
        if not path.is_file():
            raise ConfigError(f"requirements={str(requirements)!r} is no file", hint="give a file or a list")
        lines = [re.sub(r"(^|\s)#.*$", "", line).strip() for line in path.read_text("utf-8").splitlines()]
        folder = path.parent
    else:
        lines, folder = [str(line).strip() for line in requirements], Path()
    return [_requirement(line, folder) for line in lines if line]


def _requirement(line: str, folder: Path) -> str:
    if line.startswith("-"):
        raise ConfigError(
            f"requirements: option {line.split(maxsplit=1)[0]!r} is not allowed here",
            hint="use index_url=, extra_index_urls= and find_links=",
        )
    if is_path(line):
        return str((folder / expand(line, field="requirements")).resolve())
    if _REQUIREMENT.fullmatch(line):
        return line
    if "://" in line or " @ " in line:
        raise ConfigError(
            f"requirements: {line.partition('@')[0].strip()!r} is a link, which has no lasting hash",
            hint="download or build its wheel and give the path of the file",
        )
    raise ConfigError(f"requirements: {line!r} is no requirement", hint="write it like 'numpy==2.1.0'")


def is_path(line: str) -> bool:
    """Whether a requirement names a folder or wheel of this machine."""
    return "://" not in line and (line.startswith((".", "/", "~")) or line.endswith(".whl"))


def requirement_name(line: str) -> str:
    """The normal distribution name of a requirement.

    Example:
        >>> requirement_name("Torch[opt]==2.1+cpu")
        'torch'
    """
    match = _REQUIREMENT.fullmatch(line)
    return normal(match[1]) if match else line


def compile_lock(
    requirements: Iterable[str],
    *,
    python: str,
    pins: Mapping[str, str] | None = None,
    preferred: Mapping[str, str] | None = None,
    sources: Sources = _PLAIN,
    wheels: Path | None = None,
    find_links: Sequence[Path] = (),
) -> Lock:
    """Resolve requirements to exact versions with hashes, once: the answer is kept and used again, also offline.

    Args:
        requirements: Requirement lines; see :func:`read_requirements`.
        python: Python minor version, such as ``"3.11"``.
        pins: Exact versions for whatever of these is needed, by name.
        preferred: Versions to take if nothing speaks against them, by name; what the model server needs is preferred
            as it is installed here.
        sources: Where packages come from.
        wheels: A folder of local wheels, which win over an index.
        find_links: More folders of wheels, which may hold what no index has.

    Raises:
        PackagingError: No network and no kept answer, or versions that contradict each other.
    """
    lines = sorted({*requirements, *RUNTIME})
    local = _local_hashes(wheels)
    soft = closure(map(requirement_name, RUNTIME)) | dict(preferred or {})
    question = (lines, _exact(pins or {}), _exact(soft))
    key = _key(question, python, sources, local)
    kept = disk.state_dir() / "locks" / f"{key}.json"
    text = _kept(kept)
    if text is None:
        links = [*([wheels] if wheels else []), *find_links]
        text = _with_local_hashes(_resolve(question, python, sources, links), local)
        disk.write_file(kept, json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest(), "text": text}).encode())
    return Lock(text, python, sources)


def _exact(versions: Mapping[str, str]) -> list[str]:
    return sorted(f"{name}=={version}" for name, version in versions.items())


def _key(question: Sequence[Sequence[str]], python: str, sources: Sources, local: Mapping[str, str]) -> str:
    where = [sources.index, sources.extra_indexes, sources.torch_backend]
    parts = [question, python, where, sorted(local.items()), uvrun.uv_version(), "universal"]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _kept(path: Path) -> str | None:
    """The kept lock, or ``None`` when there is none or its bytes went bad."""
    try:
        record = json.loads(path.read_bytes())
        text, wanted = str(record["text"]), str(record["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return text if hashlib.sha256(text.encode()).hexdigest() == wanted else None


def _resolve(question: Sequence[Sequence[str]], python: str, sources: Sources, links: Sequence[Path]) -> str:
    """What ``uv`` answers to requirements, constraints, and versions to prefer where nothing speaks against them."""
    with tempfile.TemporaryDirectory(prefix="mlport-lock-") as folder:
        paths = [Path(folder) / name for name in ("requirements.in", "constraints.txt", "answer.txt")]
        for path, lines in zip(paths, question, strict=True):
            path.write_text("".join(f"{line}\n" for line in lines))
        wanted, exact, answer = paths
        options = ["--generate-hashes", "--no-header", "--no-annotate", "--no-sources", "--quiet"]
        command: list[str | Path] = ["pip", "compile", wanted, "--constraint", exact, "--python-version", python]
        command += [*options, "--output-file", answer]  # uv prefers the versions that it finds in there
        command += ["--torch-backend", sources.torch_backend] if sources.torch_backend else ["--universal"]
        env = uvrun.environment(sources, links)
        what = "lock the requirements"
        try:
            uvrun.run([*command, "--only-binary", ":all:"], what=what, env=env)
        except PackagingError as error:
            if _NO_WHEEL not in error.message:
                raise
            uvrun.run(command, what=what, env=env)
        return answer.read_text("utf-8")


def _local_hashes(wheels: Path | None) -> dict[str, str]:
    """Normal name to SHA-256 of each local wheel."""
    files = sorted(wheels.glob("*.whl")) if wheels else []
    return {normal(file.name.split("-")[0]): disk.sha256_file(file) for file in files}


def _with_local_hashes(text: str, local: Mapping[str, str]) -> str:
    """Let only our own file pass for a local package, whatever an index offers under that name and version."""
    blocks = re.split(r"\n(?=\S)", text.strip("\n"))
    for number, block in enumerate(blocks):
        match = _PIN.match(block)
        if match and (sha256 := local.get(normal(match[1]))):
            blocks[number] = f"{match[1]}=={match[2]}{match[3]} \\\n    --hash=sha256:{sha256}"
    return "\n".join(blocks) + "\n"
