"""Imports from a sealed folder leave it as it is; libraries elsewhere are compiled once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SERVING = Path(__file__).parents[2] / "sdk" / "serving"

PROGRAM = """
import sys
from pathlib import Path
sys.path[:0] = [{serving!r}, {sealed!r}, {library!r}]
import before
from sealed import seal
seal(Path({sealed!r}))
import inside, inside.deep, beside
print(inside.deep.WORD, beside.WORD, before.WORD, inside.__file__)
"""


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_only_libraries_are_compiled(tmp_path: Path) -> None:
    """A package in the folder and its modules are imported, also if Python has looked into the folder before."""
    sealed, library = tmp_path / "bundle" / "code", tmp_path / "bundle-library"
    for path, word in (
        (sealed / "inside" / "__init__.py", "package"),
        (sealed / "inside" / "deep.py", "deep"),
        (library / "before.py", "early"),
        (library / "beside.py", "library"),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"WORD = {word!r}\n")
    before = _files(sealed)
    program = PROGRAM.format(serving=str(SERVING), sealed=str(sealed), library=str(library))
    env = {"PATH": ""}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=env, check=True)
    assert f"deep library early {sealed / 'inside' / '__init__.py'}\n" == done.stdout
    assert before == _files(sealed)
    tag = sys.implementation.cache_tag
    assert {f"__pycache__/{name}.{tag}.pyc" for name in ("before", "beside")} <= set(_files(library))
