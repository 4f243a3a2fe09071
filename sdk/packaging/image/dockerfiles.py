"""Build users' Dockerfiles with the engine's own builder."""

from __future__ import annotations

import fnmatch
import json
import tempfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from sdk.errors import ConfigError, PackagingError
from sdk.util import usertext

from .engine_images import MESSAGES, check_messages
from .layers import Entry, tree, write_tar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .engine import Engine

_BLOCK = 1 << 20


def build_dockerfile(
    engine: Engine, folder: str | Path, *, dockerfile: str = "Dockerfile", arguments: dict[str, str] | None = None
) -> str:
    """Build a Dockerfile with the engine's own builder; return the id of the image.

    Args:
        engine: The engine that builds it.
        folder: The context, without the files that its ``.dockerignore`` names.
        dockerfile: Path inside the folder.
        arguments: Build arguments.

    Raises:
        ConfigError: The Dockerfile does not exist.
        PackagingError: A step failed; the message has its last lines.
    """
    root = Path(folder).expanduser().resolve()
    if not (root / dockerfile).is_file():
        raise ConfigError(f"{root / dockerfile} does not exist", hint="name the Dockerfile with dockerfile=")
    with tempfile.TemporaryFile() as context:
        write_tar(_context(root, dockerfile), context)
        context.seek(0)
        params = {"dockerfile": dockerfile, "buildargs": json.dumps(arguments or {}), "rm": "1", "forcerm": "1"}
        blocks = iter(lambda: context.read(_BLOCK), b"")
        headers = {"content-type": "application/x-tar"}
        with engine.stream("POST", "/build", params=params, content=blocks, headers=headers, bound=MESSAGES) as pieces:
            messages = check_messages(b"".join(pieces), "build")
    ids = [str(message["aux"]["ID"]) for message in messages if "ID" in message.get("aux", {})]
    if not ids:
        raise PackagingError("the Docker Engine named no image after the build", operation="build")
    return ids[-1]


def _context(root: Path, dockerfile: str) -> list[Entry]:
    rules = _rules(root / ".dockerignore")
    kept = {dockerfile, ".dockerignore"}
    entries = [
        entry for entry in tree(root, "", skip=frozenset()) if entry.path in kept or not _ignored(entry.path, rules)
    ]
    return sorted(entries, key=lambda entry: entry.path)


def _rules(path: Path) -> list[tuple[str, bool]]:
    if not path.is_file():
        return []
    lines = [line.strip() for line in usertext.read(path).splitlines()]
    return [
        (line.removeprefix("!").strip().strip("/").removeprefix("./"), line.startswith("!"))
        for line in lines
        if line and not line.startswith("#")
    ]


def _ignored(path: str, rules: Sequence[tuple[str, bool]]) -> bool:
    """Apply Docker's rules: patterns start at the root, the last match decides, ``!`` re-includes."""
    above = [path, *(str(parent) for parent in PurePosixPath(path).parents if str(parent) != ".")]
    ignored = False
    for pattern, back in rules:
        if any(_fits(name.split("/"), pattern.split("/")) for name in above):
            ignored = not back
    return ignored


def _fits(parts: list[str], pattern: list[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_fits(parts[number:], pattern[1:]) for number in range(len(parts) + 1))
    return bool(parts) and fnmatch.fnmatchcase(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])
