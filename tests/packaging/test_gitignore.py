"""The rules of ``.gitignore`` are those of Git, which is asked for each tree."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from sdk.packaging.gitignore import Ignore

if TYPE_CHECKING:
    from pathlib import Path

GIT = shutil.which("git")
NAMES = ("a", "b.py", "data", "x y", "[z]", "#h", "!n", "é", "a.log", "A", "b-1", "q]")
PARTS = (
    *("a", "data", "é", "x y", "x\\ y ", "#h", "\\#h", "\\!n", "a\\", "\\a", "*", "?", "*.py", "b?py", "*a*", "d*"),
    *("**", "***", "**/a", "[a-c].log", "[!a]*", "[^b-d]", "[[]z]", "[[:upper:]]", "[a-z]-[0-9]", "[z-a]"),
    *("[]]", "q[]]"),
)


def tree(folder: Path, chance: random.Random, depth: int = 0) -> None:
    folder.mkdir(exist_ok=True)
    for name in chance.sample(NAMES, 5):
        if depth < 3 and chance.random() < 0.4:
            tree(folder / name, chance, depth + 1)
        else:
            (folder / name).write_bytes(b"")
    if depth == 0 or chance.random() < 0.2:
        (folder / ".gitignore").write_text("".join(f"{line(chance)}\n" for _ in range(chance.randint(0, 5))), "utf-8")


def line(chance: random.Random) -> str:
    path = "/".join(chance.choices(PARTS, k=chance.choice([1, 1, 1, 2, 3])))
    lead = chance.choice(["", "", "", "/", "!", "!/"])
    return f"{lead}{path}{chance.choice(['', '', '', '/', '/**', ' '])}"


def kept(folder: Path, above: Ignore) -> set[str]:
    ignore = above.within(folder)
    found: set[str] = set()
    for path in folder.iterdir():
        if path.name == ".git" or ignore.ignores(path, is_folder=path.is_dir()):
            continue
        found |= kept(path, ignore) if path.is_dir() else {str(path)}
    return found


def git(folder: Path, *arguments: str) -> str:
    assert GIT
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    command = [GIT, "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout


@pytest.mark.skipif(GIT is None, reason="Git is not installed")
def test_same_files_as_git(tmp_path: Path) -> None:
    """A hundred random trees with nested files, negations, anchors, classes and double stars."""
    git(tmp_path, "init", "-q")
    for seed in range(100):
        chance = random.Random(seed)
        root = tmp_path / f"tree{seed}"
        tree(root, chance)
    listed = git(tmp_path, "ls-files", "--others", "--exclude-standard", "-z").split("\0")
    theirs = {str(tmp_path / name) for name in listed if name}
    ours = kept(tmp_path, Ignore())
    assert len(theirs) > 500
    assert [] == sorted(theirs ^ ours)


def test_rules_above_the_folder_count_up_to_the_repository(tmp_path: Path) -> None:
    """A folder that the repository ignores as a whole was meant nevertheless; rules outside do not count."""
    (tmp_path / ".gitignore").write_text("*\n")
    root = tmp_path / "repository"
    (root / ".git").mkdir(parents=True)
    (root / ".gitignore").write_text("*.log\n/built\n")
    for name in ("pkg/sub", "built/pkg"):
        (root / name).mkdir(parents=True)
    (root / "pkg" / ".gitignore").write_text("!keep.log\n")
    for name, expected in {"pkg/sub/a.log": True, "pkg/sub/keep.log": False, "built/pkg/a.log": False}.items():
        path = root / name
        assert expected is Ignore.above(path.parent).within(path.parent).ignores(path, is_folder=False), name
